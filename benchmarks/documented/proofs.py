"""The tables of docs/proofs.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from documented.markdown import Documented, decimal, in_order, percent, table

VERIFIERS = (
    "rho-sets-global",
    "rho-sets",
    "rho-sets-blocks",
    "cosets",
    "equivariance",
    "irreps",
    "low-rank",
    "g-sets",
    "cascade",
    "brute-force",
)
"""As the page orders them: from the narrowest hypothesis to none."""
GROUPS = ("S4", "A5", "S5", "PSL(2,7)", "D5", "Q8", "Z59", "A6", "S6")


def verifiers(results: Mapping[str, Any]) -> str:
    """Every verifier on the S5 networks."""
    rows = {row["verifier"]: row for row in results["rows"] if row["group"] == "S5"}
    return table(
        ["verifier", "mean bound", "networks with bound ≥ 95 %", "median cost", "largest cost"],
        [
            [
                f"`{name}`",
                decimal(rows[name]["mean_bound"], 3),
                percent(rows[name]["share_at_95"]),
                percent(rows[name]["median_cost"], 1),
                percent(rows[name]["worst_cost"], 1),
            ]
            for name in in_order(rows, VERIFIERS)
        ],
    )


def groups(results: Mapping[str, Any]) -> str:
    """Two verifiers on the networks of every group."""
    at = {(row["group"], row["verifier"]): row for row in results["rows"]}
    cells = []
    for group in in_order(dict.fromkeys(group for group, _ in at), GROUPS):
        row = at[group, "cascade"]
        cells.append(
            [
                group if row["trained"] else f"{group} (planted)",
                str(row["networks"]),
                decimal(row["mean_bound"], 4),
                percent(row["median_cost"], 1),
                decimal(at[group, "rho-sets-blocks"]["mean_bound"], 3),
            ]
        )
    return table(
        ["group", "networks", "`cascade`: mean bound", "median cost", "`rho-sets-blocks`: mean bound"], cells
    )


TABLES = {
    "proofs.verifiers": Documented("proofs", verifiers),
    "proofs.groups": Documented("proofs", groups),
}
