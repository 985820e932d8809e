"""Figures as plain data: `render` draws them with plotly on a page, `write_svg` as a still picture."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aitia.errors import AitiaError, NumericalError


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A line with a band around it.

    Attributes:
        label: such as a method's name.
        x: [n] ascending.
        y: [n].
        low: [n] the band's lower edge; empty for no band.
        high: [n] its upper edge.
        baseline: whether it is drawn in the background, as what the others must beat.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    baseline: bool = False

    def __post_init__(self) -> None:
        if not len(self.x) or len(self.x) != len(self.y):
            raise AitiaError(f"curve {self.label!r}: {len(self.x)} places, but {len(self.y)} values")
        if len(self.low) != len(self.high) or len(self.low) not in (0, len(self.y)):
            raise AitiaError(f"curve {self.label!r}: the band's edges and the line differ in length")
        if (np.diff(self.x) <= 0).any():
            raise AitiaError(f"curve {self.label!r}: the places along x must rise")
        _require_finite(f"curve {self.label!r}", [*self.x, *self.y, *self.low, *self.high])


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A value with its interval.

    Attributes:
        label: such as a method's name.
        value: the bar's length.
        low: lower end of the interval; None for no interval.
        high: its upper end.
        baseline: whether it is hatched, as what the others must beat.
    """

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    baseline: bool = False

    def __post_init__(self) -> None:
        if (self.low is None) != (self.high is None):
            raise AitiaError(f"bar {self.label!r}: an interval has two ends")
        ends = (self.low, self.high) if self.low is not None and self.high is not None else ()
        _require_finite(f"bar {self.label!r}", [self.value, *ends])
        if ends and not ends[0] <= self.value <= ends[1]:
            raise AitiaError(
                f"bar {self.label!r}: {self.value} lies outside its interval {ends[0]} to {ends[1]}"
            )


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A straight line to compare with, such as the untouched model or chance."""

    label: str
    value: float


@dataclass(frozen=True, kw_only=True)
class CurveFigure:
    """Curves over one axis; `note` says what the bands are and how many seeds there were.

    Attributes:
        title: what is seen.
        x_title: with the unit.
        y_title: with the unit.
        curves: with different labels.
        references: horizontal lines.
        note: plain text under the figure.
        x_percent: the places along x are shares, shown as percentages.
    """

    title: str
    x_title: str
    y_title: str
    curves: Sequence[Curve]
    references: Sequence[Reference] = ()
    note: str = ""
    x_percent: bool = False

    def __post_init__(self) -> None:
        _require_labels(self.title, [each.label for each in (*self.curves, *self.references)])


@dataclass(frozen=True, kw_only=True)
class BarFigure:
    """Bars from the top down, in the given order.

    Attributes:
        title: what is seen.
        value_title: of the axis, with the unit.
        bars: with different labels.
        references: vertical lines.
        note: plain text under the figure.
        decimals: of the numbers shown.
    """

    title: str
    value_title: str
    bars: Sequence[Bar]
    references: Sequence[Reference] = ()
    note: str = ""
    decimals: int = 2

    def __post_init__(self) -> None:
        _require_labels(self.title, [each.label for each in self.bars])


@dataclass(frozen=True, kw_only=True)
class AgreementFigure:
    """A matrix of rank correlations, such as `aitia.statistics.spearman_matrix` gives.

    Attributes:
        title: what is seen.
        labels: m names.
        values: [m, m], -1 to 1; None or NaN where there is none, kept as None.
        note: plain text under the figure.
    """

    title: str
    labels: Sequence[str]
    values: Sequence[Sequence[float | None]]
    note: str = ""

    def __post_init__(self) -> None:
        if not self.labels:
            raise AitiaError(f"{self.title!r}: nothing to draw")
        matrix = np.array(self.values, dtype=float)
        if matrix.shape != (len(self.labels), len(self.labels)):
            raise AitiaError(
                f"{self.title!r}: {len(self.labels)} labels, but a matrix of shape {matrix.shape}"
            )
        rows = tuple(tuple(x if math.isfinite(x) else None for x in row) for row in matrix.tolist())
        object.__setattr__(self, "values", rows)


@dataclass(frozen=True, kw_only=True)
class PlotlyFigure:
    """A figure that plotly draws as it is given.

    Attributes:
        key: id of the figure's element.
        plot: plotly's `data` and `layout`, as plain JSON.
        title: what is seen; empty where the section's title says so.
        note: plain text under the figure.
        light: whether it is drawn on white on a dark page too: some of what plotly draws, such as the axes of a space,
            takes no colour from the page.
    """

    key: str
    plot: Mapping[str, Any]
    title: str = ""
    note: str = ""
    light: bool = False


Figure = CurveFigure | BarFigure | AgreementFigure
"""What can be drawn as a still picture too."""


def _require_finite(name: str, values: Iterable[float]) -> None:
    if not np.isfinite([float(value) for value in values]).all():
        raise NumericalError(f"{name}: a value is not finite; leave the place out")


def _require_labels(title: str, labels: Sequence[str]) -> None:
    if not labels:
        raise AitiaError(f"{title!r}: nothing to draw")
    twice = {label for label in labels if list(labels).count(label) > 1}
    if twice:
        raise AitiaError(f"{title!r}: label {min(twice)!r} stands there twice; give each its own")
