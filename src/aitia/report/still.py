"""Still pictures of figures, drawn by matplotlib: SVG for documentation.

Text becomes outlines, so that a picture looks the same everywhere; the same figure gives the same bytes. Needs
matplotlib, which aitia itself does not depend on.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from aitia.errors import AitiaError
from aitia.files import atomic_path
from aitia.report.figures import AgreementFigure, BarFigure, CurveFigure, Figure
from aitia.report.line_styles import COLOURS, GREYS, line_styles
from aitia.report.text import cut, fixed, visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

_INK = "#1d2127"
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 9,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": GREYS[1],
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "hatch.linewidth": 0.7,
    "svg.fonttype": "path",
    "svg.hashsalt": "aitia",
    "text.parse_math": False,
}
_LABEL_LIMIT = 60
_LINE = 0.165  # height of a label's line in inches


def write_svg(figure: Figure, path: Path | str) -> Path:
    """Draw a figure into an SVG file, whole or not at all.

    Args:
        figure: what to draw.
        path: the file; missing folders are made, an existing file is replaced.

    Returns:
        The file.

    Raises:
        AitiaError: matplotlib is not installed.
    """
    return _write(figure, path, "svg", metadata={"Date": None, "Title": visible(figure.title)})


def write_png(figure: Figure, path: Path | str, *, dots_per_inch: int = 144) -> Path:
    """Draw a figure into a PNG file; see `write_svg`."""
    return _write(figure, path, "png", dpi=dots_per_inch)


def spread_apart(positions: Sequence[float], gap: float, low: float, high: float) -> np.ndarray:
    """Move positions as little as can be (least squares) so that any two are `gap` apart, within bounds.

    With the positions in order and gap * i taken from the i-th, this is isotonic regression.

    Returns:
        [n] in the order of `positions`. Where there is no room for all, they start at `low`.
    """
    from scipy.optimize import isotonic_regression

    wanted = np.asarray(positions, dtype=float)
    order = np.argsort(wanted, kind="stable")
    steps = gap * np.arange(len(wanted))
    found = np.asarray(isotonic_regression(wanted[order] - steps).x)
    placed = np.empty_like(wanted)
    placed[order] = np.clip(found, low, max(low, high - (steps[-1] if len(steps) else 0))) + steps
    return placed


def _write(figure: Figure, path: Path | str, kind: str, **options: Any) -> Path:
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure as Drawing
    except ImportError as error:
        raise AitiaError("still pictures need matplotlib: pip install matplotlib") from error
    with rc_context(_STYLE):
        drawing = Drawing()
        match figure:
            case CurveFigure():
                _draw_curves(drawing, figure)
            case BarFigure():
                _draw_bars(drawing, figure)
            case AgreementFigure():
                _draw_agreement(drawing, figure)
        with atomic_path(path) as temporary:
            drawing.savefig(
                temporary, format=kind, facecolor="white", bbox_inches="tight", pad_inches=0.12, **options
            )
    return Path(path)


class _End(NamedTuple):
    """Where a line ends, what it is called, and how it looks in matplotlib's words."""

    x: float
    y: float
    label: str
    look: dict[str, Any]


def _draw_curves(drawing: Drawing, figure: CurveFigure) -> None:
    """Each line's label stands at its right end, moved up or down where two would touch."""
    named = len(figure.curves) + len(figure.references)
    height = max(3.4, _LINE * named + 0.2)
    drawing.set_size_inches(5.4, height)
    axes = drawing.add_axes((0, 0, 1, 1))
    ends: list[_End] = []
    last = max(float(curve.x[-1]) for curve in figure.curves)
    first = min(float(curve.x[0]) for curve in figure.curves)
    for reference, dash in zip(figure.references, [":", (0, (9, 3))] * len(figure.references), strict=False):
        look = {"color": GREYS[0], "linestyle": dash, "linewidth": 1}
        axes.axhline(reference.value, zorder=1, **look)
        ends.append(_End(last, reference.value, reference.label, look))
    styles = line_styles([curve.baseline for curve in figure.curves])
    for curve, style in zip(figure.curves, styles, strict=True):
        depth = 2 if curve.baseline else 3
        if len(curve.low):
            axes.fill_between(
                curve.x,
                curve.low,
                curve.high,
                color=style.colour,
                alpha=0.1 if curve.baseline else 0.18,
                linewidth=0,
                zorder=depth,
            )
        look = {
            "color": style.colour,
            "linestyle": style.dash[0],
            "linewidth": 1.1 if curve.baseline else 1.9,
            "marker": style.marker[0],
            "markersize": 4.5,
            "markerfacecolor": "white" if curve.baseline else style.colour,
        }
        axes.plot(curve.x, curve.y, zorder=depth + 0.5, **look)
        ends.append(_End(float(curve.x[-1]), float(curve.y[-1]), curve.label, look))
    places = sorted({float(place) for curve in figure.curves for place in curve.x})
    if len(places) <= 12:
        axes.set_xticks(places)
    if figure.x_percent:
        axes.xaxis.set_major_formatter(lambda place, _: f"{100 * place:g}%")
    axes.set_xlim(first - 0.02 * (last - first), last + 0.02 * (last - first or 1))
    axes.grid(axis="y", color="#e7e5df", linewidth=0.7, zorder=0)
    axes.set_xlabel(_wrapped(figure.x_title))
    axes.set_ylabel(_wrapped(figure.y_title))
    _label_ends(axes, ends, height)
    axes.set_title(_wrapped(figure.title, 70), loc="left", fontweight="bold", pad=10)


