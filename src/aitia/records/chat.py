"""Where the text of a chat template holds the assistant's turns, by character.

A template is a program, so the places cannot be read from it. They are found by rendering the conversation
with a mark after what each turn says, and comparing with the text without marks. A turn whose mark is not
written is one that the template drops, and then the row is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Any

from aitia.errors import RecordError
from aitia.records.clock import day_of_this_run, pin_date, reads_clock
from aitia.records.marking import can_mark, column_marked, marked_turn, require_written, silenced_turn, spoken_parts
from aitia.records.record import Message, is_trained

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Turns = list[dict[str, Any]]

_QUESTION: Turns = [{"role": "user", "content": "u"}]
_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
# What a template writes of a list of parts that it takes for a string.
_LISTS = ("'type': 'text'", '"type": "text"')
_OPENING = re.compile(r"\s*(<[^<>\s]+>|\[[^\[\]\s]+\])")


class ChatTemplate:
    """The chat template of a tokenizer.

    Attributes:
        today: the date that it writes, if it asks for one; None if it does not.
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
        self._written: set[str] = set()

    def render(
        self, turns: Turns, *, prompt: bool = False, arguments: Mapping[str, Any] | None = None
    ) -> str:
        """The text of a conversation; with `prompt`, up to where the assistant begins to answer.

        Args:
            turns: what the template gets, like `Message.turn`.
            prompt: leave the conversation open for an answer.
            arguments: what else the template gets, like `tools`.

        Raises:
            RecordError: the template refuses the conversation.
        """
        from jinja2 import TemplateError

        given = dict(arguments or {})
        if self.today is not None:
            given["chat_template"] = self._source(given)
        try:
            return str(
                self._tokenizer.apply_chat_template(
                    turns, tokenize=False, add_generation_prompt=prompt, **given
                )
            )
        except (TemplateError, TypeError, ValueError, KeyError, AttributeError) as error:
            raise RecordError(f"the chat template refuses the conversation: {error}") from error

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
            for form in _forms(turns):
                try:
                    return self._responses(form, chosen, dict(arguments or {}))
                except RecordError as error:
                    first = first or error
        assert first is not None
        raise first

    def _responses(
        self, turns: Turns, chosen: Sequence[int], arguments: dict[str, Any]
    ) -> tuple[str, list[tuple[int, int]]]:
        text = self.render(turns, arguments=arguments)
        _require_no_lists(text, turns, arguments)
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
        marks = _marks(text, turns, chosen)
        everything = self._marked(turns, marks, arguments)
        for i in [i for i, mark in marks.items() if mark not in everything]:
            self._require_turn(text, turns, i, marks[i], arguments, chosen)
        found = _align(text, everything, turns, marks)
        if found is not None:
            return found
        # A mark may change how a template reads other turns: then each answer is marked alone.
        found = {}
        for i in chosen:
            alone = _align(text, self._marked(turns, {i: marks[i]}, arguments), turns, {i: marks[i]})
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
        if i in chosen:
            raise _rewritten(i)
        require_written(turns[i], None, text, i)

    def _marked(self, turns: Turns, marks: Mapping[int, str], arguments: dict[str, Any]) -> str:
        marked = [marked_turn(turn, marks[i]) if i in marks else turn for i, turn in enumerate(turns)]
        return self.render(marked, arguments=arguments)

    def _start(self, text: str, turns: Turns, i: int, arguments: dict[str, Any]) -> int | None:
        if i > 0 and self._opening is not None:
            prompt = self.render(turns[:i], prompt=True, arguments=arguments)
            if text.startswith(prompt):
                return len(prompt)
        header, _ = self._around(turns[:i], arguments)
        return len(header) if text.startswith(header) else None

    def _end(self, text: str, turns: Turns, i: int, spoken: int, arguments: dict[str, Any]) -> int | None:
        """The end of a turn of which the content ends at `spoken`."""
        rest, calls = text[spoken:], bool(turns[i].get("tool_calls"))
        if not calls and self._footer and rest.startswith(self._footer):
            return spoken + len(self._footer)
        if i == len(turns) - 1:
            return max(spoken, len(text.rstrip()))
        mark = _marks(text, turns, [i])[i]
        try:
            last = self._marked(turns[: i + 1], {i: mark}, arguments).rpartition(mark)[2].rstrip()
        except RecordError:  # some templates want no conversation that ends so
            last = ""
        if last and rest.startswith(last):
            return spoken + len(last)
        place = rest.find(self._opening) if self._opening else -1
        if place > 0:
            return spoken + len(rest[:place].rstrip())
        return None if calls else spoken

    def _around(self, turns: Turns, arguments: Mapping[str, Any] | None = None) -> tuple[str, str]:
        """What the template writes up to an answer's first character, and after its last one."""
        one, other = (
            self.render([*turns, {"role": "assistant", "content": content}], arguments=arguments)
            for content in "xy"
        )
        return _common_start(one, other), _common_start(one[::-1], other[::-1])[::-1]

    @cached_property
    def _footer(self) -> str:
        """The end-of-turn token of a last answer; "" where there is none."""
        try:
            return self._around(_QUESTION)[1].rstrip()
        except RecordError:
            return ""

    @cached_property
    def _opening(self) -> str | None:
        """What the prompt for an answer begins with, like `<|im_start|>`; "" where it is no such token.

        None where the template does not heed `add_generation_prompt`; many need not, some forget to.
        """
        try:
            open_, closed = self.render(_QUESTION, prompt=True), self.render(_QUESTION)
        except RecordError:
            return ""
        if open_ == closed:
            return None
        found = _OPENING.match(open_.removeprefix(closed)) if open_.startswith(closed) else None
        return found[1] if found else ""

    def _source(self, arguments: Mapping[str, Any]) -> str:
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
            key = json.dumps([column, values], sort_keys=True)
            if key in self._written:
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
            self._written.add(key)


