import numpy as np
import pytest
from scipy import stats

from aitia.statistics import (
    auc,
    bootstrap,
    bootstrap_estimate,
    effect_size,
    mean_estimate,
    precision_at_k,
    spearman,
    student_interval,
)


def test_the_mean_of_few_values_has_students_interval():
    values = np.array([0.2, 0.5, 0.9, 1.4])
    found, interval = mean_estimate(values), student_interval(values)
    low, high = stats.t.interval(0.95, 3, loc=values.mean(), scale=stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert (interval.low, interval.high) == pytest.approx((low, high))
    alone = mean_estimate([0.3])
    assert alone.value == 0.3
    assert np.isnan([alone.low, alone.high]).all()


def test_auc_counts_pairs():
    generator = np.random.default_rng(0)
    scores, labels = generator.integers(0, 5, 40).astype(float), generator.random(40) < 0.4
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[labels] for b in scores[~labels]]
    assert auc(scores, labels) == pytest.approx(np.mean(pairs))
    assert np.isnan(auc(scores, np.ones(40, dtype=bool)))


def test_spearman_is_scipys():
    generator = np.random.default_rng(1)
    first, second = generator.integers(0, 6, 30), generator.integers(0, 6, 30)
    assert spearman(first, second) == pytest.approx(stats.spearmanr(first, second).statistic)
    assert np.isnan(spearman(np.ones(30), second))


def test_effect_size_and_precision_by_hand():
    scores, labels = np.array([3.0, 1.0, 2.0, 0.0]), np.array([True, True, False, False])
    assert effect_size(scores, labels) == pytest.approx((2 - 1) / 1.0)
    assert precision_at_k(scores, labels, 2) == 0.5


def test_both_bootstraps_cover_the_mean():
    values = np.random.default_rng(2).normal(size=60)
    by_rows = bootstrap_estimate(60, lambda rows: float(values[rows].mean()), draws=400)
    by_counts = bootstrap(lambda counts: counts @ values / 60, 60)
    se = values.std() / np.sqrt(60)
    for found in (by_rows, by_counts):
        assert found.low == pytest.approx(values.mean() - 1.96 * se, abs=0.4 * se)
        assert found.high == pytest.approx(values.mean() + 1.96 * se, abs=0.4 * se)
