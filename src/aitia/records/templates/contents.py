"""The content of turns, which is a string or a list of parts of text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from aitia.errors import RecordError

Turns = list[dict[str, Any]]

# What a template writes of a list of parts that it takes for a string.
_LISTS = ("'type': 'text'", '"type": "text"')


def spoken_parts(turn: Mapping[str, Any]) -> list[str]:
    """The texts of a turn's content that are not empty, in order."""
    content = turn.get("content") or []
    texts = [content] if isinstance(content, str) else [part["text"] for part in content]
    return [text for text in texts if text.strip()]


def content_forms(turns: Turns) -> Iterable[Turns]:
    """A conversation as it is; then with all content in parts, and with all content in strings."""
    yield turns
    parts = [
        turn | {"content": turn_of("", turn["content"], True)["content"]}
        if isinstance(turn.get("content"), str)
        else turn
        for turn in turns
    ]
    if parts != turns:
        yield parts
    lists = [turn["content"] for turn in turns if isinstance(turn.get("content"), list)]
    # Several parts are not joined: trainers differ in what they put between them.
    if lists and all(len(content) == 1 for content in lists):
        yield [
            turn | {"content": turn["content"][0]["text"]} if isinstance(turn.get("content"), list) else turn
            for turn in turns
        ]


def in_parts(turns: Turns) -> bool:
    """Whether content is in parts in any of the turns."""
    return any(isinstance(turn.get("content"), list) for turn in turns)


def turn_of(role: str, said: str, parts: bool) -> dict[str, Any]:
    """A turn as a template gets it, its content in one part or as a string."""
    return {"role": role, "content": [{"type": "text", "text": said}] if parts else said}


def require_no_lists(text: str, turns: Turns, arguments: Mapping[str, Any]) -> None:
    """Refuse a text in which a list of parts stands as a program would print it."""
    if not in_parts(turns):
        return
    said = [part for turn in turns for part in spoken_parts(turn)]
    said.append(json.dumps(arguments, ensure_ascii=False))
    if any(mark in text and not any(mark in part for part in said) for mark in _LISTS):
        raise RecordError(
            "the chat template writes content in parts as a list; give the content of each turn as one string"
        )
