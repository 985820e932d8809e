"""From two sets of activations to a direction: pure functions on arrays, by name in `DIRECTIONS`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from aitia.concepts.concept import unit_rows

Recipe = Literal["contrast", "logistic-probe", "ridge-probe", "lda-probe"]
"""Names of the methods in `DIRECTIONS`."""
DirectionMethod = Callable[[np.ndarray, np.ndarray], np.ndarray]


def difference_of_means(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """Mean of the positive activations minus mean of the negative ones, as a unit vector.

    Source: persona vectors (Chen et al. 2025), there called the response-average difference.

    Args:
        positive: [n, d].
        negative: [m, d].

    Returns:
        [d].
    """
    return unit_rows(positive.mean(axis=0) - negative.mean(axis=0))


def logistic_probe(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """Weight of an L2-regularised logistic regression on standardised activations.

    Scaled back to the space of the activations themselves, and to unit length.

    Args:
        positive: [n, d].
        negative: [m, d].

    Returns:
        [d].
    """
    from sklearn.linear_model import LogisticRegression

    return _probe(LogisticRegression(C=0.1, max_iter=1000, class_weight="balanced"), positive, negative)


def ridge_probe(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """Weight of a ridge classifier on standardised activations.

    Scaled back to the space of the activations themselves, and to unit length. The penalty is chosen by
    leave-one-out error among 1 ... 10^5.

    Args:
        positive: [n, d].
        negative: [m, d].

    Returns:
        [d].
    """
    from sklearn.linear_model import RidgeClassifierCV

    return _probe(
        RidgeClassifierCV(alphas=np.logspace(0, 5, 11), class_weight="balanced"), positive, negative
    )


def lda_probe(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """Weight of Fisher's linear discriminant: the difference of means over the covariance within the two sets.

    Both sets count alike, whatever their sizes. The covariance is that of standardised activations, shrunk towards
    a multiple of the identity as much as Ledoit and Wolf (2004) estimate, so that fewer texts than dimensions will
    do. Scaled back to the space of the activations themselves, and to unit length.

    Args:
        positive: [n, d].
        negative: [m, d].

    Returns:
        [d].
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    return _probe(
        LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=[0.5, 0.5]), positive, negative
    )


def _probe(classifier: object, positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    from sklearn.preprocessing import StandardScaler

    activations = np.concatenate([positive, negative]).astype(np.float64)
    labels = np.repeat([1, 0], [len(positive), len(negative)])
    scaler = StandardScaler().fit(activations)
    classifier.fit(scaler.transform(activations), labels)  # type: ignore[attr-defined]
    weight = np.ravel(classifier.coef_) / np.asarray(scaler.scale_)  # type: ignore[attr-defined]
    return unit_rows(weight).astype(np.float32)


def random_directions(width: int, *, count: int, seed: int = 0) -> np.ndarray:
    """Unit directions drawn evenly from the sphere (isotropic null directions): [count, 1, width] float32."""
    directions = np.random.default_rng(seed).standard_normal((count, 1, width))
    return (directions / np.linalg.norm(directions, axis=-1, keepdims=True)).astype(np.float32)


def contrast_weights(rows: int, *, count: int, seed: int = 0) -> np.ndarray:
    """Weights that hold random parts of some rows against the others.

    Each is +1 or -1 by chance, less the mean over the rows. The sum of rows with such weights is a difference of two
    means, up to its length. It has mean zero and the rows' own covariance, up to a factor.

    Args:
        rows: n, at least 2.
        count: how many contrasts, c.
        seed: of the draw.

    Returns:
        [c, n] float64; every contrast has rows on both sides.
    """
    generator = np.random.default_rng(seed)
    sides = np.sign(generator.standard_normal((count, rows)))
    while rows > 1 and len(alone := np.flatnonzero(np.abs(sides.sum(axis=1)) == rows)):
        sides[alone] = np.sign(generator.standard_normal((len(alone), rows)))
    return sides - sides.mean(axis=1, keepdims=True)


def matched_directions(activations: np.ndarray, *, count: int, seed: int = 0) -> np.ndarray:
    """Null directions with the covariance of some activations: what a difference of means is where labels say nothing.

    Each is a sum of the centred rows with `contrast_weights`, scaled to length 1. So it lies in the span of the rows,
    also where there are fewer rows than dimensions, and no d x d matrix is made. Directions are not made orthogonal to
    each other or to a concept: under the null the concept is one of them.

    Args:
        activations: [n, d], n at least 2.
        count: how many, c.
        seed: of the draw.

    Returns:
        [c, d] float32; zero where the rows do not differ.
    """
    rows = np.asarray(activations, dtype=np.float64)
    found = contrast_weights(len(rows), count=count, seed=seed) @ (rows - rows.mean(axis=0))
    return (found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)).astype(np.float32)


DIRECTIONS: dict[str, DirectionMethod] = {
    "contrast": difference_of_means,
    "logistic-probe": logistic_probe,
    "ridge-probe": ridge_probe,
    "lda-probe": lda_probe,
}
"""Every way to get a direction from labelled activations."""
DEFAULT_RECIPE: Recipe = "contrast"
"""Name of the method that fits a direction by default."""
