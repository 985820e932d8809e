"""A sequence of training examples that can be cut and written back untouched."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np

from aitia.errors import RecordError
from aitia.files import digest, digest_of_list, same_place
from aitia.notebook import SHOWN, html_block, one_line
from aitia.records.bad_rows import SkippedRow, some_of
from aitia.records.record import ENDING_OF, Format, Record

DIGEST_LENGTH = 16
"""Hex digits of the digest of a row's content: enough to tell mix-ups apart, which is what it is for."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How rows were read.

    Attributes:
        shapes: title of a shape -> how many rows of it were read, the most frequent first.
        settings: what was set, where it differs from the defaults of `ReadingSettings`.
        unused: columns by which some trainers change a row's loss, and which were carried along without use.
    """

    shapes: Mapping[str, int] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    unused: tuple[str, ...] = ()

    def under(self, columns: Collection[str]) -> Reading:
        """The same, where a loss reads some columns that would be carried along else."""
        return replace(self, unused=tuple(name for name in self.unused if name not in columns))

    def __str__(self) -> str:
        """One sentence for people."""
        rows = sum(self.shapes.values())
        if len(self.shapes) == 1:
            what = f"read {_rows(rows)} as {next(iter(self.shapes))}"
        else:
            parts = ", ".join(f"{count:,} {title}" for title, count in self.shapes.items())
            what = f"read {_rows(rows)} of several shapes: {parts}" if parts else "read no rows"
        side = self.settings.get("side")
        what += f", each as a prompt with its {side} answer" if side else ""
        if not self.unused:
            return what
        columns = ", ".join(f"`{name}`" for name in self.unused)
        one = len(self.unused) == 1
        return f"{what}; {columns} {'is carried along and changes' if one else 'are carried along and change'} no score"


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"


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
        source: the file or folder they were read from; None if they were made in memory, or read from several.
        format: how they were stored, and how `write` stores them.
        skipped: the rows that were left out when reading.
        write_rows: writes the source's rows at the given positions (ascending) to a path.
        sources: every file or folder that they were read from.
        reading: how they were read: in which shape, by which settings.
    """

    def __init__(
        self,
        records: Iterable[Record],
        *,
        source: Path | None,
        format: Format,
        write_rows: Callable[[Sequence[int], Path], None],
        skipped: Iterable[SkippedRow] = (),
        sources: Iterable[Path] = (),
        reading: Reading | None = None,
    ):
        """Keep records together with the way to write their rows.

        Args:
            records: in the order of the source.
            source: where they come from.
            format: how they are stored there.
            write_rows: writes the source's rows at the given positions (ascending) to a path.
            skipped: rows of the source that were left out.
            sources: every file or folder that they come from; default: the source.
            reading: how they were read.
        """
        self._records: Sequence[Record] = records if isinstance(records, Stored) else tuple(records)
        self.write_rows = write_rows
        self.source = source
        self.format: Format = format
        self.skipped = tuple(skipped)
        self.sources = tuple(sources) or (() if source is None else (source,))
        self.reading = reading or Reading()

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records)

    def __getitem__(self, index: SupportsIndex) -> Record:
        return self._records[int(index)]

    def __repr__(self) -> str:
        where = one_line(", ".join(map(str, self.sources)) or "memory")
        return f"Records({len(self)} from {where}, {len(self.skipped)} skipped)"

    def _repr_html_(self) -> str:
        rows = [self[place] for place in range(min(len(self), SHOWN))]
        return html_block(
            f"{_rows(len(self))} of training data",
            {
                "read": self.reading,
                "from": ", ".join(map(str, self.sources)) or "memory",
                "left out": len(self.skipped) or None,
            },
            ("id", "location", "prompt", "completion"),
            [(row.id, row.location, row.prompt_text, row.completion_text) for row in rows],
        )

    @property
    def ids(self) -> tuple[str, ...]:
        """The id of each record, in order."""
        if isinstance(self._records, Stored):
            return tuple(self._records.ids)
        return tuple(record.id for record in self._records)

    @property
    def name(self) -> str:
        """What the data are called in messages: the files that they come from, or `records`."""
        return ", ".join(map(str, self.sources)) or "records"

    @property
    def ending(self) -> str:
        """The ending of a file that `write` can write: "" for a folder."""
        return ENDING_OF[self.format]

    @property
    def files(self) -> dict[str, Path]:
        """What the data were read from, in words -> where it lies; empty for rows in memory."""
        if len(self.sources) == 1:
            return {"the data": self.sources[0]}
        return {f"the data ({path})": path for path in self.sources}

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
            raise RecordError(f"{self.name}: no column {name!r}; there are: {listed}")
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
        if any(same_place(path, source) for source in self.sources):
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
                f"{self.name}: no record has the id {listed}; ids are those of the column "
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
                f"{self.name}: {ids.chosen_by} was made from other data: {len(others)} of "
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
            sources=self.sources,
            reading=self.reading,
        )
