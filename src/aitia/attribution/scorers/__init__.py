"""Scorers: every way to give each training row a number, behind one protocol and in one registry.

Each file of this folder that defines scorers enters them in the registry, so a new scorer is one new file.
"""

from importlib import import_module
from pkgutil import iter_modules

from aitia.attribution.scorers.context import RankingContext
from aitia.attribution.scorers.protocol import Needs, RowScores, Scorer, Scores
from aitia.attribution.scorers.registry import (
    DEFAULT_METHOD,
    find_scorer,
    goes_through_concept,
    is_baseline,
    register,
    scorer,
    scorer_names,
    scorers,
)

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = [
    "DEFAULT_METHOD",
    "Needs",
    "RankingContext",
    "RowScores",
    "Scorer",
    "Scores",
    "find_scorer",
    "goes_through_concept",
    "is_baseline",
    "register",
    "scorer",
    "scorer_names",
    "scorers",
]
