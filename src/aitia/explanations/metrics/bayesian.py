"""The Bayesian virtues: how well an explanation predicts, how boldly, and how it ties observations together.

After Wojtowicz and DeDeo (2020) and Ayonrinde and Jaburi (2025); the formulas are our reading. All are in bits and
are totals over the observations. With `Predictive` P, observed labels o and counts c (how often each
observation counts; ones unless inputs weigh differently), two identities hold exactly:

    accuracy = descriptiveness + co-explanation        precision = power + unification
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aitia.explanations.core.predictive import Predictive

JOINT_LIMIT = 2**16
"""Largest number of joint outcomes over which an entropy is summed rather than sampled."""


@dataclass(frozen=True, kw_only=True)
class JointEntropy:
    """H(O_1..O_n) in bits, its standard error, and how it was found: exact or sampled."""

    bits: float
    error: float
    exact: bool


def _log2(values: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log2(values)


def _log2_sum(logs: np.ndarray, axis: int = 0) -> np.ndarray:
    """log2 of the sum of 2**logs along an axis."""
    top = logs.max(axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    return np.squeeze(top, axis) + _log2(np.exp2(logs - top).sum(axis=axis))


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """Entropy in bits along the last axis."""
    safe = np.where(probabilities > 0, probabilities, 1.0)
    return -(probabilities * np.log2(safe)).sum(axis=-1)


def log_likelihoods(predictive: Predictive, observed: np.ndarray) -> np.ndarray:
    """[z, n] log2 P(o_i | x_i, z)."""
    return _log2(predictive.probabilities[:, np.arange(len(observed)), observed])


def accuracy(predictive: Predictive, observed: np.ndarray, counts: np.ndarray | None = None) -> float:
    """log2 P(o_1..o_n | E): the likelihood of all that was observed, together.

    Bits, at most 0, up. -inf where something impossible happened: floor the predictions first.

    Returns:
        Bits.
    """
    counts = np.ones(len(observed)) if counts is None else counts
    logs = log_likelihoods(predictive, observed)
    terms = np.where(counts > 0, counts * np.where(counts > 0, logs, 0.0), 0.0)
    return float(_log2_sum(_log2(predictive.weights) + terms.sum(axis=1)))


def descriptiveness(predictive: Predictive, observed: np.ndarray, counts: np.ndarray | None = None) -> float:
    """sum_i log2 P(o_i | E): each observation explained alone. Bits, at most 0, up."""
    counts = np.ones(len(observed)) if counts is None else counts
    marginal = _log2(predictive.marginals[np.arange(len(observed)), observed])
    return float((counts * marginal).sum())


def co_explanation(predictive: Predictive, observed: np.ndarray, counts: np.ndarray | None = None) -> float:
    """log2 [P(o_1..o_n | E) / prod_i P(o_i | E)]: the credit for explaining them jointly.

    Bits, any sign, up; exactly 0 where the observations share no uncertainty.

    Returns:
        Bits.
    """
    if predictive.independent:
        return 0.0
    return accuracy(predictive, observed, counts) - descriptiveness(predictive, observed, counts)


def power(predictive: Predictive, counts: np.ndarray | None = None) -> float:
    """-sum_i H(O_i | E): expected descriptiveness. Bits, at most 0; good only with accuracy beside it."""
    each = entropy(predictive.marginals)
    return -float((each if counts is None else counts * each).sum())


def joint_entropy(predictive: Predictive, *, draws: int = 2000, seed: int = 0) -> JointEntropy:
    """H(O_1..O_n | E): summed over all joint outcomes where they are few, else the mean of -log2 P over draws."""
    z, n, k = predictive.probabilities.shape
    if predictive.independent:
        return JointEntropy(bits=float(entropy(predictive.marginals).sum()), error=0.0, exact=True)
    if k**n <= JOINT_LIMIT:
        joint = predictive.weights[:, None]
        for i in range(n):
            joint = (joint[:, :, None] * predictive.probabilities[:, i][:, None, :]).reshape(z, -1)
        return JointEntropy(bits=float(entropy(joint.sum(axis=0))), error=0.0, exact=True)
    generator = np.random.default_rng(seed)
    settings = generator.choice(z, size=draws, p=predictive.weights)
    cumulative = predictive.probabilities.cumsum(axis=-1)
    surprises = np.empty(draws)
    for i, setting in enumerate(settings):
        labels = (generator.random(n)[:, None] > cumulative[setting]).sum(axis=1).clip(max=k - 1)
        surprises[i] = -accuracy(predictive, labels)
    return JointEntropy(
        bits=float(surprises.mean()), error=float(surprises.std(ddof=1) / np.sqrt(draws)), exact=False
    )


def precision(joint: JointEntropy) -> float:
    """-H(O_1..O_n | E): how far it sticks its neck out. Bits, at most 0; good only if calibrated."""
    return -joint.bits


def unification(predictive: Predictive, joint: JointEntropy) -> float:
    """sum_i H(O_i | E) - H(O_1..O_n | E), total correlation: expected co-explanation.

    Bits, at least 0. Trivially large for "everything is the same", so read it beside accuracy.

    Returns:
        Bits.
    """
    return -power(predictive) - joint.bits


def skill(cross_entropy: float, null_cross_entropy: float) -> float:
    """1 - CE / CE_0: the share of the null's surprise that is explained away.

    No unit, up to 1, up; NaN where the null is never surprised. Ours.

    Returns:
        A share, at most 1.
    """
    return 1 - cross_entropy / null_cross_entropy if null_cross_entropy > 0 else float("nan")
