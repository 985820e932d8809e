"""Group actions as certificates give them: the images of points under generators, extended and checked in integers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from aitia.errors import ProofError
from aitia.finite_groups import identity_of
from aitia.proofs.certificate import integers_of, list_of
from aitia.proofs.cost import Cost

MAX_POINTS = 5_040
MAX_IMAGES = 2_000_000
"""Most images of points that an action of a group may have together."""


def action_of(table: np.ndarray, entry: Any, what: str, cost: Cost) -> np.ndarray:
    """[n, q] the image of each point under each element, from the images under generators.

    The entry is `{"generators": [g, ...], "images": [[point, ...], ...]}`. That the extension is an action is
    checked on the generators: (gh)p = g(hp) for every generator g, element h and point p, which is enough.

    Raises:
        ProofError: the elements do not generate the group, or the images are no action.
    """
    if not isinstance(entry, Mapping):
        raise ProofError(f"{what} must be an object with generators and images")
    n = len(table)
    generators = integers_of(
        list_of(entry, "generators", longest=64), f"{what}, generators", low=0, high=n - 1
    )
    rows = list_of(entry, "images", longest=64)
    if len(rows) != len(generators) or (rows and not isinstance(rows[0], list)):
        raise ProofError(f"{what} needs one list of images for each generator")
    points = len(rows[0]) if rows else 1
    if not 1 <= points <= MAX_POINTS:
        raise ProofError(f"{what} has {points} points; from 1 to {MAX_POINTS:,} are possible")
    if points * n > MAX_IMAGES:
        raise ProofError(f"{what} has {points} points for {n} elements: too many")
    images = np.array(
        [
            integers_of(row, f"{what}, images of generator {g}", low=0, high=points - 1, length=points)
            for g, row in zip(generators, rows, strict=True)
        ],
        dtype=np.int64,
    ).reshape(len(generators), points)
    if (np.sort(images, axis=1) != np.arange(points)).any():
        raise ProofError(f"{what}: a generator does not permute the points")
    found = np.full((n, points), -1, dtype=np.int64)
    identity = identity_of(table)
    found[identity] = np.arange(points)
    frontier = np.array([identity])
    while len(frontier):
        reached = []
        for g, image in zip(generators, images, strict=True):
            new = table[g, frontier]
            fresh = found[new, 0] < 0
            found[new[fresh]] = image[found[frontier[fresh]]]
            reached.append(new[fresh])
        frontier = np.unique(np.concatenate(reached)) if reached else np.zeros(0, dtype=np.int64)
    if (found < 0).any():
        raise ProofError(f"{what}: its generators do not generate the group")
    for g, image in zip(generators, images, strict=True):
        wrong = np.flatnonzero((found[table[g]] != image[found]).any(axis=1))
        if len(wrong):
            raise ProofError(f"{what} is no action: {g}*{wrong[0]} does not act as {g} after {wrong[0]}")
    cost.add("actions", 2 * (len(generators) + 1) * n * points)
    return found
