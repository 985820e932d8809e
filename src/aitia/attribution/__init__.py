"""Attribution: scan training data once, then rank it by its influence on any concept."""

from typing import TYPE_CHECKING

from aitia.attribution.control import (
    ControlSettings,
    Expansion,
    FrontSettings,
    RoundSettings,
    WeightChoice,
    absolute_sums,
    choose_weights,
    pareto_front,
)
from aitia.attribution.ranking.controls import Control, ControlKind
from aitia.attribution.ranking.ranking import Ranking, read_ranking
from aitia.attribution.ranking.scoring import rank
from aitia.attribution.row_stream import RowScore, RowStream, StreamSettings, score_rows
from aitia.attribution.scanning.activation_products import Reading
from aitia.attribution.scanning.activations import ACTIVATIONS
from aitia.attribution.scanning.null_directions import NullSettings
from aitia.attribution.scanning.scan import ScanSettings, scan
from aitia.attribution.scanning.store import ActivationStore
from aitia.attribution.scorers import (
    ActivationScorer,
    Needs,
    RankingContext,
    RowScores,
    Scorer,
    Scores,
    available_methods,
    find_scorer,
    register,
    score_concepts,
    scorer,
    scorer_names,
)
from aitia.attribution.slices.slices import Slice, SliceInfluence, SliceSettings, slice_influence

if TYPE_CHECKING:
    from aitia.attribution.scan_callback import ScanCallback

__all__ = [
    "ACTIVATIONS",
    "ActivationScorer",
    "ActivationStore",
    "Control",
    "ControlKind",
    "ControlSettings",
    "Expansion",
    "FrontSettings",
    "Needs",
    "NullSettings",
    "Ranking",
    "RankingContext",
    "Reading",
    "RoundSettings",
    "RowScore",
    "RowScores",
    "RowStream",
    "ScanCallback",
    "ScanSettings",
    "Scorer",
    "Scores",
    "Slice",
    "SliceInfluence",
    "SliceSettings",
    "StreamSettings",
    "WeightChoice",
    "absolute_sums",
    "available_methods",
    "choose_weights",
    "find_scorer",
    "pareto_front",
    "rank",
    "read_ranking",
    "register",
    "scan",
    "score_concepts",
    "score_rows",
    "scorer",
    "scorer_names",
    "slice_influence",
]


def __getattr__(name: str) -> object:
    """Import what needs transformers where it is first used, so that settings stay light."""
    if name != "ScanCallback":
        raise AttributeError(f"module 'aitia.attribution' has no attribute {name!r}")
    from aitia.attribution.scan_callback import ScanCallback

    return ScanCallback
