"""Rows of `.csv` and `.tsv` files. A table of this kind knows no types: cells are strings."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from aitia.errors import RecordError
from aitia.records.formats.packing import read_bytes, write_bytes
from aitia.records.formats.source import Source, require_place
from aitia.records.record import Format

_TURNS = re.compile(r"\s*\[\s*\{")


def open_delimited(path: Path) -> Source:
    """A file with a header and a row a record, with commas between the cells, or tabs where it is a `.tsv`.

    A cell that holds a list of objects in JSON is read as that list, since turns have no other form there. Cells in
    quotes may hold line breaks. Rows are written as they stand, below the header.

    Returns:
        The source.

    Raises:
        RecordError: it cannot be read, or has no header.
    """
    format: Format = "tsv" if ".tsv" in path.suffixes else "csv"
    content = read_bytes(path)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecordError(
            f"{path}: not valid UTF-8 at byte {error.start + 1}; save the file as UTF-8"
        ) from error
    mark = content[: len(content) - len(text.encode())]
    found = list(_records(text, "\t" if format == "tsv" else ","))
    if not found:
        raise RecordError(f"{path}: is empty; give a header that names the columns, and a row a record")
    (_, header, names), *rows = found
    if isinstance(names, RecordError):
        raise RecordError(f"{path}:1: {names}")
    repeated = next((name for name in names if not name.strip() or names.count(name) > 1), None)
    if repeated is not None:
        raise RecordError(
            f"{path}:1: the header names the column {repeated!r} twice or leaves it empty; give each column a name"
        )

    def write(positions: Sequence[int], target: Path) -> None:
        require_place(target, format)
        written = [header, *(rows[position][1] for position in positions)]
        # The last row of a file may have no line break, and what comes after it needs one.
        ended = [line if line.endswith(("\n", "\r")) else line + "\n" for line in written[:-1]]
        write_bytes([mark, *(line.encode() for line in (*ended, written[-1]))], target)

    located = ((f"{path.name}:{number}", _row(names, cells)) for number, _, cells in rows)
    return Source(path=path, format=format, rows=located, write_rows=write)


def _records(text: str, delimiter: str) -> Iterator[tuple[int, str, Any]]:
    """The first line's number of each record, its text, and its cells or what is wrong with it."""
    lines = list(io.StringIO(text, newline=""))
    limit = csv.field_size_limit(sys.maxsize)  # of all readers; a cell may hold a long text
    try:
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        before = 0
        while before < len(lines):
            cells: Any
            try:
                cells = next(reader)
            except StopIteration:
                break
            except csv.Error as error:
                cells = RecordError(f"cannot be read as a row of the table ({error}); mend its quotes")
            if cells:
                yield before + 1, "".join(lines[before : reader.line_num]), cells
            before = reader.line_num
    finally:
        csv.field_size_limit(limit)


def _row(names: Sequence[str], cells: Any) -> Any:
    if isinstance(cells, RecordError):
        return cells
    if len(cells) != len(names):
        return RecordError(
            f"has {len(cells)} cells, but the header names {len(names)} columns; put cells with the delimiter in quotes"
        )
    return {name: _value(cell) for name, cell in zip(names, cells, strict=True)}


def _value(cell: str) -> Any:
    """A cell: a list of objects where it is that in JSON, else the string."""
    if not _TURNS.match(cell):
        return cell
    try:
        found = json.loads(cell)
    except (ValueError, RecursionError):
        return cell
    return found if isinstance(found, list) and all(isinstance(part, dict) for part in found) else cell
