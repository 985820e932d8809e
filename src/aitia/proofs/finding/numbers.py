"""What the finders share: exact numbers, which neurons to name, and sampled activations."""

from __future__ import annotations

from typing import Any

import numpy as np

from aitia.finite_groups import GSet
from aitia.proofs.weights import Weights


def as_integers(values: Any, bits: int = 30) -> tuple[list[Any], int]:
    """Nested lists of integers and the exponent of their unit, the largest of them with that many bits."""
    array = np.asarray(values, dtype=np.float64)
    largest = float(np.abs(array).max(initial=0.0))
    unit = int(np.frexp(largest)[1]) - bits if largest else 0
    return np.rint(np.ldexp(array, -unit)).astype(np.int64).tolist(), unit


def named_neurons(weights: Weights, harm: float) -> np.ndarray:
    """The neurons that are worth naming, heaviest first: the others together stay below `harm`, about."""
    ranges = weights.unembed.max(axis=1) - weights.unembed.min(axis=1)
    harms = ranges * (np.maximum(weights.left, 0).mean(axis=0) + np.maximum(weights.right, 0).mean(axis=0))
    order = np.argsort(-harms, kind="stable")
    return order[np.cumsum(harms[order][::-1])[::-1] > harm]


def sample(weights: Weights, most: int = 4_000) -> np.ndarray:
    """[r, m] activations on some inputs, evenly spread."""
    places = np.linspace(0, weights.inputs - 1, min(most, weights.inputs)).astype(np.int64)
    x, y = np.divmod(places * 7_919 % weights.inputs, weights.order)
    return np.maximum(weights.left[x] + weights.right[y], 0)


def action_entry(action: GSet) -> dict[str, Any]:
    """A G-set as certificates hold it: the images of its points under generators."""
    generators = action.group.generators
    return {"generators": [int(g) for g in generators], "images": action.permutations[generators].tolist()}
