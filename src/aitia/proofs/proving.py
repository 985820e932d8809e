"""From a network to a certificate: find an explanation for a verifier, run it, and write down what it certifies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from aitia.errors import ProofError
from aitia.group_networks import GroupNetwork, Interpretation, interpret
from aitia.proofs.certificate import AccuracyCertificate
from aitia.proofs.checker import verify
from aitia.proofs.finding import SEARCHES, better
from aitia.proofs.verifiers import VERIFIERS
from aitia.proofs.weights import Weights, weights_of

BEST = "best"


def prove_accuracy(
    network: GroupNetwork, *, verifier: str = BEST, interpretation: Interpretation | None = None
) -> AccuracyCertificate:
    """A certificate of the accuracy of a network over all inputs.

    Args:
        network: the network.
        verifier: the name of a verifier; or `best`, which tries those that decide every input, and keeps the highest
            bound, and of equal ones the cheapest.
        interpretation: what was found in the network, if it is at hand.

    Raises:
        ProofError: no verifier has that name.
    """
    require_verifier(verifier)
    weights = weights_of(network)
    found = interpretation or interpret(network)
    names = [name for name, each in VERIFIERS.items() if each.candidate] if verifier == BEST else [verifier]
    proofs = [certify(weights, found, name) for name in names]
    return better(*proofs)


def require_verifier(name: str) -> None:
    """Refuse a name that is neither a verifier's nor `best`.

    Raises:
        ProofError: it is.
    """
    if name not in (*VERIFIERS, BEST):
        raise ProofError(f"no verifier is called {name!r}; there are {', '.join(VERIFIERS)} and {BEST}")


def certify(weights: Weights, interpretation: Interpretation, verifier: str) -> AccuracyCertificate:
    """The best certificate of one verifier, from what was found in the network."""

    def attempt(explanation: Mapping[str, Any]) -> AccuracyCertificate:
        draft = AccuracyCertificate(
            network=weights.sha256,
            group=interpretation.network.group.name,
            order=weights.order,
            width=weights.width,
            verifier=verifier,
            certified=0,
            cost=0,
            explanation=explanation,
        )
        verdict = verify(weights, draft)
        return replace(draft, certified=verdict.count, cost=verdict.cost.total)

    return SEARCHES[verifier](interpretation, weights, attempt)
