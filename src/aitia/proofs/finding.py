"""Certificates from explanations. Nothing here is trusted: a poor choice only makes a proof weaker or dearer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from aitia.finite_groups import GSet
from aitia.group_networks.interpretation import Interpretation
from aitia.proofs.weights import Weights

BITS = 30
"""Bits of the largest coefficient."""


def votes_explanation(interpretation: Interpretation, weights: Weights) -> dict[str, Any]:
    group = interpretation.network.group
    sets: list[GSet] = []
    votes: dict[int, list[list[Any]]] = {}
    stand_in = np.zeros((weights.width, weights.order))
    for circuit in interpretation.circuits:
        number = len(sets)
        sets.append(circuit.right_set)
        sizes = np.bincount(circuit.orbitals.ravel())
        least = int(sizes.argmax())
        for k, neuron in enumerate(circuit.neurons):
            b, c = circuit.left_points[k], circuit.right_points[k]
            values = circuit.kernels[k] - circuit.kernels[k][least]
            rows = circuit.orbitals[b]
            moved = circuit.right_set.permutations[:, c]
            votes[int(neuron)] = [
                [number, int(p), int(c), values[rows[p]]]
                for p in range(circuit.right_set.size)
                if rows[p] != least
            ]
            stand_in[neuron] += values[rows[moved]]
    rest = weights.unembed - stand_in
    rest -= rest.mean(axis=1, keepdims=True)
    hidden = np.maximum(weights.left[:, None] + weights.right[None], 0).reshape(-1, weights.width)
    spread = np.sqrt(np.square(hidden).mean(axis=0))
    size = np.linalg.norm(rest, axis=1)
    reach = np.abs(weights.left).max(0) + np.abs(weights.right).max(0)
    harm = reach * (weights.unembed.max(1) - weights.unembed.min(1))
    order = np.argsort(-harm)
    named = order[(np.cumsum(harm[order][::-1])[::-1] > 0.5)]
    scales = (
        np.round(0.5 * np.log2((size[named] + 1e-12) / (spread[named] + 1e-12))).astype(int).clip(-40, 40)
    )
    place = {int(i): k for k, i in enumerate(named)}
    listed = [
        (place[i], s, p, c, float(np.ldexp(v, -int(scales[place[i]]))))
        for i, rows in votes.items()
        if i in place
        for s, p, c, v in rows
    ]
    largest = max((abs(row[4]) for row in listed), default=1.0)
    unit = int(np.frexp(largest)[1]) - BITS
    return {
        "neurons": [int(i) for i in named],
        "scales": [int(s) for s in scales],
        "unit": unit,
        "sets": [action_entry(each) for each in sets],
        "votes": [[*row[:4], round(float(np.ldexp(row[4], -unit)))] for row in listed],
        "constants": [],
    }


def action_entry(gset: GSet) -> dict[str, Any]:
    generators = gset.group.generators
    return {"generators": [int(g) for g in generators], "images": gset.permutations[generators].tolist()}


FINDERS: Mapping[str, Callable[[Interpretation, Weights], dict[str, Any]]] = {
    "brute-force": lambda _interpretation, _weights: {},
    "g-sets": votes_explanation,
    "g-sets-bound": votes_explanation,
}
"""Verifier -> what finds the explanation that it reads."""
