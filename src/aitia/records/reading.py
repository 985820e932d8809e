"""Reading training data, so that a row that cannot be used is named before any work begins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from aitia.errors import RecordError
from aitia.files import digest
from aitia.records.formats import Source, memory_source, open_source
from aitia.records.parsing import parse_id, parse_row
from aitia.records.record import OnError, Record, Records, SkippedRow, settle_bad_rows


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
    bad: list[SkippedRow] = []
    seen = 0
    places: dict[str, str] = {}
    for row, (location, content) in enumerate(source.rows):
        if limit is not None and len(found) >= limit:
            break
        seen += 1
        try:
            if isinstance(content, RecordError):
                raise content
            fields = parse_row(content)
            fields["id"] = parse_id(content.get("id"))
            first = places.setdefault(fields["id"], location) if fields["id"] is not None else location
            if first != location:
                raise RecordError(f"the id {fields['id']!r} is that of {first} already; ids must be unique")
        except RecordError as error:
            bad.append(SkippedRow(location, str(error)))
        else:
            found.append((row, location, fields))
    settle_bad_rows(name, bad, seen, on_error)
    return Records(
        _with_ids(found, set(places)),
        source=source.path,
        format=source.format,
        write_rows=source.write_rows,
        skipped=bad,
    )


def _with_ids(found: Iterable[tuple[int, str, dict[str, Any]]], taken: set[str]) -> Iterable[Record]:
    """The records; those whose row has no id get one from their content."""
    repeats: dict[str, int] = {}
    for row, location, fields in found:
        name = fields.pop("id")
        record = Record(id=name or "", row=row, location=location, **fields)
        if name is None:
            stem = name = digest(record.content)[:16]
            while name in taken:
                repeats[stem] = repeats.get(stem, 1) + 1
                name = f"{stem}-{repeats[stem]}"
            taken.add(name)
            record = replace(record, id=name)
        yield record
