"""The joints between the products: a ranking, a certificate, a group network and a concept as explanations.

The rooms below know nothing of each other. The names are imported where they are first used, so that one product's
joint needs nothing of another's.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aitia.adapters.certificates import certified_explanation
    from aitia.adapters.directions import direction_trial, try_direction
    from aitia.adapters.group_networks import (
        explain_group_network,
        group_network_explanations,
        product_phenomenon,
    )
    from aitia.adapters.rankings import (
        explain_ranking,
        ranking_explanation,
        removal_phenomenon,
        retraining_phenomenon,
    )

_HOMES = {
    "certificates": ("certified_explanation",),
    "directions": ("direction_trial", "try_direction"),
    "group_networks": ("explain_group_network", "group_network_explanations", "product_phenomenon"),
    "rankings": ("explain_ranking", "ranking_explanation", "removal_phenomenon", "retraining_phenomenon"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "certified_explanation",
    "direction_trial",
    "explain_group_network",
    "explain_ranking",
    "group_network_explanations",
    "product_phenomenon",
    "ranking_explanation",
    "removal_phenomenon",
    "retraining_phenomenon",
    "try_direction",
]


def __getattr__(name: str) -> object:
    """Import a public name where it is first used."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'aitia.adapters' has no attribute {name!r}")
    return getattr(import_module(f"aitia.adapters.{_HOME_OF[name]}"), name)
