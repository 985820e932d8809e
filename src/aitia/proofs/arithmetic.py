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


def gamma(steps: int) -> float:
    """gamma_k = k u / (1 - k u), the relative error of k roundings."""
    return steps * UNIT_ROUNDOFF / (1 - steps * UNIT_ROUNDOFF)


def outward(values: np.ndarray, steps: int) -> np.ndarray:
    """Numbers above what non-negative values would be without the rounding of `steps` operations."""
    return values * (1 + 4 * gamma(steps)) + TINY


def as_integers(values: np.ndarray) -> tuple[np.ndarray, int]:
    """Floats as exact integers times one power of two: object array and exponent e, values = integers * 2^e."""
    mantissas, exponents = np.frexp(np.asarray(values, dtype=np.float64))
    whole = (mantissas * 2.0**53).astype(np.int64)
    exponents = exponents.astype(np.int64) - 53
    used = exponents[whole != 0]
    smallest = int(used.min()) if used.size else 0
    shifted = [
        int(number) << int(exponent - smallest) if number else 0
        for number, exponent in zip(whole.ravel(), exponents.ravel(), strict=True)
    ]
    return np.array(shifted, dtype=object).reshape(whole.shape), smallest


class ExactLogits:
    """The logits of a network as integers, all times one power of two. Slow: for the few inputs that need it."""

    def __init__(self, left: np.ndarray, right: np.ndarray, unembed: np.ndarray, bias: np.ndarray) -> None:
        both, self._hidden = as_integers(np.concatenate([left, right]))
        self._left, self._right = both[: len(left)], both[len(left) :]
        self._unembed, unembed_exponent = as_integers(unembed)
        bias_integers, bias_exponent = as_integers(bias)
        exponent = self._hidden + unembed_exponent
        # One exponent for products and bias: the finer of the two.
        self._lift = max(exponent - bias_exponent, 0)
        self._bias = bias_integers * (1 << max(bias_exponent - exponent, 0))

    def is_right(self, x: int, y: int, answer: int) -> bool:
        """Whether the right logit is strictly the largest."""
        hidden = [max(a + b, 0) for a, b in zip(self._left[x], self._right[y], strict=True)]
        active = [i for i, value in enumerate(hidden) if value]
        logits = self._bias.copy()
        for i in active:
            logits = logits + (hidden[i] << self._lift) * self._unembed[i]
        return all(logits[answer] > value for z, value in enumerate(logits) if z != answer)


def dyadic(integers: Sequence[int] | np.ndarray, exponent: int) -> np.ndarray:
    """Integers below 2^53 times 2^exponent, which float64 holds exactly."""
    return np.ldexp(np.asarray(integers, dtype=np.float64), exponent)
