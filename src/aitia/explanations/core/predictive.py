"""What an explanation predicts: for each input a distribution over the outcomes, or nothing.

Uncertainty that observations share is a finite mixture. With weights w_z over settings z of the premises,
P(o_1..o_n) = sum_z w_z prod_i P(o_i | x_i, z); one setting makes the observations independent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aitia.errors import ExplanationError

SUM_TOLERANCE = 1e-6


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictive:
    """Predictions on n inputs.

    Attributes:
        probabilities: [z, n, k] for each setting, input and outcome; rows of inputs that it abstains on hold NaN.
        weights: [z] of the settings, summing to one.
    """

    probabilities: np.ndarray
    weights: np.ndarray

    @property
    def covered(self) -> np.ndarray:
        """[n] whether it predicts anything."""
        return ~np.asarray(np.isnan(self.probabilities).any(axis=(0, 2)))

    @property
    def marginals(self) -> np.ndarray:
        """[n, k] the distribution of each observation alone; NaN where it abstains."""
        return np.tensordot(self.weights, self.probabilities, axes=1)

    @property
    def independent(self) -> bool:
        """Whether the observations share no uncertainty."""
        return len(self.weights) == 1

    def floored(self, epsilon: float) -> Predictive:
        """Each setting's predictions mixed with `epsilon` of the uniform, so that no log score is infinite."""
        k = self.probabilities.shape[-1]
        return Predictive(
            probabilities=(1 - epsilon) * self.probabilities + epsilon / k, weights=self.weights
        )

    def at(self, indices: np.ndarray) -> Predictive:
        """The predictions on some of the inputs."""
        return Predictive(probabilities=self.probabilities[:, indices], weights=self.weights)


def as_distributions(answer: np.ndarray, n: int, k: int, *, who: str) -> np.ndarray:
    """An explanation's answer as distributions.

    Args:
        answer: labels [n], -1 to abstain; or distributions [n, k], a row of NaN to abstain.
        n: number of inputs.
        k: number of outcomes.
        who: the explanation's name, for errors.

    Returns:
        [n, k].

    Raises:
        ExplanationError: wrong shape, a label out of range, or a row that is no distribution.
    """
    answer = np.asarray(answer)
    if answer.shape == (n,):
        if not (answer == answer.astype(int)).all() or answer.min() < -1 or answer.max() >= k:
            raise ExplanationError(f"{who}: labels must be whole numbers from 0 to {k - 1}, or -1 to abstain")
        labels = answer.astype(int)
        distributions = np.eye(k)[np.maximum(labels, 0)]
        distributions[labels < 0] = np.nan
        return distributions
    if answer.shape != (n, k):
        raise ExplanationError(f"{who}: predicted shape {answer.shape}; expected labels [{n}] or [{n}, {k}]")
    answer = answer.astype(float)
    abstains = np.isnan(answer).all(axis=1)
    wrong = ~abstains & ~((answer >= 0).all(axis=1) & (np.abs(answer.sum(axis=1) - 1) <= SUM_TOLERANCE))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ExplanationError(
            f"{who}: the probabilities for input {row} are {answer[row].tolist()}; they must be at least 0 and "
            "sum to 1 (a row of NaN abstains)"
        )
    return answer


def agreement(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """[n] chance that the likeliest outcome, ties drawn at random, is the label; NaN where it abstains.

    Args:
        probabilities: [n, k].
        labels: [n].

    Returns:
        [n], from 0 to 1, or NaN.
    """
    best = probabilities == probabilities.max(axis=1, keepdims=True)
    hit = best[np.arange(len(labels)), labels] / np.maximum(best.sum(axis=1), 1)
    return np.where(np.isnan(probabilities).any(axis=1), np.nan, hit)
