"""One row as the page shows it: its turns, its tokens with their shares, and values that JSON can hold."""

from __future__ import annotations

from typing import Any

import numpy as np

from aitia.records import Message, Record

CELL = 400
"""Characters of a text that a cell of the table holds."""


def turns_of(record: Record, limit: int) -> list[dict[str, Any]]:
    """The parts of a row in order: who says what, and whether it is trained on."""
    if record.messages is not None:
        trained = set(record.trained_turns)
        found = [
            {"role": turn.role, "text": turn.said, "trained": place in trained}
            for place, turn in enumerate(record.messages)
        ]
    elif record.text is not None:
        found = [{"role": "text", "text": record.text, "trained": True}]
    else:
        found = [
            {"role": "prompt", "text": record.prompt or "", "trained": False},
            {"role": "completion", "text": record.completion or "", "trained": True},
        ]
    if record.rejected is not None:
        said = record.rejected
        text = (
            said
            if isinstance(said, str)
            else "\n".join(turn.said for turn in said if isinstance(turn, Message))
        )
        found.append({"role": "rejected", "text": text, "trained": True})
    return [turn | {"text": turn["text"][:limit], "length": len(turn["text"])} for turn in found]


def tokens_of(row: Any, shares: np.ndarray, tokenizer: Any) -> list[dict[str, Any]]:
    """Tokens as text with their shares; a character that is split over tokens is shown once, with their sum."""
    found, pending, share = [], [], 0.0
    last = len(row.tokens) - 1
    for place, (token, part) in enumerate(zip(row.tokens, shares, strict=True)):
        pending.append(int(token))
        share += float(part)
        text = tokenizer.decode(pending)
        ends = place == last or row.response[place + 1] != row.response[place]
        if not text.endswith("\N{REPLACEMENT CHARACTER}") or ends or len(pending) == 4:
            found.append({"text": text, "share": share, "response": bool(row.response[place])})
            pending, share = [], 0.0
    return found


def finite(value: Any) -> float | None:
    """A number, or None for what JSON cannot hold."""
    return float(value) if np.isfinite(value) else None


def cut(value: Any, limit: int = CELL) -> Any:
    """A value of a row's other column, its text cut."""
    if isinstance(value, bool | int) or value is None:
        return value
    if isinstance(value, float):
        return finite(value)
    text = value if isinstance(value, str) else repr(value)
    return text[:limit]
