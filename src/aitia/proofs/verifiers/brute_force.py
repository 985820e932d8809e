"""Brute force: every logit of every input. Exact, and what every other verifier is measured against."""

from __future__ import annotations

import numpy as np

from aitia.proofs.bounds.exact_logits import CHUNK_NUMBERS, ExactChecker
from aitia.proofs.certificate import AccuracyCertificate
from aitia.proofs.cost import Cost, brute_force_cost
from aitia.proofs.verdict import Verdict
from aitia.proofs.weights import Weights


def verify(weights: Weights, certificate: AccuracyCertificate) -> Verdict:
    """Run the network on every input; what rounding leaves open is decided in integers."""
    del certificate
    return run_everything(weights)


def run_everything(weights: Weights, elements: np.ndarray | None = None) -> Verdict:
    """Brute force on all right factors of some left factors (all, if not given)."""
    cost, n, m = Cost(), weights.order, weights.width
    settler = ExactChecker(weights, cost)
    elements = np.arange(n) if elements is None else elements
    certified = np.zeros((n, n), dtype=bool)
    rows = max(CHUNK_NUMBERS // (n * max(n, m)), 1)
    for start in range(0, len(elements), rows):
        x = elements[start : start + rows]
        hidden = np.maximum(weights.left[x][:, None] + weights.right[None], 0)
        logits = hidden @ weights.unembed + weights.bias
        answers = weights.table[x][:, :, None]
        right = np.take_along_axis(logits, answers, axis=2)[..., 0]
        np.put_along_axis(logits, answers, -np.inf, axis=2)
        margins = right - logits.max(axis=2)
        certified[x] = margins > settler.band
        for i, y in np.argwhere(np.abs(margins) <= settler.band):
            certified[x[i], y] = settler.is_right(int(x[i]), int(y))
    cost.add("logits", brute_force_cost(n, m, len(elements) * n))
    return Verdict(certified=certified, cost=cost)
