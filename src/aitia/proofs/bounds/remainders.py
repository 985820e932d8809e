"""What a stand-in for the unembedding leaves over, bounded once for all inputs.

With factors f, cells j and the neurons i in them, U_i / f_i = S_j + c_i + E_i, where S is the stand-in and c any
constants. What is left over in the logit of z is at most

    sum_i h_i E_i(z)  <=  sum_j C_j e_j(z)  <=  centre . e(z) + |C - centre| |e(z)|,

with C_j the sum over the cell of the activations h_i >= 0, e_j(z) the largest E_i(z) in the cell, and Cauchy and
Schwarz at the end. The same holds for the cells from any one on, so that a contender can be worked out in parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from aitia.proofs.bounds.arithmetic import gamma, outward
from aitia.proofs.bounds.cells import Cells
from aitia.proofs.cost import Cost
from aitia.proofs.weights import Weights

PARTS = 4
"""In how many parts of the cells a contender's logit is worked out."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Quick:
    """A quick look at r inputs.

    Attributes:
        own: [r] the right answer's s.
        near: [l, r] answers that are looked at one by one.
        near_logits: [l, r] their s.
        margins: [r] a lower bound of own minus the s of any other answer.
    """

    own: np.ndarray
    near: np.ndarray
    near_logits: np.ndarray
    margins: np.ndarray


class Surrogate(Protocol):
    """What is cheap to apply in place of the unembedding.

    Attributes:
        cells: the k cells that it speaks of, heaviest first.
        matrix: [k, n] S.
        constant: [n] added to s, in place of the bias as far as it goes.
        apart: [?] answers with much left over, whose logits are worked out one by one.
        size: how many numbers `prepare` makes for an input.
        magnitudes: [k] above the sum of absolute values along any path from the cell to any logit.
        constant_magnitude: the same for the constant.
        depth: how many roundings a path takes, at most.
    """

    cells: Cells
    matrix: np.ndarray
    constant: np.ndarray
    apart: np.ndarray
    size: int
    magnitudes: np.ndarray
    constant_magnitude: float
    depth: int

    def prepare(self, sums: np.ndarray, cost: Cost) -> np.ndarray:
        """[r, k] sums over cells -> [size, r] whatever the logits are computed from."""
        ...

    def quick(self, prepared: np.ndarray, answers: np.ndarray, cost: Cost) -> Quick | None:
        """A quick look at each input, if there is one."""
        ...

    def some_logits(self, prepared: np.ndarray, answers: np.ndarray, cost: Cost) -> np.ndarray:
        """[l, r] s for l answers."""
        ...

    def at_least(
        self, prepared: np.ndarray, thresholds: np.ndarray, cost: Cost
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Inputs, answers and s, one entry each and ordered by input, where s reaches the input's threshold [r]."""
        ...


class Remainders:
    """The tables that every input is decided from.

    Attributes:
        left: [n, a] scaled tables of the neurons named; right: the same.
        unembed: [n, a] U / f - c, by answer.
        rest: [n, a] E, by answer.
        bias: [n]; bias_rest: [n] what the stand-in's constant leaves of it.
        parts: the cells of each part; neurons: [a] slices of the neurons of each part.
        lifts: [parts, n] centre . e over the cells from each part on, above.
        tails: [parts, n] |e| over the same, above.
        drop_left: [n], drop_right: [n] what neurons not named may add to an answer over the right one.
        slack: above the rounding of |C - centre|.
        band: above the rounding of everything else, in the units of logits.
    """

    def __init__(self, weights: Weights, surrogate: Surrogate, band: float, cost: Cost) -> None:
        cells, n = surrogate.cells, weights.order
        named, a, k = cells.neurons, len(cells.neurons), cells.count
        self.left, self.right = (
            weights.left[:, named] * cells.factors,
            weights.right[:, named] * cells.factors,
        )
        unembed = weights.unembed[named] / cells.factors[:, None]
        rest = unembed - surrogate.matrix[cells.of_neuron]
        constants = rest.mean(axis=1, keepdims=True)
        self.unembed, rest = (unembed - constants).T.copy(), rest - constants
        self.rest = rest.T.copy()
        self.bias, self.bias_rest = weights.bias, weights.bias - surrogate.constant
        largest = cells.largest(rest)
        self.parts = np.array_split(np.arange(k), min(PARTS, max(k, 1)))
        ends = np.append(cells.starts, a)
        self.neurons = [
            slice(int(ends[p[0]]), int(ends[p[-1] + 1])) if len(p) else slice(0, 0) for p in self.parts
        ]
        steps = 4 * (a + k + 8)
        squares = np.stack([np.square(largest[part]).sum(axis=0) for part in self.parts])
        self.tails = outward(np.sqrt(np.cumsum(squares[::-1], axis=0)[::-1]), steps)
        lifts = np.stack([cells.centre[part] @ largest[part] for part in self.parts])
        self.lifts = np.cumsum(lifts[::-1], axis=0)[::-1]
        cost.add("scaling and remainder", 3 * n * a + n * a + 5 * n * a + n)
        cost.add("remainder norms", n * (a - k) + 4 * n * k + 3 * len(self.parts) * n)
        self.drop_left, self.drop_right = dropped(weights, named, cost)
        reach = np.abs(self.left).max(axis=0) + np.abs(self.right).max(axis=0)
        sums = cells.sums(reach) + np.abs(cells.centre)
        size = cells.largest(np.abs(unembed).max(axis=1, initial=0.0)) + surrogate.magnitudes
        magnitude = float(4 * sums @ size + 4 * (np.abs(weights.bias).max() + surrogate.constant_magnitude))
        depth = a + k + n + surrogate.depth + 64
        self.slack = float(16 * gamma(depth) * sums.sum())
        self.band = 64 * gamma(depth) * magnitude + 2 * band
        cost.add("rounding bounds", 4 * n * a + n * a + 8 * a)


def dropped(weights: Weights, named: np.ndarray, cost: Cost) -> tuple[np.ndarray, np.ndarray]:
    """[n] and [n]: numbers whose sum is above what the neurons not named may add to any answer over the right one.

    Since relu(a + b) <= relu(a) + relu(b), with either a sum over neurons of h times the range of u, or Cauchy and
    Schwarz with twice the largest norm of u about its mean: whichever is smaller at its largest.

    Returns:
        [n] for the left factor and [n] for the right.
    """
    n, rest = weights.order, np.setdiff1d(np.arange(weights.width), named)
    if not len(rest):
        return np.zeros(n), np.zeros(n)
    left, right = np.maximum(weights.left[:, rest], 0), np.maximum(weights.right[:, rest], 0)
    unembed, steps = weights.unembed[rest], 4 * (len(rest) + n + 8)
    rounding = 4 * gamma(steps) * np.abs(unembed).max(axis=1)
    ranges = unembed.max(axis=1) - unembed.min(axis=1) + rounding
    middle = unembed - unembed.mean(axis=1, keepdims=True)
    # Squares may underflow: norms are rounded outward before they are multiplied, not after.
    norm = 2 * (
        outward(np.linalg.norm(middle, axis=0), steps).max()
        + outward(np.asarray(np.linalg.norm(rounding)), steps)
    )
    sums = left @ ranges, right @ ranges
    norms = tuple(norm * outward(np.linalg.norm(part, axis=1), steps) for part in (left, right))
    cost.add("neurons left out", len(rest) * n * (2 + 2 + 4 + 2 + 2 + 4 + 4) + 8 * n)
    chosen = min((sums, norms), key=lambda pair: pair[0].max() + pair[1].max())
    return outward(chosen[0], steps), outward(chosen[1], steps)
