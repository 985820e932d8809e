"""What the truth benchmark shows: removal curves, bars with intervals, rank agreement, tables, targets.

Plain data here; `write_truth_report` makes one HTML page of it, `write_svg` a still picture of one figure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aitia.errors import AitiaError, NumericalError
from aitia.files import write_text
from aitia.report.document_figures import plotly_bars, plotly_curves
from aitia.report.page import render_page


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
        values: [m, m], -1 to 1; NaN where there is none.
        note: plain text under the figure.
    """

    title: str
    labels: Sequence[str]
    values: np.ndarray
    note: str = ""

    def __post_init__(self) -> None:
        _require_labels(self.title, self.labels)
        if np.shape(self.values) != (len(self.labels), len(self.labels)):
            raise AitiaError(
                f"{self.title!r}: {len(self.labels)} labels, but a matrix of shape {np.shape(self.values)}"
            )


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of text and numbers; numbers get `decimals` decimals, None a dash."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str | float | None]]
    note: str = ""
    decimals: int = 3

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.header):
                raise AitiaError(
                    f"table {self.title!r}: a row has {len(row)} cells, the header {len(self.header)}"
                )


@dataclass(frozen=True, kw_only=True)
class TargetResult:
    """A goal set beforehand, what was measured, and whether it was met."""

    name: str
    target: str
    value: str
    met: bool


Figure = CurveFigure | BarFigure | AgreementFigure


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page: a heading, plain sentences, and what is shown under them."""

    title: str
    text: str
    parts: Sequence[Figure | Table]


@dataclass(frozen=True, kw_only=True)
class Document:
    """Everything on the benchmark's page.

    Attributes:
        title: the page's title.
        question: the question in one sentence.
        facts: label and value: model, data, seeds and so on.
        sections: in order.
        targets: what was aimed at.
        warnings: plain sentences, shown on top.
        reproduce: commands that make the results again.
    """

    title: str
    question: str
    facts: Sequence[tuple[str, str]]
    sections: Sequence[Section]
    targets: Sequence[TargetResult] = ()
    warnings: Sequence[str] = ()
    reproduce: str = ""


def render_truth_report(report: Document) -> str:
    """The report as one self-contained HTML page; all of its text is shown as text only."""
    figures, sections = {}, []
    for section in report.sections:
        parts = []
        for part in section.parts:
            name = f"figure-{sum(len(each['parts']) for each in sections) + len(parts)}"
            if isinstance(part, CurveFigure):
                figures[name] = plotly_curves(part)
                parts.append({"kind": "figure", "id": name, "part": part, "numbers": curve_table(part)})
            elif isinstance(part, BarFigure):
                figures[name] = plotly_bars(part)
                parts.append({"kind": "figure", "id": name, "part": part, "numbers": bar_table(part)})
            else:
                kind = "table" if isinstance(part, Table) else "agreement"
                parts.append({"kind": kind, "id": name, "part": part, "numbers": None})
        sections.append({"section": section, "parts": parts})
    return render_page("truth.html.j2", figures, report=report, sections=sections)


def write_truth_report(report: Document, path: Path | str) -> Path:
    """Write the page to `path`, whole or not at all."""
    return write_text(path, render_truth_report(report))


def curve_table(figure: CurveFigure) -> Table:
    """The numbers of a figure of curves: one row a curve, one column a place, a dash where it has none."""
    places = sorted({float(x) for curve in figure.curves for x in curve.x})
    rows: list[list[str | float | None]] = []
    for curve in figure.curves:
        at = dict(zip(curve.x, curve.y, strict=True))
        rows.append([curve.label, *(at.get(place) for place in places)])
    rows += [[each.label, *([each.value] * len(places))] for each in figure.references]
    heads = [f"{100 * place:g} %" if figure.x_percent else f"{place:g}" for place in places]
    return Table(title=figure.title, header=[figure.x_title, *heads], rows=rows)


def bar_table(figure: BarFigure) -> Table:
    """The numbers of a figure of bars."""
    return Table(
        title=figure.title,
        header=["", figure.value_title, "from", "to"],
        rows=[[bar.label, bar.value, bar.low, bar.high] for bar in figure.bars],
    )


def _require_finite(name: str, values: Iterable[float]) -> None:
    if not np.isfinite([float(value) for value in values]).all():
        raise NumericalError(f"{name}: a value is not finite; leave the place out")


def _require_labels(title: str, labels: Sequence[str]) -> None:
    if not labels:
        raise AitiaError(f"{title!r}: nothing to draw")
    twice = {label for label in labels if list(labels).count(label) > 1}
    if twice:
        raise AitiaError(f"{title!r}: label {min(twice)!r} stands there twice; give each its own")
