"""The formats that rows are stored in: how to go through the rows of a source, and write some of them."""

from __future__ import annotations

import gzip
import json
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aitia.errors import RecordError
from aitia.files import atomic_path, read_json
from aitia.records.record import Format

if TYPE_CHECKING:
    from pyarrow import RecordBatch

LINES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")
ROWS_AT_ONCE = 1000


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


def open_source(path: Path) -> Source:
    """Open a file of lines of JSON, a Parquet file, or a saved dataset, by its name's ending.

    Raises:
        RecordError: there is no such file, it is of no known format, or it is damaged.
    """
    if not path.exists():
        raise RecordError(f"{path}: no such file or folder")
    if path.is_dir():
        return _open_dataset(path)
    if path.name.endswith(LINES):
        return _open_lines(path)
    if path.suffix == ".parquet":
        return _open_parquet(path)
    raise RecordError(
        f"{path}: the format is not known by its name; give a .jsonl (one JSON object a line), a .parquet, "
        "or a folder made by datasets' save_to_disk"
    )


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


def _open_lines(path: Path) -> Source:
    if path.suffix != ".gz":
        return _open_plain_lines(path)
    try:
        with gzip.open(path) as handle:
            lines = [(number, line) for number, line in enumerate(handle, start=1) if line.strip()]
    except (OSError, EOFError, zlib.error) as error:
        raise RecordError(f"{path}: cannot be read ({error})") from error

    def write(positions: Sequence[int], target: Path) -> None:
        _write_lines([lines[position][1] for position in positions], target)

    located = ((f"{path.name}:{number}", _parse_line(line)) for number, line in lines)
    return Source(path=path, format="jsonl", rows=located, write_rows=write)


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
            yield f"{path.name}:{numbers[position]}", _parse_line(line)

    def write(positions: Sequence[int], target: Path) -> None:
        _write_lines((line for _, line in lines_at(positions)), target)

    return Source(
        path=path,
        format="jsonl",
        rows=read_rows(range(len(starts))),
        write_rows=write,
        read_rows=read_rows,
    )


def _parse_line(line: bytes) -> Any:
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
    with atomic_path(path) as temporary, temporary.open("wb") as plain:
        if path.suffix == ".gz":
            with gzip.GzipFile(filename="", mode="wb", fileobj=plain, mtime=0) as packed:
                packed.writelines(lines)
        else:
            plain.writelines(lines)


def _open_parquet(path: Path) -> Source:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Through a handle, so that folder names like `split=train` are not taken for columns.
        with path.open("rb") as handle:
            table = pq.read_table(handle)
        _ = table.column_names  # which may be no text
    except (OSError, ValueError, pa.ArrowException) as error:
        raise RecordError(f"{path}: cannot be read as Parquet ({error})") from error

    def write(positions: Sequence[int], target: Path) -> None:
        require_place(target, "parquet")
        mask = np.zeros(len(table), dtype=bool)
        mask[list(positions)] = True
        with atomic_path(target) as temporary:
            # Else the items of lists would be renamed `element`, whatever they were called.
            pq.write_table(table.filter(pa.array(mask)), temporary, use_compliant_nested_type=False)

    rows = _batch_rows(table.to_batches(max_chunksize=ROWS_AT_ONCE))
    located = ((f"{path.name} row {position}", row) for position, row in enumerate(rows))
    return Source(path=path, format="parquet", rows=located, write_rows=write)


def _open_dataset(path: Path) -> Source:
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

    def write(positions: Sequence[int], target: Path) -> None:
        require_place(target, "datasets")
        with atomic_path(target) as temporary, _no_progress_bars():
            chosen = dataset.select(list(positions))
            # Left to itself, the library saves no rows as no file, and cannot read that back.
            chosen.save_to_disk(str(temporary), num_shards=None if positions else 1)

    # Arrow batches, because rows in Python would have their images and sounds decoded.
    tables = dataset.with_format("arrow").iter(batch_size=ROWS_AT_ONCE)
    rows = _batch_rows(batch for table in tables for batch in table.to_batches())  # type: ignore[attr-defined]
    located = ((f"{path.name} row {position}", row) for position, row in enumerate(rows))
    return Source(path=path, format="datasets", rows=located, write_rows=write)


def _batch_rows(batches: Iterable[RecordBatch]) -> Iterator[Any]:
    """The rows of Arrow batches, each looked over first: places that point outside it would be followed."""
    for batch in batches:
        try:
            batch.validate(full=True)
            rows = batch.to_pylist()
        except ValueError:  # of Arrow, or of a string that is none
            rows = [_row_or_error(batch.slice(position, 1)) for position in range(len(batch))]
        yield from rows


def _row_or_error(row: RecordBatch) -> Any:
    try:
        row.validate(full=True)
        return row.to_pylist()[0]
    except ValueError as error:
        is_text = isinstance(error, UnicodeDecodeError) or "UTF8" in str(error)
        return RecordError("a string that is not valid UTF-8" if is_text else f"damaged: {error}")


_NAMES: Mapping[Format, tuple[tuple[str, ...], str]] = {
    "jsonl": ((".parquet",), "lines of JSON; name it .jsonl"),
    "memory": ((".parquet",), "lines of JSON; name it .jsonl"),
    "parquet": (LINES, "Parquet; name it .parquet"),
    "datasets": ((*LINES, ".parquet"), "a dataset folder"),
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


def _plain(value: Any) -> Any:
    """NumPy numbers and arrays as plain ones, for JSON."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__} has no form in JSON")


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
