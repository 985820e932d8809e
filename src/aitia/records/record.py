"""What a training example is, and a sequence of them that can be cut and written back untouched."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, SupportsIndex

import numpy as np

from aitia.errors import RecordError
from aitia.files import digest, digest_of_list, same_place
from aitia.records.bad_rows import SkippedRow, some_of

Kind = Literal["messages", "prompt-completion", "text"]
Format = Literal["jsonl", "json", "parquet", "datasets", "memory"]

DIGEST_LENGTH = 16
"""Hex digits of the digest of a row's content: enough to tell mix-ups apart, which is what it is for."""


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
        if self.messages is not None:
            turns = [_plain_turn(message) for message in self.messages]
            more = {"context": self.context, "template_arguments": dict(self.template_arguments)}
            return {"messages": turns} | {name: value for name, value in more.items() if value}
        if self.text is not None:
            return {"text": self.text}
        return {"prompt": self.prompt, "completion": self.completion}

    @property
    def form(self) -> dict[str, Any]:
        """The columns of a row that reads as this record, its id and other columns left out."""
        if self.messages is None:
            return self.content
        turns = [message.turn | ({} if message.trained else {"train": False}) for message in self.messages]
        row = {"prompt": turns[: self.context], "completion": turns[self.context :]}
        arguments = dict(self.template_arguments)
        row = row if self.context else {"messages": turns}
        row |= {name: arguments.pop(name) for name in ("tools", "documents") if name in arguments}
        return row | ({"chat_template_kwargs": arguments} if arguments else {})


def is_trained(message: Message) -> bool:
    """Whether a turn is the assistant's, and no flag says that it is not trained on."""
    return message.role == "assistant" and message.trained


def _plain_turn(message: Message) -> list[Any]:
    more = dict(message.more) | ({} if message.trained else {"train": False})
    return [message.role, message.content, *([more] if more else [])]


class RowIds(list[str]):
    """Ids of rows, with what the rows say, so that they are not taken for other rows that have the same ids.

    Ids are often mere numbers, and another file has the same ones. `Records.only` and `Records.without` refuse
    ids of this kind where a row's content is not the one that is meant.

    Attributes:
        contents: id -> digest of the row's content, as in `Records.digests`.
        chosen_by: what chose the rows, for messages: `the ranking`, `the groups`.
    """

    def __init__(self, ids: Iterable[str], contents: Mapping[str, str], chosen_by: str):
        super().__init__(ids)
        self.contents, self.chosen_by = contents, chosen_by


class Stored(Sequence[Record]):
    """Records that are not in memory: each is read when it is asked for.

    Attributes:
        rows: [n] their positions in the source.
        ids: [n].
    """

    rows: Sequence[int]
    ids: Sequence[str]

    @abstractmethod
    def take(self, positions: Sequence[int]) -> Stored:
        """Some of the records."""


