"""Cells vote on the points of finite G-sets: logits from which points an answer takes to which.

A vote of a cell stands in a column c and a row p of a G-set, with a coefficient. The logit of z is the sum over
the columns of A[zc, c], where A adds up the sums of the cells that vote there, each times its coefficient. In S5 with
five points that is 25 sums for 128 neurons, and the logits of 120 answers from pairs and triples of columns that they
share. That the sets are acted on by the group is checked in integers; how well the votes fit is measured.

Quick margins: write the answer as tw, with t the right one. A few elements w, those that move least, are looked at one
by one. Wherever another w moves a column c, the logit loses at least the least over rows p of A[tc, c] - A[p, c]; of
the columns that w moves only the number is used, so a few sorted sums cover all other answers. Where the columns'
images always are one point of each class, any potential of the classes may be added to the rows of A without changing
differences of logits; half the row mean minus half the column mean takes out what speaks for or against a point as
such. (Ours.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from aitia.errors import ProofError
from aitia.finite_groups import identity_of
from aitia.proofs.actions import action_of
from aitia.proofs.bounds.arithmetic import dyadic
from aitia.proofs.bounds.cells import UNITS, cells_of
from aitia.proofs.bounds.margin_bounds import decide
from aitia.proofs.bounds.remainders import Quick
from aitia.proofs.bounds.shared_sums import SharedSums
from aitia.proofs.certificate import MAX_INTEGER, AccuracyCertificate, integer_of, integers_of, list_of
from aitia.proofs.cost import Cost, sorting_cost
from aitia.proofs.verdict import Verdict
from aitia.proofs.weights import Weights

MAX_SETS = 64
MAX_VOTES = 200_000
MAX_NUMBERS = 50_000_000
"""Most entries that all answers to one left factor may have together."""


def verify(weights: Weights, certificate: AccuracyCertificate) -> Verdict:
    """Certify by votes on G-sets; inputs with contenders count as wrong."""
    cost = Cost()
    return decide(weights, Votes(weights, certificate.explanation, cost), finish=False, cost=cost)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Set:
    """The columns of one G-set that votes stand in.

    Attributes:
        action: [n, q] the image of each point under each element.
        columns: [j] the points whose columns are used.
        start: where its entries begin: column by column, q for each.
        classes: [q] the class of each point, or None where no potential may be added.
    """

    action: np.ndarray
    columns: np.ndarray
    start: int
    classes: np.ndarray | None

    def losses(self, prepared: np.ndarray, answers: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
        """[r] the answer's sum, [j, q, r] what a column loses at tp, not tc, for each p, and operations an input."""
        j, q = len(self.columns), self.action.shape[1]
        flat, images = prepared[self.start : self.start + j * q], self.action[answers].T
        values = np.take_along_axis(flat.reshape(j, q, -1), images[None], axis=1)
        own = values[np.arange(j), self.columns]
        losses = own[:, None] - values
        steps = 2 * j * q + j
        if self.classes is not None:
            rows = np.take_along_axis(flat.reshape(j, q, -1).sum(axis=0), images, axis=0)
            by_class = (np.arange(j)[:, None] == self.classes).astype(np.float64) @ rows
            head = self.classes[self.columns]
            potential = np.empty_like(by_class)
            potential[head] = (by_class[head] - flat.reshape(j, q, -1).sum(axis=1)) * (0.5 / q)
            losses += potential[self.classes][None] - potential[head][:, None]
            steps += 2 * j * q + 2 * j + 2 * j * q
        return own.sum(axis=0), losses, steps


