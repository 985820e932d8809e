"""Rows written with further columns (weights, scores), or in another format than they were read in."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aitia.errors import RecordError, reason_of
from aitia.files import atomic_path, require_apart
from aitia.records.collection import Records
from aitia.records.formats.opening import open_source
from aitia.records.formats.packing import write_bytes
from aitia.records.formats.source import CSV, JSON, LINES, NAMES, PARQUET, TSV, require_place
from aitia.records.reading import read_records
from aitia.records.record import ENDING_OF, Format

WEIGHT = "weight"
"""The column that holds a row's loss weight."""


@dataclass(frozen=True, kw_only=True)
class Export:
    """How rows are written.

    Attributes:
        columns: name -> [n] values for all records of the data, in their order; of JSON's kinds, None for none.
        format: of the file; none for the one that the path's ending names, or else the one that the data were read in.
    """

    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    format: Format | None = None

    def format_at(self, path: Path, data: Records) -> Format:
        """The format that rows of the data are written in at a path."""
        if self.format is not None:
            return self.format
        if path.name.endswith(NAMES[data.format][0]):
            return data.format
        named: list[Format] = [name for endings, name in _FORMATS if path.name.endswith(endings)]
        return named[0] if named else data.format

    def require(self, data: Records) -> None:
        """Refuse columns that do not go with the data.

        Raises:
            RecordError: a column has not one value a row, or the rows have one of that name.
        """
        for name, values in self.columns.items():
            if len(values) != len(data):
                raise RecordError(
                    f"{data.name}: {len(values)} values of {name!r} for {len(data)} rows; give one a row"
                )
            taken = next((record for record in data if name in record.extra), None)
            if taken is not None:
                raise RecordError(
                    f"{taken.location}: has a column {name!r} already; leave it out or rename it"
                )

    def write(self, data: Records, part: Records, path: Path, target: Path) -> None:
        """Write a part of the data.

        Args:
            data: of which the columns speak.
            part: those of its records that are written.
            path: where the file will lie, which names its format.
            target: where it is written now; its name ends like the path's.

        Raises:
            RecordError: the rows cannot be written in that format, or would read as other rows.
        """
        format = self.format_at(path, data)
        same = format == data.format or {format, data.format} == {"jsonl", "memory"}
        places = {row: place for place, row in enumerate(data.rows)} if self.columns else {}
        columns = {name: [values[places[row]] for row in part.rows] for name, values in self.columns.items()}
        if same and not columns:
            data.write_rows(part.rows, target)
            return
        with TemporaryDirectory() as folder:
            plain = Path(folder) / f"rows{data.ending}"
            data.write_rows(part.rows, plain)
            if same:
                _WITH_COLUMNS.get(format, _write_lines)(plain, columns, target)
                return
            try:
                _CONVERT[format](_rows(plain, columns), target)
            except (TypeError, ValueError, OverflowError) as error:  # of Arrow, which are ValueErrors too
                raise RecordError(
                    f"{path}: {data.name} cannot be written as {NAMES[format][1]} ({reason_of(error)}); write it as "
                    f"{NAMES[data.format][1]}"
                ) from error
        _require_same(part, path, target, format)


def write_records(data: Records, path: Path | str, export: Export | None = None, **fields: Any) -> Path:
    """Write records with further columns or in another format, whole or not at all.

    Without columns, and in the format that the data were read in, each row stays untouched (`Records.write`). With
    columns its values stay as they are. In another format the file is read again before it takes its place, and refused
    if a row says something else there.

    Args:
        data: the rows.
        path: the file, or the folder of a dataset; its ending names the format.
        export: columns and format.
        fields: fields of `Export`, in the place of `export`: `format="datasets"`.

    Returns:
        The path.

    Raises:
        RecordError: a column does not go with the data, or the rows cannot be written in that format.
        StoreError: the path is that of the data.
    """
    path, how = Path(path), export or Export(**fields)
    require_apart({"the rows": path}, data.files)
    how.require(data)
    require_place(path, how.format_at(path, data))
    with atomic_path(path) as temporary:
        how.write(data, data, path, temporary)
    return path


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
    if data.skipped:
        first = data.skipped[0]
        raise RecordError(
            f"{path}: {len(data.skipped)} rows could not be read and have no weight, the first at {first.location}: "
            f"{first.reason}; mend them, or take them out of the data"
        )
    return write_records(data, path, columns={WEIGHT: found}, format=data.format)


