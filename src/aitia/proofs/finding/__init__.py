"""How explanations are found for each verifier.

Nothing here is trusted: a poor choice makes a proof weaker or dearer, never wrong. Nor is its work charged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from aitia.group_networks.interpretation import Interpretation
from aitia.proofs.certificate import AccuracyCertificate
from aitia.proofs.cost import brute_force_cost
from aitia.proofs.finding.low_rank import find_irreps, find_low_rank
from aitia.proofs.finding.numbers import action_entry
from aitia.proofs.finding.rho_sets import find_rho_sets
from aitia.proofs.finding.votes import VoteSettings, find_votes
from aitia.proofs.weights import Weights

Attempt = Callable[[Mapping[str, Any]], AccuracyCertificate]
"""Explanation -> the certificate that it gives."""

Search = Callable[[Interpretation, Weights, Attempt], AccuracyCertificate]

RANKS = (8, 12, 16, 20, 26, 32, 40, 50)
SHARES = (0.9, 0.99, 0.999)

DEAR = 0.25
"""Share of brute force's cost from which votes are held against logits of low rank."""


def better(*proofs: AccuracyCertificate) -> AccuracyCertificate:
    """The one that certifies most, of equal ones the cheapest; those dearer than brute force last."""

    def merit(proof: AccuracyCertificate) -> tuple[bool, int, int]:
        worth = proof.cost <= 1.01 * brute_force_cost(proof.order, proof.width)
        return worth, proof.certified, -proof.cost

    return max(proofs, key=merit)


def search_nothing(
    _interpretation: Interpretation, _weights: Weights, attempt: Attempt
) -> AccuracyCertificate:
    """For verifiers that need no explanation."""
    return attempt({})


def search_votes(interpretation: Interpretation, weights: Weights, attempt: Attempt) -> AccuracyCertificate:
    """Votes on G-sets: lay them out one way, then keep every change that helps."""
    settings = VoteSettings()
    best = attempt(find_votes(interpretation, weights, settings))
    heavy = sum(interpretation.weights[each.neurons].sum() > 0.02 for each in interpretation.circuits)
    changes: list[dict[str, Any]] = [
        {"quick": False},
        {"circuits": int(heavy)},
        {"centred": False},
        {"merge": False},
        {"apart": 0},
        {"apart": 4},
        {"apart": 16},
        {"harm": 0.6},
    ]
    for change in changes:
        if "apart" in change and not settings.quick:
            continue
        tried = replace(settings, **change)
        proof = attempt(find_votes(interpretation, weights, tried))
        if better(best, proof) is proof:
            best, settings = proof, tried
    return best


def search_low_rank(
    _interpretation: Interpretation, weights: Weights, attempt: Attempt
) -> AccuracyCertificate:
    """Logits of several low ranks."""
    most = min(weights.order, weights.width)
    ranks = [rank for rank in RANKS if rank < most] or [most]
    return better(*(attempt(find_low_rank(weights, rank)) for rank in ranks))


def search_irreps(interpretation: Interpretation, weights: Weights, attempt: Attempt) -> AccuracyCertificate:
    """Matrix entries of the irreps that carry several shares of the unembedding."""
    return better(*(attempt(find_irreps(interpretation, weights, share=share)) for share in SHARES))


def search_cascade(interpretation: Interpretation, weights: Weights, attempt: Attempt) -> AccuracyCertificate:
    """Votes; and where those are dear or there are none, logits of low rank."""
    proofs = [search_votes(interpretation, weights, attempt)] if interpretation.circuits else []
    if not proofs or proofs[0].cost > DEAR * brute_force_cost(weights.order, weights.width):
        proofs.append(search_low_rank(interpretation, weights, attempt))
    return better(*proofs)


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


SEARCHES: Mapping[str, Search] = {
    "brute-force": search_nothing,
    "low-rank": search_low_rank,
    "irreps": search_irreps,
    "cosets": search_cosets,
    "rho-sets-global": search_rho_sets,
    "rho-sets": search_rho_sets,
    "rho-sets-blocks": search_rho_sets,
    "g-sets": search_votes,
    "cascade": search_cascade,
}
"""Verifier -> how its explanation is sought."""
