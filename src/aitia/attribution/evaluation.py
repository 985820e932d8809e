"""How well scores find rows that are known to matter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aitia.concepts import auc
from aitia.errors import AitiaError
from aitia.records import Records


def precision_at_k(scores: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Share of labelled rows among the k highest-scored ones; ties are broken by data order.

    Args:
        scores: [n].
        labels: [n] bool.
        k: how many rows are looked at, at least 1.
    """
    top = np.argsort(-scores, kind="stable")[:k]
    return float(np.asarray(labels, dtype=bool)[top].mean())


def find_labelled(scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """AUC and precision at k, with k the number of labelled rows: `auc`, `precision_at_k`."""
    k = max(int(np.asarray(labels, dtype=bool).sum()), 1)
    return {"auc": auc(scores, labels), "precision_at_k": precision_at_k(scores, labels, k)}


def label_values(records: Records, label: str, ids: Sequence[str] | np.ndarray) -> np.ndarray:
    """A true-or-false column of the data, for the given rows: [n] bool.

    Raises:
        AitiaError: a value is neither true nor false (1 and 0 count).
    """
    values = dict(zip(records.ids, records.column(label), strict=True))
    found = [values[name] for name in ids]
    wrong = [value for value in found if value not in (True, False)]
    if wrong:
        raise AitiaError(f"column {label!r}: {wrong[0]!r} is neither true nor false")
    return np.array(found, dtype=bool)
