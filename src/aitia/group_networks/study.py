"""A group network as a model under study, and its answers as a phenomenon."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from aitia.explanations import FunctionModel, Phenomenon
from aitia.explanations.taps import Tap
from aitia.group_networks.network import GroupNetwork

SITES = ("left", "right", "hidden")
"""What the left factor gives each neuron, what the right one does, and the activations: [n, m] each."""


def under_study(network: GroupNetwork) -> FunctionModel:
    """The network as a model that can be watched and intervened on at `SITES`; inputs [n, 2] are pairs (x, y)."""

    def function(parameters: Mapping[str, Any], inputs: np.ndarray, site: Tap) -> np.ndarray:
        left = site("left", parameters["left"][inputs[:, 0]])
        right = site("right", parameters["right"][inputs[:, 1]])
        hidden = site("hidden", np.maximum(left + right, 0))
        return hidden @ parameters["unembed"] + parameters["bias"]

    parameters = {
        name: np.asarray(getattr(network, name), dtype=np.float64)
        for name in ("left", "right", "unembed", "bias")
    }
    return FunctionModel(
        name=f"{network.group.name} network", function=function, parameters=parameters, sites=SITES
    )


def product_phenomenon(network: GroupNetwork) -> Phenomenon:
    """The network's answer to every pair of elements; the metric is whether it is their product."""
    group = network.group

    def right(inputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return (group.table[inputs[:, 0], inputs[:, 1]] == labels).astype(float)

    return Phenomenon(
        name=f"products in {group.name}",
        model=under_study(network),
        inputs=np.indices((group.order, group.order)).reshape(2, -1).T,
        outcomes=group.labels,
        metric=right,
    )
