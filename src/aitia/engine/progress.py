"""Progress on long work, always on standard error, so that standard output stays the answer."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

FIRST_LINE = 10.0
"""Seconds of work after which the first line without a terminal comes; each next distance is twice the last."""
LONGEST_SILENCE = 600.0
"""Seconds between two such lines, at most."""

Advance = Callable[[int], None]
"""A function that takes the number of units just finished."""


@contextmanager
def progress_bar(title: str, total: int, *, done: int = 0, unit: str = "rows") -> Iterator[Advance]:
    """Show a bar with count, share, time passed and time left while the block runs.

    Drawn only when standard error is a terminal. Otherwise there is a line when the work starts and one when it ends.
    In between a line says how much is done, how fast, and what time is left: the first after 10 seconds, then with
    distances that double up to 10 minutes. `AITIA_PROGRESS=0` turns all of it off.

    Args:
        title: what is being done.
        total: units of work in all.
        done: units that were finished before, as after a resume.
        unit: what is counted.

    Yields:
        A function to call with the number of units just finished.
    """
    if _is_off():
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
        lines = ProgressLines(title, total, done, unit)
        yield lines.advance
        lines.end()
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


class ProgressLines:
    """Progress as plain lines on standard error, for logs: no control characters, and the fewer the longer it takes."""

    def __init__(
        self, title: str, total: int, done: int, unit: str, clock: Callable[[], float] = time.monotonic
    ):
        """Say what is to do.

        Args:
            title: what is being done.
            total: units of work in all.
            done: units that were finished before.
            unit: what is counted.
            clock: gives the time in seconds.
        """
        self._title, self._total, self._before, self._unit, self._clock = title, total, done, unit, clock
        self._done, self._start, self._distance = done, clock(), FIRST_LINE
        self._next = self._start + FIRST_LINE
        self._say(f"{total - done} of {total} {unit} to do")

    def advance(self, units: int) -> None:
        """Count finished units, and say a line where it is time for one."""
        self._done += units
        now = self._clock()
        if now < self._next or self._done >= self._total:
            return
        self._distance = min(2 * self._distance, LONGEST_SILENCE)
        self._next = now + self._distance
        rate = (self._done - self._before) / (now - self._start)
        left = f", {in_time((self._total - self._done) / rate)} left" if rate else ""
        share = f"{self._done / self._total:.0%}"
        self._say(f"{self._done} of {self._total} {self._unit} ({share}), {rate:.3g} a second{left}")

    def end(self) -> None:
        """Say that the work is done, and how long it took where that was long."""
        took = self._clock() - self._start
        self._say("done" if took < FIRST_LINE else f"done in {in_time(took)}")

    def _say(self, text: str) -> None:
        sys.stderr.write(f"{self._title}: {text}\n")
        sys.stderr.flush()


def in_time(seconds: float) -> str:
    """A time in words: `8 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _is_off() -> bool:
    return os.environ.get("AITIA_PROGRESS") == "0"


@contextmanager
def no_progress() -> Iterator[None]:
    """Show neither progress nor notes while the block runs, here or in processes that it starts."""
    before = os.environ.get("AITIA_PROGRESS")
    os.environ["AITIA_PROGRESS"] = "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ["AITIA_PROGRESS"]
        else:
            os.environ["AITIA_PROGRESS"] = before


def note(text: str) -> None:
    """Say one line about the work on standard error; `AITIA_PROGRESS=0` turns it off."""
    if not _is_off():
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
