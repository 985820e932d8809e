"""Rho-sets, after Wu et al. 2025 (arXiv 2410.07476), our reading: an ideal network that is bi-equivariant.

Neurons stand on all pairs (b, c) of two G-sets, with one alpha, gamma and kappa for all pairs:

    h^ = s relu(alpha(x^-1 b) + gamma(y c)),    u^(z) = v kappa(b, z c) / s,

and the shares v of the neurons on each pair sum to one. Then the ideal logits are phi(x^-1 z y^-1) for one function
phi, whose margin at the identity is worked out once. A true logit is off from it by at most

    eps = |U|_2,inf |h - h^| + |U - U^|_2,inf |h^| + |bias - bias^|_inf

at an input; it is certified where eps is less than the margin plus by how much the true logit of the right answer
exceeds phi(e). That the sets are acted on, and that the shares sum to one, is checked in integers. Sets of two points
(the sign) may have any shares and a bias of their own, as in the paper; how far these are from a function phi is worked
out over the eight cases that there are.

`rho-sets-global` takes the largest norms over all x and y, one number for all inputs. `rho-sets-blocks` sums the error
over blocks of neurons and takes the mean out of each row of U, which moves all logits alike (both ours).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from aitia.errors import ProofError
from aitia.finite_groups import identity_of
from aitia.proofs.actions import action_of
from aitia.proofs.bounds.arithmetic import dyadic, gamma, outward
from aitia.proofs.bounds.cells import UNITS
from aitia.proofs.bounds.exact_logits import CHUNK_NUMBERS, ExactChecker
from aitia.proofs.certificate import MAX_INTEGER, AccuracyCertificate, integer_of, integers_of, list_of
from aitia.proofs.cost import Cost
from aitia.proofs.verdict import Verdict
from aitia.proofs.weights import Weights

SHARE_BITS = 30
"""Shares are integers; those on a pair sum to 2^SHARE_BITS."""

MAX_SETS = 64
MAX_NUMBERS = 20_000_000
"""Most entries of any of the ideal network's tables."""

REST_BLOCKS = 8
"""In how many blocks neurons in no rho-set are taken."""


def verify(weights: Weights, certificate: AccuracyCertificate) -> Verdict:
    """The paper's error at each input: one block, rows of U as they are."""
    return _verify(weights, certificate.explanation, blocks=False, everywhere=False)


def verify_global(weights: Weights, certificate: AccuracyCertificate) -> Verdict:
    """One error for all inputs, from the largest norms."""
    return _verify(weights, certificate.explanation, blocks=False, everywhere=True)


