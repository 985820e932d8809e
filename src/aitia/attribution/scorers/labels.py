"""A true-or-false column of the data, against which scores are measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aitia.errors import AitiaError
from aitia.records import Records, some_of


def label_values(records: Records, label: str, ids: Sequence[str] | np.ndarray) -> np.ndarray:
    """A column of the data as true or false, for the given rows.

    Args:
        records: the data.
        label: a column of true and false (1 and 0 count); or `column=value`, where the column has two strings, of
            which `value` is the positive one.
        ids: of n rows.

    Returns:
        [n] bool, in the order of `ids`.

    Raises:
        AitiaError: a value is neither true nor false; or the column of `column=value` has other than two strings, or
            not that one.
    """
    column, sign, positive = label.rpartition("=")
    named = bool(sign) and all(label not in record.extra for record in records)
    values = dict(zip(records.ids, records.column(column if named else label), strict=True))
    found = [values[name] for name in ids]
    if named:
        return np.array([value == positive for value in _two(found, column, positive)], dtype=bool)
    wrong = [value for value in found if isinstance(value, str) or value not in (True, False)]
    if wrong:
        raise AitiaError(f"column {label!r}: {wrong[0]!r} is neither true nor false{_mend(found, label)}")
    return np.array(found, dtype=bool)


def _two(found: list[object], column: str, positive: str) -> list[object]:
    """The values of a column, once they are two strings of which one is the positive."""
    kinds = sorted({str(value) for value in found})
    if any(not isinstance(value, str) for value in found) or len(kinds) != 2 or positive not in kinds:
        raise AitiaError(
            f"column {column!r}: {positive!r} is not one of two strings that are its values; they are "
            f"{some_of(list(map(repr, kinds)), ', ')}"
        )
    return found


def _mend(found: list[object], label: str) -> str:
    kinds = sorted({value for value in found if isinstance(value, str)})
    if len(kinds) == 2 and all(isinstance(value, str) for value in found):
        return f"; it has the values {kinds[0]!r} and {kinds[1]!r}: name the positive one, like {label}={kinds[1]}"
    return "; give a column of true and false"
