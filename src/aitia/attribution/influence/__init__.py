"""Influence functions: the influence of every row on a measurement, and on concepts through a store."""

from aitia.attribution.influence.store_influence import directions_that_fit
from aitia.attribution.influence.streaming import influence

__all__ = [
    "directions_that_fit",
    "influence",
]
