"""Whatever holds rows, opened: files by the endings of their names, several files, and objects in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from glob import glob, has_magic
from pathlib import Path
from typing import Any

from aitia.errors import RecordError
from aitia.files import address_of
from aitia.records.formats.arrow_files import open_dataset, open_parquet
from aitia.records.formats.delimited import open_delimited
from aitia.records.formats.hub_cache import is_hub_id, open_cached
from aitia.records.formats.joined import join_sources
from aitia.records.formats.json_files import open_json, open_lines
from aitia.records.formats.objects import open_object
from aitia.records.formats.source import CSV, JSON, LINES, PARQUET, TSV, Source
from aitia.remote_files import local_copies

_BY_ENDING: Mapping[tuple[str, ...], Callable[[Path], Source]] = {
    LINES: open_lines,
    JSON: open_json,
    (*CSV, *TSV): open_delimited,
    PARQUET: open_parquet,
}


def open_data(data: Any, name: str | None = None) -> Source:
    """Open whatever holds rows.

    Args:
        data: a path, an address, a pattern of paths, or the name of a data set in the cache of `datasets`; a list of
            paths; or rows in memory (see `open_object`).
        name: said before the number of a row in memory; default: what the object is.

    Returns:
        The source.

    Raises:
        RecordError: it cannot be opened.
    """
    if isinstance(data, str | Path):
        if _is_cached(str(data)):
            return open_cached(str(data))
        paths = _paths(data)
    elif isinstance(data, list | tuple) and data and all(isinstance(each, str | Path) for each in data):
        paths = [path for each in data for path in _paths(each)]
    else:
        return open_object(data, name)
    return open_source(paths[0]) if len(paths) == 1 else join_sources([open_source(path) for path in paths])


def open_source(path: Path) -> Source:
    """Open a file of JSON, CSV or Parquet by its name's ending, or a saved dataset.

    Returns:
        The source.

    Raises:
        RecordError: there is no such file, it is of no known format, or it is damaged.
    """
    if not path.exists():
        raise RecordError(f"{path}: no such file or folder")
    if path.is_dir():
        return open_dataset(path)
    for endings, opened in _BY_ENDING.items():
        if path.name.endswith(endings):
            return opened(path)
    raise RecordError(
        f"{path}: the format is not known by its name; give a .jsonl (one JSON object a line), a .json (an "
        "array of objects), a .csv or .tsv, a .parquet, or a folder made by datasets' save_to_disk"
    )


def _is_cached(name: str) -> bool:
    """Whether a name is that of a data set, and not of a file that is there or missed."""
    known = tuple(ending for endings in _BY_ENDING for ending in endings)
    return is_hub_id(name) and not Path(name).exists() and not name.endswith(known)


def _paths(data: Path | str) -> list[Path]:
    """The files that a path or pattern names, sorted."""
    if address_of(data) is not None:
        return local_copies(data)
    if Path(data).exists() or not has_magic(str(data)):
        return [Path(data)]
    found = sorted(Path(each) for each in glob(str(data), recursive=True))
    if not found:
        raise RecordError(
            f"{data}: no file fits this pattern; look at the folder, or give the files one by one"
        )
    return found
