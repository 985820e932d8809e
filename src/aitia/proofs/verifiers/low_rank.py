"""Logits of low rank: the unembedding is nearly of rank r, so activations are projected to r numbers first.

The basis may come from a singular value decomposition, which needs no understanding, or from the matrix entries of the
irreducible representations that the network uses, which is what Chughtai et al. 2023 claim of it and no more. The
multiply-adds are (r/n + r/m) of brute force's, and less where each neuron has coordinates in few irreps. (Ours.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from aitia.errors import ProofError
from aitia.proofs.bounds.arithmetic import dyadic
from aitia.proofs.bounds.cells import UNITS, cells_of
from aitia.proofs.bounds.margin_bounds import decide
from aitia.proofs.certificate import MAX_INTEGER, AccuracyCertificate, integer_of, integers_of, list_of
from aitia.proofs.cost import Cost
from aitia.proofs.verdict import Verdict
from aitia.proofs.weights import Weights


def verify(weights: Weights, certificate: AccuracyCertificate) -> Verdict:
    """Certify by logits of low rank; inputs with contenders count as wrong."""
    cost = Cost()
    return decide(weights, LowRank(weights, certificate.explanation, cost), finish=False, cost=cost)


class LowRank:
    """The stand-in P Q of rank r. See `remainders.Surrogate`."""

    def __init__(self, weights: Weights, explanation: Mapping[str, Any], cost: Cost) -> None:
        n = weights.order
        self.cells = cells_of(explanation, weights.width)
        k = self.cells.count
        self._basis = _matrix(explanation, "basis", n, most=min(n, weights.width))
        r = len(self._basis)
        self._coordinates = _matrix(explanation, "coordinates", r, most=k)
        if len(self._coordinates) != k:
            raise ProofError(f"coordinates has {len(self._coordinates)} rows; there are {k} cells")
        self.matrix = self._coordinates @ self._basis
        self.constant = np.zeros(n)
        self.apart = np.zeros(0, dtype=np.int64)
        self.size = max(r, 1)
        self.magnitudes = np.abs(self._coordinates) @ np.abs(self._basis).max(axis=1, initial=0.0)
        self.constant_magnitude = 0.0
        self.depth = k + r
        self._filled = int((self._coordinates != 0).sum())
        cost.add("stand-in", 2 * k * r * n + 3 * r * (n + k))

    def prepare(self, sums: np.ndarray, cost: Cost) -> np.ndarray:
        """[rank, r] coordinates of each input."""
        cost.add("projection", 2 * len(sums) * self._filled)
        return self._coordinates.T @ sums.T

    def quick(self, prepared: np.ndarray, answers: np.ndarray, cost: Cost) -> None:
        """There is no quick way."""
        del prepared, answers, cost

    def some_logits(self, prepared: np.ndarray, answers: np.ndarray, cost: Cost) -> np.ndarray:
        """[l, r] s for l answers."""
        cost.add("answers apart", 2 * prepared.shape[1] * len(answers) * len(self._basis))
        return self._basis[:, answers].T @ prepared

    def at_least(
        self, prepared: np.ndarray, thresholds: np.ndarray, cost: Cost
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Inputs, answers and s, where s reaches the input's threshold."""
        cost.add("logits of low rank", 2 * prepared.shape[1] * self._basis.size)
        cost.add("comparisons", prepared.shape[1] * self._basis.shape[1])
        logits = self._basis.T @ prepared
        near = logits >= thresholds
        some = np.flatnonzero(near.any(axis=0))
        owner, z = np.nonzero(near[:, some].T)
        return some[owner], z, logits[z, some[owner]]


def _matrix(explanation: Mapping[str, Any], key: str, width: int, *, most: int) -> np.ndarray:
    rows = list_of(explanation, key, longest=most)
    integers = [
        integers_of(row, f"{key}, row {number}", low=-MAX_INTEGER, high=MAX_INTEGER, length=width)
        for number, row in enumerate(rows)
    ]
    return dyadic(
        np.array(integers, dtype=np.int64).reshape(len(rows), width),
        integer_of(explanation, f"{key}_unit", **UNITS),
    )
