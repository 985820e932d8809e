"""Rows in Arrow's formats: Parquet files, and datasets saved to a folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aitia.errors import RecordError
from aitia.files import atomic_path, read_json
from aitia.records.formats.source import Source, require_place

if TYPE_CHECKING:
    from pyarrow import DataType, RecordBatch

ROWS_AT_ONCE = 1000

Reader = Callable[[Any], Any]


def open_parquet(path: Path) -> Source:
    """A Parquet file.

    Returns:
        The source, which reads a batch of rows at a time.

    Raises:
        RecordError: it cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Through a handle, so that folder names like `split=train` are not taken for columns.
        with path.open("rb") as handle:
            table = pq.read_table(handle)
        _ = table.column_names  # which may be no text
    except (OSError, ValueError, pa.ArrowException) as error:
        raise RecordError(f"{path}: cannot be read as Parquet ({error})") from error

    return table_source(table, path, path.name)


def table_source(table: Any, path: Path | None, name: str) -> Source:
    """The rows of an Arrow table, which are written as Parquet.

    Args:
        table: the table.
        path: where it was read from.
        name: said before the number of a row.

    Returns:
        The source, which reads a batch of rows at a time.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    def write(positions: Sequence[int], target: Path) -> None:
        require_place(target, "parquet")
        mask = np.zeros(len(table), dtype=bool)
        mask[list(positions)] = True
        with atomic_path(target) as temporary:
            # Else the items of lists would be renamed `element`, whatever they were called.
            pq.write_table(table.filter(pa.array(mask)), temporary, use_compliant_nested_type=False)

    read_rows = _reader(lambda start, stop: table.slice(start, stop - start), name)
    rows = read_rows(range(len(table)))
    return Source(path=path, format="parquet", rows=rows, write_rows=write, read_rows=read_rows)


def open_dataset(path: Path) -> Source:
    """A folder made by datasets' save_to_disk.

    Returns:
        The source, which reads a batch of rows at a time.

    Raises:
        RecordError: it is none, holds several splits, or cannot be read.
    """  # noqa: DOC501 - a ValueError is caught below
    if (path / "dataset_dict.json").is_file():
        splits = sorted(part.name for part in path.iterdir() if (part / "state.json").is_file())
        raise RecordError(
            f"{path}: has the splits {', '.join(splits) or '(none)'}; give folder/split, one of them, "
            f"like {path / (splits or ['train'])[0]}"
        )
    if not (path / "state.json").is_file():
        raise RecordError(
            f"{path}: not a folder made by datasets' save_to_disk (it has no state.json); give such "
            "a folder, or a .jsonl or .parquet file"
        )
    from datasets import Dataset

    try:
        names = [part["filename"] for part in read_json(path / "state.json")["_data_files"]]
        if any(Path(name).name != name for name in names):
            raise ValueError("it names files outside its folder")
        dataset = Dataset.load_from_disk(str(path))
    except Exception as error:  # whatever the library makes of a damaged folder
        raise RecordError(f"{path}: cannot be read as a saved dataset ({error})") from error
    return dataset_source(dataset, path, path.name)


def dataset_source(dataset: Any, path: Path | None, name: str) -> Source:
    """The rows of a `datasets.Dataset`, which are written as a saved dataset.

    Args:
        dataset: the dataset.
        path: where it was read from.
        name: said before the number of a row.

    Returns:
        The source, which reads a batch of rows at a time.
    """

    def write(positions: Sequence[int], target: Path) -> None:
        require_place(target, "datasets")
        with atomic_path(target) as temporary, _no_progress_bars():
            chosen = dataset.select(list(positions))
            # Left to itself, the library saves no rows as no file, and cannot read that back.
            chosen.save_to_disk(str(temporary), num_shards=None if positions else 1)

    # Arrow batches, because rows in Python would have their images and sounds decoded.
    tables = dataset.with_format("arrow")
    read_rows = _reader(lambda start, stop: tables[start:stop], name)
    rows = read_rows(range(len(dataset)))
    return Source(path=path, format="datasets", rows=rows, write_rows=write, read_rows=read_rows)


def _reader(
    part: Callable[[int, int], Any], name: str
) -> Callable[[Iterable[int]], Iterator[tuple[str, Any]]]:
    """What reads rows of a table at positions, so that no more than a few are Python's at a time.

    Args:
        part: from start and stop to that stretch of the table.
        name: said before the number of a row.

    Returns:
        See `Source.read_rows`.
    """

    def read(positions: Iterable[int]) -> Iterator[tuple[str, Any]]:
        for start, stop in _stretches(positions):
            rows = _batch_rows(part(start, stop).to_batches())
            yield from ((f"{name} row {position}", row) for position, row in enumerate(rows, start=start))

    return read


def _stretches(positions: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Positions as stretches that follow one another, [start, stop), of a limited length."""
    start = stop = -1
    for position in positions:
        if position == stop and stop - start < ROWS_AT_ONCE:
            stop += 1
            continue
        if stop > start:
            yield start, stop
        start, stop = position, position + 1
    if stop > start:
        yield start, stop


def _batch_rows(batches: Iterable[RecordBatch]) -> Iterator[Any]:
    """The rows of Arrow batches, each looked over first: places that point outside it would be followed."""
    for batch in batches:
        readers = {field.name: _json_reader(field.type) for field in batch.schema}
        try:
            batch.validate(full=True)
            rows = [_read_json(row, readers) for row in batch.to_pylist()]
        except ValueError:  # of Arrow, or of a string that is none
            rows = [_row_or_error(batch.slice(position, 1), readers) for position in range(len(batch))]
        yield from rows


def _row_or_error(row: RecordBatch, readers: Mapping[str, Reader | None]) -> Any:
    try:
        row.validate(full=True)
        return _read_json(row.to_pylist()[0], readers)
    except json.JSONDecodeError as error:
        return RecordError(f"a column of JSON that is not valid JSON: {error}")
    except ValueError as error:
        is_text = isinstance(error, UnicodeDecodeError) or "UTF8" in str(error)
        return RecordError("a string that is not valid UTF-8" if is_text else f"damaged: {error}")


def _read_json(row: dict[str, Any], readers: Mapping[str, Reader | None]) -> dict[str, Any]:
    for name, reader in readers.items():
        if reader is not None:
            row[name] = reader(row[name])
    return row


def _json_reader(kind: DataType) -> Reader | None:
    """What turns values of an Arrow type into those that its strings of JSON stand for; None without such."""
    import pyarrow.types as types

    if getattr(kind, "extension_name", None) == "arrow.json":
        return lambda value: None if value is None else json.loads(value)
    if types.is_struct(kind):
        fields = {field.name: _json_reader(field.type) for field in kind.fields}
        if any(fields.values()):
            return lambda value: None if value is None else _read_json(value, fields)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        item = _json_reader(kind.value_type)
        if item is not None:
            return lambda value: None if value is None else [item(part) for part in value]
    return None


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    import datasets

    silent = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not silent:
            datasets.enable_progress_bars()
