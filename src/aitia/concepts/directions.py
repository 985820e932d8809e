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


DIRECTIONS: dict[str, DirectionMethod] = {
    "contrast": difference_of_means,
    "logistic-probe": logistic_probe,
    "ridge-probe": ridge_probe,
    "lda-probe": lda_probe,
}
"""Every way to get a direction from labelled activations."""
DEFAULT_RECIPE: Recipe = "contrast"
"""Name of the method that fits a direction by default."""
