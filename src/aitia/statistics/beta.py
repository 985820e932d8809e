"""The incomplete beta function and its inverse with Python's own mathematics, so that intervals need no SciPy."""

from __future__ import annotations

import math
from collections.abc import Callable

_TINY = 1e-300


def beta_cdf(a: float, b: float, x: float) -> float:
    """The regularized incomplete beta function I_x(a, b): the chance that a beta variable is at most x.

    By its continued fraction (DLMF 8.17.22), evaluated as Lentz does. The relative error is about 1e-16 times the
    logarithms of the gamma functions: 1e-13 for a + b of a hundred, 1e-9 for a million.

    Args:
        a: first shape, above 0.
        b: second shape, above 0.
        x: 0 to 1.

    Returns:
        The chance, from 0 to 1.
    """
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    if x > (a + 1) / (a + b + 2):  # there the fraction converges slowly; its mirror image does not
        return 1.0 - _lower(b, a, 1 - x, x)
    return _lower(a, b, x, 1 - x)


def beta_quantile(a: float, b: float, share: float) -> float:
    """The x with I_x(a, b) = share, the inverse of `beta_cdf`."""
    if share <= 0 or share >= 1:
        return float(share > 0)
    return _solve(lambda x: beta_cdf(a, b, x) - share, 0.0, 1.0)


def student_quantile(freedom: float, share: float) -> float:
    """The t with a chance of `share` below it, for Student's distribution with so many degrees of freedom.

    The square of t over freedom + t^2 has a beta distribution with shapes 1/2 and freedom / 2.

    Returns:
        The quantile; negative for a share below one half.
    """
    if share < 0.5:
        return -student_quantile(freedom, 1 - share)
    rest = beta_quantile(
        freedom / 2, 0.5, 2 * (1 - share)
    )  # freedom / (freedom + t^2): exact for large t too
    return math.sqrt(freedom * (1 - rest) / rest) if rest > 0 else math.inf


def _lower(a: float, b: float, x: float, rest: float) -> float:
    """I_x(a, b) where the fraction converges fast; rest is 1 - x."""
    log_front = a * math.log(x) + b * math.log(rest) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    ratio = 1.0
    fraction = inverse = 1 / _away(1 - (a + b) * x / (a + 1))
    step = 0
    while True:
        step += 1
        even = step * (b - step) * x / ((a + 2 * step - 1) * (a + 2 * step))
        odd = -(a + step) * (a + b + step) * x / ((a + 2 * step) * (a + 2 * step + 1))
        before = fraction
        for term in (even, odd):
            inverse = 1 / _away(1 + term * inverse)
            ratio = _away(1 + term / ratio)
            fraction *= inverse * ratio
        if abs(fraction - before) <= 1e-16 * abs(fraction) or step > 100_000:
            return math.exp(log_front) * fraction / a


def _away(value: float) -> float:
    """A denominator, kept from 0."""
    return value if abs(value) > _TINY else _TINY


def _solve(function: Callable[[float], float], low: float, high: float) -> float:
    """Where an increasing function is 0, by halving until no number lies between."""
    while True:
        middle = low + (high - low) / 2
        if middle in (low, high):
            return middle
        if function(middle) < 0:
            low = middle
        else:
            high = middle
