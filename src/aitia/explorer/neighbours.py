"""Stored activations of single rows, and the rows whose activations are most alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aitia.attribution import ActivationStore
from aitia.errors import AitiaError


def stored_vectors(
    store: ActivationStore, activation: str, site: str, positions: Sequence[int]
) -> np.ndarray:
    """A stored activation of some rows.

    Args:
        store: a finished store.
        activation: as `response`.
        site: a site of the store.
        positions: of m rows in data order, in any order.

    Returns:
        [m, d] float32, in the order of the positions.

    Raises:
        AitiaError: the store lacks the activation or the site, or a value is not finite.
    """
    store.require([activation], site)
    wanted = np.asarray(positions, dtype=np.int64)
    found: np.ndarray | None = None
    for number in range(store.shards):
        inside = store.read_shard(number, [])["position"]
        order = np.argsort(inside, kind="stable")
        place = np.minimum(np.searchsorted(inside, wanted, sorter=order), len(inside) - 1)
        at = np.flatnonzero(inside[order[place]] == wanted)
        if not len(at):
            continue
        block = store.read_shard(number, [f"{activation}.{site}"])[f"{activation}.{site}"]
        if found is None:
            found = np.full((len(wanted), block.shape[1]), np.nan, dtype=np.float32)
        found[at] = block[order[place[at]]]
    if found is None or not np.isfinite(found).all():
        raise AitiaError(
            f"{store.path}: a stored {activation} activation at {site} is missing or not finite; scan again"
        )
    return found


def nearest(
    store: ActivationStore, activation: str, site: str, position: int, *, count: int
) -> list[tuple[int, float]]:
    """The rows whose stored activation points most in the direction of a row's.

    The mean of all rows is taken off first: mean activations share a large part that says nothing of a row.

    Args:
        store: a finished store.
        activation: as `response`.
        site: a site of the store.
        position: of the row.
        count: how many rows, at most.

    Returns:
        Position and cosine, the most alike first, without the row itself.

    Raises:
        AitiaError: see `stored_vectors`.
    """
    total, seen = None, 0
    for _, block in store.blocks([activation], site):
        some = block[activation].sum(axis=0, dtype=np.float64)
        total, seen = some if total is None else total + some, seen + len(block[activation])
    if total is None:
        return []
    mean = (total / seen).astype(np.float32)
    own = stored_vectors(store, activation, site, [position])[0] - mean
    length = float(np.linalg.norm(own))
    cosines = np.full(len(store), -np.inf, dtype=np.float32)
    for positions, block in store.blocks([activation], site):
        centred = block[activation] - mean
        norms = np.linalg.norm(centred, axis=1) * length
        cosines[positions] = np.divide(
            centred @ own, norms, out=np.zeros(len(norms), np.float32), where=norms > 0
        )
    cosines[position] = -np.inf
    some = np.argpartition(-cosines, min(count, len(cosines) - 1))[:count]
    best = some[np.argsort(-cosines[some], kind="stable")]
    return [(int(each), float(cosines[each])) for each in best if np.isfinite(cosines[each])]
