"""The tables of docs/replay.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from documented.markdown import NONE, Documented, decimal, interval, table

FIRST = "hidden"
"""The suite whose scorers are all shown."""
SHOWN = ("replay", "checkpoint-influence", "tracin", "last step", "influence", "concept-influence", "oracle")
"""Scorers that are shown on every suite."""


def foretelling(results: Mapping[str, Any]) -> str:
    """What each scorer foretells of training on random halves of the first suite: best on its first behaviour first."""
    rows = [row for row in results["rows"] if "lds" in row and row["suite"] == FIRST]
    places = list(dict.fromkeys(row["behaviour"] for row in rows))
    at = {(row["behaviour"], row["method"]): row for row in rows}
    methods = list(dict.fromkeys(row["method"] for row in rows))
    methods.sort(key=lambda name: -at[places[0], name]["lds"])
    cells = [
        [f"`{name}`", *(interval(at.get((place, name), {}), "lds") for place in places)] for name in methods
    ]
    ceilings = [decimal(at[place, methods[0]]["ceiling"]) for place in places]
    return table(["Spearman", *places], [*cells, ["*ceiling*", *ceilings]])


def elsewhere(results: Mapping[str, Any]) -> str:
    """The same of the main scorers on every suite and draw."""
    rows = [row for row in results["rows"] if "lds" in row]
    at = {(row["suite"], row["behaviour"], row["method"]): row for row in rows}
    cells = []
    for suite, behaviour in dict.fromkeys((row["suite"], row["behaviour"]) for row in rows):
        found = [interval(at.get((suite, behaviour, name), {}), "lds") for name in SHOWN]
        cells.append([suite, behaviour, *found, decimal(at[suite, behaviour, SHOWN[0]]["ceiling"])])
    return table(["suite", "behaviour", *(f"`{name}`" for name in SHOWN), "ceiling"], cells)


def peer(results: Mapping[str, Any]) -> str:
    """The same derivative by the peer."""
    rows = [row for row in results["rows"] if "peer" in row]
    return table(
        ["run", "Pearson", "largest difference", "finite: ours", "finite: MAGIC"],
        [
            [
                row["case"],
                f"1 − {1 - row['pearson']:.0e}" if "pearson" in row else NONE,
                f"{row['difference']:.0e}" if "difference" in row else NONE,
                f"{row['finite_ours']:.0%}",
                f"{row['finite_theirs']:.0%}",
            ]
            for row in rows
        ],
    )


def costs(results: Mapping[str, Any]) -> str:
    rows = [row for row in results["rows"] if "trainings" in row and row["suite"] == FIRST]
    return table(
        ["act", "processor time, in trainings"],
        [[row["act"], decimal(row["trainings"], 1)] for row in rows if row["act"] != "training"],
    )


def removing(results: Mapping[str, Any]) -> str:
    rows = [row for row in results["rows"] if "recovered_fraction" in row]
    kinds = list(dict.fromkeys((row["behaviour"], row["removed"]) for row in rows))
    at = {(row["behaviour"], row["removed"], row["method"]): row for row in rows}
    return table(
        ["removed by", *(f"{behaviour}, {share:.0%} removed" for behaviour, share in kinds)],
        [
            [name, *(interval(at.get((*kind, name), {}), "recovered_fraction") for kind in kinds)]
            for name in dict.fromkeys(row["method"] for row in rows)
        ],
    )


def targets(results: Mapping[str, Any]) -> str:
    return table(
        ["target", "goal", "reached", ""],
        [
            [
                each["name"],
                each["target"],
                NONE if each["value"] is None else decimal(each["value"]),
                "met" if each["met"] else "**missed**",
            ]
            for each in results["targets"]
        ],
    )


def control(results: Mapping[str, Any]) -> str:
    return table(
        ["rows chosen by", "removed", "rows", "behaviour over the untouched model's, nats", "skill kept"],
        [
            [
                row["chosen_by"],
                f"{row['removed']:.0%}",
                str(row["rows"]),
                interval(row, "behaviour_over_untouched", 3),
                interval(row, "skill_kept"),
            ]
            for row in results["rows"]
            if row["chosen_by"] != "untouched model"
        ],
    )


TABLES = {
    "replay.foretelling": Documented("replay", foretelling),
    "replay.elsewhere": Documented("replay", elsewhere),
    "replay.peer": Documented("replay", peer),
    "replay.costs": Documented("replay", costs),
    "replay.removing": Documented("replay", removing),
    "replay.targets": Documented("replay", targets),
    "control.rows": Documented("control", control),
    "control.targets": Documented("control", targets),
}
