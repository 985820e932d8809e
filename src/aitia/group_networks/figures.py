"""Pictures of an interpretation as plain plotly data; they hold numbers and names of irreps only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aitia.finite_groups import RealIrrep
from aitia.group_networks.circuits import Circuit, RhoSet
from aitia.group_networks.interpretation import Interpretation
from aitia.group_networks.measures import centred, every_logit, spread

Figure = dict[str, Any]

OTHER = "#8b929c"
PALETTE = ("#3b6fb6", "#b5408f", "#2f8f6b", "#c2731f", "#6a55b0", "#9a3b3b", "#4f8a99", "#7d7a2f")

_AXIS = {"automargin": True, "zeroline": False, "showline": False}
_LAYOUT = {
    "paper_bgcolor": "rgba(0,0,0,0)",
    "plot_bgcolor": "rgba(0,0,0,0)",
    "margin": {"l": 8, "r": 8, "t": 34, "b": 8},
    "font": {"family": "system-ui, sans-serif", "size": 13},
    "legend": {"orientation": "h", "x": 0, "y": 1.02, "xanchor": "left", "yanchor": "bottom"},
    "height": 360,
}


def neurons_by_irrep(interpretation: Interpretation) -> Figure:
    """The weight of the neurons in each irrep, by circuit, with what is in no circuit in grey."""
    names = [irrep.name for irrep in interpretation.irreps]
    carrier = interpretation.shares[0].argmax(axis=0)
    groups = [
        (
            f"{circuit.irrep} on {circuit.left_set.size} x {circuit.right_set.size} points",
            colour,
            circuit.neurons,
        )
        for circuit, colour in zip(
            interpretation.circuits,
            PALETTE * (1 + len(interpretation.circuits) // len(PALETTE)),
            strict=False,
        )
    ]
    rest = np.concatenate([interpretation.unexplained, interpretation.negligible])
    groups.append(("in no circuit", OTHER, rest))
    data = []
    for label, colour, neurons in groups:
        weights = np.bincount(carrier[neurons], interpretation.weights[neurons], minlength=len(names))
        counts = np.bincount(carrier[neurons], minlength=len(names))
        data.append(
            {
                "type": "bar",
                "name": label,
                "x": names,
                "y": (100 * weights).tolist(),
                "customdata": counts.tolist(),
                "hovertemplate": label
                + "<br>%{customdata} neurons, %{y:.1f} % of the weight<extra>%{x}</extra>",
                "marker": {"color": colour},
            }
        )
    layout = {
        **_LAYOUT,
        "barmode": "stack",
        "xaxis": {**_AXIS, "title": {"text": "irreducible representation"}, "type": "category"},
        "yaxis": {**_AXIS, "title": {"text": "% of the neurons' weight"}},
    }
    return {"data": data, "layout": layout}


def points_in_space(rho_set: RhoSet, irrep: RealIrrep) -> np.ndarray:
    """[p, d] the points of the left G-set as vectors of the irrep: alpha is their product with a shared vector.

    They are the orbit of the first left singular vector of (d / n) sum alpha(x^-1 b) rho(x).

    Returns:
        [p, d] float64.
    """
    group, action = rho_set.group, rho_set.left_set
    function = rho_set.alpha[action.permutations[group.inverses, 0]]
    matrix = np.einsum("x,xij->ij", function, irrep.matrices) * irrep.dimension / group.order
    left, sizes, _ = np.linalg.svd(matrix)
    head = left[:, 0] * sizes[0]
    heads = [int(np.flatnonzero(action.permutations[:, 0] == p)[0]) for p in range(action.size)]
    return np.array([irrep.matrices[g] @ head for g in heads])


def rho_set_points(rho_set: RhoSet, irrep: RealIrrep) -> Figure:
    """The points of a rho-set in their first two or three principal coordinates, coloured by alpha."""
    points = points_in_space(rho_set, irrep)
    points = points - points.mean(axis=0)
    dimensions = min(3, irrep.dimension)
    axes = np.linalg.svd(points, full_matrices=False)[2][:dimensions]
    places = points @ axes.T
    if dimensions == 1:
        places = np.concatenate([places, np.zeros_like(places)], axis=1)
    solid = dimensions == 3
    trace = {
        "type": "scatter3d" if solid else "scatter",
        "mode": "markers+text",
        "text": [str(p) for p in range(len(points))],
        "textposition": "top center",
        "marker": {
            "size": 9 if solid else 14,
            "color": rho_set.alpha.tolist(),
            "colorscale": "RdBu",
            "cmid": 0,
            "colorbar": {"title": {"text": "alpha"}},
        },
        "hovertemplate": "point %{text}<br>alpha %{marker.color:.3g}<extra></extra>",
        **{name: places[:, k].tolist() for k, name in zip(range(places.shape[1]), "xyz", strict=False)},
    }
    if solid:
        camera = {"eye": {"x": 1.5, "y": 1.5, "z": 0.9}, "center": {"x": 0, "y": 0, "z": -0.15}}
        layout = {**_LAYOUT, "height": 460, "scene": {"aspectmode": "data", "camera": camera}}
    else:
        layout = {
            **_LAYOUT,
            "xaxis": {**_AXIS, "constrain": "domain"},
            "yaxis": {**_AXIS, "scaleanchor": "x"},
        }
    return {"data": [trace], "layout": layout}


def shared_plane(circuit: Circuit, weights: np.ndarray) -> Figure:
    """The points of a circuit in the plane of its shared vectors, and the direction in which each neuron reads them.

    A neuron's alpha is the projection of the points on its direction; where all directions are one line, there is one
    shared vector.

    Args:
        circuit: the circuit, whose left G-set has at least three points.
        weights: [k] the weight of each of its neurons.

    Returns:
        The figure, for Plotly.
    """
    tables = centred(circuit.left_tables.T)
    units = tables / np.maximum(np.linalg.norm(tables, axis=0), 1e-300)
    axes, sizes, _ = np.linalg.svd(units * np.sqrt(weights), full_matrices=False)
    axes = axes[:, :2] * (
        sizes[:2] > 0.1 * sizes[0]
    )  # with one shared vector, the second axis would be noise
    size = float(np.linalg.norm(axes, axis=1).max())
    directions = units.T @ axes * size
    lines: dict[str, list[float | None]] = {"x": [], "y": []}
    for direction in directions:
        for name, value in zip("xy", direction, strict=True):
            lines[name] += [0.0, float(value), None]
    data = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": "neurons",
            **lines,
            "line": {"color": PALETTE[1], "width": 1},
            "opacity": 0.55,
            "hoverinfo": "skip",
        },
        {
            "type": "scatter",
            "mode": "markers+text",
            "name": "points",
            "x": axes[:, 0].tolist(),
            "y": axes[:, 1].tolist(),
            "text": [str(p) for p in range(len(axes))],
            "textposition": "top center",
            "marker": {"size": 11, "color": PALETTE[0]},
            "hovertemplate": "point %{text}<extra></extra>",
        },
    ]
    layout = {
        **_LAYOUT,
        "height": 420,
        "xaxis": {**_AXIS, "constrain": "domain"},
        "yaxis": {**_AXIS, "scaleanchor": "x"},
    }
    return {"data": data, "layout": layout}


def logit_error(interpretation: Interpretation) -> Figure:
    """For each input the largest difference between a logit and the sum of all rho-sets."""
    network = interpretation.network
    difference = every_logit(network) - spread(network.group, interpretation.ideal_logits)
    difference -= difference.mean(axis=(0, 1))  # what depends on the answer alone is the bias's
    difference -= difference.mean(axis=2, keepdims=True)
    data = [
        {
            "type": "heatmap",
            "z": np.abs(difference).max(axis=2).round(4).tolist(),
            "colorscale": "Viridis",
            "colorbar": {"title": {"text": "error"}},
            "hovertemplate": "left %{y}, right %{x}<br>error %{z:.3g}<extra></extra>",
        }
    ]
    layout = {
        **_LAYOUT,
        "height": 460,
        "xaxis": {**_AXIS, "title": {"text": "right factor"}, "constrain": "domain"},
        "yaxis": {**_AXIS, "title": {"text": "left factor"}, "scaleanchor": "x", "autorange": "reversed"},
    }
    return {"data": data, "layout": layout}


def right_logits(interpretation: Interpretation) -> Figure:
    """How the right answer's logit is spread over all inputs: as trained, and with neurons exact on cosets.

    A bi-equivariant network has one value; that of the sum of all rho-sets is the dotted line.

    Returns:
        The figure, for Plotly.
    """
    group = interpretation.network.group
    x, y = np.ogrid[: group.order, : group.order]
    data = []
    for name, colour, network in (
        ("trained", PALETTE[0], interpretation.network),
        ("neurons made exact on cosets", PALETTE[1], interpretation.coset_network),
    ):
        values = every_logit(network)[x, y, group.table].ravel()
        counts, edges = np.histogram(values, bins=60, range=_wide_enough(values))
        data.append(
            {
                "type": "bar",
                "name": name,
                "x": ((edges[1:] + edges[:-1]) / 2).tolist(),
                "y": counts.tolist(),
                "width": np.diff(edges).tolist(),
                "marker": {"color": colour, "opacity": 0.7, "line": {"width": 0}},
                "hovertemplate": "%{y:,} inputs at %{x:.3g}<extra>" + name + "</extra>",
            }
        )
    ideal = interpretation.ideal_logits
    line = float(ideal[group.identity] - ideal.mean())
    layout = {
        **_LAYOUT,
        "barmode": "overlay",
        "bargap": 0,
        "xaxis": {**_AXIS, "title": {"text": "right answer's logit above the input's mean"}},
        "yaxis": {**_AXIS, "title": {"text": "inputs"}},
        "shapes": [
            {
                "type": "line",
                "x0": line,
                "x1": line,
                "yref": "paper",
                "y0": 0,
                "y1": 1,
                "line": {"dash": "dot"},
            }
        ],
    }
    return {"data": data, "layout": layout}


def _wide_enough(values: np.ndarray) -> tuple[float, float]:
    """The range of some values; where they are all the same but for rounding, a little around them."""
    low, high = float(values.min()), float(values.max())
    least = 1e-6 * max(abs(low), abs(high), 1.0)
    return (low, high) if high - low > least else (low - least, high + least)


def learning_curve(curve: Mapping[str, Sequence[float]]) -> Figure:
    """Accuracy on training inputs and on the others, and the other's loss, against steps."""
    lines = {
        "accuracy on training inputs": ("train_accuracy", PALETTE[0], "y"),
        "accuracy on other inputs": ("test_accuracy", PALETTE[1], "y"),
        "loss on other inputs": ("test_loss", OTHER, "y2"),
    }
    data = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": name,
            "x": list(curve["step"]),
            "y": list(curve[key]),
            "yaxis": axis,
            "line": {"color": colour},
        }
        for name, (key, colour, axis) in lines.items()
    ]
    layout = {
        **_LAYOUT,
        "xaxis": {**_AXIS, "title": {"text": "step"}},
        "yaxis": {**_AXIS, "title": {"text": "accuracy"}, "range": [0, 1.03]},
        "yaxis2": {
            **_AXIS,
            "title": {"text": "loss"},
            "overlaying": "y",
            "side": "right",
            "type": "log",
            "dtick": 1,
            "exponentformat": "power",
            "showgrid": False,
        },
    }
    return {"data": data, "layout": layout}
