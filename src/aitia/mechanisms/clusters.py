"""Clusters: the site is in one of a few states, and each has its usual answer (k-means of scikit-learn)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from aitia.explanations import Alignment, Explanation, Premise, Variable
from aitia.explanations.core import REAL_BITS, Tap
from aitia.mechanisms.site import MECHANISMS_BELOW, SiteRecord


def cluster_explanation(record: SiteRecord, *, sizes: tuple[int, ...] = (1, 2, 4)) -> Explanation:
    """The hypothesis that activations fall into clusters, and that the cluster gives the answer.

    Variable: the nearest cluster, at the whole site; written as its centre. Each cluster is a premise.

    Args:
        record: the site.
        sizes: numbers of clusters that are tried, in outcomes; the one that predicts best on held-back rows is kept.

    Returns:
        The explanation, with the number of clusters that does best on the checked rows.
    """
    from sklearn.cluster import KMeans

    fitted, rows, labels = ~record.checked, record.activations, record.labels

    def tables(centres: np.ndarray) -> np.ndarray:
        counts = np.full((len(centres), record.outcomes), 0.5)
        np.add.at(counts, (_nearest(rows[fitted], centres), labels[fitted]), 1.0)
        return counts / counts.sum(axis=1, keepdims=True)

    found = []
    for size in sorted({min(size * record.outcomes, int(fitted.sum())) for size in sizes}):
        means = KMeans(n_clusters=size, n_init="auto", random_state=record.seed).fit(rows[fitted])
        centres = means.cluster_centers_
        table = tables(centres)
        held = table[_nearest(rows[record.checked], centres), labels[record.checked]]
        found.append((float(np.log2(held).mean()), centres, table))
    _, centres, table = max(found, key=lambda each: each[0])
    uniform = np.full(record.outcomes, 1 / record.outcomes)

    def program(premises: Mapping[str, Any], inputs: np.ndarray, variable: Tap) -> np.ndarray:
        state = record.trace(inputs) if premises[MECHANISMS_BELOW] else np.zeros((len(inputs), record.width))
        cluster = variable("cluster", _nearest(state, centres))
        kept = np.array([f"cluster {i}" in premises for i in range(len(centres))])
        return np.where(kept[cluster, None], table[cluster], uniform)

    bits = float((record.outcomes - 1) * REAL_BITS)
    alignment = Alignment(
        site=record.site,
        read=lambda part: _nearest(part, centres),
        write=lambda values: centres[np.asarray(values, dtype=int)],
        bits=float(centres.size * REAL_BITS),
    )
    return Explanation(
        name="clusters",
        phenomenon=record.phenomenon,
        program=program,
        premises=record.premise_below
        | {f"cluster {i}": Premise(kind="fact", bits=bits) for i in range(len(centres))},
        variables={"cluster": Variable(values=len(centres), alignment=alignment)},
    )


def _nearest(rows: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """[n] the nearest centre of each row."""
    distances = np.square(centres).sum(axis=1) - 2 * rows @ centres.T
    return distances.argmin(axis=1)
