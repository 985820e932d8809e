"""Statistics that several rooms use: intervals, rank correlation, and retrieval of labelled rows."""

from aitia.statistics.beta import beta_cdf, beta_quantile, student_quantile
from aitia.statistics.intervals import (
    Estimate,
    Interval,
    bootstrap,
    bootstrap_estimate,
    clopper_pearson,
    exact,
    mean_estimate,
    student_interval,
    weighted_mean_interval,
    wilson,
)
from aitia.statistics.ranking import (
    auc,
    effect_size,
    exceedance_p_value,
    find_labelled,
    precision_at_k,
    spearman,
    spearman_matrix,
)
from aitia.statistics.retrieval import (
    average_precision,
    confound_adjusted_gain,
    precision_at,
    recall_at,
    reciprocal_rank,
    retrieval_figures,
)

__all__ = [
    "Estimate",
    "Interval",
    "auc",
    "average_precision",
    "beta_cdf",
    "beta_quantile",
    "bootstrap",
    "bootstrap_estimate",
    "clopper_pearson",
    "confound_adjusted_gain",
    "effect_size",
    "exact",
    "exceedance_p_value",
    "find_labelled",
    "mean_estimate",
    "precision_at",
    "precision_at_k",
    "recall_at",
    "reciprocal_rank",
    "retrieval_figures",
    "spearman",
    "spearman_matrix",
    "student_interval",
    "student_quantile",
    "weighted_mean_interval",
    "wilson",
]
