"""Reading training data, so that a row that cannot be used is named before any work begins."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, SupportsIndex, overload

from aitia.errors import RecordError
from aitia.files import digest
from aitia.records.formats import Source, memory_source, open_source
from aitia.records.parsing import parse_id, parse_row
from aitia.records.record import OnError, Record, Records, SkippedRow, Stored, settle_bad_rows


def read_records(
    path: Path | str, *, on_error: OnError = "stop", records_limit: int | None = None
) -> Records:
    """Read training data: lines of JSON, Parquet, or a dataset saved to disk.

    A row has `messages` (turns with `role` and `content`), or `prompt` with `completion` or `response`
    (two strings, or two lists of turns), or `text`; the first of these counts, and other columns are
    carried along. A row's `id` (string or whole number) is kept; without it, the id is the first 16 hex
    digits of the SHA-256 of the content, with `-2`, `-3`, ... where the same content comes again.

    Args:
        path: a `.jsonl` or `.ndjson` file, `.gz` after it or not, a `.parquet` file, or a folder made by
            `datasets.Dataset.save_to_disk`. Blank lines are passed over.
        on_error: `stop` finds all rows that cannot be used and raises one error; `skip` leaves them out.
        records_limit: read no more than this many records, from the start.

    Returns:
        The records, in the order of the source.

    Raises:
        RecordError: the file cannot be read, or rows cannot be used.
    """
    path = Path(path)
    return _collect(open_source(path), str(path), on_error, records_limit)


def records_from_rows(
    rows: Iterable[Mapping[str, Any]], name: str = "rows", *, on_error: OnError = "stop"
) -> Records:
    """Records from rows in memory, with the forms and ids that `read_records` knows.

    Args:
        rows: the rows; they must not be changed afterwards.
        name: for the location of a row, `{name} row {position}`.
        on_error: as for `read_records`.

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
            bad.append(SkippedRow(location, str(error)))
        else:
            rows.append(row)
            record = Record(id=given or "", row=row, location=location, **fields)
            names.append((given, "" if given is not None else digest(record.content)[:16]))
            if source.read_row is None:
                found.append((row, location, fields))
    settle_bad_rows(name, bad, seen, on_error)
    ids = _settle_ids(names, set(places))
    del names, places
    if source.read_row is None:
        kept = [
            Record(id=id, row=row, location=location, **fields)
            for id, (row, location, fields) in zip(ids, found, strict=True)
        ]
    else:
        kept = StoredRecords(source.read_row, rows, ids)
    return Records(kept, source=source.path, format=source.format, write_rows=source.write_rows, skipped=bad)


class StoredRecords(Stored):
    """Records that stay in their file: of each only its place and id are kept, and it is read when asked for."""

    def __init__(self, read_row: Callable[[int], tuple[str, Any]], rows: Sequence[int], ids: Sequence[str]):
        """Keep where the records are.

        Args:
            read_row: reads the row at a position of the source: its place and content.
            rows: [n] positions.
            ids: [n].
        """
        self._read_row, self._rows, self.ids = read_row, rows, ids

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: SupportsIndex) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> StoredRecords: ...

    def __getitem__(self, index: SupportsIndex | slice) -> Record | StoredRecords:
        if isinstance(index, slice):
            return StoredRecords(self._read_row, self._rows[index], self.ids[index])
        row = self._rows[index]
        location, content = self._read_row(row)
        return Record(id=self.ids[index], row=row, location=location, **parse_row(content))

    def rows_at(self, positions: Sequence[int]) -> list[int]:
        return [self._rows[position] for position in positions]

    def take(self, positions: Sequence[int]) -> StoredRecords:
        rows, ids = array("q", self.rows_at(positions)), [self.ids[position] for position in positions]
        return StoredRecords(self._read_row, rows, ids)


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
