"""An interpretation as one HTML page that needs no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

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
from aitia.report import Document, PlotlyFigure, Section, Table, write_document

_CIRCUIT_HEAD = (
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
)


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

    Returns:
        The file.
    """
    document = network_document(interpretation, summary=summary, curve=curve, title=title)
    return write_document(document, path)


def network_document(
    interpretation: Interpretation,
    *,
    summary: NetworkSummary | None = None,
    curve: Mapping[str, Sequence[float]] | None = None,
    title: str | None = None,
) -> Document:
    """What the page shows; see `write_page`."""
    summary = summary or summarise(interpretation)
    heading = title or f"A network that multiplies in {summary.group}"
    figures: list[tuple[str, str, Figure]] = [
        (
            "Neurons by irreducible representation",
            "Each neuron counts for the product of the norms of its left, right and unembedding weights.",
            neurons_by_irrep(interpretation),
        )
    ]
    irreps = {irrep.name: irrep for irrep in interpretation.irreps}
    if interpretation.rho_sets:
        heaviest = interpretation.rho_sets[0]
        figures.append(
            (
                f"The heaviest rho-set: {heaviest.left_set.size} points in {heaviest.irrep}",
                "The points that the group permutes, in their first coordinates; the colour is what the neurons read.",
                rho_set_points(heaviest, irreps[heaviest.irrep]),
            )
        )
    heaviest_circuit = interpretation.circuits[0] if interpretation.circuits else None
    if heaviest_circuit is not None and summary.circuits[0].shared_dimension > 1:
        figures.append(
            (
                "The plane that its neurons share",
                "The points as the neurons read them. Each line is a neuron, which projects them on its own direction. "
                f"The plane holds {summary.circuits[0].planarity:.1%} of what they read.",
                shared_plane(heaviest_circuit, interpretation.weights[heaviest_circuit.neurons]),
            )
        )
    figures += [
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
        figures.append(
            (
                "Learning curve",
                "Training inputs are right long before the others: grokking.",
                learning_curve(curve),
            )
        )
    rows = _circuits(summary)
    table = Table(header=_CIRCUIT_HEAD, rows=rows, prose=(1,))
    circuits = Section(
        key="circuits", title="Circuits", text="" if rows else "None.", parts=[table] if rows else []
    )
    return Document(
        title=heading,
        question=f"{summary.verdict.capitalize()}.",
        facts=_facts(summary),
        sections=[
            circuits,
            *(
                Section(
                    title=name,
                    text=note,
                    parts=[PlotlyFigure(key=f"figure-{number}", plot=figure, light=True)],
                )
                for number, (name, note, figure) in enumerate(figures)
            ),
        ],
    )


def _facts(summary: NetworkSummary) -> list[tuple[str, str]]:
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
    return list(rows.items())


def _circuits(summary: NetworkSummary) -> list[tuple[str, ...]]:
    """A row a circuit, under `_CIRCUIT_HEAD`."""
    return [
        (
            each.irrep,
            each.type,
            f"{each.left_points} x {each.right_points}",
            str(each.neurons),
            f"{each.weight:.1%}",
            f"{each.pairs} of {each.possible_pairs}",
            f"{each.constancy:.3f}",
            f"{each.planarity:.3f}",
            f"{each.uniformity:.3f}",
            f"{each.rank_one:.3f}",
            f"{each.unembed_structure:.3f}",
        )
        for each in summary.circuits
    ]
