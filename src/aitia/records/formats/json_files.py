"""Rows in JSON: lines, arrays, and rows in memory, which are written as lines."""

from __future__ import annotations

import codecs
import json
import re
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from aitia.errors import RecordError
from aitia.records.formats.packing import PACKED, read_bytes, write_bytes
from aitia.records.formats.source import Source, require_place

# Enough of a file to see what it is.
_HEAD = 1 << 16
_SPACE = re.compile(r"[ \t\n\r]*")


def memory_source(rows: Iterable[Mapping[str, Any]], name: str) -> Source:
    """Rows in memory; they are written as lines of JSON."""
    kept = list(rows)

    def write(positions: Sequence[int], path: Path) -> None:
        lines = []
        for position in positions:
            try:
                line = json.dumps(kept[position], ensure_ascii=False, allow_nan=False, default=_plain)
                lines.append(f"{line}\n".encode())
            except (TypeError, ValueError) as error:
                place = f"{name} row {position}"
                raise RecordError(
                    f"{place}: cannot be written as JSON ({error}); leave the column out"
                ) from error
        _write_lines(lines, path)

    located = ((f"{name} row {position}", row) for position, row in enumerate(kept))
    return Source(path=None, format="memory", rows=located, write_rows=write)


def open_json(path: Path) -> Source:
    """A `.json` file: an array of objects, or in fact one object a line.

    Returns:
        The source.

    Raises:
        RecordError: it cannot be read, is not JSON, or holds one object over several lines.
    """
    head = read_bytes(path, _HEAD).removeprefix(codecs.BOM_UTF8).lstrip()
    if head.startswith(b"["):
        return _open_array(path, read_bytes(path))
    one_line = head.split(b"\n", 1)[0]
    broken = bool(head) and isinstance(parse_line(one_line), RecordError)
    if broken and isinstance(parse_line(read_bytes(path)), dict):
        raise RecordError(
            f"{path}: holds one object over several lines; give an array of objects, or one object a line"
        )
    return open_lines(path)


def _open_array(path: Path, content: bytes) -> Source:
    """An array, of which the text is kept: the rows as they stand, and what stands between them."""
    mark = codecs.BOM_UTF8 if content.startswith(codecs.BOM_UTF8) else b""
    try:
        text = content.decode("utf-8-sig")
        starts, ends = _array_places(text)
    except UnicodeDecodeError as error:
        raise RecordError(f"{path}: not valid UTF-8 at byte {error.start + len(mark) + 1}") from error
    except json.JSONDecodeError as error:
        raise RecordError(
            f"{path}: not valid JSON at line {error.lineno}, character {error.colno}: {error.msg}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path}: JSON that cannot be read: {error}") from error

    def read_rows(positions: Iterable[int]) -> Iterator[tuple[str, Any]]:
        for position in positions:
            row = text[starts[position] : ends[position]]
            yield f"{path.name} row {position}", json.loads(row)

    def write(positions: Sequence[int], target: Path) -> None:
        require_place(target, "json")
        pieces = [text[: starts[0]], text[ends[-1] :]] if starts else [text, ""]
        between = (text[ends[i - 1] : starts[i]] for i in positions[1:])
        rows = [text[starts[i] : ends[i]] for i in positions]
        body = [part for pair in zip(["", *between], rows, strict=True) for part in pair] if rows else []
        write_bytes([mark, *(part.encode() for part in (pieces[0], *body, pieces[1]))], target)

    return Source(
        path=path, format="json", rows=read_rows(range(len(starts))), write_rows=write, read_rows=read_rows
    )


def _array_places(text: str) -> tuple[array, array]:
    """Where each value of an array begins and ends, by character."""
    starts, ends = array("q"), array("q")
    decoder = json.JSONDecoder()

    def skip(place: int) -> int:
        found = _SPACE.match(text, place)
        return place if found is None else found.end()

    place = skip(skip(0) + 1)
    while text[place : place + 1] != "]" or starts:
        _, end = decoder.raw_decode(text, place)
        starts.append(place)
        ends.append(end)
        place = skip(end)
        if text[place : place + 1] == "]":
            break
        if text[place : place + 1] != ",":
            raise json.JSONDecodeError("Expecting ',' delimiter", text, place)
        place = skip(place + 1)
    if skip(place + 1) != len(text):
        raise json.JSONDecodeError("Extra data", text, skip(place + 1))
    return starts, ends


