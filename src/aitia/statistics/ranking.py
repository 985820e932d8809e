"""Figures of scores and labels: agreement of two rankings, and how well scores find labelled rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def spearman_matrix(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Spearman's rank correlation of every pair of columns; ties share their mean rank.

    Args:
        columns: m arrays [n].

    Returns:
        [m, m], with NaN where a column is constant or has fewer than two rows.
    """
    from scipy.stats import rankdata

    ranks = np.stack([rankdata(column) for column in columns]).astype(float)
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(centred, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        units = np.where(lengths[:, None] > 0, centred / lengths[:, None], np.nan)
    return np.clip(units @ units.T, -1.0, 1.0)


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's rank correlation of two arrays [n]; NaN where one is constant."""
    return float(spearman_matrix([first, second])[0, 1])


def auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Chance that a labelled row scores higher than another one, ties counting half (Mann-Whitney).

    Args:
        scores: [n], higher for what should be labelled; rows that are not finite are left out.
        labels: [n] bool.

    Returns:
        0 to 1; NaN when one side is empty.
    """
    from scipy.stats import rankdata

    finite = np.isfinite(scores)
    scores, labels = scores[finite], np.asarray(labels, dtype=bool)[finite]
    positives, negatives = int(labels.sum()), int((~labels).sum())
    if positives == 0 or negatives == 0:
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[labels].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def effect_size(scores: np.ndarray, labels: np.ndarray) -> float:
    """Difference of the two sides' means over their pooled standard deviation (Cohen's d)."""
    finite = np.isfinite(scores)
    scores, labels = scores[finite], np.asarray(labels, dtype=bool)[finite]
    spread = np.sqrt((scores[labels].var() + scores[~labels].var()) / 2)
    return float((scores[labels].mean() - scores[~labels].mean()) / max(spread, 1e-12))


def exceedance_p_value(value: float, nulls: Sequence[float] | np.ndarray) -> float:
    """Chance of a value at least this large under a null that was drawn from: (1 + nulls that reach it) / (1 + nulls).

    It is valid for any number of draws: where the value is one more draw of the null, it is at most a in at most a
    share a of cases (Davison & Hinkley 1997, section 4.2).

    Args:
        value: the statistic, larger for what is more surprising.
        nulls: [c] the same statistic under c draws of the null.

    Returns:
        From 1 / (1 + c) to 1.
    """
    return float((1 + (np.asarray(nulls) >= value).sum()) / (1 + len(nulls)))


def precision_at_k(scores: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Share of labelled rows among the k highest-scored ones; ties are broken by data order.

    Args:
        scores: [n].
        labels: [n] bool.
        k: how many rows are looked at, at least 1.

    Returns:
        The share, from 0 to 1.
    """
    top = np.argsort(-scores, kind="stable")[:k]
    return float(np.asarray(labels, dtype=bool)[top].mean())


def find_labelled(scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """AUC and precision at k, with k the number of labelled rows: `auc`, `precision_at_k`."""
    k = max(int(np.asarray(labels, dtype=bool).sum()), 1)
    return {"auc": auc(scores, labels), "precision_at_k": precision_at_k(scores, labels, k)}
