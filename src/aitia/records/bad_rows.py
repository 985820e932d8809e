"""Rows that cannot be used: what they are, and how a reader stops at them or leaves them out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aitia.errors import AitiaError, RecordError

OnError = Literal["stop", "skip"]
"""What a reader does at a row that cannot be used."""
SHOWN_ROWS = 5


@dataclass(frozen=True, slots=True)
class SkippedRow:
    """A row that was left out.

    Attributes:
        location: where it stands, as in `Record.location`.
        reason: what is wrong with it.
        row: its 0-based position in the source, as in `Record.row`.
    """

    location: str
    reason: str
    row: int


def some_of(items: Collection[str], separator: str) -> str:
    """The first few items joined, and how many more there are."""
    shown = list(items)[:SHOWN_ROWS]
    more = len(items) - len(shown)
    return separator.join([*shown, f"and {more} more"] if more else shown)


def shorten(text: str, limit: int = 80) -> str:
    """A text on one line, in quotes, cut where it is long: for messages."""
    line = " ".join(text.split())
    return repr(line if len(line) <= limit else line[: limit - 1] + "…")


def settle_bad_rows(source: Path | str, bad: Sequence[SkippedRow], rows: int, on_error: OnError) -> None:
    """Raise one error that lists the first of the bad rows, unless they are to be skipped.

    Args:
        source: what was read, for the message.
        bad: the rows that cannot be used.
        rows: how many rows there are, the bad ones among them.
        on_error: `stop` raises if there are bad rows; `skip` does not.

    Raises:
        RecordError: with the place and the reason of the first rows, the count, and the mend.
        AitiaError: `on_error` is neither.
    """
    if on_error not in ("stop", "skip"):
        raise AitiaError(f"on_error {on_error!r}: choose stop or skip")
    if bad and on_error == "stop":
        listed = some_of([f"{row.location}: {row.reason}" for row in bad], "\n  ")
        raise RecordError(
            f"{source}: {len(bad)} of {rows} rows cannot be used:\n  {listed}\n"
            "Mend them, or take them out; `on_error=skip` leaves them out."
        )
