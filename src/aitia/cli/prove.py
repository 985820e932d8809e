"""`aitia prove` and `aitia check`: certificates of a network's accuracy over all inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aitia.cli.network import NetworkArgument
from aitia.cli.options import JsonOption, answer, app


@app.command("prove")
def prove_command(
    network: NetworkArgument,
    verifier: Annotated[
        str, typer.Option(help="A verifier's name, or best: the highest bound, then the least cost.")
    ] = "best",
    out: Annotated[Path | None, typer.Option(help="Certificate to write: C.certificate.json.")] = None,
    brute_force: Annotated[
        bool, typer.Option("--brute-force", help="Also run the network on every input, to compare.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Prove on how many of all inputs a network is right, at a counted cost.

    Example: `aitia prove runs/s5/seed-0000.network.safetensors --out seed-0000.certificate.json`
    """
    from aitia.group_networks import load_network
    from aitia.proofs import brute_force_cost, prove

    loaded = load_network(network)
    found = prove(loaded, verifier=verifier)
    brute = brute_force_cost(found.order, found.width)
    shown = {
        "network": str(network),
        "certificate": None if out is None else str(out),
        "verifier": found.verifier,
        "bound": found.bound,
        "certified": found.certified,
        "inputs": found.inputs,
        "true_accuracy": loaded.accuracy if brute_force else None,
        "cost": found.cost,
        "brute_force_cost": brute,
        "cost_ratio": found.cost / brute,
    }
    text = (
        f"{network.name}: accuracy at least {found.bound:.4f} ({found.certified:,} of {found.inputs:,} inputs), "
        f"by {found.verifier} at {found.cost / brute:.2%} of brute force's operations"
    )
    if brute_force:
        text += f"\n  true accuracy: {loaded.accuracy:.4f}"
    if out is not None:
        text += f"\n  certificate: {found.save(out)}"
    answer(shown, as_json, text)


@app.command("check")
def check_command(
    network: NetworkArgument,
    certificate: Annotated[Path, typer.Argument(help="A .certificate.json file.")],
    as_json: JsonOption = False,
) -> None:
    """Check a certificate against a network, believing nothing that it says.

    Exit status 1: it does not hold. Neither torch nor what found the explanation is imported.

    Example: `aitia check runs/s5/seed-0000.network.safetensors seed-0000.certificate.json`
    """
    from aitia.proofs import check, load_certificate

    claim = load_certificate(certificate)
    found = check(network, claim)
    shown = {
        "network": str(network),
        "certificate": str(certificate),
        "holds": found.holds,
        "reason": found.reason,
        "verifier": claim.verifier,
        "bound": claim.bound if found.holds else None,
        "certified": None if found.verdict is None else found.verdict.count,
        "inputs": claim.inputs,
        "cost": None if found.verdict is None else found.verdict.cost.total,
    }
    text = (
        f"holds: accuracy of {network.name} is at least {claim.bound:.4f}"
        if found.holds
        else f"does not hold: {certificate.name} {found.reason}"
    )
    answer(shown, as_json, text)
    if not found.holds:
        raise typer.Exit(1)