def open_lines(path: Path) -> Source:
    """A file of one JSON object a line.

    Returns:
        The source, which reads a line at a time.

    Raises:
        RecordError: it cannot be read.
    """
    if read_bytes(path, _HEAD).removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"["):
        _require_no_array(path)
    if path.suffix not in PACKED:
        return _open_plain_lines(path)
    numbered = enumerate(BytesIO(read_bytes(path)), start=1)
    lines = [(number, line) for number, line in numbered if line.strip()]

    def read_rows(positions: Iterable[int]) -> Iterator[tuple[str, Any]]:
        for position in positions:
            number, line = lines[position]
            yield f"{path.name}:{number}", parse_line(line)

    def write(positions: Sequence[int], target: Path) -> None:
        _write_lines([lines[position][1] for position in positions], target)

    rows = read_rows(range(len(lines)))
    return Source(path=path, format="jsonl", rows=rows, write_rows=write, read_rows=read_rows)


def _require_no_array(path: Path) -> None:
    """Refuse a file of lines that is an array of objects in fact."""
    try:
        rows = json.loads(read_bytes(path))
    except (ValueError, RecursionError):  # which is said of each line
        return
    if any(isinstance(row, dict) for row in rows):
        raise RecordError(f"{path}: holds an array of objects, not one object a line; name it .json")


def _open_plain_lines(path: Path) -> Source:
    """Lines of which only the places in the file are kept; they are read again where they are wanted."""
    starts, numbers = array("q"), array("q")

    def unchanged() -> tuple[int, int]:
        state = path.stat()
        return state.st_size, state.st_mtime_ns

    try:
        opened = unchanged()
        with path.open("rb") as handle:
            place = 0
            for number, line in enumerate(handle, start=1):
                if line.strip():
                    starts.append(place)
                    numbers.append(number)
                place += len(line)
    except OSError as error:
        raise RecordError(f"{path}: cannot be read ({error})") from error

    def lines_at(positions: Iterable[int]) -> Iterator[tuple[int, bytes]]:
        try:
            with path.open("rb") as handle:
                if unchanged() != opened:
                    raise RecordError(f"{path}: has changed since it was read; start again")
                for position in positions:
                    handle.seek(starts[position])
                    yield position, handle.readline()
        except OSError as error:
            raise RecordError(f"{path}: cannot be read again ({error})") from error

    def read_rows(positions: Iterable[int]) -> Iterator[tuple[str, Any]]:
        for position, line in lines_at(positions):
            yield f"{path.name}:{numbers[position]}", parse_line(line)

    def write(positions: Sequence[int], target: Path) -> None:
        _write_lines((line for _, line in lines_at(positions)), target)

    return Source(
        path=path,
        format="jsonl",
        rows=read_rows(range(len(starts))),
        write_rows=write,
        read_rows=read_rows,
    )


def parse_line(line: bytes) -> Any:
    """What a line of JSON holds, or the `RecordError` that says why it holds nothing."""
    try:
        # A byte order mark, which some editors put before the first line, is no part of the JSON.
        return json.loads(line.decode("utf-8-sig").rstrip("\r\n"))
    except UnicodeDecodeError as error:
        return RecordError(f"not valid UTF-8 at byte {error.start + 1} of the line; save the file as UTF-8")
    except json.JSONDecodeError as error:
        return RecordError(f"not valid JSON at character {error.pos + 1}: {error.msg}")
    except (ValueError, RecursionError) as error:
        return RecordError(f"JSON that cannot be read: {error}")


def _write_lines(lines: Iterable[bytes], path: Path) -> None:
    require_place(path, "jsonl")
    # A last line without a line break can only stand last: positions ascend.
    write_bytes(lines, path)


def _plain(value: Any) -> Any:
    """NumPy numbers and arrays as plain ones, for JSON."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__} has no form in JSON")
