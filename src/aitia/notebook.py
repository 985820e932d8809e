"""What an object shows of itself in a notebook: a heading, facts and a table. All text is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

SHOWN = 10
"""Rows that an object shows of itself."""
_LONGEST = 200

_LONGEST_SHADED = 400
_RAISES, _LOWERS = (
    "214, 94, 0",
    "0, 114, 178",
)  # of Okabe and Ito's colours, which colour-blind people tell apart


@dataclass(frozen=True)
class Shaded:
    """A text in pieces, each with a colour behind it.

    Attributes:
        pieces: text and strength, from -1 (strongest blue) over 0 (none) to 1 (strongest orange).
    """

    pieces: Sequence[tuple[str, float]]

    def html(self) -> str:
        """Spans with the pieces' texts, escaped; cut where it is long."""
        found, room = [], _LONGEST_SHADED
        for text, strength in self.pieces:
            if len(text) > room:
                found.append("…")
                break
            room -= len(text)
            colour = _RAISES if strength > 0 else _LOWERS
            shade = f"background-color: rgba({colour}, {min(abs(strength), 1.0) * 0.6:.2f})"
            found.append(f'<span style="{shade}">{_escaped(text)}</span>' if strength else _escaped(text))
        return "".join(found)


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
        rows: its rows, a value a column; numbers are rounded, long texts are cut, `Shaded` ones have colours.

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
    if isinstance(value, Shaded):
        return value.html()
    return f"{value:.4g}" if isinstance(value, float) else _escaped(one_line(str(value)))


def _escaped(text: str) -> str:
    # A half of a surrogate pair would keep the page from being sent.
    return escape(text).encode("utf-8", "replace").decode()
