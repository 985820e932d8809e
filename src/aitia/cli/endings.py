"""How a command ends: with an exit status, and where it does not finish with one message, never a traceback."""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from aitia.errors import AitiaError, CertificateError, is_out_of_memory, reason_of

if TYPE_CHECKING:
    from pathlib import Path

_GO_ON = "run the same command again to go on"
# What is true after a stop of the commands that keep what they have done; their help says so too.
AFTER_A_STOP = {
    "scan": _GO_ON,
    "fit-curvature": _GO_ON,
    "attribute": _GO_ON,
    "demo": _GO_ON,
    "counterfactual": _GO_ON,
    "train": _GO_ON,
    "curate": "every training and derivative that was made is kept; " + _GO_ON,
    "network train": _GO_ON,
    "explore": "what was saved is kept; the part of the page's address from # on opens the same view after a new start",
    "push": "the copy is not whole; run the same command again to copy all of it",
}
PARTS = {
    "lm": {
        "datasets",
        "fsspec",
        "peft",
        "plotly",
        "pyarrow",
        "scipy",
        "sklearn",
        "torch",
        "transformers",
        "xxhash",
        "yaml",
    },
    "groups": {"plotly", "scipy", "torch"},
    "explore": {"starlette", "uvicorn"},
}
"""What a part of the installation brings, as it is imported; pyproject.toml has the same, as it is installed."""
_PART_OF = {"network": "groups", "prove": "groups", "explore": "explore"}
_WITH_LM = ("explore",)
_READER_GONE = 141
_SETTING = re.compile(r"`([a-z]+(?:_[a-z]+)*)(?:=([^`\s]+))?`")


def run(arguments: Sequence[str]) -> int:
    """Run a command line, say on standard error what kept it from finishing, and give its exit status.

    Args:
        arguments: without the program's name.

    Returns:
        The exit status; see `aitia.cli`.
    """
    signals: list[int] = []
    with _stopped_by_signals(signals):
        try:
            _invoke(arguments)
            _flush()
        except BaseException as error:
            if signals or isinstance(error, KeyboardInterrupt):
                return _stopped(arguments, signals[0] if signals else signal.SIGINT)
            return _ended(error, arguments)
    return 0


def name_of(arguments: Sequence[str]) -> str:
    """The command that a command line runs: `scan`, `concept fit`; "" for none."""
    words: list[str] = []
    command: Any = _root()
    for word in arguments:
        command = getattr(command, "commands", {}).get(word)
        if command is None:
            break
        words.append(word)
    return " ".join(words)


def in_options(message: str, arguments: Sequence[str]) -> str:
    """A message with the settings that it names in backquotes, `max_length`, as options of the command that runs.

    The library names settings as its functions and configurations have them. Where the command has no such
    option they stay as they are.

    Returns:
        The message, for people at a command line.
    """
    command: Any = _root()
    for word in name_of(arguments).split():
        command = command.commands[word]
    options = {name for parameter in command.params for name in parameter.opts}

    def replaced(found: re.Match[str]) -> str:
        option = f"--{found[1].replace('_', '-')}"
        if option not in options:
            return found[0]
        return option if found[2] is None else f"{option} {found[2]}"

    return _SETTING.sub(replaced, message)


@cache
def _root() -> Any:
    from typer.main import get_command

    from aitia.cli.commands import app
    from aitia.cli.places import keep_apart

    root = get_command(app)
    keep_apart(root)
    return root


def _invoke(arguments: Sequence[str]) -> None:
    from aitia.cli.options import COMPLETING
    from aitia.engine import quiet_libraries

    quiet_libraries()
    command = _root()
    asked = os.environ.get(COMPLETING)
    if asked:
        from typer.completion import completion_init, shell_complete  # type: ignore[attr-defined]

        completion_init()
        sys.exit(shell_complete(command, {}, "aitia", COMPLETING, asked))
    # Not `command.main`, which says nothing on Ctrl-C.
    with command.make_context("aitia", list(arguments)) as context:
        command.invoke(context)