def verify_blocks(weights: Weights, certificate: AccuracyCertificate) -> Verdict:
    """Errors block by block, rows of U about their mean."""
    return _verify(weights, certificate.explanation, blocks=True, everywhere=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class _RhoSet:
    left: np.ndarray
    right: np.ndarray
    alpha: np.ndarray
    gamma: np.ndarray
    values: np.ndarray

    @property
    def is_sign(self) -> bool:
        """Whether both sets are the same two points."""
        return (
            self.left.shape[1] == 2
            and self.left.shape == self.right.shape
            and bool((self.left == self.right).all())
        )


class _Ideal:
    """The ideal network.

    Attributes:
        neurons: [a] which neuron each of its neurons stands for; -1 for one that the network lacks.
        blocks: [a] the rho-set of each.
        left: [n, a], right: [n, a], unembed: [a, n].
        phi: [n] logits as a function of x^-1 z y^-1.
        bias: [n].
        deviation: how far the ideal logits may be from phi.
        depth: roundings of any of it.
    """

    def __init__(self, weights: Weights, explanation: Mapping[str, Any], cost: Cost) -> None:
        n = weights.order
        identity = identity_of(weights.table)
        inverses = np.argmax(weights.table == identity, axis=1)
        entries = list_of(explanation, "rho_sets", longest=MAX_SETS)
        sets = [_rho_set(weights.table, entry, f"rho-set {k}", cost) for k, entry in enumerate(entries)]
        rows = list_of(explanation, "neurons", longest=min(4 * weights.width + 10_000, MAX_NUMBERS // n))
        listed = np.array(
            [
                integers_of(row, f"neurons, row {k}", low=-MAX_INTEGER, high=MAX_INTEGER, length=6)
                for k, row in enumerate(rows)
            ],
            dtype=np.int64,
        ).reshape(len(rows), 6)
        self.neurons, self.blocks = listed[:, 0], listed[:, 1]
        present = self.neurons[self.neurons >= 0]
        if (
            self.neurons.min(initial=-1) < -1
            or len(np.unique(present)) != len(present)
            or (present >= weights.width).any()
        ):
            raise ProofError("neurons names a neuron twice, or one that is not there")
        scales = dyadic(listed[:, 4], integer_of(explanation, "scale_unit", **UNITS))
        if (listed[:, 4] <= 0).any():
            raise ProofError("a neuron's scale must be above 0")
        self.left, self.right = np.zeros((n, len(rows))), np.zeros((n, len(rows)))
        self.unembed, self.phi = np.zeros((len(rows), n)), np.zeros(n)
        self.bias, self.deviation = np.zeros(n), 0.0
        biases = list_of(explanation, "biases", longest=len(sets))
        bias_unit = integer_of(explanation, "bias_unit", **UNITS)
        if len(biases) != len(sets) or ((self.blocks < 0) | (self.blocks >= len(sets))).any():
            raise ProofError("biases needs a pair for each rho-set, and each neuron one of them")
        for k, each in enumerate(sets):
            members = np.flatnonzero(self.blocks == k)
            p, q = each.left.shape[1], each.right.shape[1]
            b, c, shares = listed[members, 2], listed[members, 3], listed[members, 5]
            if ((b < 0) | (b >= p) | (c < 0) | (c >= q) | (np.abs(shares) > 2**40)).any():
                raise ProofError(f"rho-set {k}: a neuron stands on no pair, or has a share above 2^40")
            self.left[:, members] = each.alpha[each.left[inverses][:, b]] * scales[members]
            self.right[:, members] = each.gamma[each.right[:, c]] * scales[members]
            values = each.values[b[:, None], each.right[:, c].T]
            self.unembed[members] = dyadic(shares, -SHARE_BITS)[:, None] * values / scales[members, None]
            bias = dyadic(
                integers_of(biases[k], f"biases, row {k}", low=-MAX_INTEGER, high=MAX_INTEGER, length=2),
                bias_unit,
            )
            cost.add("ideal network", 6 * n * len(members) + 4 * n * p * q)
            if each.is_sign:
                self._add_sign(each, b, c, dyadic(shares, -SHARE_BITS), bias)
                continue
            totals = np.zeros((p, q), dtype=np.int64)
            np.add.at(totals, (b, c), shares)
            if (totals != 2**SHARE_BITS).any():
                raise ProofError(
                    f"rho-set {k}: the shares on a pair do not sum to one, so it is not equivariant"
                )
            active = np.maximum(each.alpha[:, None] + each.gamma, 0)
            for w in range(n):
                self.phi[w] += np.vdot(active, each.values[:, each.right[w]])
        self.depth = len(rows) + n + sum(each.values.size for each in sets) + 64

    def _add_sign(
        self, each: _RhoSet, b: np.ndarray, c: np.ndarray, shares: np.ndarray, bias: np.ndarray
    ) -> None:
        """Two points: the logits depend on whether x, y and z swap them, which makes eight cases."""
        logits = np.zeros((2, 2, 2))
        for x, y, z in np.ndindex(2, 2, 2):
            active = np.maximum(each.alpha[b ^ x] + each.gamma[c ^ y], 0)
            logits[x, y, z] = (shares * active * each.values[b, c ^ z]).sum() + bias[z]
        x, y, z = np.indices((2, 2, 2))
        swaps = each.right[:, 0]
        means = np.array([logits[x ^ y ^ z == w].mean() for w in (0, 1)])
        self.deviation += float(np.abs(logits - means[x ^ y ^ z]).max())
        self.phi += means[swaps]
        self.bias += bias[swaps]


def _verify(weights: Weights, explanation: Mapping[str, Any], *, blocks: bool, everywhere: bool) -> Verdict:
    cost, n = Cost(), weights.order
    ideal, settler = _Ideal(weights, explanation, cost), ExactChecker(weights, cost)
    if n == 1:
        return Verdict(certified=np.ones((1, 1), dtype=bool), cost=cost)
    identity = identity_of(weights.table)
    best = float(ideal.phi[identity])
    margin = best - float(np.delete(ideal.phi, identity).max())
    true = _arranged(weights, ideal)
    middle = true.unembed.mean(axis=1, keepdims=True) if blocks else np.zeros((len(true.unembed), 1))
    unembed = true.unembed - middle
    parts = true.parts if blocks else [np.arange(len(unembed))]
    a, steps = len(unembed), 4 * (ideal.depth + weights.width)
    norms = [_largest_norm(unembed[part], steps) for part in parts]
    rests = [_largest_norm((unembed - true.ideal_unembed)[part], steps) for part in parts]
    reach = np.abs(true.left).max(axis=0) + np.abs(true.right).max(axis=0)
    ideal_reach = np.abs(true.ideal_left).max(axis=0) + np.abs(true.ideal_right).max(axis=0)
    size = float(
        2 * reach @ np.abs(true.unembed).max(axis=1)
        + 2 * ideal_reach @ np.abs(true.ideal_unembed).max(axis=1)
        + np.abs(weights.bias).max()
        + np.abs(ideal.bias).max()
        + np.abs(ideal.phi).max()
        + ideal.deviation
    )
    slack = 16 * gamma(steps) * float(reach.sum() + ideal_reach.sum())
    fixed = margin - best - ideal.deviation - float(np.abs(weights.bias - ideal.bias).max())
    fixed -= 64 * gamma(steps) * size + 2 * settler.band
    cost.add("norms of the unembedding", 7 * n * a + 5 * n)
    if everywhere:
        tables = (
            true.left - true.ideal_left,
            true.right - true.ideal_right,
            true.ideal_left,
            true.ideal_right,
        )
        most = [float(outward(np.linalg.norm(table, axis=1), steps).max()) + slack for table in tables]
        everywhere_error = norms[0] * (most[0] + most[1]) + rests[0] * (most[2] + most[3])
        cost.add("norms of the tables", 10 * n * a)
    margins = np.zeros((n, n))
    rows = max(CHUNK_NUMBERS // (n * a), 1)
    for start in range(0, n, rows):
        x = np.arange(start, min(start + rows, n))
        hidden = np.maximum(true.left[x][:, None] + true.right[None], 0)
        answers = weights.table[x]
        logit = np.einsum("xya,xya->xy", hidden, unembed.T[answers]) + weights.bias[answers]
        if everywhere:
            error = np.full(answers.shape, everywhere_error)  # pyright: ignore[reportPossiblyUnboundVariable]
        else:
            ideal_hidden = np.maximum(true.ideal_left[x][:, None] + true.ideal_right[None], 0)
            error = np.zeros(answers.shape)
            for part, norm, rest in zip(parts, norms, rests, strict=True):
                away = hidden[..., part] - ideal_hidden[..., part]
                error += norm * (outward(np.linalg.norm(away, axis=-1), steps) + slack)
                error += rest * (outward(np.linalg.norm(ideal_hidden[..., part], axis=-1), steps) + slack)
        margins[x] = fixed + logit - outward(error, steps)
    cost.add("hidden layer", n * n * 2 * a)
    cost.add("right logit", n * n * (2 * a + 2))
    if not everywhere:
        cost.add("ideal hidden layer", n * n * 2 * len(ideal.neurons))
        cost.add("errors", n * n * (5 * a + 6 * len(parts)))
    cost.add("thresholds", n * n * 3)
    # Rounded up: the functions of NumPy err by a few units in the last place.
    cross_entropy = float(np.logaddexp(0, np.log(n - 1) - margins).mean()) * (1 + 2.0**-30)
    return Verdict(certified=margins > 0, cost=cost, cross_entropy=cross_entropy)


def _largest_norm(columns: np.ndarray, steps: int) -> float:
    """Above the largest norm of a column."""
    return float(outward(np.linalg.norm(columns, axis=0), steps).max())


@dataclass(frozen=True, kw_only=True, eq=False)
class _Arranged:
    """Both networks side by side: the ideal one's neurons, zeros where the network lacks them, then those left over.

    The ideal network is silent on neurons left over, and has their unembedding as it is.
    """

    left: np.ndarray
    right: np.ndarray
    unembed: np.ndarray
    ideal_left: np.ndarray
    ideal_right: np.ndarray
    ideal_unembed: np.ndarray
    parts: list[np.ndarray]


def _arranged(weights: Weights, ideal: _Ideal) -> _Arranged:
    rest = np.setdiff1d(np.arange(weights.width), ideal.neurons)
    # Blocks of like weight, so that small neurons are not charged for large ones.
    rest = rest[np.argsort(-np.abs(weights.unembed[rest]).max(axis=1), kind="stable")]
    order, a = np.concatenate([ideal.neurons, rest]), len(ideal.neurons)
    left, right, unembed = weights.left[:, order], weights.right[:, order], weights.unembed[order]
    left[:, order < 0], right[:, order < 0], unembed[order < 0] = 0, 0, 0
    silent = np.zeros((weights.order, len(rest)))
    parts = [np.flatnonzero(ideal.blocks == k) for k in np.unique(ideal.blocks)]
    parts += [part + a for part in np.array_split(np.arange(len(rest)), REST_BLOCKS) if len(part)]
    return _Arranged(
        left=left,
        right=right,
        unembed=unembed,
        ideal_left=np.concatenate([ideal.left, silent], axis=1),
        ideal_right=np.concatenate([ideal.right, silent], axis=1),
        ideal_unembed=np.concatenate([ideal.unembed, weights.unembed[rest]]),
        parts=parts,
    )


def _rho_set(table: np.ndarray, entry: Any, what: str, cost: Cost) -> _RhoSet:
    if not isinstance(entry, dict):
        raise ProofError(f"{what} must be an object")
    left = action_of(table, entry.get("left"), f"{what}, left", cost)
    right = action_of(table, entry.get("right"), f"{what}, right", cost)
    p, q = left.shape[1], right.shape[1]
    if p * q * len(table) > 50_000_000:
        raise ProofError(f"{what} has {p} x {q} pairs: too many")
    codes = np.full((p, q), p * q, dtype=np.int64)
    for x in range(len(table)):
        codes = np.minimum(codes, left[x][:, None] * q + right[x])
    orbits = np.unique(codes, return_inverse=True)[1].reshape(p, q)
    cost.add("orbits", 3 * len(table) * p * q)
    numbers = {}
    for key, length in (("alpha", p), ("gamma", q), ("kappa", int(orbits.max()) + 1)):
        integers = integers_of(
            entry.get(key), f"{what}, {key}", low=-MAX_INTEGER, high=MAX_INTEGER, length=length
        )
        numbers[key] = dyadic(integers, integer_of(entry, f"{key}_unit", **UNITS))
    return _RhoSet(
        left=left,
        right=right,
        alpha=numbers["alpha"],
        gamma=numbers["gamma"],
        values=numbers["kappa"][orbits],
    )
