"""Conversations: lists of turns, each with `role` and `content`, or with ShareGPT's `from` and `value`."""

from __future__ import annotations

import json
from typing import Any

from aitia.errors import RecordError
from aitia.records.record import Message, is_trained
from aitia.records.shapes.columns import is_list, require_response, with_template_columns
from aitia.records.shapes.completions import answers_in
from aitia.records.shapes.shape import Fields, Given, Shape
from aitia.records.templates.turns import parse_turns

COLUMNS = ("messages", "conversations", "conversation")


def _columns_in(given: Given) -> list[str]:
    """The columns of turns; those that are empty lists only where there is no other."""
    found = [name for name in COLUMNS if name in given and (name == "messages" or is_list(given[name]))]
    full = [name for name in found if not (isinstance(given[name], str | list | dict) and not given[name])]
    return full or found[:1]


def _is_sharegpt(value: Any) -> bool:
    """Whether the first turn has ShareGPT's `from` and `value`."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):  # which is said when it is read
            return False
    first = value[0] if isinstance(value, list | tuple) and value else None
    return isinstance(first, dict) and "role" not in first and bool({"from", "value"} & first.keys())


def _fits(given: Given, sharegpt: bool) -> bool:
    names = _columns_in(given)
    return bool(names) and _is_sharegpt(given[names[0]]) == sharegpt


def _read(given: Given) -> Fields:
    name, *others = _columns_in(given)
    messages = parse_turns(given[name], name)
    for other in others:
        if parse_turns(given[other], other) != messages:
            raise RecordError(f"`{name}` and `{other}` do not say the same; leave one of them out")
    used, fields = with_template_columns(given, messages, 0)
    require_response(messages)
    _require_agreement(fields["messages"], given)
    return used | {name}, fields


def _require_agreement(messages: tuple[Message, ...], given: Given) -> None:
    """Refuse a conversation with a prompt and a completion that end otherwise: trainers take one or the other."""
    trained = [message.content.strip() for message in messages if is_trained(message)]
    answers = answers_in(given)
    if "prompt" not in given or not answers or not trained:
        return
    answer = given[answers[0]]
    if isinstance(answer, str) and answer.strip() != trained[-1]:
        raise RecordError(
            f"its turns, and `prompt` with `{answers[0]}`, do not end alike; leave one of them out"
        )


MESSAGES = Shape(
    name="messages",
    title="conversations (role/content)",
    needs="`messages` or `conversations` (lists of turns with `role` and `content`)",
    fits=lambda given: _fits(given, False),
    read=_read,
)
SHAREGPT = Shape(
    name="sharegpt",
    title="ShareGPT conversations (from/value)",
    needs="`conversations` (a list of turns with `from` and `value`)",
    fits=lambda given: _fits(given, True),
    read=_read,
)
