"""`aitia train` and `aitia counterfactual`: training that is recorded, and rankings held against retraining."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from aitia.cli.options import JsonOption, answer, app


@app.command("train")
def train_command(
    configuration: Annotated[
        Path, typer.Argument(help="A YAML file; see docs/replay.md and examples/train.yaml.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Train an adapter, or all weights, and record the run, so that rows can be scored through the whole of training.

    The folder `out` gets the trained adapter (as PEFT reads it) or model, and what a replay needs: the rows of each
    step, the learning rates, and the states of the optimizer, as many as `state_gigabytes` holds. Stopped at any moment
    and run again, it goes on from the last kept state and ends with the same bits.

    Afterwards `aitia rank --method replay --run OUT` (or `checkpoint-influence`, which is cheaper) says which rows
    moved a concept in that training.

    Example: `aitia train examples/train.yaml`
    """
    from aitia.pipelines.retraining.training import read_train_configuration, train_from

    found = train_from(read_train_configuration(configuration)).summary
    lines = [
        found["read"],
        f"{found['rows']} rows, {found['steps']} steps: loss {found['first_loss']:.4g} at the first, "
        f"{found['last_loss']:.4g} at the last",
        f"run: {found['run']} ({found['states']} states kept)",
        f"trained: {found['trained']}",
    ]
    answer(found, as_json, "\n".join(lines))


@app.command("counterfactual")
def counterfactual_command(
    configuration: Annotated[
        Path,
        typer.Argument(help="A YAML file; see docs/counterfactual.md and examples/emergent_misalignment."),
    ],
    data_set: Annotated[
        str | None, typer.Option("--data-set", help="One of data.sets, in the place of data.choose.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Hold rankings against retraining: remove what they blame, train again, measure what changed.

    From one configuration: train an adapter on the data, rank every row by each method and baseline,
    take out the most and the least influential 10 to 90 %, train again from the same start with several
    seeds, and measure the behaviour each time, beside random removal of as many rows and the untouched model.

    A ranking tells the truth if the behaviour falls faster than under random removal when its top goes, and
    stays when its bottom goes. Cost: shares x ends x rankings x seeds trainings. Every finished training is
    kept: stopped at any moment and run again, it goes on.

    Example: `aitia counterfactual examples/emergent_misalignment/qwen2.5-7b-instruct.yaml --data-set insecure-code`
    """
    from aitia.pipelines.retraining.counterfactual import counterfactual
    from aitia.pipelines.retraining.counterfactual_configuration import read_counterfactual_configuration

    result = counterfactual(read_counterfactual_configuration(configuration, choose=data_set))
    if as_json:
        typer.echo(json.dumps(result.summary, sort_keys=True, default=str))
        return
    typer.echo("\n".join(_lines(result.summary)))
    typer.echo("\n".join(f"{name}: {path}" for name, path in result.files.items()))


def _lines(summary: Mapping[str, Any]) -> list[str]:
    """The judge and the removals of the most influential, for people."""
    lines = [f"warning: {warning}" for warning in summary["warnings"]]
    if summary["judge"] is not None:
        lines.append(f"judge: {summary['judge']['name']}; {summary['judge']['quality']}")
    for name, found in summary["behaviours"].items():
        lines.append(
            f"{name}: {found['all_rows']['value']:.4g} with all rows, "
            f"{found['untouched_model']:.4g} untouched"
        )
        for curve in found["curves"]:
            if curve["end"] != "top":
                continue
            line = f"  {curve['ranking']}, top {100 * curve['share_removed']:g} % removed: "
            line += f"{curve['behaviour']['value']:.4g}"
            beside = curve["against_random"]
            if beside is not None:
                ends = "" if beside["low"] is None else f" ({beside['low']:+.4g} to {beside['high']:+.4g})"
                line += f", {beside['value']:+.4g} beside random{ends}"
            lines.append(line)
    return lines
