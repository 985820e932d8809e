"""An interpretation as one HTML page that needs no network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from aitia.files import write_text
from aitia.group_networks.figures import (
    Figure,
    learning_curve,
    logit_error,
    neurons_by_irrep,
    rho_set_points,
    right_logits,
    shared_plane,
)
from aitia.group_networks.interpretation import Interpretation
from aitia.group_networks.summary import NetworkSummary, summarise

_STYLE = """
:root { color-scheme: light; --line: #8886; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
.verdict { font-size: 1.1rem; font-weight: 600; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; display: block; overflow-x: auto; }
th, td { text-align: right; padding: .2rem .55rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
.note { opacity: .75; max-width: 46rem; }
"""


def write_page(
    interpretation: Interpretation,
    path: Path | str,
    *,
    summary: NetworkSummary | None = None,
    curve: Mapping[str, Sequence[float]] | None = None,
    title: str | None = None,
) -> Path:
    """Write the page, whole or not at all.

    Args:
        interpretation: what was found.
        path: HTML file.
        summary: its figures, if they are at hand.
        curve: the learning curve, as training wrote it.
        title: heading; the group's name if not given.
    """
    return write_text(path, render_page(interpretation, summary=summary, curve=curve, title=title))


def render_page(
    interpretation: Interpretation,
    *,
    summary: NetworkSummary | None = None,
    curve: Mapping[str, Sequence[float]] | None = None,
    title: str | None = None,
) -> str:
    """The page as text; names from the file are escaped."""
    from plotly.offline import get_plotlyjs

    summary = summary or summarise(interpretation)
    heading = title or f"A network that multiplies in {summary.group}"
    sections: list[tuple[str, str, Figure]] = [
        (
            "Neurons by irreducible representation",
            "Each neuron counts for the product of the norms of its left, right and unembedding weights.",
            neurons_by_irrep(interpretation),
        )
    ]
    irreps = {irrep.name: irrep for irrep in interpretation.irreps}
    if interpretation.rho_sets:
        heaviest = interpretation.rho_sets[0]
        sections.append(
            (
                f"The heaviest rho-set: {heaviest.left_set.size} points in {heaviest.irrep}",
                "The points that the group permutes, in their first coordinates; the colour is what the neurons read.",
                rho_set_points(heaviest, irreps[heaviest.irrep]),
            )
        )
    heaviest_circuit = interpretation.circuits[0] if interpretation.circuits else None
    if heaviest_circuit is not None and summary.circuits[0].shared_dimension > 1:
        sections.append(
            (
                "The plane that its neurons share",
                "The points as the neurons read them. Each line is a neuron, which projects them on its own direction. "
                f"The plane holds {summary.circuits[0].planarity:.1%} of what they read.",
                shared_plane(heaviest_circuit, interpretation.weights[heaviest_circuit.neurons]),
            )
        )
    sections += [
        (
            "Equivariance before and after idealising",
            "A bi-equivariant network gives the right answer the same logit on every input: the dotted line.",
            right_logits(interpretation),
        ),
        (
            "Logit error by input",
            "The largest difference between a logit and the sum of all rho-sets, for each pair of factors.",
            logit_error(interpretation),
        ),
    ]
    if curve is not None:
        sections.append(
            (
                "Learning curve",
                "Training inputs are right long before the others: grokking.",
                learning_curve(curve),
            )
        )
    body = "".join(
        f"<h2>{escape(name)}</h2><p class=note>{escape(note)}</p><div id=figure-{number}></div>"
        for number, (name, note, _) in enumerate(sections)
    )
    figures = json.dumps([figure for _, _, figure in sections]).replace("<", "\\u003c")
    draw = (
        f"const figures = {figures}; figures.forEach((figure, number) => Plotly.newPlot("
        "`figure-${number}`, figure.data, figure.layout, {responsive: true, displayModeBar: false}));"
    )
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; script-src 'unsafe-inline'; "
        "style-src 'unsafe-inline'; img-src data: blob:\">"
        f"<title>{escape(heading)}</title><style>{_STYLE}</style></head><body><h1>{escape(heading)}</h1>"
        f"<p class=verdict>{escape(summary.verdict.capitalize())}.</p>{_facts(summary)}{_circuits(summary)}{body}"
        f"<script>{get_plotlyjs()}</script><script>{draw}</script></body></html>\n"
    )


def _facts(summary: NetworkSummary) -> str:
    rows = {
        "right on all inputs": f"{summary.accuracy:.2%}",
        "neurons (negligible, unexplained)": f"{summary.neurons} ({summary.negligible}, {summary.unexplained})",
        "weight of the unexplained": f"{summary.unexplained_weight:.2%}",
        "irrep sparsity": f"{summary.irrep_sparsity:.3f}",
        "equivariance: left, right, both": f"{summary.left_equivariance:.4f}, {summary.right_equivariance:.4f}, "
        f"{summary.bi_equivariance:.4f}",
        "deviation of the right logit": f"{summary.deviation:.4f}",
        "hidden layer exact: explains": f"{summary.hidden_explains:.3%}",
        "neurons exact on cosets: right, explains": f"{summary.coset_accuracy:.2%}, {summary.coset_explains:.2%}",
        "sum of rho-sets: margin, explains": f"{summary.ideal_margin:.2f}, {summary.ideal_explains:.2%}",
        "weight in complete rho-sets, in shared planes": f"{summary.rho_set_weight:.2%}, {summary.plane_weight:.2%}",
        "numbers in the explanation over the network's": f"{summary.numbers_share:.2%}",
    }
    return _table([], [[name, value] for name, value in rows.items()])


def _circuits(summary: NetworkSummary) -> str:
    head = [
        "irrep",
        "type",
        "points",
        "neurons",
        "weight",
        "pairs",
        "constancy",
        "planarity",
        "uniformity",
        "rank one",
        "unembed",
    ]
    rows: list[list[Any]] = [
        [
            each.irrep,
            each.type,
            f"{each.left_points} x {each.right_points}",
            each.neurons,
            f"{each.weight:.1%}",
            f"{each.pairs} of {each.possible_pairs}",
            f"{each.constancy:.3f}",
            f"{each.planarity:.3f}",
            f"{each.uniformity:.3f}",
            f"{each.rank_one:.3f}",
            f"{each.unembed_structure:.3f}",
        ]
        for each in summary.circuits
    ]
    return "<h2>Circuits</h2>" + (_table(head, rows) if rows else "<p>None.</p>")


def _table(head: list[str], rows: list[list[Any]]) -> str:
    top = f"<tr>{''.join(f'<th>{escape(name)}</th>' for name in head)}</tr>" if head else ""
    body = "".join(f"<tr>{''.join(f'<td>{escape(str(value))}</td>' for value in row)}</tr>" for row in rows)
    return f"<table>{top}{body}</table>"
