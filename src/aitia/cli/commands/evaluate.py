"""`aitia evaluate`: how good an explanation is, beside its baselines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aitia.cli.options import JsonOption, SeedOption, answer, app


@app.command("evaluate")
def evaluate_command(
    explanation: Annotated[
        list[Path],
        typer.Argument(
            help="*.explanation.json; the first is judged, the others are its baselines. Or a network and its "
            "certificates. Or a run of counterfactual."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Card to write: .html, .md or .json; or a folder, for all three.")
    ] = None,
    rubric: Annotated[
        Path | None, typer.Option(help="Thresholds of the grades; default: aitia's own.")
    ] = None,
    weight: Annotated[
        list[str] | None, typer.Option(help="virtue=number, to add baselines up; repeatable.")
    ] = None,
    behaviour: Annotated[
        str | None,
        typer.Option(
            help="Behaviour of a run to judge by; default: the first that is not the concept's projection."
        ),
    ] = None,
    intervene: Annotated[
        bool,
        typer.Option(help="Load the models of a run, ablate the concept's direction and steer along it."),
    ] = True,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Judge an explanation: its virtues, its faithfulness, and the four conditions, with their controls.

    Explanations in files are tables and numbers; nothing in them is executed. Those written in Python are judged
    with `aitia.evaluate`. Given the folder of a run of `aitia counterfactual`, its rankings are judged by its removals,
    and where its model is at hand by interventions on the concept's direction; the card becomes a section of its
    report.html (in the place of an earlier one), and lies beside it.
    Exit status 1: a certificate claims more than is true.

    Example: `aitia evaluate examples/xor/gates.explanation.json examples/xor/count.explanation.json --out card.html`
    """
    from aitia.pipelines.evaluation.evaluate import evaluate_files, summary_lines

    card, files = evaluate_files(
        explanation,
        out=out,
        rubric=rubric,
        weights=weight or (),
        seed=seed,
        behaviour=behaviour,
        intervene=intervene,
    )
    lines = summary_lines(card) + [f"{kind}: {path}" for kind, path in files.items()]
    answer(card.as_json() | {"files": files}, as_json, "\n".join(lines))
