"""Measures of explanations: one file a perspective, pure functions and their results."""

from aitia.explanations.metrics.direction_scores import CAUSAL_BY_DIRECTION

__all__ = ["CAUSAL_BY_DIRECTION"]
