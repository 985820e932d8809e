"""The tables of docs/replay.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from documented.markdown import NONE, Documented, decimal, interval, table


def foretelling(results: Mapping[str, Any]) -> str:
    """What each scorer foretells of training on random halves: a row a scorer, best on the first behaviour first."""
    rows = [row for row in results["rows"] if "lds" in row]
    places = list(dict.fromkeys((row["suite"], row["behaviour"]) for row in rows))
    at = {(row["suite"], row["behaviour"], row["method"]): row for row in rows}
    ceilings = {
        place: next(r["ceiling"] for r in rows if (r["suite"], r["behaviour"]) == place) for place in places
    }
    methods = list(dict.fromkeys(row["method"] for row in rows))
    methods.sort(key=lambda name: -at[(*places[0], name)]["lds"])
    cells = [
        [f"`{name}`", *(interval(at.get((*place, name), {}), "lds") for place in places)] for name in methods
    ]
    top = [f"{suite}, {behaviour}" for suite, behaviour in places]
    return table(["Spearman", *top], [*cells, ["*ceiling*", *(decimal(ceilings[place]) for place in places)]])


def costs(results: Mapping[str, Any]) -> str:
    rows = [row for row in results["rows"] if "trainings" in row]
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
    "replay.costs": Documented("replay", costs),
    "replay.removing": Documented("replay", removing),
    "replay.targets": Documented("replay", targets),
    "control.rows": Documented("control", control),
    "control.targets": Documented("control", targets),
}
