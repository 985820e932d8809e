"""Progress on long work, always on standard error, so that standard output stays the answer."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int], None]
"""A function that takes the number of units just finished."""


@contextmanager
def progress_bar(title: str, total: int, *, done: int = 0, unit: str = "rows") -> Iterator[Advance]:
    """Show a bar with count, share, time passed and time left while the block runs.

    Drawn only when standard error is a terminal; otherwise one line when the work starts and one when
    it ends. `AITIA_PROGRESS=0` turns both off.

    Args:
        title: what is being done.
        total: units of work in all.
        done: units that were finished before, as after a resume.
        unit: what is counted.

    Yields:
        A function to call with the number of units just finished.
    """
    if os.environ.get("AITIA_PROGRESS") == "0":
        yield lambda _units: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    if not console.is_terminal:
        console.print(f"{title}: {total - done} of {total} {unit} to do", highlight=False, markup=False)
        yield lambda _units: None
        console.print(f"{title}: done", highlight=False, markup=False)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(title, total=total, completed=done)
        yield lambda units: progress.advance(task, units)


def note(text: str) -> None:
    """Say one line about the work on standard error; `AITIA_PROGRESS=0` turns it off."""
    if os.environ.get("AITIA_PROGRESS") != "0":
        sys.stderr.write(f"{text}\n")


def warn(text: str) -> None:
    """Say one line on standard error that nobody may miss."""
    sys.stderr.write(f"aitia: {text}\n")


def quiet_libraries() -> None:
    """Keep other libraries' bars and notices off the screen; to be called before they are imported."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
