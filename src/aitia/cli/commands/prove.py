"""`aitia prove` and `aitia check`: certificates of a network's accuracy over all inputs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aitia.cli.commands.network import NetworkArgument
from aitia.cli.options import JsonOption, answer, app, with_engine
from aitia.engine import Engine
from aitia.errors import AitiaError

if TYPE_CHECKING:
    from aitia.proofs import Proved


@app.command("prove")
@with_engine
def prove_command(
    *,
    network: Annotated[list[Path], typer.Argument(help=".network.safetensors files.")],
    verifier: Annotated[
        str, typer.Option(help="A verifier's name, or best: the highest bound, then the least cost.")
    ] = "best",
    out: Annotated[
        Path | None,
        typer.Option(help="Certificate to write: C.certificate.json. For several networks, a folder."),
    ] = None,
    brute_force: Annotated[
        bool, typer.Option("--brute-force", help="Also run the networks on every input, to compare.")
    ] = False,
    engine: Engine,
    as_json: JsonOption = False,
) -> None:
    """Prove on how many of all inputs a network is right, at a counted cost.

    Several networks are a batch, in which one that cannot be proved stops no other. The workers of a Ray cluster share
    it, and write the same certificates. Exit status 1: some network of a batch has none.

    Example: `aitia prove runs/s5/seed-0000.network.safetensors --out seed-0000.certificate.json`

    Example: `aitia prove runs/s5/*.network.safetensors --out certificates --engine ray --address HOST:6379`
    """
    from aitia.proofs import prove_files

    found = prove_files(network, out, verifier=verifier, brute_force=brute_force, engine=engine)
    if len(found) == 1:
        if isinstance(found[0], AitiaError):
            raise found[0]
        answer(_numbers(network[0], found[0]), as_json, _text(network[0], found[0]))
        return
    every = [_numbers(path, each) for path, each in zip(network, found, strict=True)]
    lines = [_text(path, each) for path, each in zip(network, found, strict=True)]
    failed = sum(isinstance(each, AitiaError) for each in found)
    lines.append(f"{len(found) - failed} of {len(found)} networks proved")
    answer({"networks": every, "failed": failed}, as_json, "\n".join(lines))
    if failed:
        raise typer.Exit(1)


def _numbers(network: Path, found: Proved | AitiaError) -> dict[str, Any]:
    if isinstance(found, AitiaError):
        return {"network": str(network), "error": str(found)}
    return {"network": str(network), **asdict(found), "bound": found.bound, "cost_ratio": found.cost_ratio}


def _text(network: Path, found: Proved | AitiaError) -> str:
    if isinstance(found, AitiaError):
        return f"{network.name}: not proved: {found}"
    text = (
        f"{network.name}: accuracy at least {found.bound:.4f} ({found.certified:,} of {found.inputs:,} inputs), "
        f"by {found.verifier} at {found.cost_ratio:.2%} of brute force's operations"
    )
    if found.true_accuracy is not None:
        text += f"\n  true accuracy: {found.true_accuracy:.4f}"
    if found.certificate is not None:
        text += f"\n  certificate: {found.certificate}"
    return text


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
    from aitia.proofs import check_certificate, load_certificate

    claim = load_certificate(certificate)
    found = check_certificate(network, claim)
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
