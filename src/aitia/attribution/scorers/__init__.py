"""Scorers: every way to give each training row a number, behind one protocol and in one registry.

Each file of this folder that defines scorers enters them in the registry, so a new scorer is one new file.
"""

from importlib import import_module
from pkgutil import iter_modules

from aitia.attribution.scorers.activation import (
    ActivationScorer,
    activation_scorers,
    available_methods,
    find_activation_scorer,
    score_concepts,
    score_vectors,
)
from aitia.attribution.scorers.baselines import (
    bm25_similarity,
    random_order,
    response_length,
    tfidf_similarity,
)
from aitia.attribution.scorers.context import RankingContext
from aitia.attribution.scorers.labels import label_values
from aitia.attribution.scorers.protocol import Needs, RowScores, Scorer, Scores
from aitia.attribution.scorers.registry import (
    DEFAULT_METHOD,
    find_scorer,
    goes_through_concept,
    is_baseline,
    naming_package,
    register,
    scorer,
    scorer_names,
    scorers,
)

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = [
    "DEFAULT_METHOD",
    "ActivationScorer",
    "Needs",
    "RankingContext",
    "RowScores",
    "Scorer",
    "Scores",
    "activation_scorers",
    "available_methods",
    "bm25_similarity",
    "find_activation_scorer",
    "find_scorer",
    "goes_through_concept",
    "is_baseline",
    "label_values",
    "naming_package",
    "random_order",
    "register",
    "response_length",
    "score_concepts",
    "score_vectors",
    "scorer",
    "scorer_names",
    "scorers",
    "tfidf_similarity",
]
