"""What a training example is, and a sequence of them that can be cut and written back untouched."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, SupportsIndex

from aitia.errors import AitiaError, RecordError
from aitia.files import digest_of_list

Kind = Literal["messages", "prompt-completion", "text"]
Format = Literal["jsonl", "parquet", "datasets", "memory"]
OnError = Literal["stop", "skip"]

SHOWN_ROWS = 5


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    Attributes:
        role: `system`, `user`, `assistant` or `tool`.
        content: what was said.
    """

    role: str
    content: str


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
    def prompt_text(self) -> str:
        """What comes before the last response: the turns' contents joined by newlines; "" for a text."""
        if self.messages is not None:
            last = max(i for i, message in enumerate(self.messages) if message.role == "assistant")
            return "\n".join(message.content for message in self.messages[:last])
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
            trained = self.messages[self.context :]
            return "\n".join(message.content for message in trained if message.role == "assistant")
        return self.text or self.completion or ""

    @property
    def content(self) -> dict[str, Any]:
        """The conversation alone, in plain data: equal for equal examples, whatever their other columns."""
        if self.messages is not None:
            turns = [[message.role, message.content] for message in self.messages]
            return {"messages": turns} | ({"context": self.context} if self.context else {})
        if self.text is not None:
            return {"text": self.text}
        return {"prompt": self.prompt, "completion": self.completion}


@dataclass(frozen=True, slots=True)
class SkippedRow:
    """A row that was left out.

    Attributes:
        location: where it stands, as in `Record.location`.
        reason: what is wrong with it.
    """

    location: str
    reason: str


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
        self._write_rows = write_rows
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

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of ids and contents in order; other columns do not count."""
        return digest_of_list([record.id, record.content] for record in self._records)

    def column(self, name: str) -> list[Any]:
        """One of the other columns, or `id`: a value for each record, None where it is absent.

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

        Raises:
            RecordError: an id that no record has.
        """
        dropped = self._known(ids)
        return self._subset([i for i, name in enumerate(self.ids) if name not in dropped])

    def only(self, ids: Iterable[str]) -> Records:
        """The records with these ids, in the order of the source.

        Raises:
            RecordError: an id that no record has.
        """
        kept = self._known(ids)
        return self._subset([i for i, name in enumerate(self.ids) if name in kept])

    def write(self, path: Path | str) -> Path:
        """Write the records in the format that they were read in, each row untouched, whole or not at all.

        Lines of JSON keep their very bytes (a path that ends in `.gz` is compressed); Parquet keeps schema
        and values; a dataset is saved to a folder; rows made in memory become lines of JSON.

        Args:
            path: the file, or the folder of a dataset.

        Returns:
            The path.

        Raises:
            RecordError: the path's ending is that of another format, a folder is in the way, or a row made
                in memory cannot be written as JSON.
        """
        path = Path(path)
        held = self._records
        self._write_rows(held.rows if isinstance(held, Stored) else [record.row for record in held], path)
        return path

    def _known(self, ids: Iterable[str]) -> set[str]:
        wanted = set(ids)
        unknown = wanted - set(self.ids)
        if unknown:
            listed = some_of(sorted(map(repr, unknown)), ", ")
            raise RecordError(
                f"{self.source or 'records'}: no record has the id {listed}; ids are those of the column "
                "`id`, or come from the content where there is none"
            )
        return wanted

    def _subset(self, positions: Sequence[int]) -> Records:
        held = self._records
        return Records(
            held.take(positions) if isinstance(held, Stored) else [held[i] for i in positions],
            source=self.source,
            format=self.format,
            write_rows=self._write_rows,
            skipped=self.skipped,
        )


def some_of(items: Collection[str], separator: str) -> str:
    """The first few items joined, and how many more there are."""
    shown = list(items)[:SHOWN_ROWS]
    more = len(items) - len(shown)
    return separator.join([*shown, f"and {more} more"] if more else shown)


def shorten(text: str, limit: int = 80) -> str:
    """A text on one line, in quotes, cut where it is long: for messages."""
    line = " ".join(text.split())
    return repr(line if len(line) <= limit else line[: limit - 1] + "…")


def settle_bad_rows(source: Path | str, bad: Sequence[SkippedRow], rows: int, on_error: OnError) -> None:
    """Raise one error that lists the first of the bad rows, unless they are to be skipped.

    Args:
        source: what was read, for the message.
        bad: the rows that cannot be used.
        rows: how many rows there are, the bad ones among them.
        on_error: `stop` raises if there are bad rows; `skip` does not.

    Raises:
        RecordError: with the place and the reason of the first rows, the count, and the mend.
        AitiaError: `on_error` is neither.
    """
    if on_error not in ("stop", "skip"):
        raise AitiaError(f"on_error {on_error!r}: choose stop or skip")
    if bad and on_error == "stop":
        listed = some_of([f"{row.location}: {row.reason}" for row in bad], "\n  ")
        raise RecordError(
            f"{source}: {len(bad)} of {rows} rows cannot be used:\n  {listed}\n"
            "Mend them, or take them out; `on_error=skip` leaves them out."
        )
