"""Rows in memory: `datasets`, data frames and Arrow tables, and lists of dicts."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from aitia.errors import RecordError
from aitia.records.formats.arrow_files import dataset_source, table_source
from aitia.records.formats.json_files import memory_source
from aitia.records.formats.source import Source


def open_object(data: Any, name: str | None = None) -> Source:
    """Rows in memory.

    A `datasets.Dataset` is written as a saved dataset again; a data frame (pandas, polars) or an Arrow table, known by
    its `__arrow_c_stream__`, as Parquet; rows of dicts as lines of JSON.

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
    if hasattr(data, "__arrow_c_stream__"):
        return table_source(_table_of(data, kind), None, name or kind)
    if isinstance(data, str | bytes | Mapping) or not isinstance(data, Iterable):
        raise RecordError(
            f"{kind}: rows are read from a path, a list of paths, a list of dicts, a datasets.Dataset, a data frame or "
            "an Arrow table"
        )
    return memory_source(data, name or "rows")


def _is_of_datasets(data: Any, *names: str) -> bool:
    """Whether an object is of a class of `datasets`, without importing that package."""
    module = sys.modules.get("datasets")
    return module is not None and any(isinstance(data, getattr(module, name)) for name in names)


def _table_of(data: Any, kind: str) -> Any:
    import pyarrow as pa

    try:
        return pa.RecordBatchReader.from_stream(data).read_all()
    except Exception as error:  # whatever the frame's library makes of a column that mixes types
        reason = " ".join(str(error).split())
        raise RecordError(
            f"{kind}: cannot be turned into an Arrow table ({reason}); give each column one type, or the rows as a "
            "list of dicts"
        ) from error
