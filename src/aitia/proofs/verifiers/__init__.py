"""The verifiers, by name. A new one is one file here, one entry below, and one way to find its certificate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aitia.proofs.certificate import AccuracyCertificate
from aitia.proofs.verdict import Verdict
from aitia.proofs.verifiers import brute_force, cascade, cosets, equivariance, g_sets, low_rank, rho_sets
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
            name="low-rank",
            verify=low_rank.verify,
            theorem="a logit is that of a low-rank unembedding plus at most |h| |E|",
            source="ours",
        ),
        Verifier(
            name="irreps",
            verify=low_rank.verify,
            theorem="the same, the basis being matrix entries of the irreps that the network uses",
            source="ours, after Chughtai et al. 2023",
        ),
        Verifier(
            name="equivariance",
            verify=equivariance.verify,
            theorem="a margin at (x, y) is one at (hx, yk) but for how badly neurons are matched",
            source="ours",
        ),
        Verifier(
            name="cosets",
            verify=cosets.verify,
            theorem="an activation lies in one interval where the answer is in its coset, in another elsewhere",
            source="Stander et al. 2024; this sound form is ours",
        ),
        Verifier(
            name="rho-sets-global",
            verify=rho_sets.verify_global,
            theorem="an ideal network is bi-equivariant; one error for all inputs",
            source="Wu et al. 2025, our reading",
        ),
        Verifier(
            name="rho-sets",
            verify=rho_sets.verify,
            theorem="the same; an error for each input",
            source="Wu et al. 2025, our reading",
        ),
        Verifier(
            name="rho-sets-blocks",
            verify=rho_sets.verify_blocks,
            theorem="the same; an error for each input, summed over blocks of neurons",
            source="ours",
        ),
        Verifier(
            name="g-sets",
            verify=g_sets.verify,
            theorem="a logit is the votes of cells of neurons plus at most |C| |e|",
            source="ours",
        ),
        Verifier(
            name="cascade",
            verify=cascade.verify,
            theorem="the same, and contenders are worked out: every input is decided",
            source="ours",
            candidate=True,
        ),
    )
}
"""Name -> the verifier."""
