"""Every shape of rows, in the order in which they are tried."""

from __future__ import annotations

from aitia.errors import RecordError
from aitia.records.shapes.completions import ALPACA, PROMPT_COMPLETION, TEXT
from aitia.records.shapes.conversations import MESSAGES, SHAREGPT
from aitia.records.shapes.preferences import KTO, PREFERENCE
from aitia.records.shapes.shape import Given, Shape

SHAPES = {
    shape.name: shape for shape in (PREFERENCE, MESSAGES, SHAREGPT, KTO, PROMPT_COMPLETION, TEXT, ALPACA)
}


def shape_of(given: Given, wanted: str) -> Shape:
    """The shape of a row.

    Args:
        given: the row.
        wanted: the name of a shape; any other word recognises it by the columns: the first that fits counts.

    Returns:
        The shape.

    Raises:
        RecordError: the row is not of the shape that is wanted, or of none that is known.
    """
    if wanted in SHAPES:
        shape = SHAPES[wanted]
        if shape.fits(given):
            return shape
        raise RecordError(
            f"is not of the shape {wanted}, which needs {shape.needs}; its columns: {_names(given)}"
        )
    for shape in SHAPES.values():
        if shape.fits(given):
            return shape
    needs = ", or ".join(shape.needs for shape in SHAPES.values())
    raise RecordError(f"is of no known shape; needs {needs}; its columns: {_names(given)}")


def _names(given: Given) -> str:
    return ", ".join(map(str, given)) or "none"
