"""Rows that arrive one after the other, as from a pipe: read each by itself, and known by their place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from aitia.errors import RecordError
from aitia.files import digest
from aitia.records.bad_rows import SkippedRow
from aitia.records.collection import Records
from aitia.records.formats.json_files import parse_line
from aitia.records.parsing import ReadingSettings, RowsAlike, parse_id
from aitia.records.record import Record


class ArrivingRows:
    """Reads rows as they arrive: the shapes, ids and refusals of `read_records`, without the rows that are to come.

    Unlike there, ids may come twice, and an id that is made from the content is its digest alone.
    """

    def __init__(self, name: str = "rows", settings: ReadingSettings | None = None):
        """Begin before the first row.

        Args:
            name: for the location of a row, `{name}:{line}`, from 1.
            settings: how rows are read.
        """
        self.name = name
        self._alike = RowsAlike(settings or ReadingSettings())
        self._seen = 0

    def read(self, rows: Iterable[Any]) -> tuple[Records, list[SkippedRow]]:
        """The next rows.

        Args:
            rows: objects with named columns; or lines of JSON, as bytes, of which blank ones only count as lines; or
                records that were read before, which stay as they are.

        Returns:
            The rows that can be used, as records whose `row` is their number from 0, and those that cannot.
        """
        found: list[Record] = []
        bad: list[SkippedRow] = []
        for row in rows:
            if isinstance(row, Record):
                found.append(row)
                continue
            number, location = self._seen, f"{self.name}:{self._seen + 1}"
            self._seen += 1
            if isinstance(row, bytes) and not row.strip():
                continue
            try:
                found.append(self._record(row, number, location))
            except RecordError as error:
                bad.append(SkippedRow(location, str(error), number))
        return Records(found, source=None, format="memory", write_rows=_not_kept), bad

    def _record(self, row: Any, number: int, location: str) -> Record:
        content = parse_line(row) if isinstance(row, bytes) else row
        if isinstance(content, RecordError):
            raise content
        _, fields = self._alike.parse(content, location)
        given = parse_id(content.get("id"))
        record = Record(id=given or "", row=number, location=location, **fields)
        return record if given else replace(record, id=digest(record.content)[:16])


def _not_kept(_positions: object, path: Path) -> None:
    raise RecordError(
        f"{path}: rows that arrived one after the other are not kept, so they cannot be written"
    )
