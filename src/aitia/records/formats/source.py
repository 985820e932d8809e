"""What an opened source of rows is, and where rows may be written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aitia.errors import RecordError
from aitia.records.record import Format

LINES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")
JSON = (".json", ".json.gz")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """An opened source of rows.

    Attributes:
        path: the file or folder; None for rows in memory.
        format: of the source.
        rows: the place of each row and its content, or the error that stands in the content's place.
        write_rows: writes the rows at some positions (from 0, ascending) to a path.
        read_rows: reads the rows at some positions again, place and content, so that they need not be kept.
    """

    path: Path | None
    format: Format
    rows: Iterable[tuple[str, Any]]
    write_rows: Callable[[Sequence[int], Path], None]
    read_rows: Callable[[Iterable[int]], Iterator[tuple[str, Any]]] | None = None


_NAMES: Mapping[Format, tuple[tuple[str, ...], str]] = {
    "jsonl": ((".parquet",), "lines of JSON; name it .jsonl"),
    "memory": ((".parquet",), "lines of JSON; name it .jsonl"),
    "json": ((*LINES, ".parquet"), "an array in JSON; name it .json"),
    "parquet": ((*LINES, *JSON), "Parquet; name it .parquet"),
    "datasets": ((*LINES, *JSON, ".parquet"), "a dataset folder"),
}
"""The endings that belong to other formats, and what a format is called."""


def require_place(path: Path, format: Format) -> None:
    """Refuse to write rows where the file would be misread, or where something else would be lost.

    Raises:
        RecordError: the name's ending is that of another format, or a folder is there (unless the rows are
            written as a saved dataset, and it holds one).
    """
    other_endings, what = _NAMES[format]
    if path.name.endswith(other_endings):
        raise RecordError(f"{path}: would be written in the format it was read in: {what}")
    if path.is_dir() and not (format == "datasets" and (path / "state.json").is_file()):
        raise RecordError(f"{path}: a folder is there already; choose another name")
    if format == "datasets" and path.is_file():
        raise RecordError(f"{path}: a file is there already, and a dataset is a folder; choose another name")
