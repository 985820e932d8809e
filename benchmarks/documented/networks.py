"""The tables of docs/group_networks.md."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from documented.markdown import NONE, Documented, decimal, in_order, percent, table

NAMES = {"D5-all": "D5, all inputs", "PSL2-7": "PSL(2,7)"}
SHARES = {
    "train_fraction": "trained on",
    "fully_accurate": "right on all inputs",
    "by_complete_rho_sets": "complete rho-sets",
    "by_rho_sets_or_planes": "or shared vectors, planes",
    "by_neurons_on_g_sets": "neurons on G-sets",
    "by_sum_of_rho_sets": "sum",
    "explained": "any",
}
MEDIANS = {
    "bi_equivariance": "bi-equivariance as trained",
    "vector_explains": "logits explained neuron by neuron, one shared vector",
    "plane_explains": "... a shared plane",
    "own_explains": "... a table for each neuron",
    "sum_explains": "logits explained by the sum over the group",
    "one_turn_accuracy": "one turn for all vectors: right on",
    "one_turn_equivariance": "... bi-equivariance",
    "own_turns_accuracy": "a turn for each vector: right on",
    "own_turns_equivariance": "... bi-equivariance",
    "dealt_anew_equivariance": "vectors permuted at random among the neurons: bi-equivariance",
    "vector_explains_ablation": "change when a fifth of the neurons is taken away, explained by one vector",
    "plane_explains_ablation": "... by a plane",
}
HYPOTHESES = (
    "neurons on the points of G-sets",
    "neurons that share a few vectors",
    "rho-sets",
    "characters of key representations",
    "neurons that are off on a coset",
    "clock",
    "pizza",
    "largest margin",
)


def found(results: Mapping[str, Any]) -> str:
    return table(
        ["group", "networks", *SHARES.values(), "bi-equivariance", "deviation"],
        [
            [
                NAMES.get(group := str(row["group"]), group),
                str(row["networks"]),
                *(percent(row[key]) for key in SHARES),
                decimal(row["bi_equivariance"], 3),
                decimal(row["deviation"], 4),
            ]
            for row in results["rows"]
            if "group" in row
        ],
    )


def planes(results: Mapping[str, Any]) -> str:
    """Networks with one shared vector beside those with several."""
    kinds = {(row["kind"], row["irrep"]): row for row in results["rows"] if "networks" in row}
    vector, five, ten = kinds["vector", "4a"], kinds["several", "4a"], kinds["several", "4b"]
    tested = sum(
        (row["kind"], row["irrep"]) == ("vector", "4a") and "seed" in row and "one_turn_accuracy" in row
        for row in results["rows"]
    )
    return table(
        [
            "medians",
            f"one vector, irrep 4a ({vector['networks']}; {tested} tested)",
            f"several, 4a on five points ({five['networks']})",
            f"several, 4b on ten points ({ten['networks']})",
        ],
        [[label, *(_median(row, key) for row in (vector, five, ten))] for key, label in MEDIANS.items()],
    )


def _median(row: Mapping[str, Any], key: str) -> str:
    if not key.endswith("_accuracy"):
        return decimal(row[key], 3)
    # What is not quite all must not read as all.
    return percent(row[key], 2 if 0.9995 <= row[key] < 1 else 1)


def card(results: Mapping[str, Any], network: str) -> str:
    """Every hypothesis of a network."""
    hypotheses = results["scorecards"][network]
    cells = []
    for name in in_order(hypotheses, HYPOTHESES):
        each = hypotheses[name]
        value, floor = (each[f"interchange-intervention-accuracy{kind}"] for kind in ("", ", floor"))
        causal = NONE if value is None else f"{value:.2f} ({floor:.2f})"
        cells.append(
            [
                name,
                decimal(each["fidelity"]),
                causal,
                decimal(each["skill"], 3),
                f"{each['description-length']:,.0f}",
                *(decimal(each[key]) for key in ("excess-scope", "confirmed", "hard-to-vary")),
            ]
        )
    return table(
        [
            "hypothesis",
            "fidelity",
            "interchange-intervention-accuracy (blind guess)",
            "skill",
            "description, bits",
            "beyond the domain",
            "registered and confirmed",
            "hard to vary",
        ],
        cells,
    )


TABLES = {
    "networks.planes": Documented("shared_planes", planes),
    "networks.found": Documented("networks", found),
    "networks.card.S5": Documented("networks.details", partial(card, network="S5 seed 3")),
    "networks.card.Z59": Documented("networks.details", partial(card, network="Z59 seed 0")),
}
