"""What an object shows of itself in a notebook: a heading, facts and a table. All text is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

SHOWN = 10
"""Rows that an object shows of itself."""
_LONGEST = 200


def html_block(
    title: str,
    facts: Mapping[str, Any] | None = None,
    columns: Sequence[str] = (),
    rows: Iterable[Sequence[Any]] = (),
) -> str:
    """A piece of HTML without style or script.

    Args:
        title: the first line.
        facts: name -> value, a line each; None leaves a line out.
        columns: the heading of a table.
        rows: its rows, a value a column; numbers are rounded, long texts are cut.

    Returns:
        HTML in which nothing of what was given is markup.
    """
    parts = [f"<div><strong>{_cell(title)}</strong>"]
    shown = {name: value for name, value in (facts or {}).items() if value is not None}
    if shown:
        lines = "".join(f"<li>{_cell(name)}: {_cell(value)}</li>" for name, value in shown.items())
        parts.append(f"<ul>{lines}</ul>")
    if columns:
        head = "".join(f"<th>{_cell(column)}</th>" for column in columns)
        body = "".join(
            "<tr>" + "".join(f'<td style="text-align: left">{_cell(value)}</td>' for value in row) + "</tr>"
            for row in rows
        )
        parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")
    return "".join([*parts, "</div>"])


def one_line(text: str, limit: int = _LONGEST) -> str:
    """A text on one line, cut where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    # A half of a surrogate pair would keep the page from being sent.
    return escape(one_line(str(value)).encode("utf-8", "replace").decode())
