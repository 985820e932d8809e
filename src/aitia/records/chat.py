"""Where the text of a chat template holds the assistant's turns, by character.

A template is a program, so the places cannot be read from it: they are found by rendering the
conversation up to a turn and after it, and comparing with the text of the whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING

from aitia.errors import RecordError
from aitia.records.record import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_QUESTION = (Message("user", "u"),)


class ChatTemplate:
    """The chat template of a tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        self._tokenizer = tokenizer

    def render(self, messages: Iterable[Message], *, prompt: bool = False) -> str:
        """The text of a conversation; with `prompt`, up to where the assistant begins to answer.

        Raises:
            RecordError: the template refuses the conversation.
        """
        from jinja2 import TemplateError

        turns = [{"role": message.role, "content": message.content} for message in messages]
        try:
            return str(
                self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=prompt)
            )
        except (TemplateError, TypeError, ValueError, KeyError) as error:
            raise RecordError(f"the chat template refuses the conversation: {error}") from error

    def responses(self, messages: tuple[Message, ...], context: int = 0) -> tuple[str, list[tuple[int, int]]]:
        """The text of a conversation and the assistant's turns in it.

        A turn begins where the prompt for it ends, and ends with its end-of-turn token. Where turns after
        the last response change how the earlier ones are written, they are left out of the text.

        Args:
            messages: the turns.
            context: leading turns that do not count, even if they are the assistant's.

        Returns:
            The text, and the start and end character of each turn, in order.

        Raises:
            RecordError: the template refuses the conversation, or writes a turn otherwise once others follow.
        """
        answers = [i for i, message in enumerate(messages) if message.role == "assistant" and i >= context]
        for turns in dict.fromkeys([messages, messages[: answers[-1] + 1]]):
            text = self.render(turns)
            spans = self._spans(text, turns, answers)
            if spans is not None:
                return text, spans
        raise RecordError(
            "the chat template rewrites earlier turns once others follow, so the responses cannot be "
            "found in its text; give one answer a row, or prompt and completion"
        )

    def _spans(
        self, text: str, turns: tuple[Message, ...], answers: list[int]
    ) -> list[tuple[int, int]] | None:
        spans = []
        earlier = 0
        for i in answers:
            start = self._start(text, turns, i)
            end = None if start is None else self._end(text, turns, i, start)
            if start is None or end is None or not earlier <= start < end:
                return None
            spans.append((start, end))
            earlier = end
        return spans

    def _start(self, text: str, turns: tuple[Message, ...], i: int) -> int | None:
        if i > 0 and self._writes_prompt:
            prompt = self.render(turns[:i], prompt=True)
            if text.startswith(prompt):
                return len(prompt)
        header, _ = self._around(turns[:i])
        return len(header) if text.startswith(header) else None

    def _end(self, text: str, turns: tuple[Message, ...], i: int, start: int) -> int | None:
        after = text if i == len(turns) - 1 else self.render(turns[: i + 1])
        end_of_turn = self._footer.rstrip()
        if text.startswith(after):
            gap = len(self._footer) - len(end_of_turn) if after.endswith(self._footer) else 0
            return len(after) - gap
        # The last turn may be written otherwise (some templates put an empty thought before it): the
        # content with its end-of-turn token after it still is exact.
        ending = turns[i].content.strip() + end_of_turn
        found = text.find(ending, start) if end_of_turn else -1
        return found + len(ending) if found >= 0 else None

    def _around(self, turns: tuple[Message, ...]) -> tuple[str, str]:
        """What the template writes up to an answer's first character, and after its last one."""
        one, other = (self.render([*turns, Message("assistant", content)]) for content in "xy")
        return _common_start(one, other), _common_start(one[::-1], other[::-1])[::-1]

    @cached_property
    def _footer(self) -> str:
        return self._around(_QUESTION)[1]

    @cached_property
    def _writes_prompt(self) -> bool:
        """Whether the template heeds `add_generation_prompt`; many do not need to, some forget to."""
        return self.render(_QUESTION, prompt=True) != self.render(_QUESTION)


def _common_start(one: str, other: str) -> str:
    differs = (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return one[: next(differs, min(len(one), len(other)))]
