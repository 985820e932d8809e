"""Worked examples: small networks, their phenomena, and competing explanations of them."""

from aitia.explanations.examples.max_of_two import (
    lookup_explanation,
    max_network,
    max_phenomenon,
    proof_ladder,
    rule_explanation,
)
from aitia.explanations.examples.parity import parity_accounts, parity_network, parity_phenomenon
from aitia.explanations.examples.xor import (
    count_explanation,
    count_network,
    gate_network,
    gates_explanation,
    xor_phenomenon,
)

__all__ = [
    "count_explanation",
    "count_network",
    "gate_network",
    "gates_explanation",
    "lookup_explanation",
    "max_network",
    "max_phenomenon",
    "parity_accounts",
    "parity_network",
    "parity_phenomenon",
    "proof_ladder",
    "rule_explanation",
    "xor_phenomenon",
]
