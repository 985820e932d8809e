"""Does a certificate hold? The trusted part: it believes nothing that the certificate says.

It imports the verifiers, NumPy, and of aitia only the check of a group's table and the errors; neither torch nor
anything that looks for explanations. What must be believed is that each verifier's theorem holds and that its
program carries it out; the explanation in a certificate only steers what is computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aitia.errors import ProofError
from aitia.proofs.certificate import AccuracyCertificate, load_certificate
from aitia.proofs.verdict import Verdict
from aitia.proofs.verifiers import VERIFIERS
from aitia.proofs.weights import Weights, read_weights, weights_of


@dataclass(frozen=True, kw_only=True, eq=False)
class Check:
    """What the checker found about a certificate.

    Attributes:
        holds: the claim is true: at least so many inputs are certified, at no higher cost.
        reason: why it does not hold; empty if it does.
        verdict: what the verifier found; None if it never ran.
    """

    holds: bool
    reason: str
    verdict: Verdict | None = None

    def __bool__(self) -> bool:
        return self.holds


def verify(weights: Weights, certificate: AccuracyCertificate) -> Verdict:
    """Run a certificate's verifier: which inputs are certified, and what that costs.

    Returns:
        Certified inputs, and the operations that this took.

    Raises:
        ProofError: the certificate is for another network, names no verifier, or its explanation is
            not of the form that its verifier reads.
    """
    if certificate.network != weights.sha256:
        raise ProofError(
            f"is for another network: sha256 {certificate.network:.16}..., not {weights.sha256:.16}..."
        )
    if (certificate.order, certificate.width) != (weights.order, weights.width):
        raise ProofError(
            f"is for order {certificate.order} and {certificate.width} neurons; the network has "
            f"{weights.order} and {weights.width}"
        )
    if certificate.verifier not in VERIFIERS:
        raise ProofError(f"names the verifier {certificate.verifier!r}; there are {', '.join(VERIFIERS)}")
    return VERIFIERS[certificate.verifier].verify(weights, certificate)


def check_certificate(
    network: Weights | Path | str | Any, certificate: AccuracyCertificate | Path | str
) -> Check:
    """Check a certificate's claim about a network. A bad certificate does not hold; it never raises for one.

    Args:
        network: weights, a `.network.safetensors` file, or a `GroupNetwork`.
        certificate: a certificate, or its file.

    Returns:
        Whether it holds, and why not; true in a condition if it holds.

    Raises:
        NetworkError: the network cannot be used.
        ProofError: the certificate file is missing or is no certificate.
    """
    weights = (
        network
        if isinstance(network, Weights)
        else read_weights(network)
        if isinstance(network, Path | str)
        else weights_of(network)
    )
    if isinstance(certificate, Path | str):
        certificate = load_certificate(certificate)
    try:
        verdict = verify(weights, certificate)
    except ProofError as error:
        return Check(holds=False, reason=str(error))
    except MemoryError:
        return Check(holds=False, reason="takes more memory to check than there is")
    if verdict.count < certificate.certified:
        reason = f"claims {certificate.certified} certified inputs; only {verdict.count} are"
        return Check(holds=False, reason=reason, verdict=verdict)
    if verdict.cost.total > certificate.cost:
        reason = f"claims a cost of {certificate.cost}; checking took {verdict.cost.total} operations"
        return Check(holds=False, reason=reason, verdict=verdict)
    return Check(holds=True, reason="", verdict=verdict)
