"""The verifiers, by name. A new one is one file here, one entry below, and one way to find its certificate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aitia.proofs.certificate import AccuracyCertificate
from aitia.proofs.verdict import Verdict
from aitia.proofs.verifiers import brute_force, g_sets
from aitia.proofs.weights import Weights


@dataclass(frozen=True, kw_only=True)
class Verifier:
    """A theorem about all networks, as a program.

    Attributes:
        name: as certificates name it.
        verify: network and certificate -> which inputs are certified, and what it cost.
        theorem: what it rests on, in a line.
        source: where it comes from.
        candidate: whether `best` tries it.
    """

    name: str
    verify: Callable[[Weights, AccuracyCertificate], Verdict]
    theorem: str
    source: str
    candidate: bool = False


VERIFIERS: Mapping[str, Verifier] = {
    each.name: each
    for each in (
        Verifier(
            name="brute-force",
            verify=brute_force.verify,
            theorem="the network is run on every input",
            source="-",
            candidate=True,
        ),
        Verifier(
            name="g-sets",
            verify=g_sets.verify,
            theorem="a logit is its neurons' votes plus at most |h| |E|; contenders are worked out",
            source="ours",
            candidate=True,
        ),
        Verifier(
            name="g-sets-bound",
            verify=g_sets.verify_bound,
            theorem="the same, where an input with contenders counts as wrong",
            source="ours",
        ),
    )
}
