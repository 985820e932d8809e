"""Making text and numbers fit to be read: hidden characters shown, long texts cut, signs kept."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from aitia.report.document import ReportRow, Token

ROW_LIMIT = 20_000
"""Most characters of a row that are shown."""

EXTRA_LIMIT = 24
"""Most other columns of a row that are shown."""

LEVELS = 8
"""Steps of colour on either side of 0."""

_PROMPT_FLOOR = 4_000
"""Characters of `ROW_LIMIT` kept for the prompt, however long the response is."""

_FOLDED = {False: 600, True: 1_600}
"""Longest prompt (False) and response (True) passage that is shown unfolded, in characters."""

# Control, format (bidi overrides, zero-width), surrogate, private use, line and paragraph separators.
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
_SUSPECTS = re.compile(r"[^\n\t\x20-\x7e]")


class Piece(NamedTuple):
    """A stretch of text in one colour: `level` from -LEVELS to LEVELS; `share` None where there is none."""

    text: str
    share: float | None
    level: int


@dataclass(frozen=True, kw_only=True)
class Passage:
    """Consecutive pieces that are all prompt or all response; `folded` where it is long."""

    response: bool
    pieces: list[Piece]
    folded: bool


def visible(text: str) -> str:
    """The text with characters that cannot be seen, or that reorder others, written as ⟦U+202E⟧.

    Line feeds and tabs stay; a carriage return before a line feed is dropped.

    Returns:
        A text that shows all that it holds.
    """
    return _SUSPECTS.sub(_show, text.replace("\r\n", "\n"))


def _show(match: re.Match[str]) -> str:
    character = match[0]
    # Variation selectors are marks, not format characters, yet they can carry a hidden message; the
    # first sixteen are left alone because common emoji end with one.
    hidden = unicodedata.category(character) in _HIDDEN or 0xE0100 <= ord(character) <= 0xE01EF
    return f"⟦U+{ord(character):04X}⟧" if hidden else character


def cut(value: object, limit: int) -> str:
    """The value as text of at most `limit` characters, with a note where more was there."""
    text = str(value)
    return text if len(text) <= limit else f"{text[:limit]}… [cut, {len(text):,} characters in all]"


def signed(number: float | None, digits: int = 3) -> str:
    """A number with its sign and so many significant digits; a dash where there is none."""
    if number is None or not math.isfinite(number):
        return "–"
    return f"{number:+.{digits}g}".replace("-", "−") if number else "0"


def fixed(number: float | None, decimals: int = 2) -> str:
    """A number with so many decimals and a sign where negative; a dash where there is none."""
    if number is None or not math.isfinite(number):
        return "–"
    # Adding 0.0 turns the -0.0 that rounding can leave into 0.0.
    return f"{round(number, decimals) + 0.0:,.{decimals}f}".replace("-", "−")


def passages(row: ReportRow, scale: float) -> tuple[list[Passage], int]:
    """A row's text as passages ready to be coloured, cut where it is very long.

    Args:
        row: the row to show.
        scale: the |share| that gets the strongest colour; 0 leaves everything without colour.

    Returns:
        The passages, and the number of characters that were cut away.
    """
    plain = (
        Token(text=row.prompt, share=0.0, response=False),
        Token(text=row.completion, share=0.0, response=True),
    )
    tokens = row.tokens or plain
    lengths = {
        side: sum(len(token.text) for token in tokens if token.response is side) for side in (False, True)
    }
    room = {True: ROW_LIMIT - min(lengths[False], _PROMPT_FLOOR)}
    room[False] = ROW_LIMIT - min(lengths[True], room[True])
    hidden = sum(max(lengths[side] - room[side], 0) for side in (False, True))
    runs: list[tuple[bool, list[Piece]]] = []
    for token in tokens:
        text = token.text[: room[token.response]]
        room[token.response] -= len(text)
        if not text:
            continue
        if not runs or runs[-1][0] is not token.response:
            runs.append((token.response, []))
        _append(runs[-1][1], text, token.share if token.response and row.tokens else None, scale)
    return [_passage(response, pieces) for response, pieces in runs], hidden


def _append(pieces: list[Piece], text: str, share: float | None, scale: float) -> None:
    if share is None and pieces:
        pieces[-1] = Piece(pieces[-1].text + text, None, 0)
    else:
        level = round(LEVELS * max(-1.0, min(1.0, share / scale))) if share and scale else 0
        pieces.append(Piece(text, share, level))


def _passage(response: bool, pieces: Sequence[Piece]) -> Passage:
    text = "".join(piece.text for piece in pieces)
    # A line that is broken early takes as much height as a long one.
    size = len(text) + 60 * text.count("\n")
    return Passage(response=response, pieces=list(pieces), folded=size > _FOLDED[response])
