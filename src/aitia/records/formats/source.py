"""What an opened source of rows is, and where rows may be written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aitia.errors import RecordError
from aitia.records.formats.packing import PACKED
from aitia.records.record import Format


def _also_packed(*endings: str) -> tuple[str, ...]:
    return tuple(ending + packed for ending in endings for packed in (*PACKED, ""))


LINES = _also_packed(".jsonl", ".ndjson")
JSON = _also_packed(".json")
CSV = _also_packed(".csv")
TSV = _also_packed(".tsv")
PARQUET = (".parquet",)
ENDINGS = (*LINES, *JSON, *CSV, *TSV, *PARQUET)
"""Endings of the names of files that rows can be read from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """An opened source of rows.

    Attributes:
        path: the file or folder; None for rows in memory, and for several files.
        paths: the files or folders, where there are several.
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
    paths: tuple[Path, ...] = ()


NAMES: Mapping[Format, tuple[tuple[str, ...], str]] = {
    "jsonl": ((*LINES, *JSON), "lines of JSON; name it .jsonl"),
    "memory": ((*LINES, *JSON), "lines of JSON; name it .jsonl"),
    "json": (JSON, "an array in JSON; name it .json"),
    "csv": (CSV, "a table with commas; name it .csv"),
    "tsv": (TSV, "a table with tabs; name it .tsv"),
    "parquet": (PARQUET, "Parquet; name it .parquet"),
    "datasets": ((), "a dataset folder"),
}
"""The endings that a format's files have, and what it is called."""


def require_place(path: Path, format: Format) -> None:
    """Refuse to write rows where the file would be misread, or where something else would be lost.

    Raises:
        RecordError: the name's ending is that of another format, or a folder is there (unless the rows are
            written as a saved dataset, and it holds one).
    """
    own, what = NAMES[format]
    if path.name.endswith(tuple(each for each in ENDINGS if each not in own)):
        raise RecordError(f"{path}: would be written in the format it was read in: {what}")
    if path.is_dir() and not (format == "datasets" and (path / "state.json").is_file()):
        raise RecordError(f"{path}: a folder is there already; choose another name")
    if format == "datasets" and path.is_file():
        raise RecordError(f"{path}: a file is there already, and a dataset is a folder; choose another name")
