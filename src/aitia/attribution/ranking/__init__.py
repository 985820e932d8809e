"""Rankings: every row scored and ordered, with controls, damping sweeps, and a diagnosis of the shift."""

from aitia.attribution.ranking.controls import RANDOM_CONTROLS, controls_kept
from aitia.attribution.ranking.damping_sweep import sweep_of_ranking
from aitia.attribution.ranking.evaluation import (
    CONFOUNDS,
    RankingEvaluation,
    ScorerFigures,
    evaluate_ranking,
)
from aitia.attribution.ranking.ranked_rows import RankedIds, RankedRow
from aitia.attribution.ranking.reporting import ROWS_SHOWN
from aitia.attribution.ranking.scoring import require_concept_of_store
from aitia.attribution.ranking.shift_diagnostic import diagnose_shift

__all__ = [
    "CONFOUNDS",
    "RANDOM_CONTROLS",
    "ROWS_SHOWN",
    "RankedIds",
    "RankedRow",
    "RankingEvaluation",
    "ScorerFigures",
    "controls_kept",
    "diagnose_shift",
    "evaluate_ranking",
    "require_concept_of_store",
    "sweep_of_ranking",
]
