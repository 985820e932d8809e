"""Null directions at a site of a store: what a direction is where it is nothing special for these activations.

Isotropic directions lie evenly on the sphere. Activations do not: a few dimensions hold most of their variance, and a
direction that texts give, a difference of means, lies mostly along these whatever the texts say. So an isotropic null
understates how far a direction without meaning goes. A matched null direction has mean zero and the covariance of the
rows' mean response activations: it is what a difference of means of rows like these is, if their labels say nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from aitia.attribution.scanning.activation_products import (
    Reading,
    RowsAlikeError,
    contrasts_of_rows,
    rows_alike,
)
from aitia.attribution.scanning.store import ActivationStore
from aitia.concepts import ReadTokens, random_directions
from aitia.errors import NumericalError
from aitia.settings import AtLeast, AtMost, check

NullKind = Literal["matched", "isotropic"]
"""How null directions are drawn."""
MATCHED: NullKind = "matched"
"""With the covariance of the rows' response activations."""
ISOTROPIC: NullKind = "isotropic"
"""Drawn evenly from the sphere."""


@dataclass(frozen=True, kw_only=True)
class NullSettings:
    """Null directions that a ranking is held against.

    Attributes:
        control: draw of the null directions: matched to the covariance of the rows' activations, or isotropic.
        null_draws: null directions behind a p-value, where they cost a matrix product alone.
    """

    control: NullKind = MATCHED
    null_draws: Annotated[int, AtLeast(1), AtMost(100_000)] = 499

    def __post_init__(self) -> None:
        check(self)


def null_directions(
    store: ActivationStore,
    site: str,
    width: int,
    *,
    kind: NullKind = MATCHED,
    count: int,
    seed: int = 0,
    among: np.ndarray | None = None,
    tokens: ReadTokens = "response",
) -> np.ndarray:
    """Directions that mean nothing at a site of a store.

    Matched ones are differences of the mean response activations of two random parts of the rows
    (`aitia.concepts.matched_directions`), read from the store in one pass. They are not made orthogonal to anything.

    Args:
        store: a finished store.
        site: where.
        width: d, of the directions.
        kind: `matched` or `isotropic`.
        count: how many, c.
        seed: of the draw.
        among: [n] bool, the rows that matched ones are made of; default: all.
        tokens: of the response whose activations matched ones are made of, as a concept's.

    Returns:
        [c, d] float32, of length 1.

    Raises:
        RowsAlikeError: matched ones are asked for, and the rows do not differ at the site.
        NumericalError: a stored activation is not finite.
    """
    if kind == ISOTROPIC or not count:
        return random_directions(width, count=count, seed=seed)[:, 0]
    reading = Reading(activation="response").at(tokens)
    found = contrasts_of_rows(store, site, reading, count=count, seed=seed, among=among)
    if not np.isfinite(found).all():
        raise NumericalError(
            f"{store.path}: a stored response activation at {site} is not finite; scan again"
        )
    if not (np.linalg.norm(found, axis=1) > 0.5).all() or rows_alike(store, site, reading):
        raise RowsAlikeError(
            f"{store.path}: the {len(store)} rows are all alike at {site}, so no direction can be matched to their "
            "covariance; use isotropic ones (`control=isotropic`)"
        )
    return found
