"""Equivariance under a pair of subgroups: what holds at (x, y) nearly holds at (hx, yk).

A map is a pair (h, k) with a permutation p of the neurons. If p matched them perfectly, the logit of hzk at (hx, yk)
would be that of z at (x, y); as it is, the two differ by at most

    eps = |U|_2,inf (dL + dR) + |h|_max dU + d(bias),

where dL is the largest |L[hx]_p - L[x]| over x, dR and dU alike. One input of each orbit is run; another is certified
where the margin exceeds 2 eps. Any list of maps is sound. On trained networks eps exceeds every margin, so that nothing
but the inputs that are run is certified: the line of no understanding. (Ours.)
"""

from __future__ import annotations

import numpy as np

from aitia.errors import ProofError
from aitia.proofs.bounds.arithmetic import gamma, outward
from aitia.proofs.bounds.exact_logits import CHUNK_NUMBERS, ExactChecker
from aitia.proofs.certificate import AccuracyCertificate, integer_of, integers_of, list_of
from aitia.proofs.cost import Cost, brute_force_cost
from aitia.proofs.verdict import Verdict
from aitia.proofs.weights import Weights

MAX_MAPS = 256


def verify(weights: Weights, certificate: AccuracyCertificate) -> Verdict:
    """Run one input of each orbit, and carry its margin to the others."""
    cost, n = Cost(), weights.order
    settler = ExactChecker(weights, cost)
    inputs = np.arange(n * n)
    origin, error = inputs.copy(), np.zeros(n * n)
    for number, entry in enumerate(list_of(certificate.explanation, "maps", longest=MAX_MAPS)):
        if not isinstance(entry, dict):
            raise ProofError(f"map {number} must be an object")
        h, k = (integer_of(entry, key, low=0, high=n - 1) for key in ("left", "right"))
        order = integers_of(
            entry.get("neurons"), f"map {number}", low=0, high=weights.width - 1, length=weights.width
        )
        if len(np.unique(order)) != weights.width:
            raise ProofError(f"map {number} does not permute the neurons")
        images = (weights.table[h][:, None] * n + weights.table[:, k]).ravel()
        smaller = inputs < origin[images]
        origin[images[smaller]] = inputs[smaller]
        error[images[smaller]] = _error(weights, h, k, order, cost)
        cost.add("orbits", 4 * n * n)
    # An input that is itself carried from elsewhere cannot be carried on: those it serves are run instead.
    lost = origin[origin] != origin
    origin[lost], error[lost] = inputs[lost], 0.0
    run = np.flatnonzero(origin == inputs)
    margins = np.zeros(n * n)
    for start in range(0, len(run), step := max(CHUNK_NUMBERS // max(n, weights.width), 1)):
        x, y = np.divmod(run[start : start + step], n)
        hidden = np.maximum(weights.left[x] + weights.right[y], 0)
        logits = hidden @ weights.unembed + weights.bias
        answers = weights.table[x, y][:, None]
        right = np.take_along_axis(logits, answers, axis=1)[:, 0]
        np.put_along_axis(logits, answers, -np.inf, axis=1)
        margins[run[start : start + step]] = right - logits.max(axis=1)
    cost.add("logits", brute_force_cost(n, weights.width, len(run)))
    cost.add("thresholds", 2 * n * n)
    certified = margins[origin] - 2 * error > settler.band
    for place in run[np.abs(margins[run]) <= settler.band]:
        certified[place] = settler.is_right(int(place // n), int(place % n))
    return Verdict(certified=certified.reshape(n, n), cost=cost)


def _error(weights: Weights, h: int, k: int, order: np.ndarray, cost: Cost) -> float:
    """Above eps of a map."""
    n, m, table = weights.order, weights.width, weights.table
    steps = 8 * (n + m)
    apart = [
        np.linalg.norm(weights.left[table[h]][:, order] - weights.left, axis=1).max(),
        np.linalg.norm(weights.right[table[:, k]][:, order] - weights.right, axis=1).max(),
        np.linalg.norm(weights.unembed[order][:, table[h][table[:, k]]] - weights.unembed, axis=0).max(),
        np.abs(weights.bias[table[h][table[:, k]]] - weights.bias).max(),
    ]
    rounding = gamma(steps) * (
        np.abs(weights.left).max(axis=0).sum()
        + np.abs(weights.right).max(axis=0).sum()
        + np.abs(weights.unembed).max(axis=1).sum()
    )
    left, right, unembed, bias = (float(value) + rounding for value in apart)
    longest = sum(
        float(np.linalg.norm(np.maximum(side, 0), axis=1).max()) for side in (weights.left, weights.right)
    )
    column = float(np.linalg.norm(weights.unembed, axis=0).max())
    cost.add("matching", 3 * 3 * n * m + 3 * 3 * n * m + 4 * n)
    return float(outward(np.array([column * (left + right) + longest * unembed + bias]), steps)[0])
