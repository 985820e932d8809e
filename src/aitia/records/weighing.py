"""Rows with a loss weight beside them, for trainers that weigh rows."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aitia.errors import RecordError
from aitia.files import atomic_path, require_apart
from aitia.records.collection import Records
from aitia.records.formats.opening import open_source
from aitia.records.formats.packing import write_bytes
from aitia.records.formats.source import require_place

WEIGHT = "weight"
"""The column that holds a row's loss weight."""


def write_weighted(data: Records, weights: Sequence[float], path: Path | str) -> Path:
    """Write all rows with a further column, `weight`, in the format that they were read in, whole or not at all.

    Values stay as they are; JSON is formatted again. A row's loss is to be multiplied by its weight, as
    `aitia train` does.

    Args:
        data: the rows.
        weights: [n] one finite number of at least 0 a row.
        path: the file, or the folder of a dataset.

    Returns:
        The path.

    Raises:
        RecordError: there is not one such weight a row; the rows have a column of that name; rows were left out when
            the data were read, and so have no weight; or the path is of another format.
        StoreError: the path is that of the data.
    """
    path = Path(path)
    found = [float(each) for each in weights]
    if len(found) != len(data):
        raise RecordError(f"{path}: {len(found)} weights for {len(data)} rows; give one a row")
    for record, weight in zip(data, found, strict=True):
        if not 0 <= weight < float("inf"):
            raise RecordError(
                f"{record.location}: its weight {weight:g} must be a finite number of at least 0"
            )
        if WEIGHT in record.extra:
            raise RecordError(
                f"{record.location}: has a column {WEIGHT!r} already; leave it out or rename it"
            )
    if data.skipped:
        first = data.skipped[0]
        raise RecordError(
            f"{path}: {len(data.skipped)} rows could not be read and have no weight, the first at {first.location}: "
            f"{first.reason}; mend them, or take them out of the data"
        )
    require_apart({"the weighted rows": path}, data.files)
    require_place(path, data.format)
    with TemporaryDirectory() as folder:
        plain = Path(folder) / f"rows{data.ending}"
        data.write_rows(data.rows, plain)
        with atomic_path(path) as temporary:
            # The name says how the file is packed, and the temporary one ends like it.
            _WRITERS.get(data.format, _write_lines)(plain, found, temporary)
    return path


def _write_lines(plain: Path, weights: list[float], path: Path) -> None:
    rows = (_line(row, weight) for (_, row), weight in zip(open_source(plain).rows, weights, strict=True))
    write_bytes([row.encode() for row in rows], path)


def _write_array(plain: Path, weights: list[float], path: Path) -> None:
    pairs = zip(open_source(plain).rows, weights, strict=True)
    rows = ",\n".join(_line(row, weight).rstrip("\n") for (_, row), weight in pairs)
    write_bytes([f"[\n{rows}\n]\n".encode()], path)


def _write_table(plain: Path, weights: list[float], path: Path) -> None:
    delimiter = "\t" if plain.suffix == ".tsv" else ","
    written = io.StringIO(newline="")
    writer = csv.writer(written, delimiter=delimiter, lineterminator="\n")
    limit = csv.field_size_limit(sys.maxsize)
    try:
        with plain.open(encoding="utf-8-sig", newline="") as handle:
            rows = csv.reader(handle, delimiter=delimiter, strict=True)
            writer.writerow([*next(rows), WEIGHT])
            writer.writerows([*row, weight] for row, weight in zip(filter(None, rows), weights, strict=True))
    finally:
        csv.field_size_limit(limit)
    write_bytes([written.getvalue().encode()], path)


def _write_parquet(plain: Path, weights: list[float], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    parquet.write_table(
        parquet.read_table(plain).append_column(WEIGHT, pa.array(weights, pa.float64())), path
    )


def _write_dataset(plain: Path, weights: list[float], path: Path) -> None:
    from datasets import load_from_disk

    rows: Any = load_from_disk(str(plain))
    rows.add_column(WEIGHT, weights).save_to_disk(str(path))


def _line(row: Any, weight: float) -> str:
    return json.dumps(row | {WEIGHT: weight}, ensure_ascii=False) + "\n"


_WRITERS = {
    "json": _write_array,
    "csv": _write_table,
    "tsv": _write_table,
    "parquet": _write_parquet,
    "datasets": _write_dataset,
}
