"""From a row, as a mapping, to a record; and the reasons why a row cannot be one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aitia.files import digest
from aitia.records.record import Message, Record

ROLES = ("system", "developer", "user", "assistant", "tool")
_FORMS = ("messages", "prompt", "completion", "response", "text")


class RowProblem(Exception):
    """Why a row cannot be used."""


def parse_row(row: object, *, position: int, location: str) -> Record:
    """Make a record of a row; without an `id` column its id is the digest of its content.

    Args:
        row: what a line of JSON, or a row of a table, held.
        position: place in the source, from 0.
        location: for messages.

    Raises:
        RowProblem: the row has none of the known forms, or is empty, or of the wrong type.
    """
    if not isinstance(row, Mapping):
        raise RowProblem(f"a row is an object with named columns, not {_kind(row)}")
    extra = {str(key): value for key, value in row.items() if key != "id" and key not in _FORMS}
    parts = _content(row)
    record = Record(id="", row=position, location=location, extra=extra, **parts)
    return _with_id(record, row.get("id"))


def _with_id(record: Record, given: object) -> Record:
    from dataclasses import replace

    if given is None:
        return replace(record, id=digest(record.content)[:16])
    if isinstance(given, bool) or not isinstance(given, str | int) or given == "":
        raise RowProblem(f"id must be a text or a whole number, not {given!r}")
    return replace(record, id=str(given))


def _content(row: Mapping[Any, Any]) -> dict[str, Any]:
    if row.get("messages") is not None:
        return {"messages": _messages(row["messages"])}
    completion = row.get("completion", row.get("response"))
    if row.get("prompt") is not None and completion is not None:
        if _is_list(row["prompt"]) and _is_list(completion):
            return {"messages": _messages([*row["prompt"], *completion])}
        return {"prompt": _text(row["prompt"], "prompt"), "completion": _filled(completion, "completion")}
    if row.get("text") is not None:
        return {"text": _filled(row["text"], "text")}
    raise RowProblem(
        "no text to train on: expected `messages`, or `prompt` and `completion`, or `text`; "
        f"found {', '.join(map(str, row)) or 'no columns'}"
    )


def _messages(turns: object) -> tuple[Message, ...]:
    if not _is_list(turns):
        raise RowProblem(f"messages must be a list, not {_kind(turns)}")
    messages = []
    for number, turn in enumerate(turns, start=1):  # type: ignore[arg-type]
        if not isinstance(turn, Mapping) or "role" not in turn or "content" not in turn:
            raise RowProblem(f"message {number} must have role and content")
        if turn["role"] not in ROLES:
            raise RowProblem(f"message {number}: role {turn['role']!r} is not one of {', '.join(ROLES)}")
        messages.append(
            Message(role=turn["role"], content=_text(turn["content"], f"content of message {number}"))
        )
    responses = [message for message in messages if message.role == "assistant"]
    if not responses:
        raise RowProblem("no assistant message, so nothing to train on")
    if not responses[-1].content.strip():
        raise RowProblem("empty completion: the last assistant message has no text")
    return tuple(messages)


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise RowProblem(f"{what} must be a text, not {_kind(value)}")
    return value


def _filled(value: object, what: str) -> str:
    text = _text(value, what)
    if not text.strip():
        raise RowProblem(f"empty {what}")
    return text


def _kind(value: object) -> str:
    names = {
        dict: "an object",
        list: "a list",
        str: "a text",
        int: "a number",
        float: "a number",
        bool: "true or false",
    }
    return "nothing" if value is None else names.get(type(value), type(value).__name__)
