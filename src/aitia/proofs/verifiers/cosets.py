"""Cosets, after Stander et al. 2024 (arXiv 2312.06581) and the coset bound of Wu et al. 2025; a sound form of it, ours.

A neuron on points b and c of a G-set is nearly a function of x^-1 b and of yc, and is off where the two are equal,
which is where xy lies in the coset of elements that take c to b. So an activation lies in one interval where the
answer is in its coset, and in another elsewhere. Each logit difference is bounded by the worst of these intervals,
for all inputs that share an answer. Nothing says how the activations of different neurons go together, so that a
margin is a sum of worst cases, and on trained networks the bound is 0. (The published bound leaves out neurons whose
coset holds the answer; that is sound only if they are exactly off, so their worst case is counted here.)
"""

from __future__ import annotations

import numpy as np

from aitia.errors import ProofError
from aitia.finite_groups import identity_of
from aitia.proofs.actions import action_of
from aitia.proofs.bounds.arithmetic import gamma
from aitia.proofs.bounds.exact_logits import ExactChecker
from aitia.proofs.certificate import AccuracyCertificate, integers_of, list_of
from aitia.proofs.cost import Cost
from aitia.proofs.verdict import Verdict
from aitia.proofs.weights import Weights

MAX_SETS = 64


def verify(weights: Weights, certificate: AccuracyCertificate) -> Verdict:
    """Certify answers: all inputs of an answer, or none."""
    cost, n, m = Cost(), weights.order, weights.width
    settler = ExactChecker(weights, cost)
    low, high = _intervals(weights, certificate, cost)
    certified = np.zeros(n, dtype=bool)
    for z in range(n):
        ahead = weights.unembed[:, [z]] - weights.unembed
        margins = low[:, z] @ np.maximum(ahead, 0) + high[:, z] @ np.minimum(ahead, 0)
        margins += weights.bias[z] - weights.bias
        certified[z] = (np.delete(margins, z) > settler.band).all()
    cost.add("margins of answers", n * n * (7 * m + 3))
    return Verdict(certified=certified[weights.table], cost=cost)


def _intervals(
    weights: Weights, certificate: AccuracyCertificate, cost: Cost
) -> tuple[np.ndarray, np.ndarray]:
    """[m, n] and [m, n] between which each neuron's activation lies, at any input with that answer."""
    n, table = weights.order, weights.table
    inverses = np.argmax(table == identity_of(table), axis=1)
    reach = np.maximum(weights.left.max(axis=0) + weights.right.max(axis=0), 0)
    rounding = 16 * gamma(n + 16) * (np.abs(weights.left).max(axis=0) + np.abs(weights.right).max(axis=0))
    low = np.zeros((weights.width, n))
    high = np.repeat((reach + rounding)[:, None], n, axis=1)
    explanation = certificate.explanation
    sets = [
        action_of(table, entry, f"set {k}", cost)
        for k, entry in enumerate(list_of(explanation, "sets", longest=MAX_SETS))
    ]
    cost.add("intervals", 3 * n * weights.width)
    for number, row in enumerate(list_of(explanation, "neurons", longest=weights.width)):
        i, s, b, c = integers_of(row, f"neurons, row {number}", low=0, high=10**6, length=4)
        if i >= weights.width or s >= len(sets) or max(b, c) >= sets[s].shape[1]:
            raise ProofError(f"neurons, row {number}: no such neuron, set or point")
        points = sets[s].shape[1]
        bounds = [
            _by_point(values, place, points)
            for values, place in (
                (weights.left[:, i], sets[s][inverses, b]),
                (weights.right[:, i], sets[s][:, c]),
            )
        ]
        least = _least_sums(bounds[0][0], bounds[1][0])
        most = [-value for value in _least_sums(-bounds[0][1], -bounds[1][1])]
        inside = sets[s][:, c] == b
        for k, answers in enumerate((inside, ~inside)):
            low[i, answers] = max(least[k] - rounding[i], 0)
            high[i, answers] = max(most[k], 0) + rounding[i]
        cost.add("intervals", 6 * n + 8 * points + 2 * n)
    return low, high


def _least_sums(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """The least sum of two entries at the same place, and of two at different ones."""
    place = int(second.argmin())
    beside = np.full(len(second), second[place])
    beside[place] = np.delete(second, place).min(initial=np.inf)
    return float((first + second).min()), float((first + beside).min())


def _by_point(values: np.ndarray, place: np.ndarray, points: int) -> tuple[np.ndarray, np.ndarray]:
    """[points] and [points] the least and largest of the values that stand at each point; no point is left out."""
    least, most = np.full(points, np.inf), np.full(points, -np.inf)
    np.minimum.at(least, place, values)
    np.maximum.at(most, place, values)
    empty = np.isinf(least)
    least[empty], most[empty] = 0, 0
    return least, most
