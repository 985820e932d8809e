"""Where the text of a chat template holds the assistant's turns, by character.

A template is a program, so the places cannot be read from it. They are found by rendering the conversation
with a mark after what each turn says, and comparing with the text without marks. A turn whose mark is not
written is one that the template drops, and then the row is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from aitia.errors import RecordError
from aitia.records.record import Message, is_trained
from aitia.records.templates.clock import day_of_this_run, pin_date, reads_clock
from aitia.records.templates.contents import content_forms, in_parts, require_no_lists, spoken_parts, turn_of
from aitia.records.templates.marking import (
    Turns,
    align,
    column_marked,
    marked_turn,
    marks_for,
    require_written,
    silenced_turn,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
_TOKEN = re.compile(r"\s*(<[^<>\s]+>|\[[^\[\]\s]+\])")


@dataclass(frozen=True, slots=True)
class _Habits:
    """What holds for all conversations.

    Attributes:
        prompts: whether the template heeds `add_generation_prompt`; many need not, some forget to.
        opening: what the prompt for an answer begins with, like `<|im_start|>`; "" where it is no such token.
        footer: the end-of-turn token of a last answer; "" where there is none.
    """

    prompts: bool
    opening: str
    footer: str


class ChatTemplate:
    """The chat template of a tokenizer.

    Attributes:
        today: the date that it finds where it asks for one; None if it does not ask.
        dated: whether a conversation was rendered with that date.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, today: date | None = None):
        """Keep the template.

        Args:
            tokenizer: the tokenizer.
            today: what day the template is to find; default: the day on which this process first asks.
        """
        self._tokenizer = tokenizer
        template: Any = tokenizer.chat_template
        sources = template.values() if isinstance(template, Mapping) else [template or ""]
        asks = any(reads_clock(source) for source in sources)
        self.today = (today or day_of_this_run()) if asks else None
        self.dated = False
        self._seen: dict[bool, _Habits] = {}

    def render(
        self, turns: Turns, *, prompt: bool = False, arguments: Mapping[str, Any] | None = None
    ) -> str:
        """The text of a conversation; with `prompt`, up to where the assistant begins to answer.

        Args:
            turns: what the template gets, like `Message.turn`.
            prompt: leave the conversation open for an answer.
            arguments: what else the template gets, like `tools`.

        Returns:
            The text, as the chat template writes it.

        Raises:
            RecordError: the template refuses the conversation.
        """
        given = dict(arguments or {})
        if self.today is not None:
            given["chat_template"] = self._source(given)
            self.dated = True
        with _refusals():
            return str(
                self._tokenizer.apply_chat_template(
                    turns, tokenize=False, add_generation_prompt=prompt, **given
                )
            )

    def responses(
        self,
        messages: Sequence[Message],
        context: int = 0,
        arguments: Mapping[str, Any] | None = None,
    ) -> tuple[str, list[tuple[int, int]]]:
        """The text of a conversation and the turns in it that are trained on.

        A turn begins where the prompt for it ends, and ends with its end-of-turn token; where the template
        marks what the assistant generates (`{% generation %}`), it is what the template marks. Content goes
        to the template as the row has it; where the template does not write strings but parts of text, or
        the other way round, it gets what it writes. Where turns after the last response change how the earlier
        ones are written, they are left out of the text.

        Args:
            messages: the turns.
            context: leading turns that do not count, even if they are the assistant's.
            arguments: what else the template gets, like `tools`.

        Returns:
            The text, and the start and end character of each turn, in order.

        Raises:
            RecordError: the template refuses the conversation, does not write what it says, or writes a turn
                otherwise once others follow.
        """
        chosen = [i for i, message in enumerate(messages) if i >= context and is_trained(message)]
        given = [message.turn for message in messages]
        first: RecordError | None = None
        for turns in _shorter(given, chosen[-1] + 1):
            for form in content_forms(turns):
                try:
                    return self._responses(form, chosen, dict(arguments or {}))
                except RecordError as error:
                    first = first or error
        assert first is not None
        raise first

    def completion(
        self, messages: Sequence[Message], context: int, arguments: Mapping[str, Any] | None = None
    ) -> tuple[str, str]:
        """The text of a conversation of which all that follows the prompt is trained on, and the prompt's text.

        This is what TRL does with `prompt` and `completion` in turns (`completion_only_loss`): what the template writes
        after the last turn, and turns of others in the completion, are trained on too.

        Args:
            messages: the turns, the prompt's first.
            context: how many of them are the prompt.
            arguments: what else the template gets, like `tools`.

        Returns:
            The text of all turns; and that of the prompt, open for an answer, with which the text need not begin.

        Raises:
            RecordError: as for `responses`.
        """
        chosen = [i for i, message in enumerate(messages) if i >= context and is_trained(message)]
        more, first = dict(arguments or {}), None
        for form in content_forms([message.turn for message in messages]):
            try:
                text, _ = self._responses(form, chosen, more)
                return text, self.render(form[:context], prompt=True, arguments=more)
            except RecordError as error:
                first = first or error
        assert first is not None
        raise first

    def _responses(
        self, turns: Turns, chosen: Sequence[int], arguments: dict[str, Any]
    ) -> tuple[str, list[tuple[int, int]]]:
        text = self.render(turns, arguments=arguments)
        require_no_lists(text, turns, arguments)
        self._require_columns(turns, arguments)
        ends = self._ends(text, turns, chosen, arguments)
        spans, earlier = [], 0
        for i in chosen:
            start = self._start(text, turns, i, arguments)
            end = self._end(text, turns, i, ends[i], arguments)
            if start is None or end is None or not earlier <= start <= ends[i] <= end or start == end:
                raise RecordError(
                    f"the chat template writes turn {i + 1} in a way in which it cannot be found in the text; "
                    "give one answer a row, or prompt and completion"
                )
            start = min(start, _content_start(text, turns[i], ends[i]))
            require_written(turns[i], text[start : ends[i]], text[start:end], i)
            spans.append((start, end))
            earlier = end
        source = "" if not hasattr(self._tokenizer, "get_chat_template") else self._source(arguments)
        if _GENERATION.search(source):
            spans = self._generated(source, turns, chosen, spans, arguments)
        return text, spans

    def _ends(
        self, text: str, turns: Turns, chosen: Sequence[int], arguments: dict[str, Any]
    ) -> dict[int, int]:
        """Where the content of each chosen turn ends in the text, once all turns are found to be written."""
        marks = marks_for(text, turns, chosen)
        everything = self._marked(turns, marks, arguments)
        for i in [i for i, mark in marks.items() if mark not in everything]:
            self._require_turn(text, turns, i, marks[i], arguments, chosen)
        found = align(text, everything, turns, marks)
        if found is not None:
            return found
        # A mark may change how a template reads other turns: then each answer is marked alone.
        found = {}
        for i in chosen:
            alone = align(text, self._marked(turns, {i: marks[i]}, arguments), turns, {i: marks[i]})
            if alone is None:
                raise _rewritten(i)
            found |= alone
        return found

    def _require_turn(
        self,
        text: str,
        turns: Turns,
        i: int,
        mark: str,
        arguments: dict[str, Any],
        chosen: Sequence[int],
    ) -> None:
        """Refuse a turn of which the mark is not written, unless the template writes all that it says."""
        other = [*turns[:i], silenced_turn(turns[i], mark), *turns[i + 1 :]]
        if self.render(other, arguments=arguments) == text:
            raise RecordError(
                f"the chat template does not write what turn {i + 1} (of the {turns[i]['role']}) says; "
                "leave the turn out, or take a template that writes it"
            )
        if i not in chosen or turns[i].get("tool_calls"):
            require_written(turns[i], None, text, i)
        if i in chosen:
            raise _rewritten(i)

    def _marked(self, turns: Turns, marks: Mapping[int, str], arguments: dict[str, Any]) -> str:
        marked = [marked_turn(turn, marks[i]) if i in marks else turn for i, turn in enumerate(turns)]
        return self.render(marked, arguments=arguments)

    def _start(self, text: str, turns: Turns, i: int, arguments: dict[str, Any]) -> int | None:
        prompt = ""
        habits = self._habits(turns)
        if i > 0 and habits.prompts:
            prompt = self.render(turns[:i], prompt=True, arguments=arguments)
            if text.startswith(prompt):
                return len(prompt)
        header, _ = self._around(turns, i, arguments)
        if text.startswith(header):
            return len(header)
        # The prompt may go on with a thought that the answer begins otherwise.
        shared = _whole_tokens(_common_start(text, prompt))
        closed = self.render(turns[:i], arguments=arguments) if shared else ""
        return len(shared) if len(shared) >= len(closed) + len(habits.opening) > 0 else None

    def _end(self, text: str, turns: Turns, i: int, spoken: int, arguments: dict[str, Any]) -> int | None:
        """The end of a turn of which the content ends at `spoken`."""
        rest, calls, habits = text[spoken:], bool(turns[i].get("tool_calls")), self._habits(turns)
        if not calls and habits.footer and rest.startswith(habits.footer):
            return spoken + len(habits.footer)
        if i == len(turns) - 1:
            return max(spoken, len(text.rstrip()))
        mark = marks_for(text, turns, [i])[i]
        try:
            last = self._marked(turns[: i + 1], {i: mark}, arguments).partition(mark)[2]
        except RecordError:  # some templates want no conversation that ends so
            last = ""
        shared = _whole_tokens(_common_start(rest, last)).rstrip()
        if shared:
            return spoken + len(shared)
        before = rest[: max(rest.find(habits.opening), 0)].rstrip()
        if _TOKEN.fullmatch(before):
            return spoken + len(before)
        return None if calls else spoken

    def _around(self, turns: Turns, i: int, arguments: Mapping[str, Any] | None = None) -> tuple[str, str]:
        """What the template writes up to an answer's first character, and after its last one."""
        parts = in_parts(turns)
        one, other = (
            self.render([*turns[:i], turn_of("assistant", said, parts), *turns[i + 1 :]], arguments=arguments)
            for said in "xy"
        )
        return _common_start(one, other), _common_start(one[::-1], other[::-1])[::-1]

    def _habits(self, turns: Turns) -> _Habits:
        """How the template begins and ends an answer, where content comes in the manner of these turns."""
        parts = in_parts(turns)
        if parts not in self._seen:
            question = [turn_of("user", "u", parts)]
            try:
                footer = self._around(question, 1)[1].rstrip()
                open_, closed = self.render(question, prompt=True), self.render(question)
            except RecordError:  # some templates want more than one question
                footer, open_, closed = "", "u", ""
            found = _TOKEN.match(open_.removeprefix(closed)) if open_.startswith(closed) else None
            self._seen[parts] = _Habits(open_ != closed, found[1] if found else "", footer)
        return self._seen[parts]

    def _source(self, arguments: Mapping[str, Any]) -> str:
        with _refusals():
            source: str = self._tokenizer.get_chat_template(tools=arguments.get("tools"))
        return source if self.today is None else pin_date(source, self.today)

    def _generated(
        self,
        source: str,
        turns: Turns,
        chosen: Sequence[int],
        spans: Sequence[tuple[int, int]],
        arguments: Mapping[str, Any],
    ) -> list[tuple[int, int]]:
        """The parts of the turns that the template itself marks as generated."""
        from transformers.utils.chat_template_utils import render_jinja_template

        with _refusals():
            rendered: Any = render_jinja_template(
                conversations=[turns],
                chat_template=source,
                return_assistant_tokens_mask=True,
                **{**self._tokenizer.special_tokens_map, **arguments},
            )
        places: list[tuple[int, int]] = rendered[1][0]
        found: list[tuple[int, int]] = []
        for i, (start, end) in zip(chosen, spans, strict=True):
            own = [place for place in places if place[0] < end and place[1] > start]
            whole = "".join(rendered[0][0][a:b] for a, b in own)
            require_written(turns[i], None, whole, i, " among what it marks as generated")
            if found and own[0][0] < found[-1][1]:
                raise RecordError(f"the chat template marks turn {i + 1} and another as generated together")
            found += own
        return found

    def _require_columns(self, turns: Turns, arguments: dict[str, Any]) -> None:
        """Refuse tools and documents that the template does not write."""
        for column in ("tools", "documents"):
            values = arguments.get(column)
            if not values:
                continue
            marks = [f"Zq{number}xqZ" for number in range(len(values))]
            marked = arguments | {column: column_marked(column, values, marks)}
            text = self.render(turns, arguments=marked)
            missing = [number for number, mark in enumerate(marks, start=1) if mark not in text]
            if missing:
                raise RecordError(
                    f"the chat template does not write number {missing[0]} of the row's `{column}`; take the "
                    "template that the model was trained with, or leave the column out if it was not "
                    "trained on"
                )


