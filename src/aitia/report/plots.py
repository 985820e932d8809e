"""Curves and bars as plain plotly data for a page, and their numbers as tables."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from aitia.report.document import Table
from aitia.report.line_styles import COLOURS, GREYS, line_styles
from aitia.report.score_plots import AXIS, LAYOUT
from aitia.report.text import cut, fixed, visible

if TYPE_CHECKING:
    from aitia.report.figures import BarFigure, CurveFigure

_LABEL_LIMIT = 80


def plotly_curves(figure: CurveFigure) -> dict[str, Any]:
    """Curves with bands, and horizontal lines of reference: `data` and `layout` for plotly."""
    data: list[dict[str, Any]] = []
    styles = line_styles([curve.baseline for curve in figure.curves])
    for curve, style in zip(figure.curves, styles, strict=True):
        x, name = [float(place) for place in curve.x], _plain(curve.label)
        if len(curve.low):
            data.append(
                {
                    "type": "scatter",
                    "x": x + x[::-1],
                    "y": [float(y) for y in (*curve.high, *reversed(curve.low))],
                    "fill": "toself",
                    "fillcolor": style.colour,
                    "opacity": 0.1 if curve.baseline else 0.18,
                    "line": {"width": 0},
                    "mode": "lines",
                    "hoverinfo": "skip",
                    "showlegend": False,
                    "legendgroup": name,
                }
            )
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": name,
                "legendgroup": name,
                "x": x,
                "y": [float(y) for y in curve.y],
                "line": {
                    "color": style.colour,
                    "dash": style.dash[1],
                    "width": 1.5 if curve.baseline else 2.4,
                },
                "marker": {"symbol": style.marker[1] + ("-open" if curve.baseline else ""), "size": 8},
                "hovertemplate": f"{'%{x:.0%}' if figure.x_percent else '%{x:.3g}'}: %{{y:.3g}}"
                "<extra>%{fullData.name}</extra>",
            }
        )
    edges = [float(place) for curve in figure.curves for place in curve.x]
    for number, reference in enumerate(figure.references):
        data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": _plain(reference.label),
                "x": [min(edges), max(edges)],
                "y": [float(reference.value)] * 2,
                "line": {"color": GREYS[0], "dash": ("dot", "longdash")[number % 2], "width": 1.2},
                "hovertemplate": "%{y:.3g}<extra>%{fullData.name}</extra>",
            }
        )
    places = sorted(set(edges))
    x_axis = {**AXIS, "title": {"text": _plain(figure.x_title)}, "showgrid": False}
    if figure.x_percent:
        x_axis |= {"tickformat": ".0%"}
    if len(places) <= 12:
        x_axis |= {"tickvals": _apart(places, 0.08 * (places[-1] - places[0]))}
    return {
        "data": data,
        "layout": {
            **LAYOUT,
            "height": 400 + 12 * len(data),
            "showlegend": True,
            "xaxis": x_axis,
            "yaxis": {**AXIS, "title": {"text": _plain(figure.y_title)}},
        },
    }


def plotly_bars(figure: BarFigure) -> dict[str, Any]:
    """Bars with intervals, their values written beyond them: `data` and `layout` for plotly."""
    data: list[dict[str, Any]] = []
    for baseline, name in ((False, "methods"), (True, "baselines")):
        bars = [bar for bar in figure.bars if bar.baseline is baseline]
        if not bars:
            continue
        ends = [(bar.low, bar.high) if bar.low is not None else (bar.value, bar.value) for bar in bars]
        data.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": name,
                "y": [_plain(bar.label) for bar in bars],
                "x": [float(bar.value) for bar in bars],
                "error_x": {
                    "type": "data",
                    "symmetric": False,
                    "array": [
                        float((high or 0) - bar.value) for bar, (_, high) in zip(bars, ends, strict=True)
                    ],
                    "arrayminus": [
                        float(bar.value - (low or 0)) for bar, (low, _) in zip(bars, ends, strict=True)
                    ],
                    "color": "#4a4f57",
                    "thickness": 1.4,
                    "width": 4,
                },
                "marker": {
                    "color": GREYS[1] if baseline else COLOURS[0],
                    "line": {"color": GREYS[1] if baseline else COLOURS[0], "width": 1},
                    "pattern": {"shape": "/" if baseline else "", "solidity": 0.3, "size": 6},
                },
                "hovertemplate": "%{y}: %{x:.3f}<extra></extra>",
            }
        )
    places = [max(bar.value if bar.high is None else bar.high, 0.0) for bar in figure.bars]
    data.append(
        {
            "type": "scatter",
            "mode": "text",
            "y": [_plain(bar.label) for bar in figure.bars],
            "x": places,
            "text": [f"  {fixed(bar.value, figure.decimals)}" for bar in figure.bars],
            "textposition": "middle right",
            "hoverinfo": "skip",
            "showlegend": False,
            "cliponaxis": False,
        }
    )
    shapes = [
        {
            "type": "line",
            "yref": "paper",
            "y0": 0,
            "y1": 1,
            "x0": float(reference.value),
            "x1": float(reference.value),
            "line": {"dash": "dot", "width": 1.5},
        }
        for reference in figure.references
    ]
    lowest = min([0.0, *(bar.value if bar.low is None else bar.low for bar in figure.bars)])
    highest = max([*places, *(reference.value for reference in figure.references)])
    room = 0.22 * (highest - lowest or 1)
    title = figure.value_title
    if figure.references:
        named = ", ".join(f"{each.label} {each.value:g}" for each in figure.references)
        title += f" (dotted: {named})"
    return {
        "data": data,
        "layout": {
            **LAYOUT,
            "height": 120 + 30 * len(figure.bars),
            "bargap": 0.35,
            "barmode": "overlay",
            "showlegend": len({bar.baseline for bar in figure.bars}) == 2,
            "shapes": shapes,
            "xaxis": {
                **AXIS,
                "title": {"text": _plain(title, 200)},
                "range": [lowest - (room if lowest < 0 else 0), highest + room],
            },
            "yaxis": {
                **AXIS,
                "type": "category",
                "autorange": "reversed",
                "showgrid": False,
                "categoryorder": "array",
                "categoryarray": [_plain(bar.label) for bar in figure.bars],
            },
        },
    }


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


def _apart(places: list[float], gap: float) -> list[float]:
    """The places, ascending, without those that stand too near to the one before."""
    kept = places[:1]
    for place in places[1:]:
        if place - kept[-1] >= gap:
            kept.append(place)
    return kept


def _plain(label: str, limit: int = _LABEL_LIMIT) -> str:
    """Text that plotly, which reads a little HTML, shows as it stands."""
    return escape(visible(cut(label, limit)), quote=False)