class Records:
    """Training examples in the order of their source.

    Attributes:
        source: the file or folder they were read from; None if they were made in memory.
        format: how they were stored, and how `write` stores them.
        skipped: the rows that were left out when reading.
        write_rows: writes the source's rows at the given positions (ascending) to a path.
    """

    def __init__(
        self,
        records: Iterable[Record],
        *,
        source: Path | None,
        format: Format,
        write_rows: Callable[[Sequence[int], Path], None],
        skipped: Iterable[SkippedRow] = (),
    ):
        """Keep records together with the way to write their rows.

        Args:
            records: in the order of the source.
            source: where they come from.
            format: how they are stored there.
            write_rows: writes the source's rows at the given positions (ascending) to a path.
            skipped: rows of the source that were left out.
        """
        self._records: Sequence[Record] = records if isinstance(records, Stored) else tuple(records)
        self.write_rows = write_rows
        self.source = source
        self.format: Format = format
        self.skipped = tuple(skipped)

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records)

    def __getitem__(self, index: SupportsIndex) -> Record:
        return self._records[int(index)]

    def __repr__(self) -> str:
        return f"Records({len(self)} from {self.source or 'memory'}, {len(self.skipped)} skipped)"

    @property
    def ids(self) -> tuple[str, ...]:
        """The id of each record, in order."""
        if isinstance(self._records, Stored):
            return tuple(self._records.ids)
        return tuple(record.id for record in self._records)

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of ids and contents in order; other columns do not count."""
        return self._identity[0]

    @property
    def digests(self) -> np.ndarray:
        """Digest of each record's content: [n] strings of 16 hex digits, as bytes. Other columns do not count."""
        return self._identity[1]

    @cached_property
    def _identity(self) -> tuple[str, np.ndarray]:
        """Fingerprint and digests, from one pass over the records."""
        digests = np.empty(len(self), dtype=f"S{DIGEST_LENGTH}")

        def passed() -> Iterator[list[Any]]:
            for place, record in enumerate(self._records):
                digests[place] = digest(record.content)[:DIGEST_LENGTH]
                yield [record.id, record.content]

        return digest_of_list(passed()), digests

    def column(self, name: str) -> list[Any]:
        """One of the other columns, or `id`: a value for each record, None where it is absent.

        Returns:
            n values, in the order of the records.

        Raises:
            RecordError: no row has the column; those that there are, are listed.
        """
        if name == "id":
            return list(self.ids)
        values, present = [], {}
        for record in self._records:
            values.append(record.extra.get(name))
            present |= dict.fromkeys(record.extra)
        if name not in present:
            listed = ", ".join(map(str, present)) or "none"
            raise RecordError(f"{self.source or 'records'}: no column {name!r}; there are: {listed}")
        return values

    def without(self, ids: Iterable[str]) -> Records:
        """The other records, in the order of the source.

        Returns:
            Records of the same source.

        Raises:
            RecordError: an id that no record has, or (with `RowIds`) whose record says something else.
        """
        dropped = self._known(ids)
        return self._subset([i for i, name in enumerate(self.ids) if name not in dropped])

    def only(self, ids: Iterable[str]) -> Records:
        """The records with these ids, in the order of the source.

        Returns:
            Records of the same source.

        Raises:
            RecordError: an id that no record has, or (with `RowIds`) whose record says something else.
        """
        kept = self._known(ids)
        return self._subset([i for i, name in enumerate(self.ids) if name in kept])

    def write(self, path: Path | str) -> Path:
        """Write the records in the format that they were read in, each row untouched, whole or not at all.

        Lines of JSON keep their very bytes (a path that ends in `.gz` is compressed), and so do the rows of
        a JSON array, which are written as an array again; Parquet keeps schema and values; a dataset is saved
        to a folder; rows made in memory become lines of JSON.

        Args:
            path: the file, or the folder of a dataset.

        Returns:
            The path.

        Raises:
            RecordError: the path is the source itself (the rows that are not written would be lost), its
                ending is that of another format, a folder is in the way, or a row made in memory cannot be
                written as JSON.
        """
        path = Path(path)
        if self.source is not None and same_place(path, self.source):
            raise RecordError(
                f"{path}: holds the data that are read; writing over them would lose the other rows. "
                "Give another place"
            )
        self.write_rows(self.rows, path)
        return path

    @property
    def rows(self) -> Sequence[int]:
        """[n] the records' 0-based positions in the source."""
        held = self._records
        return held.rows if isinstance(held, Stored) else [record.row for record in held]

    def _known(self, ids: Iterable[str]) -> set[str]:
        wanted = set(ids)
        unknown = wanted - set(self.ids)
        if unknown:
            listed = some_of(sorted(map(repr, unknown)), ", ")
            raise RecordError(
                f"{self.source or 'records'}: no record has the id {listed}; ids are those of the column "
                "`id`, or come from the content where there is none"
            )
        if isinstance(ids, RowIds):
            self._require_contents(ids)
        return wanted

    def _require_contents(self, ids: RowIds) -> None:
        """Refuse ids whose records say something else than was meant."""
        meant = {name: ids.contents[name] for name in ids}
        others = [
            place
            for place, (name, found) in enumerate(zip(self.ids, self.digests, strict=True))
            if name in meant and meant[name] != found.decode()
        ]
        if others:
            listed = some_of([f"{self[place].location} (id {self.ids[place]!r})" for place in others], ", ")
            raise RecordError(
                f"{self.source or 'records'}: {ids.chosen_by} was made from other data: {len(others)} of "
                f"{len(ids)} chosen rows have the same id here but another content: {listed}; give the data that "
                "it was made from, or make it again from these"
            )

    def _subset(self, positions: Sequence[int]) -> Records:
        held = self._records
        return Records(
            held.take(positions) if isinstance(held, Stored) else [held[i] for i in positions],
            source=self.source,
            format=self.format,
            write_rows=self.write_rows,
            skipped=self.skipped,
        )
