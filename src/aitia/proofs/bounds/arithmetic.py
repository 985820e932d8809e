"""How the proofs stay rigorous: bounds on rounding, and exact integers where rounding leaves a question open.

Everything is computed in float64, vectorised, and every sum carries an a-priori bound on its rounding error
(Higham 2002, Accuracy and Stability of Numerical Algorithms, section 3): a sum of k products in any order, fused
or not, errs by at most gamma_k times the sum of their absolute values. What is not decided by more than that is
decided in integers: every float is an integer times a power of two.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

UNIT_ROUNDOFF = 2.0**-53
TINY = 2.0**-500
"""Above every loss by underflow: there each step loses at most 2^-1074, and no factor that follows exceeds 2^460."""

LARGEST = 2.0**100
"""The largest weight that is accepted. What float32 networks hold is far smaller."""


MOST_KEPT = 1_000_000
"""Most exact integers that are kept in memory."""


def gamma(steps: int) -> float:
    """gamma_k = k u / (1 - k u), the relative error of k roundings."""
    return steps * UNIT_ROUNDOFF / (1 - steps * UNIT_ROUNDOFF)


def outward(values: np.ndarray, steps: int) -> np.ndarray:
    """Numbers above what non-negative values would be without the rounding of `steps` operations.

    That holds for norms whose squares underflow too, as long as this comes before the norm is multiplied.

    Returns:
        An array of the same shape.
    """
    return values * (1 + 4 * gamma(steps)) + TINY


def finest_exponent(values: np.ndarray) -> int:
    """The largest e for which all values are integers times 2^e, or below it; 0 if all are 0."""
    mantissas, exponents = np.frexp(values)
    used = exponents[mantissas != 0]
    return int(used.min()) - 53 if used.size else 0


def as_integers(values: np.ndarray, exponent: int | None = None) -> tuple[np.ndarray, int]:
    """Floats as exact integers of any size: object array and exponent e, values = integers * 2^e.

    Args:
        values: any shape.
        exponent: e, not above `finest_exponent(values)`, which it is if not given.

    Returns:
        [...] Python integers, and the exponent.
    """
    values = np.asarray(values, dtype=np.float64)
    if exponent is None:
        exponent = finest_exponent(values)
    mantissas, exponents = np.frexp(values)
    whole = (mantissas * 2.0**53).astype(np.int64)
    shifted = [
        int(number) << int(place) - 53 - exponent if number else 0
        for number, place in zip(whole.ravel(), exponents.ravel(), strict=True)
    ]
    return np.array(shifted, dtype=object).reshape(whole.shape), exponent


class ExactLogits:
    """The logits of a network as integers, all times one power of two. Slow: for the few inputs that need it."""

    def __init__(self, left: np.ndarray, right: np.ndarray, unembed: np.ndarray, bias: np.ndarray) -> None:
        self._left, self._right, self._unembed = left, right, unembed
        self._hidden_exponent = min(finest_exponent(left), finest_exponent(right))
        self._unembed_exponent = finest_exponent(unembed)
        bias_integers, bias_exponent = as_integers(bias)
        exponent = self._hidden_exponent + self._unembed_exponent
        # One exponent for products and bias: the finer of the two.
        self._lift = max(exponent - bias_exponent, 0)
        self._bias = bias_integers * (1 << max(bias_exponent - exponent, 0))
        self._rows: dict[int, np.ndarray] = {}

    def is_right(self, x: int, y: int, answer: int) -> bool:
        """Whether the right logit is strictly the largest."""
        left, right = (
            as_integers(each, self._hidden_exponent)[0] for each in (self._left[x], self._right[y])
        )
        logits = self._bias
        for i, value in enumerate(left + right):
            if value > 0:
                logits = logits + (value << self._lift) * self._row(i)
        return all(logits[answer] > value for z, value in enumerate(logits) if z != answer)

    def _row(self, i: int) -> np.ndarray:
        """A neuron's unembedding in integers, kept as long as memory is no matter."""
        if i in self._rows:
            return self._rows[i]
        row, _ = as_integers(self._unembed[i], self._unembed_exponent)
        if (len(self._rows) + 1) * len(row) <= MOST_KEPT:
            self._rows[i] = row
        return row


def dyadic(integers: Sequence[int] | np.ndarray, exponent: int) -> np.ndarray:
    """Integers below 2^53 times 2^exponent, which float64 holds exactly."""
    return np.ldexp(np.asarray(integers, dtype=np.float64), exponent)
