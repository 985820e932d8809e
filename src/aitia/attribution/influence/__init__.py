"""Influence functions: the influence of every row on a measurement, and on concepts through a store."""

from aitia.attribution.influence.solving import Solution, SolveSettings, exact_solve
from aitia.attribution.influence.store_influence import directions_that_fit
from aitia.attribution.influence.streaming import influence

__all__ = [
    "Solution",
    "SolveSettings",
    "directions_that_fit",
    "exact_solve",
    "influence",
]
