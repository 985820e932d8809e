"""One row of a source, checked: which form it has, and what is wrong with it if it has none."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Any

from aitia.errors import RecordError
from aitia.records.record import Message

ROLES = ("system", "user", "assistant", "tool")

# Keys of a turn that change what it says: dropping them in silence would attribute another text than
# the one that the model was trained on.
REFUSED_KEYS = ("tool_calls", "function_call", "reasoning_content", "thinking")


def parse_row(row: Any) -> dict[str, Any]:
    """The fields of a `Record` that a row gives, `id`, `row` and `location` excepted.

    `messages` goes before `prompt` with `completion` (or `response`), and these before `text`; columns
    that are not used, one of these among them, go to `extra`. A column that is None counts as absent.

    Raises:
        RecordError: the reason alone, without the place.
    """
    if not isinstance(row, Mapping):
        raise RecordError(f"a row must be an object with named columns, not {_named(row)}")
    fields: dict[str, Any]
    answer = "response" if row.get("completion") is None else "completion"
    if row.get("messages") is not None:
        used, fields = {"messages"}, {"messages": _messages(row["messages"], "messages")}
    elif row.get("prompt") is not None and row.get(answer) is not None:
        used, fields = {"prompt", answer}, _prompt_completion(row["prompt"], row[answer], answer)
    elif row.get("text") is not None:
        used, fields = {"text"}, {"text": _filled(row["text"], "text")}
    else:
        columns = ", ".join(str(name) for name, value in row.items() if value is not None) or "none"
        raise RecordError(
            f"needs `messages`, or `prompt` and `completion`, or `text`; its columns: {columns}"
        )
    if "messages" in fields:
        _require_response(fields["messages"][fields.get("context", 0) :])
    return fields | {"extra": {name: value for name, value in row.items() if name not in {*used, "id"}}}


def parse_id(value: Any) -> str | None:
    """The id that a row gives itself; None if it gives none.

    Raises:
        RecordError: it is neither a string nor a whole number.
    """
    if value is None:
        return None
    if isinstance(value, Integral) and not isinstance(value, bool):
        return str(int(value))
    if not isinstance(value, str):
        raise RecordError(f"`id` must be a string or a whole number, not {_named(value)} ({value!r:.40})")
    return _filled(value, "id")


def _prompt_completion(prompt: Any, completion: Any, answer: str) -> dict[str, Any]:
    if isinstance(prompt, list | tuple) and isinstance(completion, list | tuple):
        before = _messages(prompt, "prompt")
        return {"messages": before + _messages(completion, answer), "context": len(before)}
    return {"prompt": _string(prompt, "`prompt`"), "completion": _filled(completion, answer)}


def _messages(value: Any, column: str) -> tuple[Message, ...]:
    if not isinstance(value, list | tuple):
        raise RecordError(f"`{column}` must be a list of turns, not {_named(value)}")
    messages = []
    for number, turn in enumerate(value, start=1):
        place = f"turn {number} of `{column}`"
        if not isinstance(turn, Mapping):
            raise RecordError(f"{place} must be an object with `role` and `content`, not {_named(turn)}")
        refused = [key for key in REFUSED_KEYS if turn.get(key)]
        if refused:
            raise RecordError(f"{place} has `{refused[0]}`, which is not supported; write it into `content`")
        if turn.get("weight") == 0:
            raise RecordError(f"{place} has weight 0, which is not supported; give it in `prompt` instead")
        if turn.get("role") not in ROLES:
            raise RecordError(f"{place} has the role {turn.get('role')!r:.40}; roles are {', '.join(ROLES)}")
        messages.append(Message(turn["role"], _string(turn.get("content"), f"the content of {place}")))
    return tuple(messages)


def _require_response(messages: tuple[Message, ...]) -> None:
    responses = [message.content for message in messages if message.role == "assistant"]
    if not responses:
        raise RecordError("no turn of the assistant, so there is nothing that is trained on")
    if not responses[-1].strip():
        raise RecordError("the last turn of the assistant is empty")


def _filled(value: Any, column: str) -> str:
    if not _string(value, f"`{column}`").strip():
        raise RecordError(f"`{column}` is empty")
    return value


def _string(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise RecordError(f"{name} must be a string, not {_named(value)}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        place = error.start + 1
        raise RecordError(
            f"{name} has half of a surrogate pair at character {place}: it is no text"
        ) from error
    return value


def _named(value: Any) -> str:
    """What a value is, in the words of JSON."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a truth value", int: "a whole number"}
    if value is None:
        return "null"
    return names.get(type(value), f"a {type(value).__name__}")
