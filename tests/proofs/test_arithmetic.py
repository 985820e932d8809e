"""Exact integers and bounds on rounding, against fractions."""

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from aitia.proofs.bounds.arithmetic import as_integers, dyadic, gamma, outward

FLOATS = st.floats(allow_nan=False, allow_infinity=False, width=64, min_value=-1e30, max_value=1e30)


@given(st.lists(FLOATS, max_size=8))
@settings(max_examples=200, deadline=None)
def test_integers_are_the_floats(values):
    integers, exponent = as_integers(np.array(values))
    assert [Fraction(int(i)) * Fraction(2) ** exponent for i in integers] == [Fraction(v) for v in values]


@given(st.lists(st.integers(-(2**53) + 1, 2**53 - 1), min_size=1, max_size=5), st.integers(-100, 100))
@settings(max_examples=200, deadline=None)
def test_dyadic_numbers_are_exact(integers, exponent):
    found = dyadic(integers, exponent)
    assert [Fraction(float(v)) for v in found] == [Fraction(i) * Fraction(2) ** exponent for i in integers]


@given(st.integers(0, 10**6), st.integers(2, 400))
@settings(max_examples=100, deadline=None)
def test_the_error_of_a_sum_of_products_stays_below_gamma(seed, length):
    generator = np.random.default_rng(seed)
    a, b = np.exp(4 * generator.standard_normal((2, length))) * generator.choice([-1, 1], (2, length))
    exact = sum(Fraction(x) * Fraction(y) for x, y in zip(a.tolist(), b.tolist(), strict=True))
    size = sum(abs(Fraction(x) * Fraction(y)) for x, y in zip(a.tolist(), b.tolist(), strict=True))
    for found in (float(a @ b), float((a * b).sum()), float(np.einsum("i,i->", a, b))):
        assert abs(Fraction(found) - exact) <= Fraction(gamma(length)) * size
    squares = sum(Fraction(x) ** 2 for x in a.tolist())
    assert Fraction(float(outward(np.array([np.linalg.norm(a)]), length)[0])) ** 2 >= squares
