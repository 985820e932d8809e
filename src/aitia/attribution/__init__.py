"""Attribution: scan training data once, then rank it by its influence on any concept."""

from aitia.attribution.controls import Control, ControlKind
from aitia.attribution.groups import Group, GroupInfluence, GroupSettings, group_influence
from aitia.attribution.ranking import Ranking, read_ranking
from aitia.attribution.scanning import ScanSettings, scan
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
from aitia.attribution.scoring import rank
from aitia.attribution.signal_products import Reading
from aitia.attribution.signals import SIGNALS
from aitia.attribution.store import SignalStore

__all__ = [
    "SIGNALS",
    "ActivationScorer",
    "Control",
    "ControlKind",
    "Group",
    "GroupInfluence",
    "GroupSettings",
    "Needs",
    "Ranking",
    "RankingContext",
    "Reading",
    "RowScores",
    "ScanSettings",
    "Scorer",
    "Scores",
    "SignalStore",
    "available_methods",
    "find_scorer",
    "group_influence",
    "rank",
    "read_ranking",
    "register",
    "scan",
    "score_concepts",
    "scorer",
    "scorer_names",
]