def _label_ends(axes: Axes, ends: Sequence[_End], height: float) -> None:
    """A thin line from each end to a sample of the line, and the label beside it."""
    low, high = axes.get_ylim()
    places = spread_apart([(end.y - low) / (high - low) for end in ends], _LINE / height, 0.0, 1.0)
    for end, place in zip(ends, places, strict=True):
        axes.annotate(
            "",
            xy=(end.x, end.y),
            xytext=(1.075, place),
            textcoords="axes fraction",
            arrowprops={
                "arrowstyle": "-",
                "color": end.look["color"],
                "linewidth": 0.7,
                "shrinkA": 0,
                "shrinkB": 4,
            },
            annotation_clip=False,
        )
        sample = ([1.075, 1.11, 1.145], [place] * 3)
        axes.plot(*sample, transform=axes.transAxes, clip_on=False, markevery=[1], **end.look)
        axes.text(
            1.16, place, _plain(end.label), transform=axes.transAxes, va="center_baseline", fontsize=8.5
        )
    axes.set_ylim(low, high)


def _draw_bars(drawing: Drawing, figure: BarFigure) -> None:
    drawing.set_size_inches(5.0, 0.32 * len(figure.bars) + 0.25)
    axes = drawing.add_axes((0, 0, 1, 1))
    for row, bar in enumerate(figure.bars):
        colour = GREYS[1] if bar.baseline else COLOURS[0]
        axes.barh(
            row,
            bar.value,
            height=0.62,
            color="white" if bar.baseline else colour,
            edgecolor=colour,
            linewidth=0.9,
            hatch="////" if bar.baseline else None,
            zorder=2,
        )
        end = bar.value
        if bar.low is not None and bar.high is not None:
            axes.errorbar(
                bar.value,
                row,
                xerr=[[bar.value - bar.low], [bar.high - bar.value]],
                color=_INK,
                linewidth=1,
                capsize=2.5,
                zorder=3,
            )
            end = bar.high
        axes.annotate(
            fixed(bar.value, figure.decimals),
            xy=(max(end, 0), row),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            zorder=4,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
        )
    for reference in figure.references:
        axes.axvline(reference.value, color=_INK, linestyle=":", linewidth=1, zorder=1.5)
        axes.annotate(
            _plain(reference.label),
            xy=(reference.value, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color=GREYS[0],
        )
    axes.set_yticks(range(len(figure.bars)), [_plain(bar.label) for bar in figure.bars])
    axes.set_ylim(len(figure.bars) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.axvline(0, color=GREYS[1], linewidth=0.8, zorder=1)
    axes.margins(x=0.1)
    axes.set_xlabel(_wrapped(figure.value_title))
    axes.set_title(
        _wrapped(figure.title, 70), loc="left", fontweight="bold", pad=20 if figure.references else 10
    )


def _draw_agreement(drawing: Drawing, figure: AgreementFigure) -> None:
    """Blue below 0, orange above, each cell with its number; light cells, so that ink stays readable."""
    from matplotlib.colors import LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list("agreement", ["#6f9fd8", "#ffffff", "#f0a35e"])
    size = len(figure.labels)
    drawing.set_size_inches(0.52 * size + 0.2, 0.42 * size + 0.2)
    axes = drawing.add_axes((0, 0, 1, 1))
    values = np.array(figure.values, dtype=float)
    axes.imshow(values, cmap=colours, vmin=-1, vmax=1, aspect="auto")
    for row in range(size):
        for column in range(size):
            axes.text(column, row, fixed(float(values[row, column])), ha="center", va="center", fontsize=8)
    axes.set_xticks(np.arange(size + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(size + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.tick_params(which="both", length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    labels = [_plain(label) for label in figure.labels]
    axes.set_xticks(range(size), labels, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(size), labels)
    axes.set_title(_wrapped(figure.title, 70), loc="left", fontweight="bold", pad=10)


def _plain(label: str) -> str:
    return visible(cut(label, _LABEL_LIMIT)).replace("\n", " ")


def _wrapped(title: str, width: int = 42) -> str:
    return "\n".join(textwrap.wrap(visible(cut(title, 200)), width))
