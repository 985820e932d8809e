"""The tables of docs/slices.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from documented.markdown import Documented, decimal, table


def _of(results: Mapping[str, Any], part: str) -> list[dict[str, Any]]:
    return [row for row in results["rows"] if row.get("part") == part]


def _two_places(value: float) -> str:
    """Three decimals below a tenth, two above: 0.015, 0.29."""
    return "< 0.001" if value < 0.001 else decimal(value, 3 if value < 0.1 else 2)


def removal(results: Mapping[str, Any]) -> str:
    return table(
        ["share removed", "error of the first order", "corrected"],
        [
            [f"{100 * row[key]:.0f} %" for key in ("share", "first_order_error", "corrected_error")]
            for row in _of(results, "removal")
        ],
    )


def planted(results: Mapping[str, Any]) -> str:
    return table(
        [
            "suite",
            "draw",
            "rank of the planted kind",
            "adjusted p",
            "F1",
            "precision",
            "recall",
            "calibrated_z",
            "that of exactly the planted rows",
            "slices found / tested",
            "found by permutation alone",
        ],
        [
            [
                row["suite"],
                str(row["draw"]),
                str(row["rank"]),
                _two_places(row["p_adjusted"]),
                *(decimal(row[key]) for key in ("f1", "precision", "recall")),
                decimal(row["calibrated_z"], 1),
                decimal(row["exactly_planted"]["calibrated_z"], 1),
                f"{row['found']} / {row['tested']}",
                str(row["found_without_controls"]),
            ]
            for row in _of(results, "planted")
        ],
    )


def nothing_planted(results: Mapping[str, Any]) -> str:
    (row,) = _of(results, "nothing planted")
    alone = row["share_with_a_find_without_controls"]
    many = f"{row['controls']} " if "controls" in row else ""  # older results do not say how many
    return table(
        ["held against", "sets with a find, promised ≤ 5 %"],
        [
            ["rows at random alone", f"{alone:.1%} ({row['mean_found_without_controls']:.0f} slices each)"],
            [
                f"and {many}directions drawn evenly from the sphere",
                f"{row['share_with_a_find_against_random_directions']:.1%}",
            ],
            [f"and {many}contrasts between random halves of the rows", f"{row['share_with_a_find']:.1%}"],
        ],
    )


def language_removal(results: Mapping[str, Any]) -> str:
    def cells(row: Mapping[str, Any], name: str) -> list[str]:
        if row[f"{name}_pearson"] is None:
            return ["does not exist", "", ""]
        return [
            decimal(row[f"{name}_pearson"]),
            f"{row[f'{name}_scale']:.2g}",
            f"{100 * row[f'{name}_error']:.0f} %",
        ]

    return table(
        [
            "damping",
            *("first order: Pearson", "scale", "error"),
            *("corrected: Pearson", "scale", "error"),
        ],
        [
            [f"{row['damping']:,g}", *cells(row, "first_order"), *cells(row, "corrected")]
            for row in _of(results, "estimates of removal")
        ],
    )


TABLES = {
    "slices.language_removal": Documented("slices", language_removal),
    "slices.removal": Documented("slices", removal),
    "slices.planted": Documented("slices", planted),
    "slices.nothing_planted": Documented("slices", nothing_planted),
}
