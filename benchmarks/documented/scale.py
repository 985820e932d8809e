"""The tables of docs/scale.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from documented.markdown import Documented, decimal, table


def _amount(value: float | None) -> str:
    """Thousands with commas; two figures' worth of decimals below ten."""
    if value is None or value < 10:
        return decimal(value, 1)
    return f"{value:,.0f}"


def examples(results: Mapping[str, Any]) -> str:
    return table(
        ["example", "activations", "workers", "hours", "memory a worker, GB", "disk, GB", "money", "assumed"],
        [
            [
                row["example"],
                row["activations"],
                str(row["workers"]),
                *map(
                    _amount,
                    (row["hours"], row["memory_gigabytes_a_worker"], row["disk_gigabytes"], row["money"]),
                ),
                row["assumed"],
            ]
            for row in results["rows"]
            if "example" in row
        ],
    )


def prediction(results: Mapping[str, Any]) -> str:
    return table(
        ["", "width", "layers", "seconds", "by the model", "error"],
        [
            [
                row["use"],
                str(row["width"]),
                str(row["layers"]),
                decimal(row["seconds"], 1),
                decimal(row["predicted_seconds"], 1),
                f"{100 * row['error']:+.0f} %".replace("-", "−"),
            ]
            for row in results["rows"]
            if "use" in row
        ],
    )


TABLES = {
    "scale.examples": Documented("scale", examples),
    "scale.prediction": Documented("scale", prediction),
}
