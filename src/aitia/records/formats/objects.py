"""Rows in memory: `datasets`, data frames and Arrow tables, and lists of dicts."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from aitia.errors import RecordError
from aitia.records.formats.arrow_files import dataset_source, table_source
from aitia.records.formats.json_files import memory_source
from aitia.records.formats.source import Source

if TYPE_CHECKING:
    from pyarrow import DataType, Field


def open_object(data: Any, name: str | None = None) -> Source:
    """Rows in memory.

    A `datasets.Dataset` is written as a saved dataset again; a data frame (pandas, polars) or an Arrow table, known by
    its `__arrow_c_stream__`, as Parquet; rows of dicts as lines of JSON. Strings that are kept as views are
    copied into plain ones, because Arrow cannot choose rows of views.

    Args:
        data: the object; it must not be changed afterwards.
        name: said before the number of a row.

    Returns:
        The source.

    Raises:
        RecordError: it holds several splits, is a stream, or is nothing that rows can be read from.
    """
    kind = type(data).__name__
    if _is_of_datasets(data, "DatasetDict", "IterableDatasetDict"):
        splits = ", ".join(map(repr, data)) or "(none)"
        first = next(iter(data), "train")
        raise RecordError(f"{kind}: has the splits {splits}; give one of them, like data[{first!r}]")
    if _is_of_datasets(data, "IterableDataset"):
        raise RecordError(
            f"{kind}: is a stream, which can be read once; give a Dataset, like Dataset.from_list(list(data))"
        )
    if _is_of_datasets(data, "Dataset"):
        if data.format["type"] == "custom":
            raise RecordError(
                f"{kind}: has a transform (`with_transform`), which may give other rows each time; give the rows that "
                "it makes, by `map`"
            )
        return dataset_source(data, None, name or kind)
    if _is_of(data, "polars", "LazyFrame"):
        raise RecordError(
            f"{kind}: is a plan that is carried out each time it is asked, and may give other rows then; give the rows "
            "that it gives now: `data.collect()`"
        )
    if hasattr(data, "__arrow_c_stream__"):
        return table_source(_table_of(data, kind), None, name or kind)
    if isinstance(data, str | bytes | Mapping) or not isinstance(data, Iterable):
        raise RecordError(
            f"{kind}: rows are read from a path, a list of paths, a list of dicts, a datasets.Dataset, a data frame or "
            "an Arrow table"
        )
    return memory_source(data, name or "rows")


def _is_of_datasets(data: Any, *names: str) -> bool:
    return _is_of(data, "datasets", *names)


def _is_of(data: Any, package: str, *names: str) -> bool:
    """Whether an object is of a class of a package, without importing that package."""
    module = sys.modules.get(package)
    return module is not None and any(isinstance(data, getattr(module, name)) for name in names)


def _table_of(data: Any, kind: str) -> Any:
    import pyarrow as pa

    try:
        if _is_of(data, "polars", "DataFrame"):
            return _table_of_polars(data)
        table = pa.RecordBatchReader.from_stream(data).read_all()
        return table.cast(pa.schema([_field(field) for field in table.schema], table.schema.metadata))
    except Exception as error:  # whatever the frame's library makes of a column that mixes types
        reason = " ".join(str(error).split())
        raise RecordError(
            f"{kind}: cannot be turned into an Arrow table ({reason}); give each column one type, or the rows as a "
            "list of dicts"
        ) from error


def _table_of_polars(frame: Any) -> Any:
    """An Arrow table whose strings are no views, those of categories neither."""
    objects = sys.modules["polars"].Object
    if wrong := [name for name, kind in frame.schema.items() if kind == objects]:
        raise TypeError(
            f"column {wrong[0]!r} holds objects of Python, of which Arrow would keep the addresses"
        )
    return frame.to_arrow()


def _field(field: Field) -> Field:
    return field.with_type(_plain(field.type))


def _plain(kind: DataType) -> DataType:
    """An Arrow type with views of strings and bytes as plain ones, inside lists and structs too."""
    import pyarrow as pa
    import pyarrow.types as types

    if types.is_string_view(kind):
        return pa.large_string()
    if types.is_binary_view(kind):
        return pa.large_binary()
    if types.is_struct(kind):
        return pa.struct([_field(field) for field in kind.fields])
    if types.is_fixed_size_list(kind):
        return pa.list_(_field(kind.value_field), kind.list_size)
    if types.is_large_list(kind):
        return pa.large_list(_field(kind.value_field))
    if types.is_list(kind):
        return pa.list_(_field(kind.value_field))
    return kind
