"""Maps of the inputs under which a network is nearly equivariant. Nothing here is trusted."""

from __future__ import annotations

from typing import Any

import numpy as np

from aitia.group_networks import GroupNetwork

TRIED = 12
"""Elements that are tried, of the smallest orders."""


def find_equivariance(network: GroupNetwork) -> dict[str, Any]:
    """The subgroup of prime order, acting from the left, whose elements match the neurons best."""
    group = network.group
    found: list[tuple[float, list[dict[str, Any]]]] = []
    orders = group.element_orders
    candidates = [int(g) for g in np.argsort(orders, kind="stable") if orders[g] > 1][:TRIED]
    for g in candidates:
        order, cost = _matched(network, g)
        maps, power, neurons = [], g, order
        while power != group.identity:
            maps.append({"left": int(power), "right": int(group.identity), "neurons": neurons.tolist()})
            power, neurons = int(group.table[g, power]), order[neurons]
        found.append((cost, maps))
    return {"maps": min(found, key=lambda each: each[0])[1] if found else []}


def _matched(network: GroupNetwork, g: int) -> tuple[np.ndarray, float]:
    """[m] the neuron that does at gx what each does at x, by least squares, and how far all are off."""
    from scipy.optimize import linear_sum_assignment

    moved = network.group.table[g]
    left, right, unembed = (
        np.asarray(table, dtype=np.float64) for table in (network.left, network.right, network.unembed.T)
    )
    costs = np.zeros((network.width, network.width))
    for table, image in ((left, left[moved]), (right, right), (unembed, unembed[moved])):
        costs += (table**2).sum(axis=0)[:, None] + (image**2).sum(axis=0) - 2 * table.T @ image
    rows, order = linear_sum_assignment(costs)
    return order, float(costs[rows, order].sum())
