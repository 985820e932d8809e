"""The engine: is the right logit the largest? Decided for every input from a cheap stand-in for the unembedding.

A verifier brings a stand-in S for the unembedding U that is cheap to apply. With E = U - S - c, where c holds any
constant for each neuron (which moves all logits alike), the logit of an answer z is at most

    s(z) + bias(z) + |h| |E(z)| + dropped,          s = h S,

by Cauchy and Schwarz over the neurons that the certificate names; the neurons that it does not name are bounded by
relu(a + b) <= relu(a) + relu(b), a number for each x and one for each y. That is held against the true logit of the
right answer. Answers that it does not rule out are contenders: their true logits are worked out, a part of the neurons
at a time, the norm bound covering the rest. What is left open by rounding is decided in integers.

Neurons may be scaled by powers of two, which is exact and shifts weight between |h| and |E|.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from aitia.proofs.arithmetic import TINY, gamma, outward
from aitia.proofs.cost import Cost, brute_force_cost
from aitia.proofs.weights import Weights

CHUNK_NUMBERS = 2_000_000
EXACT_OPERATIONS = 2_000_000_000
"""Most operations that are spent on exact decisions; inputs left open after that count as wrong."""

PARTS = 4
"""In how many parts of the neurons a contender's logit is worked out."""


