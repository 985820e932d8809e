"""What the commands share: the application, their options, and how an answer is printed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aitia.errors import AitiaError
from aitia.files import require_place

if TYPE_CHECKING:
    from aitia.engine import Engine

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Explanations of neural networks that can be put to the test.\n\n"
    "Which training data made a model behave so? Try it on real parts with `aitia demo`, "
    "or on your own with `aitia attribute CONFIG.yaml`. How good is an explanation, and does the model really "
    "work that way? `aitia judge EXPLANATION...`.",
)


def file_out(help: str) -> Any:
    """An option for a file to write, which is refused before any work if it cannot be written."""
    return typer.Option(help=help, callback=_file_place)


def folder_out(help: str) -> Any:
    """An option for a folder to write, likewise."""
    return typer.Option(help=help, callback=_folder_place)


def _file_place(path: Path | None) -> Path | None:
    if path is not None:
        require_place(path)
    return path


def _on_error(value: str) -> str:
    if value not in ("stop", "skip"):
        raise AitiaError(f"--on-error {value!r:.50}: choose stop or skip")
    return value


def _folder_place(path: Path | None) -> Path | None:
    if path is not None:
        require_place(path, folder=True)
    return path


ModelOption = Annotated[str, typer.Option("--model", help="Hub id, folder, or .gguf file.")]
AdapterOption = Annotated[str | None, typer.Option("--adapter", help="Folder of a PEFT adapter.")]
ScannedModelOption = Annotated[
    str | None, typer.Option("--model", help="The model that was scanned, if it was moved.")
]
ScannedAdapterOption = Annotated[
    str | None, typer.Option("--adapter", help="The adapter that was scanned, if it was moved.")
]
ScannedDataOption = Annotated[
    Path | None, typer.Option("--data", help="The data that were scanned, if they were moved.")
]
DeviceOption = Annotated[str | None, typer.Option(help="cpu, cuda, mps or auto; default: the best there is.")]
DtypeOption = Annotated[str | None, typer.Option(help="float32, bfloat16 or float16.")]
DownloadOption = Annotated[bool, typer.Option("--download", help="Allow fetching from the hub.")]
SitesOption = Annotated[list[str] | None, typer.Option("--site", help="Site, as resid_post.19; repeatable.")]
MaxLengthOption = Annotated[int, typer.Option(help="Longest row in tokens; 0 for the model's context.")]
TruncateOption = Annotated[bool, typer.Option("--truncate", help="Cut longer rows instead of refusing them.")]
SeedOption = Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Seed of everything random.")]
OnErrorOption = Annotated[
    str, typer.Option(callback=_on_error, help="At a row that cannot be used: stop or skip.")
]
EngineOption = Annotated[
    str, typer.Option("--engine", help="local, or ray for the workers of a Ray cluster.")
]
AddressOption = Annotated[str, typer.Option("--address", help="Of the Ray cluster: HOST:PORT, or auto.")]
WorkersOption = Annotated[int, typer.Option("--workers", min=0, help="Ray workers; 0 for as many as fit.")]
GpusOption = Annotated[float, typer.Option("--gpus-per-worker", help="Accelerators a Ray worker asks for.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]


def engine_of(name: str, address: str, workers: int, gpus: float) -> Engine:
    """The engine that the options speak of."""
    from aitia.engine import Engine

    return Engine(name=name, address=address, workers=workers, gpus=gpus)  # type: ignore[arg-type]


def answer(value: dict[str, Any], as_json: bool, text: str) -> None:
    """Print the answer: an object for programs, or lines for people."""
    typer.echo(json.dumps(value, sort_keys=True, default=str) if as_json else text)


def left_out(skipped: Iterable[Sequence[str]]) -> list[str]:
    """A line for each row that was left out: its place and the reason."""
    return [f"left out: {place}: {reason}" for place, reason in skipped]


def require_used(methods: Sequence[str], **given: object) -> None:
    """Refuse what only the influence methods read, where another method was chosen.

    Args:
        methods: the names of the methods that are chosen, the deciding one first.
        given: name of an option -> its value; empty, zero and `stop` are what it is where it was not given.

    Raises:
        AitiaError: an option would be passed over.
    """
    from aitia.attribution.scorers import find_scorer, scorers

    vain = [f"--{name.replace('_', '-')}" for name, value in given.items() if value not in (None, 0, "stop")]
    if vain and not any(find_scorer(name).needs().queries for name in methods):
        names = [name for name, each in scorers().items() if each.needs().queries]
        raise AitiaError(
            f"method {methods[0]} reads the store alone, and would pass over {', '.join(vain)}; leave that out, or "
            f"choose --method {', '.join(names)}"
        )


def amount_of(text: str) -> float | int:
    """A share (`0.2`, `20%`) or a number of rows (`20`)."""
    try:
        if text.endswith("%"):
            return float(text[:-1]) / 100
        return float(text) if "." in text else int(text)
    except ValueError:
        raise AitiaError(f"{text!r} is neither a share (0.2 or 20%) nor a number of rows (20)") from None
