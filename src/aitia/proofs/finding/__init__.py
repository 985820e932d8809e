"""How explanations are found for each verifier.

Nothing here is trusted: a poor choice makes a proof weaker or dearer, never wrong. Nor is its work charged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from aitia.group_networks import Interpretation
from aitia.proofs.bounds.margin_bounds import decide
from aitia.proofs.certificate import AccuracyCertificate
from aitia.proofs.cost import FIXED, Cost, brute_force_cost
from aitia.proofs.finding.equivariance import find_equivariance
from aitia.proofs.finding.low_rank import find_irreps, find_low_rank
from aitia.proofs.finding.numbers import action_entry
from aitia.proofs.finding.rho_sets import find_rho_sets
from aitia.proofs.finding.votes import VoteSettings, find_votes
from aitia.proofs.verifiers.cascade import STAND_INS
from aitia.proofs.weights import Weights

Attempt = Callable[[Mapping[str, Any]], AccuracyCertificate]
"""Explanation -> the certificate that it gives."""

Search = Callable[[Interpretation, Weights, Attempt], AccuracyCertificate]

RANKS = (8, 12, 16, 20, 26, 32, 40, 50)
SHARES = (0.8, 0.9, 0.97, 0.99, 0.999)
CHANGES: tuple[dict[str, Any], ...] = (
    {"near": 40},
    {"near": 80},
    {"quick": False},
    {"circuits": 0.02},
    {"pruned": 1},
    {"pruned": 2},
    {"pruned": 3},
    {"pruned": 5},
    {"centred": False},
    {"merge": False},
    {"apart": 0},
    {"apart": 4},
    {"apart": 16},
    {"harm": 0.6},
    {"harm": 1.0},
    {"harm": 1.5},
)
"""Changes to the first way to lay votes out, tried in turn."""

SAMPLED = 8
"""Of so many left factors one is tried when ways are compared."""

DEAR = 0.25
"""Share of brute force's cost from which votes are held against logits of low rank."""


def better(*proofs: AccuracyCertificate) -> AccuracyCertificate:
    """The one that certifies most, of equal ones the cheapest; those dearer than brute force last."""

    def merit(proof: AccuracyCertificate) -> tuple[bool, int, int]:
        worth = proof.cost <= 1.01 * brute_force_cost(proof.order, proof.width)
        return worth, proof.certified, -proof.cost

    return max(proofs, key=merit)


@dataclass(frozen=True, kw_only=True)
class _Trial:
    """An explanation, tried on a sample of the inputs."""

    explanation: Mapping[str, Any]
    certified: int
    cost: float

    @property
    def merit(self) -> tuple[bool, int, float]:
        """As for certificates; the cost is a share of brute force's."""
        return self.cost <= 1.01, self.certified, -self.cost


def _try(weights: Weights, explanation: Mapping[str, Any], *, finish: bool) -> _Trial:
    cost = Cost()
    surrogate = STAND_INS[explanation["surrogate"]](weights, explanation, cost)
    elements = np.arange(0, weights.order, SAMPLED if weights.order >= 8 * SAMPLED else 1)
    verdict = decide(weights, surrogate, finish=finish, cost=cost, elements=elements)
    fixed = sum(cost.steps[step] for step in FIXED)
    share = (fixed + (cost.total - fixed) * weights.order / len(elements)) / brute_force_cost(
        weights.order, weights.width
    )
    return _Trial(explanation=explanation, certified=verdict.count, cost=share)


def _best(trials: Iterable[_Trial]) -> _Trial:
    return max(trials, key=lambda trial: trial.merit)


def search_nothing(
    _interpretation: Interpretation, _weights: Weights, attempt: Attempt
) -> AccuracyCertificate:
    """For verifiers that need no explanation."""
    return attempt({})


