"""The table of null directions, in docs/methods.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from documented.markdown import Documented, table


def finds(results: Mapping[str, Any]) -> str:
    """The share of sets in which a p-value is at most the level, by how null directions are drawn."""

    def share(row: Mapping[str, Any], kind: str) -> str:
        return f"{row[kind]:.1%} ({row[f'{kind}_low']:.1%} to {row[f'{kind}_high']:.1%})"

    return table(
        ["sets", "number", "matched nulls", "isotropic nulls"],
        [
            [row["part"], str(row["sets"]), share(row, "matched"), share(row, "isotropic")]
            for row in results["rows"]
        ],
    )


TABLES = {"nulls.finds": Documented("nulls", finds)}
