"""Group networks as models under study, and every hypothesis of them as an explanation."""

from aitia.adapters.group_networks.hypotheses import (
    HYPOTHESES,
    explain_group_network,
    group_network_explanations,
    points_of_g_sets,
)
from aitia.adapters.group_networks.under_study import CHANGES, product_phenomenon, under_study

__all__ = [
    "CHANGES",
    "HYPOTHESES",
    "explain_group_network",
    "group_network_explanations",
    "points_of_g_sets",
    "product_phenomenon",
    "under_study",
]
