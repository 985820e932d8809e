"""Markdown tables, and figures as the pages write them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NONE = "–"
"""What stands in a cell that has no figure."""


@dataclass(frozen=True)
class Documented:
    """A table of the docs: the results file, without its ending, and the function that makes it of what lies there."""

    source: str
    make: Callable[[Any], str]


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, without a last newline."""
    lines = [header, *rows]
    first, *rest = ["|" + "|".join(f" {cell} " if cell else " " for cell in line) + "|" for line in lines]
    return "\n".join([first, "|" + "---|" * len(header), *rest])


def decimal(value: float | None, digits: int = 2) -> str:
    """A figure with a minus sign proper."""
    return NONE if value is None else f"{value:.{digits}f}".replace("-", "−")


def percent(value: float, digits: int = 0) -> str:
    return f"{100 * value:.{digits}f} %"


def interval(row: Mapping[str, Any], key: str, digits: int = 2) -> str:
    """`value (low to high)` of the columns key, key_low, key_high; without the interval where there is none."""
    if row.get(key) is None:
        return NONE
    if row.get(f"{key}_low") is None:
        return decimal(row[key], digits)
    low, high = (decimal(row[f"{key}_{end}"], digits) for end in ("low", "high"))
    return f"{decimal(row[key], digits)} ({low} to {high})"


def in_order(names: Iterable[str], order: Sequence[str]) -> list[str]:
    """The names as a page orders them; those that the page does not know yet come last."""
    return sorted(names, key=lambda name: order.index(name) if name in order else len(order))
