"""Arrow's functions on columns."""

from __future__ import annotations

from typing import Any


def compute() -> Any:
    """The module `pyarrow.compute`, which makes its functions when it is imported: no type checker knows them."""
    import pyarrow.compute

    return pyarrow.compute
