"""What several shapes read in the same way: strings that must say something, and columns beside turns."""

from __future__ import annotations

import json
from typing import Any

from aitia.errors import RecordError
from aitia.records.record import Message, is_trained
from aitia.records.shapes.shape import Fields, Given
from aitia.records.templates.turns import REASONING
from aitia.records.values import described, plain_json, text_of

TEMPLATE_COLUMNS = ("tools", "documents", "chat_template_kwargs")

# What `chat_template_kwargs` may not hold: it is the business of who renders a conversation.
_RESERVED = (
    *("conversation", "conversations", "messages", "tools", "documents", "chat_template", "tokenize"),
    *("add_generation_prompt", "continue_final_message", "padding", "truncation", "max_length"),
    *("return_tensors", "return_dict", "return_assistant_tokens_mask", "tokenizer_kwargs"),
    *("sanitize_control_tokens", "strftime_now", "raise_exception"),
)


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


def is_list(value: Any) -> bool:
    """Whether a value is a list, or a string that may be one in JSON."""
    return isinstance(value, list | tuple) or (isinstance(value, str) and value.lstrip().startswith("["))


def with_template_columns(given: Given, messages: tuple[Message, ...], context: int) -> Fields:
    """Turns with what other columns say of them: a system turn, and arguments of the chat template.

    Args:
        given: the row.
        messages: its turns.
        context: how many of them are the prompt of a completion.

    Returns:
        The other columns that were used, and the fields of a record.

    Raises:
        RecordError: a column that cannot be followed.
    """
    if given.get("functions") not in (None, "", [], ()):
        raise RecordError("has the column `functions`, which is not supported: give the tools as `tools`")
    used = {"system", *TEMPLATE_COLUMNS} & given.keys()
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


def require_no_template_columns(given: Given, what: str) -> None:
    """Refuse columns that a chat template would write, beside a prompt that none writes.

    Raises:
        RecordError: there is one.
    """
    for column in ("system", *TEMPLATE_COLUMNS):
        if given.get(column) not in (None, "", [], {}):
            raise RecordError(
                f"has a `{column}` for which {what} has no place; write it into the prompt, or give turns"
            )


def require_response(messages: tuple[Message, ...], side: str = "") -> None:
    """Refuse turns of which none is trained on, or the last of which says nothing.

    Args:
        messages: the turns after the prompt.
        side: said before the reason, like "`rejected`: ".

    Raises:
        RecordError: nothing is trained on.
    """
    trained = [message for message in messages if is_trained(message)]
    if not trained:
        if any(message.role == "assistant" for message in messages):
            raise RecordError(f"{side}every turn of the assistant is marked as not trained on")
        raise RecordError(f"{side}no turn of the assistant, so there is nothing that is trained on")
    last = trained[-1]
    if not last.said.strip() and not any(last.more.get(key) for key in REASONING):
        raise RecordError(f"{side}the last turn of the assistant is empty")


def _decoded(value: Any, column: str) -> Any:
    """A column's value, read as JSON where it is a string; an empty string counts as absent."""
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else None
        except (ValueError, RecursionError) as error:
            raise RecordError(f"`{column}` is a string that is not valid JSON: {error}") from error
    return plain_json(value, f"`{column}`")
