"""A true-or-false column of the data, against which scores are measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aitia.errors import AitiaError
from aitia.records import Records


def label_values(records: Records, label: str, ids: Sequence[str] | np.ndarray) -> np.ndarray:
    """A true-or-false column of the data, for the given rows: [n] bool.

    Returns:
        [n] bool, in the order of `ids`.

    Raises:
        AitiaError: a value is neither true nor false (1 and 0 count).
    """
    values = dict(zip(records.ids, records.column(label), strict=True))
    found = [values[name] for name in ids]
    wrong = [value for value in found if value not in (True, False)]
    if wrong:
        raise AitiaError(f"column {label!r}: {wrong[0]!r} is neither true nor false")
    return np.array(found, dtype=bool)
