"""Products of stored activations with directions: what every scorer of the fast family computes.

A score is a scalar product of one or two stored vectors of a row with a direction, so any number of concepts can be
asked of one store:

    score_i = sign * < u, x_i - b_i >,   u = v, or C^-1 v for the whitened form

with v the concept's direction, x_i the activation and b_i the baseline that a `Reading` names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from aitia.attribution.scanning.activations import ENDS
from aitia.attribution.scanning.store import ActivationStore
from aitia.concepts import ReadTokens, contrast_weights
from aitia.errors import ConceptError, NumericalError, StoreError

_COVARIANCE_ROWS = 20_000
_ROUNDING = 1e-5


class PromptsMissingError(StoreError):
    """Rows without a prompt, which a scorer needs."""


class RowsAlikeError(NumericalError):
    """Rows that do not differ, so that no covariance can be divided out."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Which stored vectors are multiplied with a direction.

    Attributes:
        activation: the stored vector x_i.
        baseline: the stored vector b_i that is subtracted, if any.
        sign: +1, or -1 where the activation is a gradient of the loss.
        whitened: multiply the direction by the inverse covariance of the x_i - b_i first.
    """

    activation: str
    baseline: str | None = None
    sign: int = 1
    whitened: bool = False

    @property
    def activations(self) -> tuple[str, ...]:
        """The stored activations that it reads."""
        return (self.activation,) if self.baseline is None else (self.activation, self.baseline)

    def at(self, tokens: ReadTokens) -> Reading:
        """The same for a concept that is read at such tokens: a mean over tokens gives way to the last of them."""
        if tokens == "response":
            return self
        baseline = self.baseline
        return replace(
            self,
            activation=ENDS.get(self.activation, self.activation),
            baseline=baseline if baseline is None else ENDS.get(baseline, baseline),
        )

    @property
    def prompts(self) -> bool:
        """Whether every row must have a prompt."""
        return "prompt_end" in self.activations


def activation_products(
    store: ActivationStore, vectors: np.ndarray, site: str, reading: Reading, name: str
) -> np.ndarray:
    """Score every row under any number of bare directions.

    Args:
        store: a finished store.
        vectors: [c, d].
        site: where they live.
        reading: which stored vectors.
        name: of the scorer, for messages.

    Returns:
        [c, n] float32, rows in data order.

    Raises:
        PromptsMissingError: a row has no prompt, and the reading needs one.
        ConceptError: directions of another width.
        StoreError: the store lacks the site or an activation.
        NumericalError: a stored value is not finite; the row is named.
    """
    if reading.prompts:
        require_prompts(store, name)
    functional = (reading.sign * readout(store, vectors, site, reading)).astype(np.float32)
    scores = np.empty((len(vectors), len(store)), dtype=np.float32)
    for positions, block in store.blocks(reading.activations, site):
        values = difference(block, reading)
        if values.shape[1] != functional.shape[1]:
            raise ConceptError(f"the direction has width {functional.shape[1]}, the store {values.shape[1]}")
        if not np.isfinite(values).all():
            bad = positions[int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])]
            raise NumericalError(
                f"{store.column('location')[bad]}: the stored {reading.activation} activation is not finite; scan again"
            )
        scores[:, positions] = functional @ values.T
    return scores


def readout(store: ActivationStore, vectors: np.ndarray, site: str, reading: Reading) -> np.ndarray:
    """The vectors u that activations are multiplied with: [c, d], the directions themselves or whitened.

    Returns:
        [c, d] float64.

    Raises:
        RowsAlikeError: the rows have no covariance: there is one alone, or all are the same.
    """
    if not reading.whitened:
        return vectors
    from sklearn.covariance import LedoitWolf

    sample = _sample(store, site, reading)
    if _alike(sample):
        raise RowsAlikeError(
            f"{store.path}: the {len(sample)} rows are all alike at {site}, so their covariance is zero and cannot be "
            "divided out; use projection-difference-prompt, which does not divide by it"
        )
    covariance = LedoitWolf().fit(sample).covariance_
    return np.linalg.solve(covariance.astype(np.float64), vectors.T.astype(np.float64)).T


def rows_alike(store: ActivationStore, site: str, reading: Reading) -> bool:
    """Whether a store's rows do not differ in what is read, or there is one alone; of many rows, by a sample."""
    return _alike(_sample(store, site, reading))


def _alike(sample: np.ndarray) -> bool:
    spread = sample.std(axis=0, dtype=np.float64).max(initial=0.0)
    size = max(sample.max(initial=0.0), -sample.min(initial=0.0))
    # Rounding makes equal rows differ a little where they stood in batches of other sizes.
    return len(sample) < 2 or bool(spread <= _ROUNDING * size)


def contrasts_of_rows(
    store: ActivationStore,
    site: str,
    reading: Reading,
    *,
    count: int,
    seed: int = 0,
    among: np.ndarray | None = None,
) -> np.ndarray:
    """Directions that mean nothing but lie as the data do: random halves of the rows held against each other.

    Each is the difference of the mean x_i - b_i of two random halves, scaled to length 1. They vary as the rows do, so
    what content alone can bring about along a direction between texts, it brings about along these.

    Args:
        store: a finished store.
        site: where.
        reading: says what x and b are.
        count: how many, c.
        seed: of the halves.
        among: [n] bool, the rows that they are made of; default: all.

    Returns:
        [c, d] float32.

    Source: ours; the row-wise form of fitting a direction to shuffled labels.
    """
    chosen = np.ones(len(store), dtype=bool) if among is None else among
    sides = np.zeros((count, len(store)))
    sides[:, chosen] = contrast_weights(int(chosen.sum()), count=count, seed=seed)
    found: np.ndarray | float = 0.0
    for positions, block in store.blocks(reading.activations, site):
        found = found + sides[:, positions] @ difference(block, reading).astype(np.float64)
    found = np.asarray(found)
    return (found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)).astype(np.float32)


def require_prompts(store: ActivationStore, name: str) -> None:
    """Refuse rows without a prompt.

    Args:
        store: a finished store.
        name: of the scorer that needs prompts.

    Raises:
        PromptsMissingError: naming the first such row.
    """
    without = np.flatnonzero(store.column("prompt_tokens") == 0)
    if len(without):
        raise PromptsMissingError(
            f"{store.column('location')[without[0]]}: no prompt before the response, which method {name} needs "
            f"({len(without)} such rows); use vector-filter or activation-gradient"
        )


def difference(block: Mapping[str, np.ndarray], reading: Reading) -> np.ndarray:
    """x_i - b_i of some rows, [m, d]: what a direction is multiplied with.

    Args:
        block: activation -> [m, d].
        reading: says which of them.

    Returns:
        [m, d].
    """
    return (
        block[reading.activation]
        if reading.baseline is None
        else block[reading.activation] - block[reading.baseline]
    )


def _sample(store: ActivationStore, site: str, reading: Reading) -> np.ndarray:
    """x_i - b_i of up to 20,000 rows, evenly spaced in data order: [m, d]."""
    stride = -(-len(store) // _COVARIANCE_ROWS)
    found = [
        difference(block, reading)[positions % stride == 0]
        for positions, block in store.blocks(reading.activations, site)
    ]
    return np.concatenate(found)