def _rewritten(i: int) -> RecordError:
    return RecordError(
        f"the chat template rewrites what turn {i + 1} says, or rewrites earlier turns once others follow, so the "
        "responses cannot be found in its text; give one answer a row, or prompt and completion"
    )


def _shorter(turns: Turns, length: int) -> list[Turns]:
    return [turns] if length == len(turns) else [turns, turns[:length]]


def _forms(turns: Turns) -> Iterable[Turns]:
    """A conversation as it is; then with all content in parts, and with all content in strings."""
    yield turns
    parts = [
        turn | {"content": [{"type": "text", "text": turn["content"]}]}
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


def _require_no_lists(text: str, turns: Turns, arguments: Mapping[str, Any]) -> None:
    """Refuse a text in which a list of parts stands as a program would print it."""
    if not any(isinstance(turn.get("content"), list) for turn in turns):
        return
    said = [part for turn in turns for part in spoken_parts(turn)]
    said.append(json.dumps(arguments, ensure_ascii=False))
    if any(mark in text and not any(mark in part for part in said) for mark in _LISTS):
        raise RecordError(
            "the chat template writes content in parts as a list; give the content of each turn as one string"
        )


def _marks(text: str, turns: Turns, chosen: Sequence[int]) -> dict[int, str]:
    """A mark for each turn that says something or is chosen; none of them stands in the text."""
    salt = "q"
    while f"Z{salt}" in text:
        salt += "q"
    numbers = (i for i, turn in enumerate(turns) if i in chosen or can_mark(turn))
    return {i: f"Z{salt}{i}xZ" for i in numbers}


def _align(text: str, marked: str, turns: Turns, marks: Mapping[int, str]) -> dict[int, int] | None:
    """Where each marked turn's content ends in the text without marks; None where the texts differ."""
    places = sorted((marked.find(mark), i) for i, mark in marks.items())
    if any(marked.count(mark) != 1 for mark in marks.values()):
        return None
    pieces, last = [], 0
    for place, i in places:
        pieces.append(marked[last:place])
        last = place + len(marks[i])
    pieces.append(marked[last:])
    if not text.startswith(pieces[0]):
        return None
    ends, position = {}, len(pieces[0])
    for (_, i), piece in zip(places, pieces[1:], strict=True):
        # The mark stands in the place of the spaces at the content's end, which templates keep or take away.
        parts = [] if turns[i].get("tool_calls") else spoken_parts(turns[i])
        spaces = parts[-1][len(parts[-1].rstrip()) :] if parts else ""
        kept = (
            length
            for length in range(len(spaces), -1, -1)
            if text.startswith(spaces[:length] + piece, position)
        )
        length = next(kept, None)
        if length is None:
            return None
        ends[i] = position + length
        position += length + len(piece)
    return ends if position == len(text) else None


def _common_start(one: str, other: str) -> str:
    differs = (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return one[: next(differs, min(len(one), len(other)))]
