"""Marks in a conversation, and whether a rendered turn holds all that the turn says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aitia.errors import RecordError
from aitia.records.templates.contents import Turns, spoken_parts
from aitia.records.templates.turns import REASONING, called


def _can_mark(turn: Mapping[str, Any]) -> bool:
    """Whether a turn says something that a mark can be put after."""
    return bool(turn.get("tool_calls") or spoken_parts(turn))


def marked_turn(turn: dict[str, Any], mark: str) -> dict[str, Any]:
    """A turn with a mark after the last of what it says: the name of its last call, or else its content.

    The mark takes the place of spaces at the end of the content. A turn that says nothing gets the mark alone.

    Returns:
        A copy of the turn.
    """
    calls = turn.get("tool_calls")
    if calls:
        return turn | {"tool_calls": [*calls[:-1], _renamed(calls[-1], mark)]}
    content = turn.get("content")
    if isinstance(content, list):
        filled = [number for number, part in enumerate(content) if part["text"].strip()]
        if filled:
            text = content[filled[-1]]["text"].rstrip() + mark
            parts = [*content[: filled[-1]], content[filled[-1]] | {"text": text}, *content[filled[-1] + 1 :]]
            return turn | {"content": parts}
    elif spoken_parts(turn):
        return turn | {"content": str(content).rstrip() + mark}
    reasoning = next((key for key in REASONING if turn.get(key)), None)
    if reasoning is not None:
        return turn | {reasoning: turn[reasoning].rstrip() + mark}
    return turn | {"content": [{"type": "text", "text": mark}] if isinstance(content, list) else mark}


def silenced_turn(turn: dict[str, Any], mark: str) -> dict[str, Any]:
    """A turn that says the mark and nothing else."""
    parts = isinstance(turn.get("content"), list)
    kept = {key: value for key, value in turn.items() if key != "tool_calls" and key not in REASONING}
    return kept | {"content": [{"type": "text", "text": mark}] if parts else mark}


def marks_for(text: str, turns: Turns, chosen: Sequence[int]) -> dict[int, str]:
    """A mark for each turn that says something or is chosen; none of them stands in the text."""
    salt = "q"
    while f"Z{salt}" in text:
        salt += "q"
    numbers = (i for i, turn in enumerate(turns) if i in chosen or _can_mark(turn))
    return {i: f"Z{salt}{i}xZ" for i in numbers}


def align(text: str, marked: str, turns: Turns, marks: Mapping[int, str]) -> dict[int, int] | None:
    """Where each marked turn's content ends in the text without marks; None where the texts differ."""
    places = sorted((found.start(), i) for i, mark in marks.items() for found in re.finditer(mark, marked))
    # The name of a call may come again, before its result; content that is written twice has no one place.
    said = [i for _, i in places if not turns[i].get("tool_calls")]
    if len(said) != len(set(said)) or len({i for _, i in places}) != len(marks):
        return None
    pieces, last = [], 0
    for place, i in places:
        pieces.append(marked[last:place])
        last = place + len(marks[i])
    pieces.append(marked[last:])
    if not text.startswith(pieces[0]):
        return None
    ends: dict[int, int] = {}
    position = len(pieces[0])
    for (_, i), piece in zip(places, pieces[1:], strict=True):
        # The mark stands in the place of the spaces at the content's end, which templates keep or take away.
        parts = [] if turns[i].get("tool_calls") else spoken_parts(turns[i])
        spaces = parts[-1][len(parts[-1].rstrip()) :] if parts else ""
        kept = (
            length
            for length in range(len(spaces), -1, -1)
            if text.startswith(spaces[:length] + piece, position)
        )
        length = next(kept, None)
        if length is None:
            return None
        ends.setdefault(i, position + length)
        position += length + len(piece)
    return ends if position == len(text) else None


def column_marked(
    column: str, values: Sequence[dict[str, Any]], marks: Sequence[str]
) -> list[dict[str, Any]]:
    """Tools with a mark after each one's name, or documents with one after each one's longest string."""
    if column == "tools":
        return [_renamed(tool, mark) for tool, mark in zip(values, marks, strict=True)]
    return [_longest_marked(document, mark) for document, mark in zip(values, marks, strict=True)]


def _renamed(call: dict[str, Any], mark: str) -> dict[str, Any]:
    inner = called(call)
    if not isinstance(inner.get("name"), str):
        return _longest_marked(call, mark)
    renamed = {**inner, "name": inner["name"] + mark}
    return call | {"function": renamed} if isinstance(call.get("function"), dict) else renamed


def _longest_marked(value: dict[str, Any], mark: str) -> dict[str, Any]:
    texts = {key: part for key, part in value.items() if isinstance(part, str)}
    if not texts:
        return value
    longest = max(texts, key=lambda key: len(texts[key]))
    return value | {longest: value[longest] + mark}


def require_written(
    turn: Mapping[str, Any], spoken: str | None, whole: str, number: int, where: str = ""
) -> None:
    """Refuse a turn of which the template does not write all, spaces aside.

    Args:
        turn: as the template got it.
        spoken: what it wrote of the turn up to the end of its content; None if that is not known.
        whole: what it wrote of the turn.
        number: of the turn, from 0.
        where: more for the message.

    Raises:
        RecordError: naming what is missing.
    """
    text = _squeezed(whole)
    parts = [_squeezed(part) for part in spoken_parts(turn)]
    place = 0
    for part in parts:
        found = text.find(part, place)
        if found < 0:
            _refuse(number, "all of the content", where)
        place = found + len(part)
    if (
        parts
        and spoken is not None
        and not turn.get("tool_calls")
        and not _squeezed(spoken).endswith(parts[-1])
    ):
        _refuse(number, "all of the content", where)
    for key in REASONING:
        if turn.get(key) and _squeezed(str(turn[key])) not in text:
            _refuse(number, f"the `{key}`", where)
    for call in turn.get("tool_calls") or ():
        inner = called(call)
        leaves = [inner["name"], *_leaves(inner.get("arguments"))]
        if not all(any(form in text for form in _written_forms(leaf)) for leaf in leaves):
            _refuse(number, f"all of the call of {inner['name']!r}", where)


def _refuse(number: int, what: str, where: str) -> None:
    raise RecordError(
        f"the chat template does not write {what} of turn {number + 1}{where} (many leave parts of earlier answers "
        "out); give one answer a row, mark the turn `train` false, or take the template of the training"
    )


def _squeezed(text: str) -> str:
    return "".join(text.split())


def _leaves(value: Any) -> Iterator[Any]:
    """The strings and numbers in the arguments of a call, which may be JSON in a string."""
    if isinstance(value, str):
        try:
            inner = json.loads(value)
        except ValueError:
            inner = None
        if isinstance(inner, dict):
            value = inner
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield key
            yield from _leaves(part)
    elif isinstance(value, list):
        for part in value:
            yield from _leaves(part)
    elif value is not None:
        yield value


def _written_forms(value: Any) -> set[str]:
    """How templates write a string or number: as it is, or as JSON once or twice over."""
    if not isinstance(value, str):
        return {json.dumps(value), str(value)}
    forms = {value}
    for ascii_only in (True, False):
        once = json.dumps(value, ensure_ascii=ascii_only)[1:-1]
        forms |= {once, json.dumps(once, ensure_ascii=ascii_only)[1:-1]}
    return {_squeezed(form) for form in forms}