@contextmanager
def _refusals() -> Iterator[None]:
    """Name what a template raises as its refusal: it is a program, and may raise anything."""
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RecordError(f"the chat template refuses the conversation: {reason}") from error


def _content_start(text: str, turn: Mapping[str, Any], end: int) -> int:
    """Where content begins that ends at `end`, if it is written as it is: a prompt may reach into it."""
    parts, written = spoken_parts(turn), text[:end].rstrip()
    if len(parts) == 1 and not turn.get("tool_calls") and written.endswith(parts[0].strip()):
        return len(written) - len(parts[0].strip())
    return end


def _rewritten(i: int) -> RecordError:
    return RecordError(
        f"the chat template rewrites what turn {i + 1} says, or rewrites earlier turns once others follow, so the "
        "responses cannot be found in its text; give one answer a row, or prompt and completion"
    )


def _shorter(turns: Turns, length: int) -> list[Turns]:
    return [turns] if length == len(turns) else [turns, turns[:length]]


def _common_start(one: str, other: str) -> str:
    differs = (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return one[: next(differs, min(len(one), len(other)))]


def _whole_tokens(text: str) -> str:
    """A text without a token like `<|end|>` that is cut off at its end."""
    for opens, closes in ("<>", "[]"):
        if text.rfind(opens) > text.rfind(closes):
            text = text[: text.rfind(opens)]
    return text