def _votes(interpretation: Interpretation, weights: Weights, *, finish: bool) -> _Trial:
    """Lay votes out one way, then keep every change that helps."""
    settings = VoteSettings()
    best = _try(weights, find_votes(interpretation, weights, settings), finish=finish)
    for change in CHANGES:
        if ("apart" in change or "near" in change) and not settings.quick:
            continue
        tried = replace(settings, **change)
        trial = _try(weights, find_votes(interpretation, weights, tried), finish=finish)
        if trial.merit > best.merit:
            best, settings = trial, tried
    return best


def _low_rank(weights: Weights, *, finish: bool) -> _Trial:
    most = min(weights.order, weights.width)
    ranks = [rank for rank in RANKS if rank < most] or [most]
    return _best(_try(weights, find_low_rank(weights, rank), finish=finish) for rank in ranks)


def _irreps(interpretation: Interpretation, weights: Weights, *, finish: bool) -> _Trial:
    found = (find_irreps(interpretation, weights, share=share) for share in SHARES)
    return _best(_try(weights, each, finish=finish) for each in found)


def search_votes(interpretation: Interpretation, weights: Weights, attempt: Attempt) -> AccuracyCertificate:
    """Votes on G-sets."""
    return attempt(_votes(interpretation, weights, finish=False).explanation)


def search_low_rank(
    _interpretation: Interpretation, weights: Weights, attempt: Attempt
) -> AccuracyCertificate:
    """Logits of several low ranks."""
    return attempt(_low_rank(weights, finish=False).explanation)


def search_irreps(interpretation: Interpretation, weights: Weights, attempt: Attempt) -> AccuracyCertificate:
    """Matrix entries of the irreps that carry several shares of the unembedding."""
    return attempt(_irreps(interpretation, weights, finish=False).explanation)


def search_cascade(interpretation: Interpretation, weights: Weights, attempt: Attempt) -> AccuracyCertificate:
    """Votes; and where those are dear or there are none, logits of low rank by either basis."""
    trials = [_votes(interpretation, weights, finish=True)] if interpretation.circuits else []
    if not trials or trials[0].cost > DEAR:
        trials.append(_low_rank(weights, finish=True))
        trials.append(_irreps(interpretation, weights, finish=True))
    return attempt(_best(trials).explanation)


def search_rho_sets(
    interpretation: Interpretation, weights: Weights, attempt: Attempt
) -> AccuracyCertificate:
    """Rho-sets with missing pairs filled, and without such rho-sets."""
    del weights
    return better(*(attempt(find_rho_sets(interpretation, fill=fill)) for fill in (True, False)))


def search_cosets(interpretation: Interpretation, weights: Weights, attempt: Attempt) -> AccuracyCertificate:
    """Every neuron of a circuit on one G-set, at its points."""
    del weights
    circuits = [
        each
        for each in interpretation.circuits
        if each.left_set.permutations.shape == each.right_set.permutations.shape
        and (each.left_set.permutations == each.right_set.permutations).all()
    ]
    return attempt(
        {
            "sets": [action_entry(each.left_set) for each in circuits],
            "neurons": [
                [int(i), number, int(b), int(c)]
                for number, each in enumerate(circuits)
                for i, b, c in zip(each.neurons, each.left_points, each.right_points, strict=True)
            ],
        }
    )


def search_equivariance(
    interpretation: Interpretation, _weights: Weights, attempt: Attempt
) -> AccuracyCertificate:
    """A subgroup of prime order."""
    return attempt(find_equivariance(interpretation.network))


SEARCHES: Mapping[str, Search] = {
    "brute-force": search_nothing,
    "low-rank": search_low_rank,
    "irreps": search_irreps,
    "equivariance": search_equivariance,
    "cosets": search_cosets,
    "rho-sets-global": search_rho_sets,
    "rho-sets": search_rho_sets,
    "rho-sets-blocks": search_rho_sets,
    "g-sets": search_votes,
    "cascade": search_cascade,
}
"""Verifier -> how its explanation is sought."""
