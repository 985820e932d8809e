"""One row of a source, checked: which shape it has, and what is wrong with it if it has none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from numbers import Integral
from typing import Any

from aitia.errors import RecordError
from aitia.records.record import Message, is_trained
from aitia.records.templates.turns import REASONING, parse_turns
from aitia.records.values import described, plain_json, text_of

TALKS = ("messages", "conversations", "conversation")
ANSWERS = ("completion", "response")
SHAPES = (
    "`messages` or `conversations` (lists of turns), `prompt` with `completion` or `response`, `text`, or "
    "`instruction` with `output`"
)

# As the `text` column of the data set that gave this shape its name has it.
_ALPACA = (
    "Below is an instruction that describes a task{paired}. Write a response that appropriately completes the "
    "request.\n\n### Instruction:\n{instruction}\n\n{input}### Response:\n"
)
_PAIRED = ", paired with an input that provides further context"

# Columns of a conversation that say by token or by weight what is trained on, or stand in an older form.
_REFUSED = {
    "loss_mask": "it marks what is trained on by token; mark turns by `train` true or false instead",
    "completion_mask": "it marks what is trained on by token; mark turns by `train` true or false instead",
    "assistant_masks": "it marks what is trained on by token; mark turns by `train` true or false instead",
    "functions": "give the tools as `tools`",
}
# What `chat_template_kwargs` may not hold: it is the business of who renders a conversation.
_RESERVED = (
    *("conversation", "conversations", "messages", "tools", "documents", "chat_template", "tokenize"),
    *("add_generation_prompt", "continue_final_message", "padding", "truncation", "max_length"),
    *("return_tensors", "return_dict", "return_assistant_tokens_mask", "tokenizer_kwargs"),
    *("sanitize_control_tokens", "strftime_now", "raise_exception"),
)


def parse_row(row: Any) -> dict[str, Any]:
    """The fields of a `Record` that a row gives, `id`, `row` and `location` excepted.

    A conversation (`messages`, or else `conversations`) goes before `prompt` with `completion` (or
    `response`), these before `text`, and this before `instruction` with `output`; columns that are not used,
    those of a later shape among them, go to `extra`. A column that is None counts as absent.

    Returns:
        Field -> value.

    Raises:
        RecordError: the reason alone, without the place.
    """
    if not isinstance(row, Mapping):
        raise RecordError(f"a row must be an object with named columns, not {described(row)}")
    given = {name: value for name, value in row.items() if value is not None}
    talks = [name for name in TALKS if name in given and (name == "messages" or _is_list(given[name]))]
    talks = [name for name in talks if len(given[name])] or talks[:1]
    answers = [name for name in ANSWERS if name in given]
    if {"chosen", "rejected"} <= given.keys():
        raise RecordError(
            "is a preference pair (`chosen` and `rejected`), and those are not read; give what was trained on "
            "in the manner of supervised training, without these two columns"
        )
    fields: dict[str, Any]
    if talks:
        used, fields = _conversation(given, talks)
        _require_agreement(fields["messages"], given, answers)
    elif "prompt" in given and answers:
        used, fields = _prompt_completion(given, answers)
    elif "text" in given:
        used, fields = {"text"}, {"text": filled(given["text"], "text")}
    elif "instruction" in given and "output" in given:
        used, fields = _alpaca(given)
    else:
        columns = ", ".join(map(str, given)) or "none"
        raise RecordError(f"needs {SHAPES}; its columns: {columns}")
    if "messages" in fields:
        _require_response(fields["messages"][fields.get("context", 0) :])
    return fields | {"extra": {name: value for name, value in row.items() if name not in {*used, "id"}}}


def parse_id(value: Any) -> str | None:
    """The id that a row gives itself; None if it gives none.

    Returns:
        The id, or None.

    Raises:
        RecordError: it is neither a string nor a whole number.
    """
    if value is None:
        return None
    if isinstance(value, Integral) and not isinstance(value, bool):
        return str(int(value))
    if not isinstance(value, str):
        raise RecordError(f"`id` must be a string or a whole number, not {described(value)} ({value!r:.40})")
    return filled(value, "id")


def filled(value: Any, column: str) -> str:
    """A string that is not empty.

    Returns:
        The string as it is.

    Raises:
        RecordError: it is no text, or nothing but spaces.
    """
    if not text_of(value, f"`{column}`").strip():
        raise RecordError(f"`{column}` is empty")
    return value


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple) or (isinstance(value, str) and value.lstrip().startswith("["))


def _conversation(given: Mapping[str, Any], talks: list[str]) -> tuple[set[str], dict[str, Any]]:
    name, *others = talks
    messages = parse_turns(given[name], name)
    for other in others:
        if parse_turns(given[other], other) != messages:
            raise RecordError(f"`{name}` and `{other}` do not say the same; leave one of them out")
    used, fields = _template_columns(given, messages, 0)
    return used | {name}, fields


def _template_columns(
    given: Mapping[str, Any], messages: tuple[Message, ...], context: int
) -> tuple[set[str], dict[str, Any]]:
    """What other columns of a row with turns say: a system turn, and arguments of the chat template."""
    for column, mend in _REFUSED.items():
        if given.get(column) not in (None, "", [], ()):
            raise RecordError(f"has the column `{column}`, which is not supported: {mend}")
    used = {"system", "tools", "documents", "chat_template_kwargs"} & given.keys()
    system = text_of(given.get("system", ""), "`system`")
    if system:
        first = messages[0] if messages else Message("user", "")
        if first.role not in ("system", "developer"):
            messages, context = (Message("system", system), *messages), context + bool(context)
        elif first.content != system:
            raise RecordError("`system` is not what its system turn says; leave one of them out")
    arguments: dict[str, Any] = {}
    for column, what in (("tools", "JSON schemas"), ("documents", "objects")):
        value = _decoded(given.get(column), column)
        if value is not None:
            if not isinstance(value, list) or not all(isinstance(part, dict) for part in value):
                raise RecordError(f"`{column}` must be a list of {what}, as the chat template gets them")
            arguments[column] = value
    more = _decoded(given.get("chat_template_kwargs"), "chat_template_kwargs")
    if more is not None:
        if not isinstance(more, dict):
            raise RecordError(f"`chat_template_kwargs` must be an object, not {described(more)}")
        reserved = [key for key in more if key in _RESERVED]
        if reserved:
            raise RecordError(f"`chat_template_kwargs` may not hold `{reserved[0]}`")
        arguments |= more
    fields: dict[str, Any] = {"messages": messages}
    fields |= {"context": context} if context else {}
    return used, fields | ({"template_arguments": arguments} if arguments else {})


def _decoded(value: Any, column: str) -> Any:
    """A column's value, read as JSON where it is a string; an empty string counts as absent."""
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else None
        except (ValueError, RecursionError) as error:
            raise RecordError(f"`{column}` is a string that is not valid JSON: {error}") from error
    return plain_json(value, f"`{column}`")


