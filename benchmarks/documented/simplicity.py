"""The tables of docs/simplicity.md."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from documented.markdown import Documented, table

COLUMNS = {
    "active entries": "active entries",
    "premises": "premises",
    "description length (bits)": "description length (bits)",
    "compressed dictionary (bits)": "compressed dictionary (bits)",
    "program (bits)": "program, given the family (bits)",
    "compressed predictions (bits)": "compressed predictions (bits)",
}
"""Column of the results -> heading."""
BOLD = ("active entries", "premises", "description length (bits)", "compressed dictionary (bits)")
"""Columns whose least value is set bold: the others hardly differ, or not at all."""


def family(results: Mapping[str, Any], order: str, heading: str) -> str:
    rows = [row for row in results["rows"] if row["order"] == order]
    least = {key: min(row[key] for row in rows) for key in BOLD}

    def cell(row: Mapping[str, Any], key: str) -> str:
        written = f"{row[key]:,.0f}"
        return f"**{written}**" if row[key] == least.get(key) else written

    return table(
        [heading, *COLUMNS.values()],
        [[row["dictionary"], *(cell(row, key) for key in COLUMNS)] for row in rows],
    )


MAKE = {
    "listed": partial(family, order="as listed", heading="dictionary"),
    "renumbered": partial(family, order="objects renumbered by lot", heading="dictionary, renumbered"),
}
TABLES = {f"simplicity.{name}": Documented("simplicity", make) for name, make in MAKE.items()}