class StandIn(Protocol):
    """What is cheap to apply in place of the unembedding.

    Attributes:
        neurons: [a] the neurons that it speaks of, heaviest first.
        scales: [a] exponents of the powers of two that their activations are multiplied by.
        matrix: [a, n] S, for scaled activations.
        constant: [n] added to s, in place of the bias as far as it goes.
        magnitudes: [a] above the sum of absolute values along any path from the neuron to any logit.
        constant_magnitude: the same for the constant.
        depth: how many roundings a path takes, at most.
    """

    neurons: np.ndarray
    scales: np.ndarray
    matrix: np.ndarray
    constant: np.ndarray
    magnitudes: np.ndarray
    constant_magnitude: float
    depth: int

    def prepare(self, hidden: np.ndarray, cost: Cost) -> np.ndarray:
        """[k, a] scaled activations -> whatever the logits are computed from."""
        ...

    def quick_margins(
        self, prepared: np.ndarray, answers: np.ndarray, cost: Cost
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """[k] the answer's s, and [k] a lower bound of it minus any other's; None if there is no quick way."""
        ...

    def logits(self, prepared: np.ndarray, cost: Cost) -> np.ndarray:
        """[k, n] s for every answer."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Verdict:
    """What a verifier found.

    Attributes:
        certified: [n, n] bool; the network is right on these inputs.
        cost: the operations it took, by step.
        cross_entropy: an upper bound on the mean cross entropy over all inputs, where the verifier gives one.
    """

    certified: np.ndarray
    cost: Cost
    cross_entropy: float | None = None

    @property
    def count(self) -> int:
        """How many inputs are certified."""
        return int(self.certified.sum())

    @property
    def bound(self) -> float:
        """The share of inputs that are certified."""
        return self.count / self.certified.size


class Settler:
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


def decide(weights: Weights, stand_in: StandIn, *, finish: bool, cost: Cost | None = None) -> Verdict:
    """Certify inputs by a stand-in for the unembedding.

    Args:
        weights: the network.
        stand_in: what is cheap to apply; the better it fits, the fewer contenders are left.
        finish: work out the true logits of contenders, so that every input is decided; or count inputs that have
            contenders as wrong.
        cost: counts on here.
    """
    cost = cost or Cost()
    bounds = _Bounds(weights, stand_in, cost)
    n, rows = weights.order, max(CHUNK_NUMBERS // (weights.order * max(len(stand_in.neurons), 1)), 1)
    certified = np.zeros((n, n), dtype=bool)
    for start in range(0, n, rows):
        x = np.arange(start, min(start + rows, n))
        certified[x] = bounds.decide(np.repeat(x, n), np.tile(np.arange(n), len(x)), finish).reshape(-1, n)
    return Verdict(certified=certified, cost=cost)


class _Bounds:
    """Everything that is computed once for all inputs."""

    def __init__(self, weights: Weights, stand_in: StandIn, cost: Cost) -> None:
        n, a = weights.order, len(stand_in.neurons)
        self.weights, self.stand_in, self.cost = weights, stand_in, cost
        self.settler = Settler(weights, cost)
        named = stand_in.neurons
        scale = np.ldexp(1.0, stand_in.scales)
        self.left, self.right = weights.left[:, named] * scale, weights.right[:, named] * scale
        unembed = weights.unembed[named] / scale[:, None]
        rest = unembed - stand_in.matrix
        constants = rest.mean(axis=1, keepdims=True)
        self.unembed, self.rest = (unembed - constants).T.copy(), (rest - constants).T.copy()
        self.bias = weights.bias
        self.bias_rest = weights.bias - stand_in.constant
        self.highest_bias = float(self.bias_rest.max())
        self.parts = np.array_split(np.arange(a), min(PARTS, max(a, 1)))
        squares = np.stack([np.square(self.rest[:, part]).sum(axis=1) for part in self.parts])
        tails = np.cumsum(squares[::-1], axis=0)[::-1]
        self.tails = outward(np.sqrt(tails), 4 * (a + 8))
        self.largest_tail = float(self.tails[0].max(initial=0.0))
        self.drop_left, self.drop_right = _dropped(weights, named, cost)
        cost.add("scaling and remainder", 2 * n * a + n * a + 3 * n * a + 2 * n * a + 2 * n)
        cost.add("remainder norms", 2 * n * a + PARTS * 2 * n + n)
        reach = self.settler.reach[named] * scale
        magnitude = float(
            reach @ (4 * np.abs(unembed).max(axis=1, initial=0.0) + 4 * stand_in.magnitudes)
            + 4 * (np.abs(weights.bias).max() + stand_in.constant_magnitude)
            + self.settler.band
        )
        cost.add("rounding bounds", 4 * a)
        self.band = 64 * gamma(a + n + stand_in.depth + 64) * magnitude + self.settler.band

    def decide(self, x: np.ndarray, y: np.ndarray, finish: bool) -> np.ndarray:
        """[k] which of the inputs are certified."""
        k, a = len(x), self.left.shape[1]
        answers = self.weights.table[x, y]
        hidden = np.maximum(self.left[x] + self.right[y], 0)
        target = np.einsum("ka,ka->k", hidden, self.unembed[answers]) + self.bias[answers]
        squares = np.stack(
            [np.einsum("ka,ka->k", hidden[:, part], hidden[:, part]) for part in self.parts], axis=1
        )
        tails = outward(np.sqrt(np.cumsum(squares[:, ::-1], axis=1)[:, ::-1]), 4 * (a + 8))
        level = target - (self.drop_left[x] + self.drop_right[y]) - self.band
        self.cost.add("hidden layer", k * 2 * a)
        self.cost.add("right logit", k * (2 * a + 2))
        self.cost.add("norms", k * (2 * a + 1))
        self.cost.add("thresholds", k * 6)
        prepared = self.stand_in.prepare(hidden, self.cost)
        quick = self.stand_in.quick_margins(prepared, answers, self.cost)
        certified = np.zeros(k, dtype=bool)
        if quick is not None:
            own, margins = quick
            # own - margins is at least every other answer's s.
            certified = own - margins + tails[:, 0] * self.largest_tail + self.highest_bias < level
            self.cost.add("thresholds", k * 2)
        left = np.flatnonzero(~certified)
        if len(left):
            certified[left] = self._compare(
                x[left],
                y[left],
                answers[left],
                hidden[left],
                level[left],
                tails[left],
                prepared[left],
                finish,
            )
        return certified

    def _compare(
        self,
        x: np.ndarray,
        y: np.ndarray,
        answers: np.ndarray,
        hidden: np.ndarray,
        level: np.ndarray,
        tails: np.ndarray,
        prepared: np.ndarray,
        finish: bool,
    ) -> np.ndarray:
        """Every answer's s against the right logit; then the true logits of contenders."""
        k, n = len(x), self.weights.order
        logits = self.stand_in.logits(prepared, self.cost)
        near = logits + (tails[:, :1] * self.largest_tail + self.highest_bias) >= level[:, None]
        near[np.arange(k), answers] = False
        self.cost.add("comparisons", k * (n + 2))
        owner, z = np.nonzero(near)
        value = logits[owner, z] + self.bias_rest[z]
        self.cost.add("contenders", len(z) * 4)
        open_ = value + tails[owner, 0] * self.tails[0, z] >= level[owner]
        owner, z, value = owner[open_], z[open_], value[open_]
        if finish:
            for number, part in enumerate(self.parts):
                value = value + np.einsum("pa,pa->p", hidden[owner][:, part], self.rest[z][:, part])
                self.cost.add("contenders", len(z) * (2 * len(part) + 3))
                rest = 0.0
                if number + 1 < len(self.parts):
                    self.cost.add("norms", len(np.unique(owner)))
                    rest = tails[owner, number + 1] * self.tails[number + 1, z]
                open_ = value + rest >= level[owner]
                owner, z, value = owner[open_], z[open_], value[open_]
            return self.settler.beats(x[owner], y[owner], z, owner, k)
        certified = np.ones(k, dtype=bool)
        certified[owner] = False
        return certified


def _dropped(weights: Weights, named: np.ndarray, cost: Cost) -> tuple[np.ndarray, np.ndarray]:
    """[n] and [n]: numbers whose sum is above what the neurons not named may add to any answer over the right one.

    Either a sum over neurons of h times the range of u, or Cauchy and Schwarz with the largest norm of u about its
    mean, twice: whichever is smaller at its largest.
    """
    n, rest = weights.order, np.setdiff1d(np.arange(weights.width), named)
    if not len(rest):
        return np.zeros(n), np.zeros(n)
    left, right = np.maximum(weights.left[:, rest], 0), np.maximum(weights.right[:, rest], 0)
    unembed, steps = weights.unembed[rest], 4 * (len(rest) + n + 8)
    ranges = unembed.max(axis=1) - unembed.min(axis=1)
    # The mean cancels exactly in u(z) - u(t): any constant will do, so its own rounding is harmless, but for the
    # rounding of the difference, which `magnitude` covers.
    middle = unembed - unembed.mean(axis=1, keepdims=True)
    magnitude = 4 * gamma(steps) * np.abs(unembed).max(axis=1)
    norm = 2 * (np.sqrt(np.square(middle).sum(axis=0).max()) + np.linalg.norm(magnitude))
    sums = left @ (ranges + magnitude), right @ (ranges + magnitude)
    norms = norm * np.linalg.norm(left, axis=1), norm * np.linalg.norm(right, axis=1)
    cost.add("neurons left out", len(rest) * n * (2 + 2 + 4 + 2 + 2 + 4 + 4) + 8 * n)
    chosen = min((sums, norms), key=lambda pair: pair[0].max() + pair[1].max())
    return outward(chosen[0], steps), outward(chosen[1], steps)
