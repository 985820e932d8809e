"""`aitia init`, `aitia doctor`, `aitia plan` and `aitia completion`: what comes before a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from aitia.cli.options import (
    COMPLETING,
    Dtype,
    JsonOption,
    RowOptions,
    answer,
    app,
    file_out,
    with_rows,
    with_settings,
)
from aitia.records import ReadingSettings


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


@app.command("init")
def init_command(
    data: Annotated[Path, typer.Argument(help="Training rows.")],
    out: Annotated[Path, file_out("The YAML file to write.")] = Path("attribute.yaml"),
    model: Annotated[str | None, typer.Option(help="Hub id, folder, or .gguf file.")] = None,
    adapter: Annotated[
        str | None, typer.Option(help="Folder of the PEFT adapter that training made.")
    ] = None,
    positive: Annotated[
        Path | None,
        typer.Option(help="Texts that show the concept; default: positive.jsonl beside the data."),
    ] = None,
    negative: Annotated[
        Path | None, typer.Option(help="Texts that do not; default: negative.jsonl beside the data.")
    ] = None,
    queries: Annotated[
        Path | None,
        typer.Option(help="Texts to measure; default: queries.jsonl beside the data, if it is there."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a commented configuration for `aitia attribute` from your own files.

    The rows are read, so that their shape is known and true-or-false columns are offered as labels; the model's number
    of blocks decides which sites are tried. What is missing is listed. No weights are loaded.

    Example: `aitia init train.jsonl --model models/my-model --adapter runs/lora --out attribute.yaml`
    """
    from aitia.pipelines.attribution.starting import start

    started = start(
        data,
        out,
        model=model,
        adapter=adapter,
        positive=positive,
        negative=negative,
        queries=queries,
    )
    found = {"path": str(started.path), "missing": list(started.missing), "noticed": list(started.noticed)}
    answer(found, as_json, started.text())


@app.command("doctor")
@with_rows
@with_settings(ReadingSettings)
def doctor_command(
    cut: RowOptions,
    reading: ReadingSettings,
    model: Annotated[str | None, typer.Option(help="Hub id, folder, or .gguf file.")] = None,
    adapter: Annotated[str | None, typer.Option(help="Folder of a PEFT adapter.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Training rows: some are shown token by token, as the model sees them."),
    ] = None,
    rows: Annotated[int, typer.Option(min=1, max=1000, help="Number of rows shown.")] = 3,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, mps or auto; default: the best there is.")
    ] = None,
    dtype: Annotated[
        Dtype | None, typer.Option(help="Precision of the weights; default: the model's own.")
    ] = None,
    download: Annotated[bool, typer.Option("--download", help="Allow fetching from the hub.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check the installation; and whether a model and your rows go together.

    Looks at versions, device, memory, disk and hub cache. With `--model` the model is loaded. With `--data` too, the
    first rows are shown token by token, with what is trained on told apart, and a row's activations are compared
    between a batch of its own and one that it shares. Ends with status 1 where something keeps aitia from working.

    Example: `aitia doctor --model models/my-model --data train.jsonl`
    """
    from dataclasses import asdict

    from aitia.pipelines.checkup import check_up

    found = check_up(
        model,
        adapter=adapter,
        data=data,
        device=device,
        dtype=dtype,
        download=download,
        rows=rows,
        reading=reading,
        **asdict(cut),
    )
    answer(found.numbers(), as_json, found.text())
    if not found.healthy:
        raise typer.Exit(1)


@app.command("completion")
def completion_command(
    shell: Annotated[
        Literal["bash", "zsh", "fish", "powershell", "pwsh"], typer.Argument(help="The shell that you use.")
    ],
) -> None:
    """Print the script that lets a shell complete aitia's commands and options.

    aitia changes no file of your shell. Load the script where the shell starts: in `~/.bashrc` or `~/.zshrc` write
    `eval "$(aitia completion bash)"` (or `zsh`); for fish run
    `aitia completion fish > ~/.config/fish/completions/aitia.fish`.

    Example: `eval "$(aitia completion bash)"`
    """
    from typer.completion import get_completion_script  # type: ignore[attr-defined]  # listed by no `__all__`

    typer.echo(get_completion_script(prog_name="aitia", complete_var=COMPLETING, shell=shell))
