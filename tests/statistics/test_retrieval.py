"""Retrieval figures: against scikit-learn, brute force over ties, and planted confounds."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from aitia.statistics import (
    average_precision,
    confound_adjusted_gain,
    precision_at,
    recall_at,
    reciprocal_rank,
    retrieval_figures,
)

SCORED = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=7)


@given(rows=SCORED)
def test_average_precision_is_scikit_learns(rows):
    scores, labels = np.array(rows, dtype=float).T
    if labels.any():
        assert average_precision(scores, labels > 0) == pytest.approx(average_precision_score(labels, scores))


@given(rows=SCORED, k=st.integers(1, 7))
@settings(max_examples=30, deadline=None)
def test_ties_count_by_every_order(rows, k):
    scores, labels = np.array(rows, dtype=float).T
    labels = labels > 0
    hits = []
    for order in permutations(range(len(scores))):
        order = np.array(order)
        top = order[np.argsort(-scores[order], kind="stable")][:k]
        hits.append(labels[top].sum())
    assert precision_at(k)(scores, labels) == pytest.approx(np.mean(hits) / min(k, len(scores)))
    if labels.any():
        assert recall_at(k)(scores, labels) == pytest.approx(np.mean(hits) / labels.sum())


def test_the_first_labelled_row_gives_the_reciprocal_rank():
    labels = np.array([False, True, False, True])
    assert reciprocal_rank(np.array([4.0, 3, 2, 1]), labels) == 1 / 2
    assert reciprocal_rank(np.array([3.0, 3, 2, 1]), labels) == 1 / 2, (
        "among ties the labelled row comes last"
    )
    assert np.isnan(reciprocal_rank(np.ones(3), np.zeros(3, dtype=bool)))


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    rng, inside = np.random.default_rng(0), 0
    from scipy.stats import norm

    truth = norm.cdf(1 / np.sqrt(2))
    for seed in range(60):
        labels = np.arange(80) < 30
        found = retrieval_figures(rng.standard_normal(80) + labels, labels, draws=300, seed=seed)["auc"]
        inside += found.low <= truth <= found.high
    assert 50 <= inside <= 60


def test_figures_of_one_side_are_undefined_and_rows_without_score_come_last():
    found = retrieval_figures(np.arange(4.0), np.zeros(4, dtype=bool))
    assert np.isnan(found["auc"].value)
    assert np.isnan(found["auc"].low)
    labels = np.array([True, False, True])
    assert retrieval_figures(np.array([2.0, np.nan, 1.0]), labels, (1,))["auc"].value == 1
    assert set(retrieval_figures(np.arange(3.0), labels, (1,))) == {
        "auc", "auprc", "mrr", "precision@1", "recall@1", "precision@2", "recall@2",
    }  # fmt: skip


def test_a_score_that_repeats_a_confound_gains_nothing_and_one_that_knows_more_does():
    rng = np.random.default_rng(1)
    labels = rng.random(400) < 0.3
    length = rng.standard_normal(400) + labels
    own = rng.standard_normal(400) + labels
    repeat, before = confound_adjusted_gain(np.exp(length) * 3, {"length": length}, labels, draws=200)
    assert before == pytest.approx(0.76, abs=0.05)
    assert repeat.value == pytest.approx(0, abs=0.01)
    gain, _ = confound_adjusted_gain(own, {"length": length}, labels, draws=200)
    assert gain.low > 0.02
    assert gain.value == pytest.approx(0.84 - 0.76, abs=0.03)  # d' of 1 and of sqrt 2: Phi(1/sqrt 2), Phi(1)


def test_noise_gains_nothing():
    rng = np.random.default_rng(2)
    found = []
    for seed in range(8):
        labels = rng.random(200) < 0.5
        gain, _ = confound_adjusted_gain(
            rng.standard_normal(200),
            {"length": rng.standard_normal(200) + labels},
            labels,
            draws=50,
            seed=seed,
        )
        found.append(gain.value)
    assert abs(np.mean(found)) < 0.01


def test_too_few_labelled_rows_are_refused():
    with pytest.raises(ValueError, match="3 of 40 rows are labelled: too few for 5 folds"):
        confound_adjusted_gain(np.arange(40.0), {"a": np.arange(40.0)}, np.arange(40) < 3)