def _prompt_completion(given: Mapping[str, Any], answers: list[str]) -> tuple[set[str], dict[str, Any]]:
    answer = answers[0]
    if len(answers) > 1 and given[answers[0]] != given[answers[1]]:
        raise RecordError("`completion` and `response` do not say the same; leave one of them out")
    prompt, completion = given["prompt"], given[answer]
    if not isinstance(prompt, list | tuple) and not isinstance(completion, list | tuple):
        if given.get("system"):
            raise RecordError(
                "has a `system` for which a prompt in a string has no place; write it into the prompt, or "
                "give turns"
            )
        fields = {"prompt": text_of(prompt, "`prompt`"), "completion": filled(completion, answer)}
        return {"prompt", answer}, fields
    before = (
        (Message("user", text_of(prompt, "`prompt`")),)
        if isinstance(prompt, str)
        else parse_turns(prompt, "prompt")
    )
    after = (
        (Message("assistant", filled(completion, answer)),)
        if isinstance(completion, str)
        else parse_turns(completion, answer)
    )
    mixed = isinstance(prompt, str) or isinstance(completion, str)
    if mixed and (
        (before[-1:] and before[-1].role == "assistant") or (after[:1] and after[0].role != "assistant")
    ):
        raise RecordError(
            f"one of `prompt` and `{answer}` is a string and the other a list of turns, and they do not meet as "
            "question and answer; give both as strings, or both as turns"
        )
    used, fields = _template_columns(given, before + after, len(before))
    return used | {"prompt", answer}, fields


def _alpaca(given: Mapping[str, Any]) -> tuple[set[str], dict[str, Any]]:
    for column in ("system", "history"):
        if given.get(column):
            raise RecordError(
                f"has `instruction`, `output` and `{column}`, for which Alpaca's prompt has no place; give turns"
            )
    asked = text_of(given.get("input", ""), "`input`")
    prompt = _ALPACA.format(
        paired=_PAIRED if asked else "",
        instruction=filled(given["instruction"], "instruction"),
        input=f"### Input:\n{asked}\n\n" if asked else "",
    )
    fields = {"prompt": prompt, "completion": filled(given["output"], "output")}
    return {"instruction", "input", "output"}, fields


def _require_response(messages: tuple[Message, ...]) -> None:
    trained = [message for message in messages if is_trained(message)]
    if not trained:
        if any(message.role == "assistant" for message in messages):
            raise RecordError("every turn of the assistant is marked as not trained on")
        raise RecordError("no turn of the assistant, so there is nothing that is trained on")
    last = trained[-1]
    if not last.said.strip() and not any(last.more.get(key) for key in REASONING):
        raise RecordError("the last turn of the assistant is empty")


def _require_agreement(messages: tuple[Message, ...], given: Mapping[str, Any], answers: list[str]) -> None:
    """Refuse a conversation with a prompt and a completion that end otherwise: trainers take one or the other."""
    trained = [message.content.strip() for message in messages if is_trained(message)]
    if "prompt" not in given or not answers or not trained:
        return
    answer = given[answers[0]]
    if isinstance(answer, str) and answer.strip() != trained[-1]:
        raise RecordError(
            f"its turns, and `prompt` with `{answers[0]}`, do not end alike; leave one of them out"
        )
