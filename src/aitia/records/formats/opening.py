"""The formats that rows are stored in, by the endings of their names."""

from __future__ import annotations

from pathlib import Path

from aitia.errors import RecordError
from aitia.records.formats.arrow_files import open_dataset, open_parquet
from aitia.records.formats.json_files import open_json, open_lines
from aitia.records.formats.source import JSON, LINES, Source, require_place

__all__ = ["open_source", "require_place"]


def open_source(path: Path) -> Source:
    """Open a file of JSON, a Parquet file, or a saved dataset, by its name's ending.

    Returns:
        The source, which can be read more than once.

    Raises:
        RecordError: there is no such file, it is of no known format, or it is damaged.
    """
    if not path.exists():
        raise RecordError(f"{path}: no such file or folder")
    if path.is_dir():
        return open_dataset(path)
    if path.name.endswith(LINES):
        return open_lines(path)
    if path.name.endswith(JSON):
        return open_json(path)
    if path.suffix == ".parquet":
        return open_parquet(path)
    raise RecordError(
        f"{path}: the format is not known by its name; give a .jsonl (one JSON object a line), a .json (an "
        "array of objects), a .parquet, or a folder made by datasets' save_to_disk"
    )