class Votes:
    """The stand-in that a certificate's votes make. See `remainders.Surrogate`."""

    def __init__(self, weights: Weights, explanation: Mapping[str, Any], cost: Cost) -> None:
        n = weights.order
        self.cells = cells_of(explanation, weights.width)
        k = self.cells.count
        actions = [
            action_of(weights.table, entry, f"set {number}", cost)
            for number, entry in enumerate(list_of(explanation, "sets", longest=MAX_SETS))
        ]
        unit = integer_of(explanation, "unit", **UNITS)
        votes = _votes(explanation, "votes", actions, voters=k)
        constants = _votes(explanation, "constants", actions, voters=1)
        self.apart = np.unique(
            integers_of(list_of(explanation, "apart", longest=n), "apart", low=0, high=n - 1)
        )
        self._quick = bool(integer_of(explanation, "quick", low=0, high=1))
        self._near = np.unique(
            integers_of(list_of(explanation, "near", longest=n), "near", low=0, high=n - 1)
        )
        used = np.unique(np.concatenate([votes, constants])[:, [1, 3]], axis=0)
        sizes = np.array([actions[s].shape[1] for s, _ in used], dtype=np.int64)
        self._starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        entries = int(self._starts[-1])
        self.size = entries
        if k * entries > 16 * max(weights.width * n, 10_000) or n * max(entries, len(used)) > MAX_NUMBERS:
            raise ProofError(f"its votes stand in {len(used)} columns with {entries} entries: too many")
        self.places = np.zeros((n, len(used)), dtype=np.int64)
        for j, (s, c) in enumerate(used):
            self.places[:, j] = self._starts[j] + actions[s][:, c]
        self._sets = [
            _set_of(actions[s], used[used[:, 0] == s, 1], int(self._starts[np.argmax(used[:, 0] == s)]), cost)
            for s in np.unique(used[:, 0])
        ]
        self._table = weights.table
        start_of = {(int(s), int(c)): int(start) for (s, c), start in zip(used, self._starts, strict=False)}
        self._coefficients, self._constants = np.zeros((k, entries)), np.zeros(entries)
        for voter, s, row, column, number in votes:
            self._coefficients[voter, start_of[int(s), int(column)] + row] += dyadic([number], unit)[0]
        for _, s, row, column, number in constants:
            self._constants[start_of[int(s), int(column)] + row] += dyadic([number], unit)[0]
        self.matrix, self.constant = np.zeros((k, n)), np.zeros(n)
        for column in self.places.T:
            self.matrix += self._coefficients[:, column]
            self.constant += self._constants[column]
        cost.add("set-up of votes", 2 * (len(votes) + len(constants)) + len(used) * (k + 2) * n)
        # Quick margins add potentials, twice an average of entries.
        self.magnitudes = 4 * np.abs(self._coefficients).sum(axis=1)
        self.constant_magnitude = 4 * float(np.abs(self._constants).sum())
        self.depth = k + entries + 8 * len(used) + 16
        self._price = _price(self._coefficients, self._constants)
        self._cases = self._moves(weights, cost)
        pruned = integer_of(explanation, "pruned", low=0, high=5_040)
        self._shared = SharedSums(self.places, _merges(explanation, len(used)), pruned, cost)

    def _moves(self, weights: Weights, cost: Cost) -> np.ndarray:
        """[v, sets] how many columns of each set elements move that are not near, nor the identity: each case once."""
        identity = identity_of(weights.table)
        self._near = self._near[self._near != identity]
        others = np.setdiff1d(np.arange(weights.order), np.append(self._near, identity))
        counts = [(each.action[others][:, each.columns] != each.columns).sum(axis=1) for each in self._sets]
        cost.add("moved columns", weights.order * 2 * self.places.shape[1] + sorting_cost(weights.order))
        if not counts or not len(others):
            return np.zeros((int(len(others) > 0), len(counts)), dtype=np.int64)
        return np.unique(np.stack(counts, axis=1), axis=0)

    def prepare(self, sums: np.ndarray, cost: Cost) -> np.ndarray:
        """[entries, r] A for each input."""
        cost.add("votes", len(sums) * self._price)
        return self._coefficients.T @ sums.T + self._constants[:, None]

    def quick(self, prepared: np.ndarray, answers: np.ndarray, cost: Cost) -> Quick | None:
        """The answer's s; s of the answers near it; and a lower bound of it minus any other's."""
        if not self._quick:
            return None
        r, price = len(answers), 0
        own, margins, sums = np.zeros(r), np.full(r, np.inf), []
        near_losses = np.zeros((len(self._near), r))
        for each in self._sets:
            mine, losses, steps = each.losses(prepared, answers)
            own += mine
            price += steps
            for number, w in enumerate(self._near):
                images = each.action[w, each.columns]
                for c in np.flatnonzero(images != each.columns):
                    near_losses[number] += losses[c, images[c]]
                    price += 1
            j, q, _ = losses.shape
            losses[np.arange(j), each.columns] = np.inf
            least = np.sort(losses.min(axis=1), axis=0)
            sums.append(np.concatenate([np.zeros((1, r)), np.cumsum(least, axis=0)]))
            price += j * (q - 1) + sorting_cost(j) + j
        for case in self._cases:
            total = sums[0][case[0]].copy() if sums else np.zeros(r)
            for count, each in zip(case[1:], sums[1:], strict=True):
                total += each[count]
            np.minimum(margins, total, out=margins)
        price += len(self._cases) * max(2 * len(sums) - 1, 1) + len(self._near)
        cost.add("quick margins", r * price)
        near = self._table[answers[None], self._near[:, None]]
        return Quick(own=own, margins=margins, near=near, near_logits=own - near_losses)

    def some_logits(self, prepared: np.ndarray, answers: np.ndarray, cost: Cost) -> np.ndarray:
        """[l, r] s for l answers."""
        cost.add("answers apart", prepared.shape[1] * len(answers) * 2 * self.places.shape[1])
        found = np.zeros((len(answers), prepared.shape[1]))
        for column in self.places[answers].T:
            found += prepared[column]
        return found

    def at_least(
        self, prepared: np.ndarray, thresholds: np.ndarray, cost: Cost
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Inputs, answers and s, where s reaches the input's threshold."""
        return self._shared.at_least(prepared, thresholds, cost)


def _set_of(action: np.ndarray, columns: np.ndarray, start: int, cost: Cost) -> _Set:
    """A set and its classes, points left fixed by the same elements, if each class has one used column."""
    fixed = action == np.arange(action.shape[1])
    classes = np.unique(fixed, axis=1, return_inverse=True)[1].reshape(-1)
    cost.add("actions", 2 * action.size)
    whole = len(columns) > 1 and len(np.unique(classes[columns])) == len(columns) == classes.max() + 1
    return _Set(action=action, columns=columns, start=start, classes=classes if whole else None)


def _price(coefficients: np.ndarray, constants: np.ndarray) -> int:
    """Operations of A = C K + K0: products with 1 and sums of one term cost nothing, nor does a minus within a sum."""
    products = ((coefficients != 0) & (np.abs(coefficients) != 1)).sum()
    terms = (coefficients != 0).sum(axis=0) + (constants != 0)
    lone_minus = ((coefficients == -1).sum(axis=0) == terms) & (terms > 0)
    return int(products + np.maximum(terms - 1, 0).sum() + lone_minus.sum())


def _merges(explanation: Mapping[str, Any], columns: int) -> list[tuple[int, int]]:
    rows = list_of(explanation, "merges", longest=columns)
    pairs = [
        integers_of(row, f"merges, row {number}", low=0, high=2 * columns, length=2)
        for number, row in enumerate(rows)
    ]
    return [(int(first), int(second)) for first, second in pairs]


def _votes(explanation: Mapping[str, Any], key: str, actions: list[np.ndarray], *, voters: int) -> np.ndarray:
    """[?, 5] voter, set, row, column and coefficient of each vote."""
    rows = list_of(explanation, key, longest=MAX_VOTES)
    found = np.zeros((len(rows), 5), dtype=np.int64)
    for number, row in enumerate(rows):
        found[number] = integers_of(row, f"{key}, row {number}", low=-MAX_INTEGER, high=MAX_INTEGER, length=5)
        voter, s, p, c, _ = found[number]
        if not (0 <= voter < voters and 0 <= s < len(actions)):
            raise ProofError(f"{key}, row {number}: no such voter or set")
        points = actions[s].shape[1]
        if not (0 <= p < points and 0 <= c < points):
            raise ProofError(f"{key}, row {number}: set {s} has {points} points")
    return found
