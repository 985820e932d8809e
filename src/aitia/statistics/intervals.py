"""Intervals: how far a measured value might be from the one that the whole population would give.

An `Interval` has two ends, a level and a method. An `Estimate` is a value with the ends of its 95 % interval.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from aitia.statistics.beta import beta_quantile, student_quantile


@dataclass(frozen=True, kw_only=True)
class Interval:
    """From `low` to `high` at confidence `level`, and by which method."""

    low: float
    high: float
    level: float
    method: str


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value and the 95 % interval around it; the ends are NaN where the data do not give one.

    Attributes:
        value: the estimate.
        low: lower end.
        high: upper end.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def exact(value: float) -> Interval:
    """The interval of a value that was computed on the whole domain."""
    return Interval(low=value, high=value, level=1.0, method="exact")


def wilson(successes: float, n: int, level: float = 0.95) -> Interval:
    """Wilson's score interval of a share."""
    z = _normal_quantile(level)
    share, scale = successes / n, 1 + z**2 / n
    centre = (share + z**2 / (2 * n)) / scale
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / scale
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return Interval(low=float(low), high=float(high), level=level, method="Wilson")


def clopper_pearson(successes: int, n: int, level: float = 0.95) -> Interval:
    """Clopper and Pearson's interval of a share: never too narrow, for small counts."""
    tail = (1 - level) / 2
    low = 0.0 if successes == 0 else beta_quantile(successes, n - successes + 1, tail)
    high = 1.0 if successes == n else beta_quantile(successes + 1, n - successes, 1 - tail)
    return Interval(low=low, high=high, level=level, method="Clopper-Pearson")


def bootstrap(
    statistic: Callable[[np.ndarray], np.ndarray],
    n: int,
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap over the test inputs.

    Args:
        statistic: counts [r, n] of how often each input is drawn -> the statistic [r].
        n: number of inputs.
        level: confidence.
        resamples: r.
        seed: of the draws.

    Returns:
        The interval; without ends where nothing can be resampled.
    """
    if n < 2:  # one observation says nothing of the spread
        return Interval(low=-np.inf, high=np.inf, level=level, method="bootstrap")
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    drawn = statistic(counts)
    drawn = drawn[np.isfinite(drawn)]
    if len(drawn) == 0:
        return Interval(low=-np.inf, high=np.inf, level=level, method="bootstrap")
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(low=float(low), high=float(high), level=level, method="bootstrap")


def weighted_mean_interval(
    items: np.ndarray,
    weights: np.ndarray | None = None,
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Bootstrap interval of a weighted mean of items [n]."""
    weights = np.ones(len(items)) if weights is None else weights

    def statistic(counts: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return counts @ (weights * items) / (counts @ weights)

    return bootstrap(statistic, len(items), level=level, resamples=resamples, seed=seed)


def student_interval(values: Sequence[float] | np.ndarray, level: float = 0.95) -> Interval:
    """Student's interval of the mean of independent values, as over seeds; infinite for a single value."""
    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        return Interval(low=-np.inf, high=np.inf, level=level, method="Student")
    half = float(student_quantile(n - 1, (1 + level) / 2) * np.std(values, ddof=1) / np.sqrt(n))
    return Interval(low=mean - half, high=mean + half, level=level, method="Student")


def mean_estimate(values: Sequence[float] | np.ndarray) -> Estimate:
    """The mean of independent values with Student's 95 % interval (a single value has none)."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return Estimate(value=mean, low=float("nan"), high=float("nan"))
    found = student_interval(values)
    return Estimate(value=mean, low=found.low, high=found.high)


def bootstrap_estimate(
    rows: int, statistic: Callable[[np.ndarray], float], *, draws: int = 1000, seed: int = 0
) -> Estimate:
    """A statistic of exchangeable rows with its 95 % percentile interval under resampling of the rows.

    Args:
        rows: how many there are.
        statistic: maps row numbers [rows] to a number; draws for which it is not finite are left out.
        draws: resamplings.
        seed: seed of the resamplings.

    Returns:
        The value, with its interval.
    """
    generator = np.random.default_rng(seed)
    found = np.array([statistic(generator.integers(0, rows, rows)) for _ in range(draws)])
    found = found[np.isfinite(found)]
    low, high = np.quantile(found, [0.025, 0.975]) if len(found) else (np.nan, np.nan)
    return Estimate(value=statistic(np.arange(rows)), low=float(low), high=float(high))


def _normal_quantile(level: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf((1 + level) / 2)