def _rows(plain: Path, columns: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """The rows of a file that was written a moment ago, each with its values of the columns."""
    more = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    rows = [row for _, row in open_source(plain).rows]
    return [row | added for row, added in zip(rows, more or [{}] * len(rows), strict=True)]


def _require_same(part: Records, path: Path, target: Path, format: Format) -> None:
    """Refuse a file whose rows read as others, as where a table gives each row the keys of all."""
    if not len(part):
        return
    named = target
    if format != "datasets" and not target.name.endswith(
        NAMES[format][0]
    ):  # its name does not say what it holds
        named = target.rename(target.with_name(f"{target.name}{ENDING_OF[format]}"))
    try:
        found = read_records(named, on_error="skip", **part.reading.settings)
        digests = dict(zip(found.rows, found.digests, strict=True))
    finally:
        if named != target:
            named.rename(target)
    wrong = [place for place, one in enumerate(part.digests) if one != digests.get(place)]
    if wrong:
        raise RecordError(
            f"{path}: {part[wrong[0]].location} would read as another row in {NAMES[format][1]} ({len(wrong)} such "
            f"rows: their keys or kinds of values differ from row to row); write it as {NAMES[part.format][1]}"
        )


def _write_lines(plain: Path, columns: Mapping[str, Sequence[Any]], path: Path) -> None:
    _lines(_rows(plain, columns), path)


def _write_array(plain: Path, columns: Mapping[str, Sequence[Any]], path: Path) -> None:
    _array(_rows(plain, columns), path)


def _write_table(plain: Path, columns: Mapping[str, Sequence[Any]], path: Path) -> None:
    delimiter = "\t" if plain.suffix == ".tsv" else ","
    limit = csv.field_size_limit(sys.maxsize)
    try:
        with plain.open(encoding="utf-8-sig", newline="") as handle:
            rows = csv.reader(handle, delimiter=delimiter, strict=True)
            head = [*next(rows), *columns]
            _table(
                head, ([*row, *more] for row, *more in zip(filter(None, rows), *columns.values(), strict=True)),
                delimiter, path,
            )  # fmt: skip
    finally:
        csv.field_size_limit(limit)


def _write_parquet(plain: Path, columns: Mapping[str, Sequence[Any]], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    table = parquet.read_table(plain)
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values))
    parquet.write_table(table, path, use_compliant_nested_type=False)


def _write_dataset(plain: Path, columns: Mapping[str, Sequence[Any]], path: Path) -> None:
    from datasets import load_from_disk

    rows: Any = load_from_disk(str(plain))
    for name, values in columns.items():
        rows = rows.add_column(name, list(values))
    rows.save_to_disk(str(path))


def _lines(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    write_bytes([f"{_json(row)}\n".encode() for row in rows], path)


def _array(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    joined = ",\n".join(map(_json, rows))
    write_bytes([f"[\n{joined}\n]\n".encode()], path)


def _json(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, allow_nan=False)


def _texts(rows: Sequence[Mapping[str, Any]], delimiter: str, path: Path) -> None:
    head = list(dict.fromkeys(name for row in rows for name in row))
    for row in rows:
        nested = next((name for name, value in row.items() if isinstance(value, dict | list)), None)
        if nested is not None:
            raise ValueError(f"the column {nested!r} holds lists or objects")
    _table(head, ([_word(row.get(name)) for name in head] for row in rows), delimiter, path)


def _word(value: Any) -> Any:
    """True and false as JSON has them, which is how a table is read."""
    return str(value).lower() if isinstance(value, bool) else value


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]], delimiter: str, path: Path) -> None:
    written = io.StringIO(newline="")
    writer = csv.writer(written, delimiter=delimiter, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    write_bytes([written.getvalue().encode()], path)


def _to_parquet(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    parquet.write_table(pa.Table.from_pylist(_whole(rows)), path, use_compliant_nested_type=False)


def _to_dataset(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    import pyarrow as pa
    from datasets import Dataset

    Dataset(pa.Table.from_pylist(_whole(rows))).save_to_disk(str(path), num_shards=None if rows else 1)  # type: ignore[arg-type]


def _whole(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows with the columns of all, for Arrow looks at the first row alone."""
    names = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name) for name in names} for row in rows]


_FORMATS: tuple[tuple[tuple[str, ...], Format], ...] = (
    (LINES, "jsonl"),
    (JSON, "json"),
    (CSV, "csv"),
    (TSV, "tsv"),
    (PARQUET, "parquet"),
)
_WITH_COLUMNS = {
    "json": _write_array,
    "csv": _write_table,
    "tsv": _write_table,
    "parquet": _write_parquet,
    "datasets": _write_dataset,
}
_CONVERT = {
    "jsonl": _lines,
    "memory": _lines,
    "json": _array,
    "csv": lambda rows, path: _texts(rows, ",", path),
    "tsv": lambda rows, path: _texts(rows, "\t", path),
    "parquet": _to_parquet,
    "datasets": _to_dataset,
}
