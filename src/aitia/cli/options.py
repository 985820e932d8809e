"""What the commands share: the application, their options, and how an answer is printed."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import MISSING, asdict, dataclass, field, fields
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args, get_type_hints

import typer

from aitia.attribution.gradients import Damping
from aitia.engine import Engine, no_progress
from aitia.errors import AitiaError
from aitia.files import require_place
from aitia.records import ReadingSettings
from aitia.settings import AtLeast, AtMost, Setting, described

if TYPE_CHECKING:
    from aitia.models import LanguageModel

COMPLETING = "_AITIA_COMPLETE"
"""The environment variable by which a shell asks for the words that a command line may go on with."""
Command = TypeVar("Command", bound=Callable[..., None])


class Application(typer.Typer):
    """A group of commands, each of which takes `--quiet`."""

    def command(self, *args: Any, **settings: Any) -> Callable[[Command], Command]:  # type: ignore[override]
        """See `typer.Typer.command`."""
        register = super().command(*args, **settings)

        def decorate(command: Command) -> Command:
            register(_with_quiet(command))
            return command

        return decorate


def _with_quiet(command: Command) -> Command:
    """Give a command the option `--quiet`, which is nothing that the command itself needs to know."""
    signature = inspect.signature(command, eval_str=True)

    @wraps(command)
    def run(*, quiet: bool, **given: Any) -> None:
        with no_progress() if quiet else nullcontext():
            command(**given)

    option = Annotated[bool, typer.Option("--quiet", help="Show neither progress nor notes.")]
    parameters = [
        *(each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in signature.parameters.values()),
        inspect.Parameter("quiet", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=option),
    ]
    return _as_typer_reads(run, signature, parameters)


app = Application(
    no_args_is_help=True,
    add_completion=False,  # `aitia completion` prints it: typer's own options would change files of the shell
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Explanations of neural networks that can be put to the test.\n\n"
    "Which training data made a model behave so? Try it on real parts with `aitia demo`, "
    "or on your own with `aitia attribute CONFIG.yaml`. How good is an explanation, and does the model really "
    "work that way? `aitia evaluate EXPLANATION...`.",
)


def file_out(help: str) -> Any:
    """An option for a file to write, which is refused before any work if it cannot be written."""
    return typer.Option(help=help, callback=_file_place)


def folder_out(help: str) -> Any:
    """An option for a folder to write, which is refused before any work if it cannot be written."""
    return typer.Option(help=help, callback=_folder_place)


def _file_place(path: Path | None) -> Path | None:
    if path is not None:
        require_place(path)
    return path


def _folder_place(path: Path | None) -> Path | None:
    if path is not None:
        require_place(path, folder=True)
    return path


Dtype = Literal["float32", "bfloat16", "float16"]
SitesOption = Annotated[list[str] | None, typer.Option("--site", help="Site, as resid_post.19. Repeatable.")]
SeedOption = Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Seed of everything random.")]
OnError = Literal["stop", "skip"]
OnErrorOption = Annotated[OnError, typer.Option(help="Stop at a row that cannot be used, or skip it.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """The options of a model that a command loads."""

    model: Annotated[str, typer.Option(help="Hub id, folder, or .gguf file.")]
    adapter: Annotated[str | None, typer.Option(help="Folder of a PEFT adapter.")] = None
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, mps or auto; default: the best there is.")
    ] = None
    dtype: Annotated[
        Dtype | None, typer.Option(help="Precision of the weights; default: the model's own.")
    ] = None
    download: Annotated[bool, typer.Option("--download", help="Allow fetching from the hub.")] = False

    def load(self) -> LanguageModel:
        """Load the model."""
        from aitia.models import load_model

        return load_model(
            self.model, adapter=self.adapter, device=self.device, dtype=self.dtype, download=self.download
        )


@dataclass(frozen=True, kw_only=True)
class TunedModelOptions(ModelOptions):
    """The options of a model that is compared with itself without its adapter."""

    adapter: Annotated[str, typer.Option(help="Folder of the PEFT adapter that training made.")] = field()  # type: ignore[assignment]


@dataclass(frozen=True, kw_only=True)
class ScannedOptions:
    """The options that say where the parts of a store are, if they were moved."""

    model: Annotated[str | None, typer.Option(help="The model that was scanned, if it was moved.")] = None
    adapter: Annotated[str | None, typer.Option(help="The adapter that was scanned, if it was moved.")] = None
    data: Annotated[Path | None, typer.Option(help="The data that were scanned, if they were moved.")] = None


@dataclass(frozen=True, kw_only=True)
class RowOptions:
    """The options of rows that a command reads and cuts into tokens."""

    on_error: OnErrorOption = "stop"
    max_length: Annotated[int, typer.Option(help="Longest row in tokens; 0 for the model's context.")] = 0
    truncate: Annotated[
        bool, typer.Option("--truncate", help="Cut longer rows instead of refusing them.")
    ] = False


def answer(value: dict[str, Any], as_json: bool, text: str) -> None:
    """Print the answer: an object for programs, or lines for people."""
    typer.echo(json.dumps(value, sort_keys=True, default=str) if as_json else text)


def left_out(skipped: Iterable[Sequence[str]]) -> list[str]:
    """A line for each row that was left out: its place and the reason."""
    return [f"left out: {place}: {reason}" for place, reason in skipped]


_NOT_GIVEN = (None, 0, "stop", *asdict(ReadingSettings()).values())


def require_used(methods: Sequence[str], **given: object) -> None:
    """Refuse what only the influence methods read, where another method was chosen.

    Args:
        methods: the names of the methods that are chosen, the deciding one first.
        given: name of an option -> its value; empty, zero, `stop`, `auto` and `both` are what it is where it was not
            given.

    Raises:
        AitiaError: an option would be passed over.
    """
    from aitia.attribution.scorers import find_scorer, scorers

    vain = [f"--{name.replace('_', '-')}" for name, value in given.items() if value not in _NOT_GIVEN]
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


def with_settings(kind: type, flags: Mapping[str, str] | None = None) -> Callable[[Command], Command]:
    """Give a command an option for each field of a settings class, in the place of its parameter of that type.

    Types, defaults, bounds, choices and help are those of the class; the command gets the object.

    Args:
        kind: the settings class, the type of one of the command's parameters.
        flags: field -> its option, where it is not the field's name: `--activation`, or `--on/--off` for a field
            that is true or false.

    Returns:
        A decorator of commands.
    """
    return _with_group(
        kind, {each.name: _option(each, (flags or {}).get(each.name)) for each in described(kind)}
    )


def with_options(kind: type) -> Callable[[Command], Command]:
    """Give a command the options of a class whose fields are options, in the place of its parameter of that type.

    Args:
        kind: a dataclass, the type of one of the command's parameters.

    Returns:
        A decorator of commands.
    """
    hints = get_type_hints(kind, include_extras=True)
    return _with_group(
        kind,
        {
            each.name: inspect.Parameter(
                each.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if each.default is MISSING else each.default,
                annotation=hints[each.name],
            )
            for each in fields(kind)
        },
    )


def _with_group(kind: type, options: Mapping[str, inspect.Parameter]) -> Callable[[Command], Command]:
    """Give a command options, field by field, in the place of its parameter of that type."""

    def decorate(command: Command) -> Command:
        signature = inspect.signature(command, eval_str=True)
        place = next(each.name for each in signature.parameters.values() if each.annotation is kind)
        names = {option.name: field for field, option in options.items()}

        @wraps(command)
        def run(**given: Any) -> Any:
            made = {field: _as_tuple(given.pop(name)) for name, field in names.items()}
            return command(**given, **{place: kind(**made)})

        parameters = [
            each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for old in signature.parameters.values()
            for each in (options.values() if old.name == place else [old])
        ]
        return _as_typer_reads(run, signature, parameters)

    return decorate


def _as_typer_reads(
    run: Callable[..., Any], signature: inspect.Signature, parameters: Sequence[inspect.Parameter]
) -> Any:
    """A function that stands for a command, with the parameters that typer is to make options of."""
    del run.__dict__["__wrapped__"]  # or typer would read the command's own parameters
    run.__dict__["__signature__"] = signature.replace(parameters=parameters)
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def _option(setting: Setting, flag: str | None) -> inspect.Parameter:
    """The parameter of a command from which typer makes the option of a field."""
    kind, default = setting.type, setting.default
    if setting.several and get_args(kind)[-1] is Ellipsis:
        # typer takes a choice of several from an Enum alone.
        each: Any = (
            StrEnum(setting.name, {word: word for word in setting.choices})
            if setting.choices
            else get_args(kind)[0]
        )
        kind = list[each]
        default = default if default is MISSING else [each(value) for value in default]
    flag = flag or "--" + setting.name.replace("_", "-")
    said = f"{setting.help} Repeatable." if setting.several and kind is not setting.type else setting.help
    bounds = {type(each): each.limit for each in setting.bounds}
    if setting.several or not {*bounds} <= {AtLeast, AtMost}:  # which typer can neither show nor keep
        said += f" Must be {setting.range}." if bounds else ""
        bounds = {}
    option = typer.Option(flag, min=bounds.get(AtLeast), max=bounds.get(AtMost), help=said)
    return inspect.Parameter(
        flag.split("/")[0].removeprefix("--").replace("-", "_"),
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if default is MISSING else default,
        annotation=Annotated[kind, option],
    )


def _as_tuple(value: Any) -> Any:
    """What typer gives for a field, as the field has it."""
    if not isinstance(value, list):
        return value
    return tuple(str(each) if isinstance(each, str) else each for each in value)


with_engine = with_settings(
    Engine, {"name": "--engine", "cpus": "--cpus-per-worker", "gpus": "--gpus-per-worker"}
)
"""Gives a command the options of its `Engine`."""
with_damping = with_settings(Damping, {"value": "--damping", "unit": "--damping-unit"})
"""Gives a command the options of its `Damping`."""
with_model = with_options(ModelOptions)
"""Gives a command the options of a model that it loads."""
with_scanned = with_options(ScannedOptions)
"""Gives a command the options of a store's parts."""
with_rows = with_options(RowOptions)
"""Gives a command the options of rows that it reads."""
