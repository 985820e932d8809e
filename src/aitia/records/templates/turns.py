"""The turns of a conversation, checked: what each says, and whether it is trained on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from numbers import Number
from typing import Any

from aitia.errors import RecordError
from aitia.records.record import Message
from aitia.records.values import described, plain_json, text_of

ROLES = ("system", "developer", "user", "assistant", "tool")

# The roles that others write, for the mend that a message names.
_MEANT = {"human": "user", "model": "assistant", "gpt": "assistant", "bot": "assistant", "function": "tool"}

# ShareGPT's names. Others that its collections use do not have one meaning.
SPEAKERS = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "system": "system",
    "tool": "tool",
    "observation": "tool",
    "function_call": "assistant",
}

# What trainers call the flag of a turn that is trained on, and of one that is not.
TRAIN_FLAGS = ("train", "trainable", "training", "loss", "loss_mask", "weight")
MASK_FLAGS = ("masked",)

# Keys of a turn that change what it says or what of it is trained on, in ways that are not read.
_REFUSED = {
    "function_call": "write it as `tool_calls`",
    "training_detail": "only whole turns can be trained on or left out",
    "train_detail": "only whole turns can be trained on or left out",
    "loss_scale": "a turn is trained on or it is not",
    "mask": "say `train` true or false instead",
    "images": "only text is read",
    "audio": "only text is read",
    "videos": "only text is read",
}
REASONING = ("reasoning_content", "thinking", "reasoning")


def parse_turns(value: Any, column: str) -> tuple[Message, ...]:
    """The turns of a conversation: a list of objects, or a string that holds such a list in JSON.

    A turn has `role` and `content`, or ShareGPT's `from` and `value`; the content is a string, or a list of
    parts of text. Its other keys go to the chat template, the flags of training excepted.

    Args:
        value: of the column.
        column: its name, for messages.

    Returns:
        The turns, in their order.

    Raises:
        RecordError: the reason alone, without the place of the row.
    """
    value = plain_json(value, f"`{column}`")
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = plain_json(json.loads(value), f"`{column}`")
        except (ValueError, RecursionError) as error:
            raise RecordError(f"`{column}` is a string that is not valid JSON: {error}") from error
    if not isinstance(value, list):
        raise RecordError(f"`{column}` must be a list of turns, not {described(value)}")
    return tuple(_message(turn, f"turn {number} of `{column}`") for number, turn in enumerate(value, start=1))


def _message(turn: Any, place: str) -> Message:
    if not isinstance(turn, dict):
        raise RecordError(f"{place} must be an object with `role` and `content`, not {described(turn)}")
    if "from" in turn or "value" in turn:
        turn = _from_sharegpt(turn, place)
    for key, mend in _REFUSED.items():
        # A list or string that is empty says nothing.
        if turn.get(key) not in (None, "", [], {}):
            raise RecordError(f"{place} has `{key}`, which is not supported; {mend}")
    role = turn.get("role")
    if role not in ROLES:
        raise RecordError(f"{place} has the role {role!r:.40}; {_other_role(role)}")
    flags = (*TRAIN_FLAGS, *MASK_FLAGS)
    more = {key: value for key, value in turn.items() if key not in (*flags, *_REFUSED, "role", "content")}
    _require_calls(more, role, place)
    trained = _is_trained(turn, role, place)
    content = turn.get("content")
    if isinstance(content, list):
        return Message(role, _joined(content, place), more | {"content": content}, trained)
    if content is None and (more.get("tool_calls") or any(more.get(key) for key in REASONING)):
        return Message(role, "", more | {"content": None}, trained)
    return Message(role, text_of(content, f"the content of {place}"), more, trained)


def _from_sharegpt(turn: dict[str, Any], place: str) -> dict[str, Any]:
    if "role" in turn or "content" in turn:
        raise RecordError(
            f"{place} has both `from` and `value`, and `role` and `content`; leave one pair out"
        )
    speaker = turn.get("from")
    if not isinstance(speaker, str) or speaker not in SPEAKERS:
        raise RecordError(f"{place} is from {speaker!r:.40}; those that are read are {', '.join(SPEAKERS)}")
    rest = {key: value for key, value in turn.items() if key not in ("from", "value")}
    if speaker != "function_call":
        return rest | {"role": SPEAKERS[speaker], "content": turn.get("value")}
    return rest | {"role": "assistant", "tool_calls": _calls_in(turn.get("value"), place)}


def _calls_in(value: Any, place: str) -> list[dict[str, Any]]:
    """The calls that a turn from `function_call` holds: one object in JSON, or a list of them."""
    try:
        found = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{place} is from function_call, but is not valid JSON: {error}") from error
    calls = found if isinstance(found, list) else [found]
    if not calls or not all(
        isinstance(call, dict) and {"name", "arguments"} <= call.keys() for call in calls
    ):
        raise RecordError(f"{place} is from function_call, but has no `name` and `arguments`")
    return [{"type": "function", "function": call} for call in calls]


def _other_role(role: Any) -> str:
    meant = role.strip().lower() if isinstance(role, str) else ""
    meant = _MEANT.get(meant, meant)
    return f"write {meant!r}" if meant in ROLES else f"roles are {', '.join(ROLES)}"


def _joined(parts: list[Any], place: str) -> str:
    texts = []
    for number, part in enumerate(parts, start=1):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "text":
            what = f"of type {kind!r:.40}" if isinstance(part, dict) else described(part)
            raise RecordError(f"part {number} of {place} is {what}; only parts of type 'text' are read")
        texts.append(text_of(part.get("text"), f"the text of part {number} of {place}"))
    return "".join(texts)


def _require_calls(more: Mapping[str, Any], role: str, place: str) -> None:
    for key in REASONING:
        if key in more:
            text_of(more[key], f"`{key}` of {place}")
    calls = more.get("tool_calls")
    if calls is None:
        return
    if role != "assistant" and calls:
        raise RecordError(f"{place} has `tool_calls`, which only a turn of the assistant may have")
    if not isinstance(calls, list) or not all(isinstance(called(call).get("name"), str) for call in calls):
        raise RecordError(f"`tool_calls` of {place} must be a list of objects that name the tool called")


def called(call: Any) -> Mapping[str, Any]:
    """The name and arguments of a call or tool, which may stand under `function`."""
    inner = call.get("function", call) if isinstance(call, dict) else {}
    return inner if isinstance(inner, dict) else {}


def _is_trained(turn: Mapping[str, Any], role: str, place: str) -> bool:
    """Whether the flags of a turn leave it trained on."""
    said: dict[str, bool] = {}
    for key in (*TRAIN_FLAGS, *MASK_FLAGS):
        value = turn.get(key)
        if value is None:
            continue
        if isinstance(value, list | dict | str) or not isinstance(value, Number) or value not in (0, 1):
            raise RecordError(
                f"{place} has `{key}` {value!r:.40}; only 0, 1, true and false can be followed: "
                "a turn is trained on or it is not"
            )
        said[key] = bool(value) != (key in MASK_FLAGS)
    if len(set(said.values())) > 1:
        raise RecordError(f"{place} has flags that differ: {', '.join(said)}")
    trained = next(iter(said.values()), True)
    if said and trained and role != "assistant":
        raise RecordError(
            f"{place} says by `{next(iter(said))}` that it is trained on, but it is of the {role}; "
            "only turns of the assistant are"
        )
    return trained or role != "assistant"
