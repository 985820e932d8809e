"""A group network as a model under study, and its answers as a phenomenon.

Inputs [n, 2] are pairs (x, y). A third column says what is done to the network first: a place in `CHANGES`. The domain
of the phenomenon has none, so that what a hypothesis says of a changed network is a prediction about something new.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from aitia.explanations import FunctionModel, Phenomenon
from aitia.explanations.core import Tap
from aitia.group_networks import GroupNetwork

CHANGES = ("none", "negate_left", "negate_both", "absolute_value")
"""What a third column of the inputs stands for: nothing, or one of `interventions.INTERVENTIONS`."""
SITES = ("left", "right", "hidden")
"""What the left factor gives each neuron, what the right one does, and the activations: [n, m] each."""


def under_study(network: GroupNetwork) -> FunctionModel:
    """The network as a model that can be watched and intervened on at `SITES`."""

    def function(parameters: Mapping[str, Any], inputs: np.ndarray, site: Tap) -> np.ndarray:
        change = changes(inputs)
        signs = table_signs(change)
        left = site("left", signs[0] * parameters["left"][inputs[:, 0]])
        right = site("right", signs[1] * parameters["right"][inputs[:, 1]])
        hidden = site("hidden", activation(left + right, change))
        return hidden @ parameters["unembed"] + parameters["bias"]

    parameters = {
        name: np.asarray(getattr(network, name), dtype=np.float64)
        for name in ("left", "right", "unembed", "bias")
    }
    return FunctionModel(
        name=f"{network.group.name} network", function=function, parameters=parameters, sites=SITES
    )


def changes(inputs: np.ndarray) -> np.ndarray:
    """[n] what is done to the network for each input: 0 where there is no third column."""
    return inputs[:, 2] if inputs.shape[1] > 2 else np.zeros(len(inputs), dtype=np.int64)


def table_signs(change: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[n, 1] and [n, 1] the signs of the left and of the right table under each change."""
    both = change == CHANGES.index("negate_both")
    left = np.where(both | (change == CHANGES.index("negate_left")), -1.0, 1.0)
    return left[:, None], np.where(both, -1.0, 1.0)[:, None]


def activation(sums: np.ndarray, change: np.ndarray) -> np.ndarray:
    """[n, k] relu of sums [n, k], or their absolute value where that is the change."""
    absolute = (change == CHANGES.index("absolute_value"))[:, None]
    return np.where(absolute, np.abs(sums), np.maximum(sums, 0))


def changed_inputs(network: GroupNetwork, name: str, *, most: int = 500, seed: int = 0) -> np.ndarray:
    """[m, 3] pairs (x, y), all or so many at random, with a change of the network beside them."""
    n = network.group.order
    chosen = np.random.default_rng(seed).permutation(n * n)[:most]
    return np.stack([chosen // n, chosen % n, np.full(len(chosen), CHANGES.index(name))], axis=1)


def product_phenomenon(network: GroupNetwork) -> Phenomenon:
    """The network's answer to every pair of elements; the metric is whether it is their product."""
    group = network.group

    def right(inputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return (group.table[inputs[:, 0], inputs[:, 1]] == labels).astype(float)

    return Phenomenon(
        name=f"products in {group.name}",
        model=under_study(network),
        inputs=np.indices((group.order, group.order)).reshape(2, -1).T,
        beyond=np.concatenate([changed_inputs(network, name) for name in CHANGES[1:]]),
        outcomes=group.labels,
        metric=right,
    )
