"""Means and correlations with their uncertainty."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A number and the 95 % interval around it; the ends are NaN where there is nothing to tell them from.

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


def mean_interval(values: Sequence[float] | np.ndarray) -> Interval:
    """The mean of independent values and its 95 % interval by Student's t (one value has none)."""
    from scipy.stats import t

    found = np.asarray(values, dtype=np.float64)
    mean = float(found.mean())
    if len(found) < 2:
        return Interval(value=mean, low=float("nan"), high=float("nan"))
    half = float(t.ppf(0.975, len(found) - 1)) * float(found.std(ddof=1)) / np.sqrt(len(found))
    return Interval(value=mean, low=mean - half, high=mean + half)


def bootstrap_interval(
    rows: int, statistic: Callable[[np.ndarray], float], *, draws: int = 1000, seed: int = 0
) -> Interval:
    """A statistic of exchangeable rows and its 95 % percentile interval under resampling of the rows.

    Args:
        rows: how many there are.
        statistic: of row numbers, [rows]; draws for which it is not finite are left out.
        draws: resamplings.
        seed: of them.
    """
    generator = np.random.default_rng(seed)
    found = np.array([statistic(generator.integers(0, rows, rows)) for _ in range(draws)])
    found = found[np.isfinite(found)]
    low, high = np.quantile(found, [0.025, 0.975]) if len(found) else (np.nan, np.nan)
    return Interval(value=statistic(np.arange(rows)), low=float(low), high=float(high))
