"""aitia: explanations of neural networks that can be put to the test.

The names below are the public face; each lives in the room that its module says.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from aitia.adapters import (
        explain_group_network,
        explain_ranking,
        ranking_explanation,
        retraining_phenomenon,
        try_direction,
    )
    from aitia.attribution import ActivationStore, Ranking, rank, read_ranking, scan
    from aitia.concepts import Concept, fit_concept, fit_contrast, fit_persona, fit_probe, load_concept
    from aitia.counterfactual import ConceptProjection, LikelihoodMargin, plan_removals, retrain
    from aitia.errors import AitiaError
    from aitia.explanations import Explanation, Phenomenon, evaluate
    from aitia.group_networks import load_network
    from aitia.models import LanguageModel, load_model
    from aitia.proofs import check_certificate, prove_accuracy
    from aitia.records import Records, read_records, records_from_rows
    from aitia.training import LoraSettings

_HOMES = {
    "aitia.adapters": (
        "explain_group_network",
        "explain_ranking",
        "ranking_explanation",
        "retraining_phenomenon",
        "try_direction",
    ),
    "aitia.attribution": (
        "Ranking",
        "ActivationStore",
        "rank",
        "read_ranking",
        "scan",
    ),
    "aitia.concepts": ("Concept", "fit_concept", "fit_contrast", "fit_persona", "fit_probe", "load_concept"),
    "aitia.counterfactual": (
        "ConceptProjection",
        "LikelihoodMargin",
        "plan_removals",
        "retrain",
    ),
    "aitia.errors": ("AitiaError",),
    "aitia.explanations": ("Explanation", "Phenomenon", "evaluate"),
    "aitia.group_networks": ("load_network",),
    "aitia.models": ("LanguageModel", "load_model"),
    "aitia.proofs": ("check_certificate", "prove_accuracy"),
    "aitia.records": ("Records", "read_records", "records_from_rows"),
    "aitia.training": ("LoraSettings",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "ActivationStore",
    "AitiaError",
    "Concept",
    "ConceptProjection",
    "Explanation",
    "LanguageModel",
    "LikelihoodMargin",
    "LoraSettings",
    "Phenomenon",
    "Ranking",
    "Records",
    "__version__",
    "check_certificate",
    "evaluate",
    "explain_group_network",
    "explain_ranking",
    "fit_concept",
    "fit_contrast",
    "fit_persona",
    "fit_probe",
    "load_concept",
    "load_model",
    "load_network",
    "plan_removals",
    "prove_accuracy",
    "rank",
    "ranking_explanation",
    "read_ranking",
    "read_records",
    "records_from_rows",
    "retrain",
    "retraining_phenomenon",
    "scan",
    "try_direction",
]


def __getattr__(name: str) -> object:
    """Import a public name where it is first used, so that `import aitia` stays light."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'aitia' has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
