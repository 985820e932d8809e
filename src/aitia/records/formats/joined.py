"""Several files of one format, read one after the other and written as one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aitia.errors import RecordError
from aitia.files import atomic_path, same_place
from aitia.records.formats.packing import write_bytes
from aitia.records.formats.source import Source, require_place
from aitia.records.record import ENDING_OF, Format


def join_sources(parts: Sequence[Source]) -> Source:
    """The rows of several files, in their order.

    Args:
        parts: the opened files, of one format.

    Returns:
        A source that names the file of each row, and writes rows of all files into one.

    Raises:
        RecordError: a file comes twice, or formats differ.
    """
    paths = [part.path for part in parts if part.path is not None]
    for number, path in enumerate(paths):
        if any(same_place(path, other) for other in paths[:number]):
            raise RecordError(f"{path}: is given twice; give each file once")
    first = parts[0]
    for part in parts:
        if part.format != first.format:
            raise RecordError(
                f"{part.path}: is of the format {part.format}, but {first.path} is of {first.format}; give files of "
                "one format at once, so that the rows kept can be written as they stand"
            )
    repeated = len({path.name for path in paths}) < len(paths)
    before = [f"{path.parent}/" if repeated else "" for path in paths]
    starts: list[int] = []  # position of each part's first row, as far as they were read

    def rows() -> Iterator[tuple[str, Any]]:
        total = 0
        starts.clear()
        for part, folder in zip(parts, before, strict=True):
            starts.append(total)
            for location, row in part.rows:
                total += 1
                yield folder + location, row

    def read_rows(positions: Iterable[int]) -> Iterator[tuple[str, Any]]:
        for number, chosen in groupby(positions, lambda position: bisect_right(starts, position) - 1):
            read = parts[number].read_rows
            assert read is not None
            found = read([position - starts[number] for position in chosen])
            yield from ((before[number] + location, row) for location, row in found)

    def of_parts(positions: Iterable[int]) -> list[list[int]]:
        found: list[list[int]] = [[] for _ in parts]
        for position in positions:
            part = bisect_right(starts, position) - 1
            found[part].append(position - starts[part])
        return found

    def write(positions: Sequence[int], target: Path) -> None:
        require_place(target, first.format)
        with TemporaryDirectory() as folder:
            written = []
            for number, (part, chosen) in enumerate(zip(parts, of_parts(positions), strict=True)):
                if chosen or part is first:  # the first, so that no rows are a file of this format too
                    written.append(Path(folder) / f"{number}{ENDING_OF[first.format]}")
                    part.write_rows(chosen, written[-1])
            _MERGED[first.format](written, target)

    return Source(
        path=None,
        format=first.format,
        rows=rows(),
        write_rows=write,
        read_rows=None if any(part.read_rows is None for part in parts) else read_rows,
        paths=tuple(paths),
    )


def _lines_of(paths: Sequence[Path]) -> Iterator[bytes]:
    for path in paths:
        content = path.read_bytes()
        yield content if content.endswith(b"\n") or not content else content + b"\n"


def _merge_lines(paths: Sequence[Path], target: Path) -> None:
    write_bytes(_lines_of(paths), target)


def _merge_arrays(paths: Sequence[Path], target: Path) -> None:
    inner = [path.read_text(encoding="utf-8-sig").strip()[1:-1].strip() for path in paths]
    rows = ",\n".join(filter(None, inner))
    write_bytes([f"[\n{rows}\n]\n".encode()], target)


def _merge_tables(paths: Sequence[Path], target: Path) -> None:
    headers = []
    rest: list[bytes] = []
    for path, content in zip(paths, _lines_of(paths), strict=True):
        header, _, rows = content.decode("utf-8-sig").partition("\n")
        headers.append(header.rstrip("\r"))
        if headers[-1] != headers[0]:
            raise RecordError(
                f"{target}: the columns of {path.name} are {headers[-1]}, and those of the first file {headers[0]}; "
                "tables with other columns cannot be written as one"
            )
        rest.append(rows.encode())
    write_bytes([f"{headers[0]}\n".encode(), *rest], target)


def _merge_parquet(paths: Sequence[Path], target: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pa.concat_tables([pq.read_table(path) for path in paths])
    except pa.ArrowInvalid as error:
        raise RecordError(f"{target}: the files have other columns than one another ({error})") from error
    with atomic_path(target) as temporary:
        pq.write_table(table, temporary, use_compliant_nested_type=False)


def _merge_datasets(paths: Sequence[Path], target: Path) -> None:
    from datasets import Dataset, concatenate_datasets

    try:
        whole = concatenate_datasets([Dataset.load_from_disk(str(path)) for path in paths])
    except ValueError as error:
        raise RecordError(f"{target}: the datasets have other columns than one another ({error})") from error
    with atomic_path(target) as temporary:
        whole.save_to_disk(str(temporary), num_shards=None if len(whole) else 1)


_MERGED: Mapping[Format, Callable[[Sequence[Path], Path], None]] = {
    "jsonl": _merge_lines,
    "json": _merge_arrays,
    "csv": _merge_tables,
    "tsv": _merge_tables,
    "parquet": _merge_parquet,
    "datasets": _merge_datasets,
}
