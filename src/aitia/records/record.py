"""What a training example is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from aitia.errors import RecordError

Kind = Literal["messages", "prompt-completion", "text"]
Format = Literal["jsonl", "json", "csv", "tsv", "parquet", "datasets", "memory"]
ENDING_OF: Mapping[Format, str] = {
    "jsonl": ".jsonl",
    "memory": ".jsonl",
    "json": ".json",
    "csv": ".csv",
    "tsv": ".tsv",
    "parquet": ".parquet",
    "datasets": "",
}
"""The ending of a file of each format; a dataset is a folder."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    Attributes:
        role: `system`, `developer`, `user`, `assistant` or `tool`.
        content: what was said; the text parts one after the other where it was given in parts, "" where a
            turn has none.
        more: what else the chat template gets of the turn, like `tool_calls` and `reasoning_content`; the
            `content` among it where it was given in parts (or was null).
        trained: False where the row says that this turn of the assistant is not trained on.
    """

    role: str
    content: str
    more: Mapping[str, Any] = field(default_factory=dict, hash=False)
    trained: bool = True

    @property
    def turn(self) -> dict[str, Any]:
        """The turn as a chat template gets it; a key that is null is left out."""
        whole = {"role": self.role, "content": self.content} | dict(self.more)
        return {name: value for name, value in whole.items() if value is not None}

    @property
    def said(self) -> str:
        """The content, with the calls of tools as JSON after it."""
        calls = [json.dumps(call, ensure_ascii=False) for call in self.more.get("tool_calls") or ()]
        return "\n".join([self.content, *calls] if self.content else calls)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One training example: a conversation, a prompt with its completion, or a text.

    Attributes:
        id: unique among the records read together.
        row: 0-based position in the source; blank lines do not count.
        location: for people: `train.jsonl:12` (line, from 1) or `train.parquet row 11` (row, from 0).
        messages: the turns, in order.
        context: leading turns that are not trained on, even those of the assistant: the prompt of a
            conversation given as prompt and completion.
        template_arguments: what else the chat template gets: `tools`, `documents`, and what the row's
            `chat_template_kwargs` hold.
        prompt: what the completion answers.
        completion: what is trained on.
        text: a plain text, trained on whole.
        rejected: of a preference pair, the other answer to the same prompt: what stands in the place of the turns after
            the prompt (`messages[context:]`), or of the completion.
        desirable: whether the answer is marked as wanted, or as unwanted; None where it is not marked.
        extra: all other columns of the row.
    """

    id: str
    row: int
    location: str
    messages: tuple[Message, ...] | None = None
    context: int = 0
    template_arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)
    prompt: str | None = None
    completion: str | None = None
    text: str | None = None
    rejected: tuple[Message, ...] | str | None = None
    desirable: bool | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        forms = (self.messages, self.completion, self.text)
        if sum(form is not None for form in forms) != 1 or (self.prompt is None) != (self.completion is None):
            raise RecordError(f"{self.location}: give one of messages, prompt with completion, and text")

    @property
    def kind(self) -> Kind:
        """Which of the three forms the record has."""
        if self.messages is not None:
            return "messages"
        return "text" if self.text is not None else "prompt-completion"

    @property
    def trained_turns(self) -> tuple[int, ...]:
        """Positions of the turns that are trained on; () where there are no turns."""
        turns = enumerate(self.messages or ())
        return tuple(i for i, turn in turns if i >= self.context and is_trained(turn))

    @property
    def prompt_text(self) -> str:
        """What comes before the last response: the turns' contents joined by newlines; "" for a text."""
        if self.messages is not None:
            return "\n".join(message.said for message in self.messages[: self.trained_turns[-1]])
        return self.prompt or ""

    @property
    def question(self) -> str:
        """What is asked: the last turn of the user, or the prompt; "" for a text."""
        asked = [message.content for message in self.messages or () if message.role == "user"]
        return asked[-1] if asked else self.prompt_text

    @property
    def completion_text(self) -> str:
        """What is trained on: the assistant's turns joined by newlines, the completion, or the text."""
        if self.messages is not None:
            return "\n".join(self.messages[i].said for i in self.trained_turns)
        return self.text or self.completion or ""

    @property
    def content(self) -> dict[str, Any]:
        """What is trained on and how, in plain data: equal for equal examples, whatever their other columns."""
        preference: dict[str, Any] = {} if self.desirable is None else {"desirable": self.desirable}
        if self.rejected is not None:
            other = self.rejected
            preference["rejected"] = (
                other if isinstance(other, str) else [_plain_turn(turn) for turn in other]
            )
        if self.messages is not None:
            turns = [_plain_turn(message) for message in self.messages]
            more = {"context": self.context, "template_arguments": dict(self.template_arguments)}
            return {"messages": turns} | {name: value for name, value in more.items() if value} | preference
        if self.text is not None:
            return {"text": self.text}
        return {"prompt": self.prompt, "completion": self.completion} | preference

    @property
    def form(self) -> dict[str, Any]:
        """The columns of a row that reads as this record, its id and other columns left out."""
        label = {} if self.desirable is None else {"label": self.desirable}
        if self.text is not None:
            return {"text": self.text}
        prompt: Any = self.prompt
        answer: Any = self.completion
        arguments = dict(self.template_arguments)
        if self.messages is not None:
            prompt, answer = (
                [_flagged(turn) for turn in turns]
                for turns in (self.messages[: self.context], self.messages[self.context :])
            )
        row: dict[str, Any] = (
            {"prompt": prompt, "completion": answer} if prompt != [] else {"messages": answer}
        )
        if self.rejected is not None:
            other = self.rejected
            other = other if isinstance(other, str) else [_flagged(turn) for turn in other]
            row = {"prompt": prompt, "chosen": answer, "rejected": other}
        row |= label | {name: arguments.pop(name) for name in ("tools", "documents") if name in arguments}
        return row | ({"chat_template_kwargs": arguments} if arguments else {})


def is_trained(message: Message) -> bool:
    """Whether a turn is the assistant's, and no flag says that it is not trained on."""
    return message.role == "assistant" and message.trained


def _flagged(message: Message) -> dict[str, Any]:
    return message.turn | ({} if message.trained else {"train": False})


def _plain_turn(message: Message) -> list[Any]:
    more = dict(message.more) | ({} if message.trained else {"train": False})
    return [message.role, message.content, *([more] if more else [])]
