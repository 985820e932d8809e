"""Measures of explanations: one file a perspective, and the evaluation that all of them read."""

from aitia.explanations.metrics.bayesian_scores import measure_bayesian
from aitia.explanations.metrics.deutschian import measure_deutschian
from aitia.explanations.metrics.direction_scores import CAUSAL_BY_DIRECTION
from aitia.explanations.metrics.faithfulness_scores import measure_faithfulness
from aitia.explanations.metrics.simplicity import measure_simplicity
from aitia.explanations.metrics.study import Evaluation

__all__ = [
    "CAUSAL_BY_DIRECTION",
    "Evaluation",
    "measure_bayesian",
    "measure_deutschian",
    "measure_faithfulness",
    "measure_simplicity",
]
