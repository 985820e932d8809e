"""Neurons vote on the points of finite G-sets: logits from which points an answer takes to which.

A vote of a neuron stands in a column c and a row p of a G-set, with a coefficient. The logit of z is the sum over
the columns of A[zc, c], where A adds up the activations of the voters, each times its coefficient. In S5 with five
points that is 25 sums for 128 neurons, and logits of 120 answers from pairs and triples of columns that they share.

Quick margins: the right answer t takes c to tc. Another answer z differs from it where w = t^-1 z moves c, and loses
there at least the smallest A[tc, c] - A[p, c]. Of the columns that w moves only the number is used, so a few
sorted sums cover all n answers. (Ours.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aitia.errors import ProofError
from aitia.finite_groups.cayley import identity_of
from aitia.proofs.actions import action_of, integers_of
from aitia.proofs.arithmetic import dyadic
from aitia.proofs.certificate import MAX_INTEGER, AccuracyCertificate, integer_of, list_of
from aitia.proofs.cost import Cost, sorting_cost
from aitia.proofs.deciding import Verdict, decide
from aitia.proofs.weights import Weights

MAX_SETS = 64
MAX_VOTES = 200_000
MAX_SCALE = 60
MAX_NUMBERS = 50_000_000
"""Most numbers in any array that a certificate makes the checker set up."""


def verify(weights: Weights, certificate: AccuracyCertificate) -> Verdict:
    """Certify by votes on G-sets; contenders are worked out, so that every input is decided."""
    cost = Cost()
    stand_in = Votes(weights, certificate, cost)
    return decide(weights, stand_in, finish=True, cost=cost)


def verify_unfinished(weights: Weights, certificate: AccuracyCertificate) -> Verdict:
    """Certify by votes on G-sets alone: inputs with contenders count as wrong."""
    cost = Cost()
    stand_in = Votes(weights, certificate, cost)
    return decide(weights, stand_in, finish=False, cost=cost)


def neurons_of(weights: Weights, certificate: AccuracyCertificate) -> tuple[np.ndarray, np.ndarray]:
    """[a] the neurons that a certificate names, each once, and [a] the exponents of their scales.

    Raises:
        ProofError: they are not neurons of the network, or one stands there twice.
    """
    explanation = certificate.explanation
    listed = list_of(explanation, "neurons", longest=weights.width)
    neurons = integers_of(listed, "neurons", low=0, high=weights.width - 1)
    if len(np.unique(neurons)) != len(neurons):
        raise ProofError("neurons names a neuron twice")
    scales = integers_of(
        list_of(explanation, "scales", longest=weights.width),
        "scales",
        low=-MAX_SCALE,
        high=MAX_SCALE,
        length=len(neurons),
    )
    return neurons, scales


@dataclass(frozen=True, kw_only=True, eq=False)
class _Node:
    """Partial sums over some columns, one for each tuple of images that occurs."""

    left: _Node | np.ndarray
    right: _Node | None
    left_part: np.ndarray | None
    right_part: np.ndarray | None


class Votes:
    """The stand-in that a certificate's votes make. See `deciding.StandIn`."""

    def __init__(self, weights: Weights, certificate: AccuracyCertificate, cost: Cost) -> None:
        explanation, n = certificate.explanation, weights.order
        self.neurons, self.scales = neurons_of(weights, certificate)
        a = len(self.neurons)
        sets = [
            action_of(weights.table, entry, f"set {number}", cost)
            for number, entry in enumerate(list_of(explanation, "sets", longest=MAX_SETS))
        ]
        unit = integer_of(explanation, "unit", low=-100, high=100)
        votes = _votes(explanation, "votes", sets, voters=a)
        constants = _votes(explanation, "constants", sets, voters=1)
        used = np.unique(np.concatenate([votes[:, 1:4], constants[:, 1:4]])[:, [0, 2]], axis=0)
        sizes = np.array([sets[s].shape[1] for s, _ in used], dtype=np.int64)
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        entries = int(starts[-1])
        if max(entries * (a + 1), n * len(used) * 4, a * n) > MAX_NUMBERS:
            raise ProofError(f"its votes stand in {len(used)} columns with {entries} entries: too many")
        self.columns = [
            (int(s), slice(int(b), int(e))) for (s, _), b, e in zip(used, starts, starts[1:], strict=False)
        ]
        self._groups = [np.flatnonzero(used[:, 0] == s) for s in range(len(sets)) if (used[:, 0] == s).any()]
        self.places = (
            np.stack([start + sets[s][:, c] for (s, c), start in zip(used, starts, strict=False)], axis=1)
            if len(used)
            else np.zeros((n, 0), dtype=np.int64)
        )
        place_of = {(int(s), int(c)): int(start) for (s, c), start in zip(used, starts, strict=False)}
        self._coefficients = np.zeros((a, entries))
        self._constants = np.zeros(entries)
        for voter, s, row, column, coefficient in votes:
            self._coefficients[voter, place_of[int(s), int(column)] + row] += dyadic([coefficient], unit)[0]
        for _, s, row, column, coefficient in constants:
            self._constants[place_of[int(s), int(column)] + row] += dyadic([coefficient], unit)[0]
        self.matrix, self.constant = np.zeros((a, n)), np.zeros(n)
        for column in self.places.T:
            self.matrix += self._coefficients[:, column]
            self.constant += self._constants[column]
        cost.add("votes", 2 * (len(votes) + len(constants)) + len(used) * (a + 2) * n)
        self.magnitudes = np.abs(self._coefficients).sum(axis=1)
        self.constant_magnitude = float(np.abs(self._constants).sum())
        self.depth = a + 4 * len(used) + 8
        self._price = 2 * int((self._coefficients != 0).sum()) + int((self._constants != 0).sum())
        self._moved = self._moves(weights, [sets[s][:, c] == c for s, c in used], cost)
        self._tree, self._of_answer, self._adds = None, None, 0
        self._count = a

    def _moves(self, weights: Weights, fixed: list[np.ndarray], cost: Cost) -> np.ndarray:
        """[v, sets] how many used columns of each set an element moves: every case but the identity's, once."""
        others = np.arange(weights.order) != identity_of(weights.table)
        counts = [sum(~fixed[j][others] for j in group) + 0 for group in self._groups]
        cost.add("moved columns", weights.order * (len(fixed) * 2 + sorting_cost(2) * 12))
        if not counts or not others.any():
            return np.zeros((int(others.any()), len(counts)), dtype=np.int64)
        return np.unique(np.stack(counts, axis=1), axis=0)

    def prepare(self, hidden: np.ndarray, cost: Cost) -> np.ndarray:
        """[k, entries] A for each input."""
        cost.add("votes", len(hidden) * self._price)
        return hidden @ self._coefficients + self._constants

    def quick_margins(
        self, prepared: np.ndarray, answers: np.ndarray, cost: Cost
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """[k] the answer's s, and [k] a lower bound of it minus any other's."""
        k = len(prepared)
        rows = np.arange(k)
        own, sums, price = np.zeros(k), [], 0
        for group in self._groups:
            least = np.empty((k, len(group)))
            for number, j in enumerate(group):
                _, part = self.columns[j]
                place = self.places[answers, j]
                mine = prepared[rows, place]
                own += mine
                others = prepared[:, part].copy()
                others[rows, place - part.start] = -np.inf
                least[:, number] = mine - others.max(axis=1)
                price += 2 + (part.stop - part.start)
            least.sort(axis=1)
            sums.append(np.concatenate([np.zeros((k, 1)), np.cumsum(least, axis=1)], axis=1))
            price += sorting_cost(len(group)) + len(group)
        margins = np.full(k, np.inf)
        for case in self._moved:
            total = np.zeros(k)
            for count, each in zip(case, sums, strict=True):
                total = total + each[:, count]
            margins = np.minimum(margins, total)
        cost.add("quick margins", k * (price + len(self._moved) * (len(sums) + 1)))
        return own, margins

    def logits(self, prepared: np.ndarray, cost: Cost) -> np.ndarray:
        """[k, n] s for every answer."""
        k, n = len(prepared), len(self.places)
        if not self.columns:
            return np.zeros((k, n))
        if self._tree is None:
            self._tree, self._of_answer = self._branch(np.arange(len(self.columns)), cost)
        cost.add("logits from votes", k * (3 * self._adds + n))
        return _sums(self._tree, prepared)[:, self._of_answer]

    def _branch(self, columns: np.ndarray, cost: Cost) -> tuple[_Node, np.ndarray]:
        """The node of some columns, and [n] which of its sums each answer has."""
        n = len(self.places)
        if len(columns) == 1:
            values, of_answer = np.unique(self.places[:, columns[0]], return_inverse=True)
            return _Node(left=values, right=None, left_part=None, right_part=None), of_answer
        half = len(columns) // 2
        left, of_left = self._branch(columns[:half], cost)
        right, of_right = self._branch(columns[half:], cost)
        codes, first, of_answer = np.unique(
            of_left.astype(np.int64) * n + of_right, return_index=True, return_inverse=True
        )
        self._adds += len(codes)
        cost.add("shared sums", 2 * n + sorting_cost(n))
        return _Node(left=left, right=right, left_part=of_left[first], right_part=of_right[first]), of_answer


def _sums(node: _Node, prepared: np.ndarray) -> np.ndarray:
    if isinstance(node.left, np.ndarray):
        return prepared[:, node.left]
    assert node.right is not None
    return _sums(node.left, prepared)[:, node.left_part] + _sums(node.right, prepared)[:, node.right_part]


def _votes(explanation: object, key: str, sets: list[np.ndarray], *, voters: int) -> np.ndarray:
    """[k, 5] voter, set, row, column and coefficient of each vote."""
    rows = list_of(explanation, key, longest=MAX_VOTES)  # type: ignore[arg-type]
    found = np.zeros((len(rows), 5), dtype=np.int64)
    for number, row in enumerate(rows):
        found[number] = integers_of(row, f"{key}, row {number}", low=-MAX_INTEGER, high=MAX_INTEGER, length=5)
        voter, s, p, c, _ = found[number]
        if not (0 <= voter < voters and 0 <= s < len(sets)):
            raise ProofError(f"{key}, row {number}: no such voter or set")
        points = sets[s].shape[1]
        if not (0 <= p < points and 0 <= c < points):
            raise ProofError(f"{key}, row {number}: set {s} has {points} points")
    return found
