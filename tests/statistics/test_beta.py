"""The incomplete beta function against SciPy's, and by identities that need no library."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from aitia.statistics import beta_cdf, beta_quantile, student_quantile

SHAPES = st.floats(0.05, 3000)
SHARES = st.floats(1e-6, 1 - 1e-6)


@given(SHAPES, SHAPES, st.floats(0, 1))
def test_the_distribution_is_scipys(a, b, x):
    assert beta_cdf(a, b, x) == pytest.approx(float(special.betainc(a, b, x)), rel=1e-9, abs=1e-12)


@given(SHAPES, SHAPES, SHARES)
def test_the_quantile_inverts_the_distribution(a, b, share):
    found = beta_quantile(a, b, share)
    assert 0 <= found <= 1
    below, above = math.nextafter(found, 0), math.nextafter(found, 1)
    assert beta_cdf(a, b, below) - 1e-9 <= share <= beta_cdf(a, b, above) + 1e-9


@given(st.integers(1, 60), st.integers(1, 60), st.floats(0.001, 0.999))
def test_whole_shapes_are_binomial_tails(successes, failures, x):
    """I_x(k, n - k + 1) is the chance of k successes or more in n trials."""
    n = successes + failures - 1
    tail = math.fsum(math.comb(n, k) * x**k * (1 - x) ** (n - k) for k in range(successes, n + 1))
    assert beta_cdf(successes, failures, x) == pytest.approx(tail, rel=1e-10, abs=1e-13)


@given(st.integers(1, 100_000), st.floats(0.001, 0.999))
def test_students_quantile_is_scipys(freedom, share):
    expected = float(special.stdtrit(freedom, share))
    assert student_quantile(freedom, share) == pytest.approx(expected, rel=1e-7, abs=1e-7)


def test_the_ends():
    assert beta_cdf(2, 3, 0) == 0
    assert beta_cdf(2, 3, 1) == 1
    assert beta_quantile(2, 3, 0) == 0
    assert beta_quantile(2, 3, 1) == 1
    assert student_quantile(1, 1.0) == math.inf
