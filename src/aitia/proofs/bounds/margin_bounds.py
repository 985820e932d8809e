"""The engine: is the right logit the largest? Decided for every input from a cheap stand-in for the unembedding.

The true logit of the right answer is computed. Every other answer's is at most that of the stand-in plus what
`remainders` bounds. In turn, each step only for what the one before left open:

1. quick margins of the stand-in, with one bound on the remainder of all answers but a few, which are looked at apart;
2. the answers whose logit by the stand-in is large, each with its own bound: what is not ruled out is a contender;
3. contenders' true logits, a part of the neurons at a time, the bound covering the rest;
4. all neurons; and in integers what rounding leaves open.
"""

from __future__ import annotations

import numpy as np

from aitia.proofs.bounds.arithmetic import outward
from aitia.proofs.bounds.exact_logits import CHUNK_NUMBERS, ExactChecker
from aitia.proofs.bounds.remainders import Remainders, Surrogate
from aitia.proofs.cost import Cost
from aitia.proofs.verdict import Verdict
from aitia.proofs.weights import Weights

CACHE_NUMBERS = 250_000
"""Numbers in the arrays of one batch of inputs: they stay in the processor's cache."""


def decide(
    weights: Weights, surrogate: Surrogate, *, finish: bool, cost: Cost, elements: np.ndarray | None = None
) -> Verdict:
    """Certify inputs by a stand-in for the unembedding.

    Args:
        weights: the network.
        surrogate: what is cheap to apply; the better it fits, the fewer contenders are left.
        finish: work out the true logits of contenders, so that every input is decided; or count inputs that have
            contenders as wrong.
        cost: counts on here.
        elements: left factors whose inputs are decided; all, if not given. No other input is certified.

    Returns:
        Which inputs are certified, and at what cost.
    """
    decision = _Decision(weights, surrogate, finish, cost)
    n = weights.order
    rows = max(CACHE_NUMBERS // (n * max(len(surrogate.cells.neurons), surrogate.size, 1)), 1)
    certified = np.zeros((n, n), dtype=bool)
    elements = np.arange(n) if elements is None else elements
    for start in range(0, len(elements), rows):
        x = elements[start : start + rows]
        certified[x] = decision.of(x).reshape(-1, n)
    return Verdict(certified=certified, cost=cost)


class _Decision:
    def __init__(self, weights: Weights, surrogate: Surrogate, finish: bool, cost: Cost) -> None:
        self.weights, self.surrogate, self.finish, self.cost = weights, surrogate, finish, cost
        self.settler = ExactChecker(weights, cost)
        self.tables = Remainders(weights, surrogate, self.settler.band, cost)
        others = np.setdiff1d(np.arange(weights.order), surrogate.apart)
        lifted = self.tables.bias_rest + self.tables.lifts[0]
        self.lift = lifted
        self.highest = float(lifted[others].max(initial=-np.inf))
        self.longest = float(self.tables.tails[0][others].max(initial=0.0))
        # [k, parts] 1 where a cell belongs to a part or one after it.
        self.from_part = np.zeros((surrogate.cells.count, len(self.tables.parts)))
        for number, part in enumerate(self.tables.parts):
            self.from_part[part, : number + 1] = 1
        cost.add("remainder norms", 3 * weights.order)

    def of(self, elements: np.ndarray) -> np.ndarray:
        """[r] which of the inputs are certified: every right factor with each of some left factors."""
        tables, cells, cost = self.tables, self.surrogate.cells, self.cost
        n, a, k = self.weights.order, len(cells.neurons), cells.count
        r, x, y = n * len(elements), np.repeat(elements, n), np.tile(np.arange(n), len(elements))
        answers = self.weights.table[elements].ravel()
        hidden = (tables.left[elements][:, None] + tables.right).reshape(r, a)
        np.maximum(hidden, 0, out=hidden)
        target = np.einsum("ra,ra->r", hidden, tables.unembed[answers]) + tables.bias[answers]
        level = target - (tables.drop_left[x] + tables.drop_right[y]) - tables.band
        sums = cells.sums(hidden)
        norms = self._norms(sums)
        cost.add("hidden layer", r * 2 * a)
        cost.add("right logit", r * (2 * a + 2))
        cost.add("cells", r * (a - k))
        cost.add("norms", r * (2 * k + int((cells.centre != 0).sum()) + 2))
        cost.add("thresholds", r * 3)
        prepared = self.surrogate.prepare(sums, cost)
        certified = np.zeros(r, dtype=bool)
        quick = self.surrogate.quick(prepared, answers, cost)
        if quick is not None:
            # own - margins is at least the s of every answer that is neither right nor near.
            certified = quick.own - quick.margins + norms[:, 0] * self.longest + self.highest < level
            bounds = quick.near_logits + self.lift[quick.near] + norms[:, 0] * tables.tails[0][quick.near]
            certified &= (bounds < level).all(axis=0)
            cost.add("thresholds", r * (5 + 5 * len(quick.near)))
            certified[certified] = self._apart(
                prepared[:, certified], answers[certified], norms[certified, 0], level[certified]
            )
        left = np.flatnonzero(~certified)
        for start in range(0, len(left), step := max(CHUNK_NUMBERS // (4 * self.weights.order), 1)):
            part = left[start : start + step]
            certified[part] = self._compare(
                x[part], y[part], hidden[part], level[part], norms[part], prepared[:, part]
            )
        return certified

    def _norms(self, sums: np.ndarray) -> np.ndarray:
        """[r, parts] |C - centre| over the cells from each part on, above."""
        away = sums - self.surrogate.cells.centre
        np.square(away, out=away)
        norms = np.sqrt(away @ self.from_part)
        return outward(norms + self.tables.slack, 4 * (self.surrogate.cells.count + 8))

    def _apart(
        self, prepared: np.ndarray, answers: np.ndarray, norms: np.ndarray, level: np.ndarray
    ) -> np.ndarray:
        """[r] whether none of the answers looked at apart is a contender."""
        apart = self.surrogate.apart
        if not len(apart):
            return np.ones(len(answers), dtype=bool)
        logits = self.surrogate.some_logits(prepared, apart, self.cost)
        bounds = logits + self.lift[apart, None] + self.tables.tails[0][apart, None] * norms
        self.cost.add("answers apart", len(answers) * len(apart) * 4)
        return np.asarray(((bounds < level) | (apart[:, None] == answers)).all(axis=0))

    def _compare(
        self,
        x: np.ndarray,
        y: np.ndarray,
        hidden: np.ndarray,
        level: np.ndarray,
        norms: np.ndarray,
        prepared: np.ndarray,
    ) -> np.ndarray:
        """[r] every answer's s against the right logit, then the true logits of contenders."""
        tables, r = self.tables, len(x)
        thresholds = level - norms[:, 0] * tables.tails[0].max() - self.lift.max()
        owner, z, value = self.surrogate.at_least(prepared, thresholds, self.cost)
        wrong = z != self.weights.table[x, y][owner]
        owner, z, value = owner[wrong], z[wrong], value[wrong]
        self.cost.add("thresholds", r * 3)
        value = value + tables.bias_rest[z]
        for number, part in enumerate(tables.neurons):
            bound = value + tables.lifts[number, z] + norms[owner, number] * tables.tails[number, z]
            self.cost.add("contenders", len(z) * 5)
            open_ = bound >= level[owner]
            owner, z, value = owner[open_], z[open_], value[open_]
            if not self.finish:
                certified = np.ones(r, dtype=bool)
                certified[owner] = False
                return certified
            value = value + self._products(hidden, owner, z, part)
            self.cost.add("contenders", len(z) * 2 * (part.stop - part.start) + 2 * len(np.unique(owner)))
        open_ = value >= level[owner]
        self.cost.add("contenders", len(z))
        return self.settler.beats(x[owner[open_]], y[owner[open_]], z[open_], owner[open_], r)

    def _products(self, hidden: np.ndarray, owner: np.ndarray, z: np.ndarray, part: slice) -> np.ndarray:
        """[p] h E over some neurons, for each pair of an input and an answer."""
        found = np.empty(len(z))
        step = max(CHUNK_NUMBERS // max(part.stop - part.start, 1), 1)
        for start in range(0, len(z), step):
            pairs = slice(start, start + step)
            found[pairs] = np.einsum("pa,pa->p", hidden[owner[pairs], part], self.tables.rest[z[pairs], part])
        return found
