"""Reading training data, so that a row that cannot be used is named before any work begins."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, SupportsIndex, overload

from aitia.errors import RecordError
from aitia.files import digest
from aitia.records.bad_rows import OnError, SkippedRow, settle_bad_rows
from aitia.records.collection import Reading, Records, Stored
from aitia.records.formats.opening import open_data
from aitia.records.formats.source import Source
from aitia.records.parsing import LOSS_COLUMNS, ReadingSettings, RowsAlike, parse_id, parse_row
from aitia.records.record import Record


def read_records(
    data: Any,
    settings: ReadingSettings | None = None,
    *,
    on_error: OnError = "stop",
    records_limit: int | None = None,
    **fields: Any,
) -> Records:
    """Read training data: from files, `datasets`, data frames, or rows in memory.

    The shape of the rows is recognised by their columns (docs/data.md has the table): conversations (`messages`, or
    ShareGPT's `conversations`), `prompt` with `completion`, `text`, Alpaca's `instruction` with `output`, pairs of
    `chosen` and `rejected`, and `prompt` with `completion` and a true-or-false `label`. `Records.reading` says which
    it was. Columns that are not used are carried along. A row's `id` (string or whole number) is kept; without it, the
    id is the first 16 hex digits of the SHA-256 of the content, with `-2`, `-3`, ... where the same content comes
    again.

    Args:
        data: a `.jsonl`, `.ndjson`, `.json` (an array of objects), `.csv`, `.tsv` or `.parquet` file, all but the last
            also packed as `.gz` or `.zst`, or a folder made by `datasets.Dataset.save_to_disk`; the address of such a
            file (`s3://bucket/train.jsonl`, see `aitia.remote_files.local_copy`); a pattern (`data/*.jsonl`, sorted);
            a list of these; a data set of the hub that `datasets` has in its cache (`owner/name:split`); a
            `datasets.Dataset`; a data frame or Arrow table; or an iterable of dicts, which must not be changed
            afterwards. Blank lines are passed over.
        settings: how to read the rows.
        on_error: `stop` finds all rows that cannot be used and raises one error; `skip` leaves them out.
        records_limit: read no more than this many records, from the start.
        fields: fields of `ReadingSettings`, in the place of `settings` or of its fields: `shape="sharegpt"`.

    Returns:
        The records, in the order of the source.

    Raises:
        RecordError: the data cannot be read, or rows cannot be used, or have another shape than the first.
    """
    chosen = replace(settings or ReadingSettings(), **fields)
    return _collect(open_data(data), _name_of(data), chosen, on_error, records_limit)


def records_from_rows(
    rows: Iterable[Mapping[str, Any]], name: str = "rows", *, on_error: OnError = "stop", **fields: Any
) -> Records:
    """Records from rows in memory, with the shapes and ids that `read_records` knows.

    Args:
        rows: the rows; they must not be changed afterwards.
        name: for the location of a row, `{name} row {position}`.
        on_error: as for `read_records`.
        fields: fields of `ReadingSettings`.

    Returns:
        The records, in the order of the rows.

    Raises:
        RecordError: rows cannot be used.
    """
    return _collect(open_data(list(rows), name), name, ReadingSettings(**fields), on_error, None)


def _name_of(data: Any) -> str:
    """What data are called in a message."""
    if isinstance(data, list | tuple) and data and all(isinstance(each, str | Path) for each in data):
        return ", ".join(map(str, data))
    if isinstance(data, str | Path):
        return str(data)
    return "rows" if isinstance(data, list | tuple) else type(data).__name__


def _collect(
    source: Source, name: str, settings: ReadingSettings, on_error: OnError, limit: int | None
) -> Records:
    found: list[tuple[int, str, dict[str, Any]]] = []
    names: list[tuple[str | None, str]] = []
    rows = array("q")
    bad: list[SkippedRow] = []
    seen = 0
    places: dict[str, str] = {}
    shapes: Counter[str] = Counter()
    rows_alike = RowsAlike(settings)
    unused: set[str] = set()
    for row, (location, content) in enumerate(source.rows):
        if limit is not None and len(names) >= limit:
            break
        seen += 1
        try:
            if isinstance(content, RecordError):
                raise content
            shape, fields = rows_alike.parse(content, location)
            given = parse_id(content.get("id"))
            first = places.setdefault(given, location) if given is not None else location
            if first != location:
                raise RecordError(f"the id {given!r} is that of {first} already; ids must be unique")
        except RecordError as error:
            bad.append(SkippedRow(location, str(error), row))
        else:
            rows.append(row)
            shapes[shape.title] += 1
            unused.update(name for name in LOSS_COLUMNS if fields["extra"].get(name) is not None)
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
        kept = StoredRecords(source.read_rows, rows, ids, settings)
    reading = Reading(
        shapes=dict(shapes.most_common()),
        settings=settings.said,
        unused=tuple(column for column in LOSS_COLUMNS if column in unused),
    )
    return Records(
        kept,
        source=source.path,
        format=source.format,
        write_rows=source.write_rows,
        skipped=bad,
        sources=source.paths,
        reading=reading,
    )


class StoredRecords(Stored):
    """Records that stay in their file: of each only its place and id are kept."""

    def __init__(
        self,
        read_rows: Callable[[Iterable[int]], Iterator[tuple[str, Any]]],
        rows: Sequence[int],
        ids: Sequence[str],
        settings: ReadingSettings,
    ):
        """Keep where the records are.

        Args:
            read_rows: reads rows at positions of the source: the place and content of each.
            rows: [n] positions.
            ids: [n].
            settings: how the rows are read.
        """
        self._read_rows, self.rows, self.ids, self._settings = read_rows, rows, ids, settings

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Record]:
        for id, row, (location, content) in zip(self.ids, self.rows, self._read_rows(self.rows), strict=True):
            yield Record(id=id, row=row, location=location, **parse_row(content, self._settings)[1])

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
        ids = [self.ids[position] for position in positions]
        return StoredRecords(self._read_rows, rows, ids, self._settings)


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
