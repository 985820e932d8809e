"""Rankings: every row scored and ordered, with controls, damping sweeps, and a diagnosis of the shift."""

from aitia.attribution.ranking.controls import RANDOM_CONTROLS, control_kind, controls_kept
from aitia.attribution.ranking.damping_sweep import sweep_of_ranking
from aitia.attribution.ranking.evaluation import (
    RankingEvaluation,
    ScorerFigures,
    evaluate_ranking,
)
from aitia.attribution.ranking.labelled import CONFOUNDS, hold_against_nulls
from aitia.attribution.ranking.ranked_rows import RankedIds, RankedRow
from aitia.attribution.ranking.reporting import ROWS_SHOWN
from aitia.attribution.ranking.scoring import require_concept_of_store
from aitia.attribution.ranking.shift_diagnostic import diagnose_shift
from aitia.attribution.ranking.trust import trust_warnings
from aitia.attribution.scanning.null_directions import (
    MATCHED,
    NullKind,
    null_directions,
)

__all__ = [
    "CONFOUNDS",
    "MATCHED",
    "RANDOM_CONTROLS",
    "ROWS_SHOWN",
    "NullKind",
    "RankedIds",
    "RankedRow",
    "RankingEvaluation",
    "ScorerFigures",
    "control_kind",
    "controls_kept",
    "diagnose_shift",
    "evaluate_ranking",
    "hold_against_nulls",
    "null_directions",
    "require_concept_of_store",
    "sweep_of_ranking",
    "trust_warnings",
]
