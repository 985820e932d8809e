"""The cascade: the cheapest bound decides most inputs, each dearer one only what is left, so that all are decided.

Votes on G-sets (or logits of low rank, where a network has no G-sets) rule out nearly all wrong answers. The true
logits of the few contenders left are worked out, a part of the neurons at a time, and in integers where rounding
leaves it open. Every network gets its exact accuracy; what understanding buys is the cost. (Ours.)
"""

from __future__ import annotations

from aitia.errors import ProofError
from aitia.proofs.bounds.margin_bounds import decide
from aitia.proofs.certificate import AccuracyCertificate, text_of
from aitia.proofs.cost import Cost
from aitia.proofs.verdict import Verdict
from aitia.proofs.verifiers.g_sets import Votes
from aitia.proofs.verifiers.low_rank import LowRank
from aitia.proofs.weights import Weights

STAND_INS = {"votes": Votes, "low-rank": LowRank}
"""What the entry `surrogate` of an explanation may name."""


def verify(weights: Weights, certificate: AccuracyCertificate) -> Verdict:
    """Decide every input."""
    name = text_of(certificate.explanation, "surrogate")
    if name not in STAND_INS:
        raise ProofError(f"names the stand-in {name!r}; there are {', '.join(STAND_INS)}")
    cost = Cost()
    surrogate = STAND_INS[name](weights, certificate.explanation, cost)
    return decide(weights, surrogate, finish=True, cost=cost)
