"""Data sets of the hub that `datasets` has loaded before: from its cache on this machine, never from the network."""

from __future__ import annotations

import re
from typing import Any

from aitia.errors import RecordError, reason_of
from aitia.records.formats.arrow_files import dataset_source
from aitia.records.formats.source import Source

_ID = re.compile(r"(?P<id>[\w-][\w.-]*/[\w-][\w.-]*)(?::(?P<split>[\w.-]+))?")


def is_hub_id(name: str) -> bool:
    """Whether a name could be that of a data set of the hub: `owner/name` or `owner/name:split`."""
    return _ID.fullmatch(name) is not None


def open_cached(name: str) -> Source:
    """A split of a data set that lies in the cache of `datasets`.

    Args:
        name: `owner/name:split`; the split may be left out where there is one.

    Returns:
        The source.

    Raises:
        RecordError: it is not in the cache, or has several splits of which none is named.
    """
    from datasets.packaged_modules.cache.cache import Cache

    found = _ID.fullmatch(name)
    assert found is not None
    repository, split = found["id"], found["split"]
    try:
        builder: Any = Cache(
            dataset_name=repository.split("/")[1], repo_id=repository, version="auto", hash="auto"
        )
        splits = builder.as_dataset()
    except Exception as error:  # whatever the library makes of a cache without it
        raise RecordError(
            f"{name}: no such file or folder, and no data set of that name is in the cache of datasets "
            f"({reason_of(error)}); load it once with datasets.load_dataset({repository!r}), or give a file"
        ) from error
    if split is None and len(splits) == 1:
        split = next(iter(splits))
    if split not in splits:
        listed = ", ".join(f"{repository}:{each}" for each in splits)
        raise RecordError(f"{name}: give one of its splits: {listed}")
    return dataset_source(splits[split], None, f"{repository}:{split}")
