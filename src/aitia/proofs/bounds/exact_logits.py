"""Single inputs decided by their true logits, and in integers where rounding leaves it open."""

from __future__ import annotations

import numpy as np

from aitia.proofs.bounds.arithmetic import TINY, gamma
from aitia.proofs.cost import Cost, brute_force_cost
from aitia.proofs.weights import Weights

CHUNK_NUMBERS = 2_000_000
"""Numbers in the largest arrays that are worked on at once."""

EXACT_OPERATIONS = 2_000_000_000
"""Most operations that are spent on exact decisions; inputs left open after that count as wrong."""


class ExactChecker:
    """Decides single inputs by their true logits, and in integers where rounding leaves it open."""

    def __init__(self, weights: Weights, cost: Cost) -> None:
        self.weights, self.cost = weights, cost
        reach = np.abs(weights.left).max(axis=0) + np.abs(weights.right).max(axis=0)
        largest = np.abs(weights.unembed).max(axis=1)
        self.reach = reach
        magnitude = float(reach @ largest + np.abs(weights.bias).max())
        self.band = 32 * gamma(weights.width + 64) * magnitude + TINY
        cost.add("rounding bounds", 2 * weights.left.size * 2 + 2 * weights.unembed.size)
        self._left_open = EXACT_OPERATIONS

    def is_right(self, x: int, y: int) -> bool:
        """Whether the right logit is strictly the largest, in integers; no once the budget for that is used up."""
        price = brute_force_cost(self.weights.order, self.weights.width, 1)
        if self._left_open < price:
            return False
        self._left_open -= price
        self.cost.add("exact decisions", price)
        return self.weights.exact.is_right(x, y, int(self.weights.table[x, y]))

    def beats(self, x: np.ndarray, y: np.ndarray, z: np.ndarray, owner: np.ndarray, count: int) -> np.ndarray:
        """[count] bool: does the right answer beat every contender it owns?

        Args:
            x: [k] left factors.
            y: [k] right factors.
            z: [k] contenders, none the right answer.
            owner: [k] which input, from 0 to count - 1, each belongs to; sorted.
            count: how many inputs there are; those without contenders are right.

        Returns:
            [count] bool.
        """
        weights, m = self.weights, self.weights.width
        found = np.ones(count, dtype=bool)
        step = max(CHUNK_NUMBERS // (2 * m), 1)
        margins = np.empty(len(z))
        for start in range(0, len(z), step):
            part = slice(start, start + step)
            hidden = np.maximum(weights.left[x[part]] + weights.right[y[part]], 0)
            answers = weights.table[x[part], y[part]]
            slopes = weights.unembed.T[answers] - weights.unembed.T[z[part]]
            margins[part] = (
                np.einsum("km,km->k", hidden, slopes) + weights.bias[answers] - weights.bias[z[part]]
            )
        inputs = len(np.unique(owner))
        # An implementation that keeps h and the right logit pays for them once an input.
        self.cost.add("contenders", inputs * (4 * m + 1) + len(z) * (2 * m + 2))
        np.logical_and.at(found, owner, margins > -self.band)
        open_ = np.zeros(count, dtype=bool)
        open_[owner[np.abs(margins) <= self.band]] = True
        for i in np.flatnonzero(found & open_):
            k = int(np.searchsorted(owner, i))
            found[i] = self.is_right(int(x[k]), int(y[k]))
        return found
