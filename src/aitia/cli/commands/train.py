"""`aitia train`: training that is recorded, so that it can be attributed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