def _ended(error: BaseException, arguments: Sequence[str]) -> int:
    """Say what an error means, and give its exit status."""
    status = getattr(error, "exit_code", None)
    if isinstance(status, int):  # typer's own: an exit, or wrong usage, which it words itself
        show = getattr(error, "show", None)
        if show is not None:
            show()
        return status
    if isinstance(error, SystemExit):
        if isinstance(error.__context__, BrokenPipeError):  # rich's way of ending
            return _READER_GONE
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    if isinstance(error, AitiaError):
        _say(in_options(str(error), arguments))
        return 1 if isinstance(error, CertificateError) else 2
    if isinstance(error, BrokenPipeError):
        _abandon_output()
        return _READER_GONE
    if is_out_of_memory(error) or getattr(error, "errno", None) == errno.ENOMEM:
        fewer = in_options("lower `max_batch_tokens`, use a smaller model, or a machine with more", arguments)
        _say(f"memory does not suffice ({reason_of(error, 200)}); {fewer}")
        return 2
    if isinstance(error, ModuleNotFoundError) and (lacking := missing_part(error.name or "", arguments)):
        _say(lacking)
        return 2
    doing = "aitia"
    with suppress(Exception):  # the commands themselves may be what is broken
        doing = name_of(arguments) or doing
    if isinstance(error, OSError) and error.errno is not None:
        from aitia.files import in_words

        _say(f"{error.filename or doing!s:.300}: {in_words(error)}")
        return 2
    from aitia.cli.faults import write_fault

    _say(f"{doing} failed: {type(error).__name__}: {reason_of(error)} ({write_fault(error, arguments)})")
    return 3


def missing_part(module: str, arguments: Sequence[str]) -> str:
    """What to install for a command that a module is missing for, in words; "" where no part brings the module.

    Args:
        module: as it is imported, `sklearn.metrics`.
        arguments: of the command line.

    Returns:
        What the command needs, and the command that installs it; or "".
    """
    package, command = module.split(".")[0], name_of(arguments)
    part = _PART_OF.get(command.split(" ")[0], "lm")
    if package not in PARTS[part] | (PARTS["lm"] if part in _WITH_LM else set()):
        return ""
    return f"`aitia {command}` needs {package}, which is not installed: pip install 'aitia[{part}]'"


def _stopped(arguments: Sequence[str], number: int) -> int:
    by = "" if number == signal.SIGINT else f" by {signal.Signals(number).name}"
    # What follows takes no time; a second Ctrl-C shall end it all the same, without a word.
    with suppress(ValueError):  # only the main thread may
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    _say(f"stopped{by}; {_after_a_stop(arguments)}")
    return 128 + number


def _after_a_stop(arguments: Sequence[str]) -> str:
    from aitia.files import written

    for words in (2, 1):
        known = AFTER_A_STOP.get(" ".join(arguments[:words]))
        if known is not None:
            return known
    files: tuple[Path, ...] = written()
    if not files:
        return "nothing was written"
    shown = ", ".join(map(str, files[-3:]))
    return f"what was written is whole: {shown}{', and others' * (len(files) > 3)}"


def _say(text: str) -> None:
    with suppress(OSError, ValueError, AttributeError):  # nobody is there to hear it
        sys.stderr.write(f"aitia: {text}\n")
        sys.stderr.flush()


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def _abandon_output() -> None:
    """Throw away what waits to be written to standard output, lest Python complain of it at its end."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


@contextmanager
def _stopped_by_signals(received: list[int]) -> Iterator[None]:
    """Let SIGINT and SIGTERM raise `KeyboardInterrupt`, so that what was begun is tidied up, and note which came."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _frame: object) -> None:
        received.append(number)
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        if handler in (signal.SIG_DFL, signal.default_int_handler):  # `nohup` and the like are heeded
            signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is stop:
                signal.signal(number, handler)
