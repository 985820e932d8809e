"""Reading training data, so that a row that cannot be used is named before any work begins."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, SupportsIndex, overload

from aitia.errors import RecordError
from aitia.files import digest
from aitia.records.bad_rows import OnError, SkippedRow, settle_bad_rows
from aitia.records.formats.json_files import memory_source
from aitia.records.formats.opening import open_source
from aitia.records.formats.source import Source
from aitia.records.parsing import parse_id, parse_row
from aitia.records.record import Record, Records, Stored
from aitia.remote_files import local_copy


def read_records(
    path: Path | str, *, on_error: OnError = "stop", records_limit: int | None = None
) -> Records:
    """Read training data: JSON, Parquet, or a dataset saved to disk.

    A row has `messages` or `conversations` (turns with `role` and `content`, or with ShareGPT's `from` and
    `value`), or `prompt` with `completion` or `response` (strings, or lists of turns), or `text`, or Alpaca's
    `instruction`, `input` and `output`; the first of these counts, and other columns are carried along. A
    row's `id` (string or whole number) is kept; without it, the id is the first 16 hex digits of the SHA-256
    of the content, with `-2`, `-3`, ... where the same content comes again.

    Args:
        path: a `.jsonl` or `.ndjson` file, or a `.json` file (an array of objects), `.gz` after it or not, a
            `.parquet` file, or a folder made by `datasets.Dataset.save_to_disk`; or the address of such a file
            (`s3://bucket/train.jsonl`, see `aitia.remote_files.local_copy`). Blank lines are passed over.
        on_error: `stop` finds all rows that cannot be used and raises one error; `skip` leaves them out.
        records_limit: read no more than this many records, from the start.

    Returns:
        The records, in the order of the source.

    Raises:
        RecordError: the file cannot be read, or rows cannot be used.
    """
    place = local_copy(path)
    return _collect(open_source(place), str(place), on_error, records_limit)


def records_from_rows(
    rows: Iterable[Mapping[str, Any]], name: str = "rows", *, on_error: OnError = "stop"
) -> Records:
    """Records from rows in memory, with the forms and ids that `read_records` knows.

    Args:
        rows: the rows; they must not be changed afterwards.
        name: for the location of a row, `{name} row {position}`.
        on_error: as for `read_records`.

    Returns:
        The records, in the order of the rows.

    Raises:
        RecordError: rows cannot be used.
    """
    return _collect(memory_source(rows, name), name, on_error, None)


def _collect(source: Source, name: str, on_error: OnError, limit: int | None) -> Records:
    found: list[tuple[int, str, dict[str, Any]]] = []
    names: list[tuple[str | None, str]] = []
    rows = array("q")
    bad: list[SkippedRow] = []
    seen = 0
    places: dict[str, str] = {}
    for row, (location, content) in enumerate(source.rows):
        if limit is not None and len(names) >= limit:
            break
        seen += 1
        try:
            if isinstance(content, RecordError):
                raise content
            fields, given = parse_row(content), parse_id(content.get("id"))
            first = places.setdefault(given, location) if given is not None else location
            if first != location:
                raise RecordError(f"the id {given!r} is that of {first} already; ids must be unique")
        except RecordError as error:
            bad.append(SkippedRow(location, str(error), row))
        else:
            rows.append(row)
            record = Record(id=given or "", row=row, location=location, **fields)
            names.append((given, "" if given is not None else digest(record.content)[:16]))
            if source.read_rows is None:
                found.append((row, location, fields))
    settle_bad_rows(name, bad, seen, on_error)
    ids = _settle_ids(names, set(places))
    del names, places
    if source.read_rows is None:
        kept = [
            Record(id=id, row=row, location=location, **fields)
            for id, (row, location, fields) in zip(ids, found, strict=True)
        ]
    else:
        kept = StoredRecords(source.read_rows, rows, ids)
    return Records(kept, source=source.path, format=source.format, write_rows=source.write_rows, skipped=bad)


class StoredRecords(Stored):
    """Records that stay in their file: of each only its place and id are kept."""

    def __init__(
        self,
        read_rows: Callable[[Iterable[int]], Iterator[tuple[str, Any]]],
        rows: Sequence[int],
        ids: Sequence[str],
    ):
        """Keep where the records are.

        Args:
            read_rows: reads rows at positions of the source: the place and content of each.
            rows: [n] positions.
            ids: [n].
        """
        self._read_rows, self.rows, self.ids = read_rows, rows, ids

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Record]:
        for id, row, (location, content) in zip(self.ids, self.rows, self._read_rows(self.rows), strict=True):
            yield Record(id=id, row=row, location=location, **parse_row(content))

    @overload
    def __getitem__(self, index: SupportsIndex) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> StoredRecords: ...

    def __getitem__(self, index: SupportsIndex | slice) -> Record | StoredRecords:
        if isinstance(index, slice):
            return self.take(range(*index.indices(len(self))))
        return next(iter(self.take([index.__index__()])))

    def take(self, positions: Sequence[int]) -> StoredRecords:
        """Some of the records."""
        rows = array("q", [self.rows[position] for position in positions])
        return StoredRecords(self._read_rows, rows, [self.ids[position] for position in positions])


def _settle_ids(names: Iterable[tuple[str | None, str]], taken: set[str]) -> list[str]:
    """Each row's own id, or one from its content: the stem, counted up where it is taken."""
    repeats: dict[str, int] = {}
    ids = []
    for given, stem in names:
        name = stem if given is None else given
        if given is None:
            while name in taken:
                repeats[stem] = repeats.get(stem, 1) + 1
                name = f"{stem}-{repeats[stem]}"
            taken.add(name)
        ids.append(name)
    return ids
