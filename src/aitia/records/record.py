"""Training examples as plain data: one record a row, and the sequence of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from aitia.errors import RecordError
from aitia.files import digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation."""

    role: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One training example: a conversation, a prompt with its completion, or a text.

    Attributes:
        id: unique among the records; the row's own, or derived from its content.
        row: place in the source, from 0.
        location: for messages to people, as in `train.jsonl:12`.
        messages: the turns, where the row is a conversation.
        prompt: where the row is a prompt with its completion.
        completion: likewise.
        text: where the row is a text, all of which is trained on.
        extra: the row's other columns.
    """

    id: str
    row: int
    location: str
    messages: tuple[Message, ...] | None = None
    prompt: str | None = None
    completion: str | None = None
    text: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """`messages`, `prompt-completion` or `text`."""
        if self.messages is not None:
            return "messages"
        return "text" if self.text is not None else "prompt-completion"

    @property
    def prompt_text(self) -> str:
        """What comes before the last response, without template; empty for a text."""
        if self.messages is not None:
            last = max(i for i, message in enumerate(self.messages) if message.role == "assistant")
            return "\n".join(message.content for message in self.messages[:last])
        return self.prompt or ""

    @property
    def completion_text(self) -> str:
        """The responses, without template; the whole of a text."""
        if self.messages is not None:
            return "\n".join(turn.content for turn in self.messages if turn.role == "assistant")
        return self.completion if self.completion is not None else self.text or ""

    @property
    def content(self) -> list[Any]:
        """What the record trains on, as JSON-able data: what its derived id depends on."""
        if self.messages is not None:
            return ["messages", [[message.role, message.content] for message in self.messages]]
        return [self.kind, self.prompt, self.completion, self.text]


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedRow:
    """A row that was left out, and why."""

    location: str
    reason: str


Writer = Callable[[Sequence[int], Path], None]
"""Writes the rows at the given places of the source, untouched, to a path."""


class Records(Sequence[Record]):
    """A sequence of records that remembers where they came from, so that they can be written untouched.

    Attributes:
        source: the file or folder, or None for rows from memory.
        format: `jsonl`, `parquet`, `datasets` or `memory`.
        skipped: rows that were left out.
    """

    def __init__(
        self,
        items: Iterable[Record],
        *,
        writer: Writer,
        source: Path | None = None,
        format: str = "memory",
        skipped: Iterable[SkippedRow] = (),
    ):
        self._items = tuple(items)
        self._writer = writer
        self.source = source
        self.format = format
        self.skipped = tuple(skipped)

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._items)

    def __getitem__(self, index: Any) -> Any:
        return self._items[index]

    def __repr__(self) -> str:
        return f"Records({len(self)} rows from {self.source or 'memory'})"

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The ids, in order."""
        return tuple(record.id for record in self)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of ids and content, in order; other columns do not count."""
        return digest([[record.id, record.content] for record in self])

    def column(self, name: str) -> list[Any]:
        """The values of an extra column, None where a row lacks it.

        Raises:
            RecordError: no row has it; the message lists the columns there are.
        """
        known = sorted({key for record in self for key in record.extra})
        if name not in known:
            raise RecordError(
                f"{self.source or 'records'}: no column {name!r}; there are: {', '.join(known) or 'none'}"
            )
        return [record.extra.get(name) for record in self]

    def without(self, ids: Iterable[str]) -> Records:
        """All records but these, in order.

        Raises:
            RecordError: an id that no record has.
        """
        gone = self._known(ids)
        return self._subset(record for record in self if record.id not in gone)

    def only(self, ids: Iterable[str]) -> Records:
        """These records alone, in the order of the source.

        Raises:
            RecordError: an id that no record has.
        """
        kept = self._known(ids)
        return self._subset(record for record in self if record.id in kept)

    def write(self, path: Path | str) -> Path:
        """Write the records in the format they were read in, each row untouched; whole or not at all."""
        from aitia.files import atomic_path

        with atomic_path(path) as temporary:
            self._writer([record.row for record in self], temporary)
        return Path(path)

    def _known(self, ids: Iterable[str]) -> set[str]:
        wanted = set(ids)
        unknown = sorted(wanted - set(self.ids))
        if unknown:
            raise RecordError(
                f"{self.source or 'records'}: no row with id {unknown[0]!r} ({len(unknown)} such ids); "
                "is this the data that was ranked?"
            )
        return wanted

    def _subset(self, items: Iterable[Record]) -> Records:
        return Records(
            items, writer=self._writer, source=self.source, format=self.format, skipped=self.skipped
        )
