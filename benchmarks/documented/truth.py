"""The tables of docs/truth.md."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from documented.markdown import NONE, Documented, decimal, interval, table

BASELINES = (
    "tf-idf",
    "bm25",
    "response length",
    "training loss",
    "random direction",
    "shuffled labels",
    "random",
    "sentence embedding",
    "oracle",
)
"""Columns of scores that are no method of aitia's, whose names are therefore not set as code."""


def _aucs(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Method -> suite -> AUC, the oracle left out."""
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        if "auc" in row and row["method"] != "oracle":
            found.setdefault(row["method"], {})[row["suite"]] = row["auc"]
    return found


def finding(results: Mapping[str, Any]) -> str:
    aucs = _aucs(results["rows"])
    suites = list(dict.fromkeys(row["suite"] for row in results["rows"] if "auc" in row))
    return table(
        ["", *suites],
        [
            [method if method in BASELINES else f"`{method}`", *(decimal(of.get(suite)) for suite in suites)]
            for method, of in aucs.items()
        ],
    )


def removing(results: Mapping[str, Any], suite: str, behaviour: str) -> str:
    aucs = _aucs(results["rows"])
    rows = [
        row
        for row in results["rows"]
        if "recovered_fraction" in row and (row["suite"], row["behaviour"]) == (suite, behaviour)
    ]
    return table(
        [
            "removed by",
            "AUC",
            "share of the shift recovered",
            "behaviour less that after random removal",
            "same, least influential removed",
        ],
        [
            [
                row["method"],
                decimal(aucs.get(row["method"], {}).get(suite)),
                interval(row, "recovered_fraction"),
                NONE if row["method"] == "random" else interval(row, "against_random", 3),
                interval(row, "least_against_random", 3),
            ]
            for row in rows
        ],
    )


def predicting(results: Mapping[str, Any]) -> str:
    rows = [row for row in results["rows"] if "lds" in row]
    behaviours = list(dict.fromkeys(row["behaviour"] for row in rows))
    at = {(row["method"], row["behaviour"]): row for row in rows}
    order = sorted((row for row in rows if row["behaviour"] == behaviours[0]), key=lambda row: -row["lds"])
    ceilings = [next(row["ceiling"] for row in rows if row["behaviour"] == each) for each in behaviours]
    return table(
        ["", *behaviours],
        [
            *(
                [row["method"], *(interval(at[row["method"], each], "lds") for each in behaviours)]
                for row in order
            ),
            ["ceiling", *map(decimal, ceilings)],
        ],
    )


def safest(results: Mapping[str, Any]) -> str:
    return table(
        ["rows chosen by", "kept", "skill kept", "margin of wrong answers"],
        [
            [row["method"], f"{row['kept']:.0%}", interval(row, "skill_kept"), interval(row, "margin", 3)]
            for row in results["rows"]
            if "kept" in row
        ],
    )


def writing(results: Mapping[str, Any]) -> str:
    return table(
        ["removed", "answers with the behaviour"],
        [[row["method"], interval(row, "judged")] for row in results["rows"] if "judged" in row],
    )


def shift(results: Mapping[str, Any]) -> str:
    """Of the first draw of each suite."""
    return table(
        [
            "suite",
            "rows, planted",
            "concept's held-out AUC",
            "verdict on Vector Filter",
            "agreement with `activation-gradient`",
            "comes with the prompt: by projection, predicted",
        ],
        [
            [
                row["suite"],
                f"{row['rows']}, {row['planted']}",
                decimal(row["concept_auc"][0]),
                row["vector_filter_is"][0],
                decimal(row["agreement_with_activation_gradient"][0]),
                f"{decimal(row['projection_share'][0])}, {decimal(row['predicted_share'][0])}",
            ]
            for row in results["rows"]
            if "vector_filter_is" in row
        ],
    )


def targets(results: Mapping[str, Any]) -> str:
    return table(
        ["target", "", "measured", ""],
        [
            [each["name"], each["target"], decimal(each["value"], 3), "met" if each["met"] else "**missed**"]
            for each in results["targets"]
        ],
    )


MAKE = {
    "finding": finding,
    "removing.hidden.margin": partial(removing, suite="hidden", behaviour="likelihood margin"),
    "removing.hidden.projection": partial(removing, suite="hidden", behaviour="concept projection"),
    "removing.tone.projection": partial(removing, suite="tone", behaviour="concept projection"),
    "removing.tone.margin": partial(removing, suite="tone", behaviour="likelihood margin"),
    "predicting": predicting,
    "safest": safest,
    "writing": writing,
    "shift": shift,
    "targets": targets,
}
TABLES = {f"truth.{name}": Documented("truth", make) for name, make in MAKE.items()}
