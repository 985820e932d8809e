"""`aitia plan`: what a run will take, said before it starts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from aitia.cli.options import JsonOption, answer, app


@app.command("plan")
def plan_command(
    configuration: Annotated[
        Path, typer.Argument(help="The YAML file of `aitia attribute` or `aitia counterfactual`.")
    ],
    workers: Annotated[
        int, typer.Option(min=0, max=1_000_000, help="Workers; 0 for what the file says.")
    ] = 0,
    rows: Annotated[
        int,
        typer.Option(
            min=0,
            max=10**15,
            help="Number of rows to plan for, like those of the data; 0 for the data's own.",
        ),
    ] = 0,
    teraflops: Annotated[
        float,
        typer.Option(
            min=0, max=1e9, help="What a worker reaches in a model, in TFLOP/s; 0 to measure this machine."
        ),
    ] = 0.0,
    price: Annotated[
        float, typer.Option(min=0, max=1e9, help="Price of a worker's hour; 0 leaves money out.")
    ] = 0.0,
    data_set: Annotated[
        str | None,
        typer.Option(
            "--data-set", help="One of data.sets of `aitia counterfactual`, in the place of data.choose."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Time, memory, disk and money of `aitia attribute` or `aitia counterfactual`, before it starts.

    The data are read and counted, the model's shape is taken from its folder, and the costs of the steps that would run
    are added up. A step whose result is there costs nothing, and is listed. Weights are loaded only where such a result
    has to be compared with them; for another number of rows nothing is looked for. Sampled answers are not counted.
    For another machine give what it reaches in practice: a good part of its data sheet, not the whole.

    Example: `aitia plan attribute.yaml --rows 1000000 --workers 8 --teraflops 400 --price 2.50`
    """
    from aitia.attribution.gradients import Machine
    from aitia.pipelines.planning import plan_file
    from aitia.pipelines.steps.workload import measure_machine

    machine = Machine(multiply_adds=teraflops * 5e11) if teraflops else measure_machine()
    machine = replace(machine, price=price or None)
    plan = plan_file(configuration, choose=data_set, machine=machine, workers=workers, rows=rows)
    answer(plan.numbers(), as_json, plan.text())
