"""How well scores find rows that are known to matter."""

from __future__ import annotations

import numpy as np

from aitia.concepts import auc


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
