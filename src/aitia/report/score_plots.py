"""The report's figures as plain plotly data; they hold numbers only, never text from the training data."""

from __future__ import annotations

from typing import Any

import numpy as np

SCATTER_LIMIT = 5_000
"""Most points that the scatter shows."""

LABELLED = "#b5408f"
OTHER = "#8b929c"

AXIS = {
    "showline": False,
    "ticks": "outside",
    "ticklen": 6,
    "tickcolor": "rgba(0,0,0,0)",
    "automargin": True,
    "zeroline": False,
    "fixedrange": False,
}
LAYOUT = {
    "paper_bgcolor": "rgba(0,0,0,0)",
    "plot_bgcolor": "rgba(0,0,0,0)",
    "margin": {"l": 8, "r": 8, "t": 34, "b": 8},
    "font": {"family": "system-ui, sans-serif", "size": 13},
    "legend": {"orientation": "h", "x": 0, "y": 1.02, "xanchor": "left", "yanchor": "bottom"},
    "hoverlabel": {"font": {"family": "system-ui, sans-serif", "size": 13}},
    "hovermode": "closest",
    "bargap": 0.06,
}


def histogram(scores: np.ndarray, labels: np.ndarray | None = None) -> dict[str, Any]:
    """The distribution of scores: counts, or where labels are given the percentage of either group.

    Args:
        scores: [n] finite.
        labels: [n] bool.

    Returns:
        `data` and `layout` for plotly.
    """
    edges = _edges(scores)
    centres, widths = (edges[:-1] + edges[1:]) / 2, np.diff(edges)
    groups = (
        [("other rows", OTHER, ~labels), ("labelled rows", LABELLED, labels)] if labels is not None else []
    )
    data = []
    for name, colour, members in groups or [("rows", OTHER, np.ones(len(scores), dtype=bool))]:
        counts = np.histogram(scores[members], bins=edges)[0]
        share = 100 * counts / max(counts.sum(), 1)
        data.append(
            {
                "type": "bar",
                "name": name,
                "x": centres.tolist(),
                "y": (share if groups else counts).tolist(),
                "width": (0.94 * widths).tolist(),
                "customdata": np.stack([edges[:-1], edges[1:], counts], axis=1).tolist(),
                "hovertemplate": "%{customdata[2]:,} " + name + "<br>from %{customdata[0]:.3g} to "
                "%{customdata[1]:.3g}<extra></extra>",
                "marker": {"color": colour, "opacity": 0.72 if groups else 0.9, "line": {"width": 0}},
            }
        )
    zero = {
        "type": "line",
        "x0": 0,
        "x1": 0,
        "yref": "paper",
        "y0": 0,
        "y1": 1,
        "line": {"dash": "dot", "width": 1.5},
    }
    layout = {
        **LAYOUT,
        "barmode": "overlay",
        "height": 320,
        "showlegend": bool(groups),
        "shapes": [zero] if edges[0] <= 0 <= edges[-1] else [],
        "xaxis": {**AXIS, "title": {"text": "score"}, "showgrid": False},
        "yaxis": {**AXIS, "title": {"text": "% of the group" if groups else "rows"}, "rangemode": "tozero"},
    }
    return {"data": data, "layout": layout}


def scatter(
    scores: np.ndarray,
    response_tokens: np.ndarray,
    row_numbers: np.ndarray,
    labels: np.ndarray | None = None,
) -> dict[str, Any]:
    """Score against response length, one point a row, at most `SCATTER_LIMIT` points.

    Args:
        scores: [n] finite.
        response_tokens: [n].
        row_numbers: [n] shown when a point is pointed at.
        labels: [n] bool.

    Returns:
        `data` and `layout` for plotly.
    """
    shown = np.arange(len(scores))
    if len(scores) > SCATTER_LIMIT:
        shown = np.sort(np.random.default_rng(0).choice(len(scores), SCATTER_LIMIT, replace=False))
    groups = [("rows", OTHER, shown)]
    if labels is not None:
        groups = [
            ("other rows", OTHER, shown[~labels[shown]]),
            ("labelled rows", LABELLED, shown[labels[shown]]),
        ]
    data = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": name,
            "x": response_tokens[members].tolist(),
            "y": scores[members].tolist(),
            "customdata": row_numbers[members].tolist(),
            "hovertemplate": "row %{customdata}<br>%{x} response tokens<br>score %{y:.3g}<extra></extra>",
            "marker": {"color": colour, "size": 7 if len(shown) <= 1000 else 5, "opacity": 0.62},
        }
        for name, colour, members in groups
    ]
    zero = {
        "type": "line",
        "y0": 0,
        "y1": 0,
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "line": {"dash": "dot", "width": 1.5},
    }
    layout = {
        **LAYOUT,
        "height": 380,
        "showlegend": labels is not None,
        "shapes": [zero] if scores.min() <= 0 <= scores.max() else [],
        "xaxis": {
            **AXIS,
            "title": {"text": "response length (tokens)"},
            "rangemode": "tozero",
            "showgrid": False,
        },
        "yaxis": {**AXIS, "title": {"text": "score"}},
    }
    return {"data": data, "layout": layout}


def _edges(scores: np.ndarray) -> np.ndarray:
    """Edges of 20 to 80 bins over the whole range, by the rule of Freedman and Diaconis."""
    width = 2 * np.subtract(*np.percentile(scores, [75, 25])) / len(scores) ** (1 / 3)
    span = np.ptp(scores)
    bins = int(np.clip(np.ceil(span / width), 20, 80)) if width > 0 else 20
    return np.histogram_bin_edges(scores, bins=bins)
