"""A certificate as an explanation that `aitia.evaluate` can hold against others."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np

from aitia.adapters.group_networks.under_study import product_phenomenon
from aitia.errors import ProofError
from aitia.explanations import Certificate, Explanation, Premise
from aitia.explanations.core import Tap
from aitia.group_networks import GroupNetwork
from aitia.proofs import AccuracyCertificate, brute_force_cost, check_certificate, weights_of


def certified_explanation(
    network: GroupNetwork, certificate: AccuracyCertificate, explanation: Explanation | None = None
) -> Explanation:
    """An explanation that brings a certificate, so that it is judged by what it proves as well.

    Args:
        network: the network.
        certificate: about this network; it is checked here, and again when it is judged.
        explanation: what the certificate was made from; default: that certified inputs are answered with the product,
            the certificate's own size in bits as its length, and nothing said of other inputs.

    Returns:
        The explanation: the network's answer to every pair, with the certificate.

    Raises:
        ProofError: the certificate does not hold.
    """
    weights = weights_of(network)
    found = check_certificate(weights, certificate)
    if not found or found.verdict is None:
        raise ProofError(f"this certificate {found.reason}")
    brings = Certificate(
        bound=certificate.bound,
        cost=certificate.cost,
        brute_cost=brute_force_cost(weights.order, weights.width),
        verifier=certificate.verifier,
        size=2 * (3 * weights.left.size + weights.order) + weights.inputs,
        verify=lambda: bool(check_certificate(weights, certificate)),
    )
    if explanation is not None:
        return replace(explanation, certificate=brings)
    certified, table = found.verdict.certified, network.group.table

    def program(premises: object, inputs: np.ndarray, variable: Tap) -> np.ndarray:
        del premises, variable
        return table[inputs[:, 0], inputs[:, 1]]

    return Explanation(
        name=f"certificate by {certificate.verifier}",
        phenomenon=product_phenomenon(network),
        program=program,
        premises={
            "certificate": Premise(kind="fact", value=True, bits=8.0 * len(json.dumps(certificate.plain())))
        },
        scope=lambda inputs: certified[inputs[:, 0], inputs[:, 1]],
        certificate=brings,
    )
