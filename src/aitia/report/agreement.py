"""How far rankings agree: Spearman's rank correlation."""

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
