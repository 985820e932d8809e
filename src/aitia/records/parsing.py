"""One row of a source, checked: which shape it has, and what is wrong with it if it has none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Literal

from aitia.errors import RecordError
from aitia.records.shapes.columns import filled
from aitia.records.shapes.preferences import one_side
from aitia.records.shapes.registry import shape_of
from aitia.records.shapes.shape import Shape
from aitia.records.values import described
from aitia.settings import check

ShapeChoice = Literal[
    "auto", "mixed", "preference", "messages", "sharegpt", "kto", "prompt-completion", "text", "alpaca"
]
SideChoice = Literal["both", "chosen", "rejected"]

# Columns that say by token what is trained on.
_MASKS = ("loss_mask", "completion_mask", "assistant_masks")
LOSS_COLUMNS = ("weight", "weights", "sample_weight", "loss_weight", "advantage", "reward")
"""Columns by which some trainers change a row's loss; where no loss reads them, they are named when data are read."""


@dataclass(frozen=True, kw_only=True)
class ReadingSettings:
    """How the rows of training data are read.

    Attributes:
        shape: shape of the rows. auto recognises it by the columns of the first row and refuses rows of another
            one; mixed recognises it row by row.
        side: side of a preference pair that a row stands for. both keeps the pair, for a loss of pairs; chosen or
            rejected makes it a prompt with that completion.
    """

    shape: ShapeChoice = "auto"
    side: SideChoice = "both"

    def __post_init__(self) -> None:
        check(self, "reading", RecordError)

    @property
    def said(self) -> dict[str, str]:
        """What differs from the defaults, to be kept with what is made from the rows."""
        usual = ReadingSettings()
        return {name: value for name, value in vars(self).items() if value != getattr(usual, name)}


def parse_row(row: Any, reading: ReadingSettings) -> tuple[Shape, dict[str, Any]]:
    """The shape of a row, and the fields of a `Record` that it gives, `id`, `row` and `location` excepted.

    Columns that the shape does not use, those of another shape among them, go to `extra`. A column that is None
    counts as absent.

    Returns:
        The shape, and field -> value.

    Raises:
        RecordError: the reason alone, without the place.
    """
    if not isinstance(row, Mapping):
        raise RecordError(f"a row must be an object with named columns, not {described(row)}")
    given = {name: value for name, value in row.items() if value is not None}
    shape = shape_of(given, reading.shape)
    for column in _MASKS:
        if given.get(column) not in (None, "", [], ()):
            raise RecordError(
                f"has the column `{column}`, which is not supported: it marks what is trained on by token; mark "
                "turns by `train` true or false instead"
            )
    used, fields = shape.read(given)
    if reading.side != "both" and "rejected" in fields:
        fields = one_side(fields, reading.side)
        used = used - {"chosen", "rejected"} | {reading.side}
    return shape, fields | {
        "extra": {name: value for name, value in row.items() if name not in {*used, "id"}}
    }


class RowsAlike:
    """Reads rows one after the other, and refuses one of another shape than the first unless shapes may be mixed."""

    def __init__(self, settings: ReadingSettings):
        self.settings = settings
        self._first: tuple[Shape, str] | None = None

    def parse(self, row: Any, location: str) -> tuple[Shape, dict[str, Any]]:
        """The shape of the next row, and the fields that it gives (see `parse_row`).

        Args:
            row: its content.
            location: its place, for messages about later rows.

        Returns:
            The shape, and field -> value.

        Raises:
            RecordError: the reason alone, without the place.
        """
        shape, fields = parse_row(row, self.settings)
        first, where = self._first = self._first or (shape, location)
        if self.settings.shape == "auto" and shape is not first:
            raise RecordError(
                f"has the shape {shape.name} ({shape.title}), but {where} has {first.name} ({first.title}); give data "
                "of one shape, or have each row read by its own: `shape=mixed`"
            )
        return shape, fields


def parse_id(value: Any) -> str | None:
    """The id that a row gives itself; None if it gives none.

    Returns:
        The id, or None.

    Raises:
        RecordError: it is neither a string nor a whole number.
    """
    if value is None:
        return None
    if isinstance(value, Integral) and not isinstance(value, bool):
        return str(int(value))
    if not isinstance(value, str):
        raise RecordError(f"`id` must be a string or a whole number, not {described(value)} ({value!r:.40})")
    return filled(value, "id")
