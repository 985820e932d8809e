"""Identities and limits of the Bayesian virtues, on predictions of every shape, against brute force."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aitia.explanations.core.predictive import Predictive
from aitia.explanations.metrics.bayesian import (
    accuracy,
    co_explanation,
    descriptiveness,
    entropy,
    joint_entropy,
    power,
    precision,
    skill,
    unification,
)


@st.composite
def predictions(draw, most=4):
    """A mixture over a few settings, and labels, with zeros among the probabilities now and then."""
    z, n, k = draw(st.integers(1, 3)), draw(st.integers(1, most)), draw(st.integers(1, 3))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    table = generator.dirichlet(np.full(k, draw(st.sampled_from([0.2, 1.0, 5.0]))), size=(z, n))
    weights = generator.dirichlet(np.ones(z))
    predictive = Predictive(probabilities=table, weights=weights).floored(draw(st.sampled_from([1e-3, 0.1])))
    return predictive, generator.integers(k, size=n)


@given(predictions())
@settings(max_examples=150, deadline=None)
def test_identities_and_brute_force(case):
    predictive, observed = case
    z, n, k = predictive.probabilities.shape
    joint = {
        labels: sum(
            predictive.weights[s] * np.prod([predictive.probabilities[s, i, labels[i]] for i in range(n)])
            for s in range(z)
        )
        for labels in product(range(k), repeat=n)
    }
    found = joint_entropy(predictive)
    assert accuracy(predictive, observed) == pytest.approx(np.log2(joint[tuple(observed)]), abs=1e-9)
    assert found.bits == pytest.approx(-sum(p * np.log2(p) for p in joint.values() if p > 0), abs=1e-9)
    assert accuracy(predictive, observed) == pytest.approx(
        descriptiveness(predictive, observed) + co_explanation(predictive, observed), abs=1e-9
    )
    assert precision(found) == pytest.approx(power(predictive) + unification(predictive, found), abs=1e-9)
    assert unification(predictive, found) >= -1e-9
    # Power is expected descriptiveness, and unification expected co-explanation, under its own predictions.
    expected = sum(p * descriptiveness(predictive, np.array(labels)) for labels, p in joint.items())
    assert power(predictive) == pytest.approx(expected, abs=1e-9)
    tied = sum(p * co_explanation(predictive, np.array(labels)) for labels, p in joint.items())
    assert unification(predictive, found) == pytest.approx(tied, abs=1e-9)


@given(predictions(), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_order_does_not_matter_and_counts_repeat(case, seed):
    predictive, observed = case
    order = np.random.default_rng(seed).permutation(len(observed))
    shuffled = predictive.at(order)
    assert accuracy(shuffled, observed[order]) == pytest.approx(accuracy(predictive, observed), abs=1e-9)
    twice = predictive.at(np.concatenate([order, order]))
    counted = accuracy(shuffled, observed[order], np.full(len(order), 2.0))
    assert counted == pytest.approx(accuracy(twice, np.concatenate([observed[order]] * 2)), abs=1e-9)


def test_a_joint_entropy_too_large_to_sum_is_sampled():
    generator = np.random.default_rng(0)
    table = generator.dirichlet(np.ones(3), size=(2, 12))
    predictive = Predictive(probabilities=table, weights=np.array([0.3, 0.7]))
    found = joint_entropy(predictive, draws=4000, seed=1)
    assert not found.exact
    # Split in halves that can be summed: H(A, B) lies between the larger half and the sum of both.
    halves = [joint_entropy(predictive.at(np.arange(i, i + 6))).bits for i in (0, 6)]
    assert max(halves) < found.bits < sum(halves) + 4 * found.error
    # The chain rule with the setting: H(O) = H(O|Z) + I(O;Z), and 0 <= I(O;Z) <= H(Z).
    given_setting = float(predictive.weights @ entropy(predictive.probabilities).sum(axis=1))
    assert given_setting - 4 * found.error < found.bits
    assert found.bits < given_setting + entropy(predictive.weights) + 4 * found.error


def test_independent_observations_have_no_co_explanation():
    predictive = Predictive(probabilities=np.full((1, 500, 2), 0.5), weights=np.ones(1))
    observed = np.zeros(500, dtype=int)
    assert co_explanation(predictive, observed) == 0
    assert unification(predictive, joint_entropy(predictive)) == 0
    assert accuracy(predictive, observed) == -500


def test_skill():
    assert skill(0.0, 2.0) == 1
    assert skill(2.0, 2.0) == 0
    assert np.isnan(skill(0.0, 0.0))


def test_the_floor_bounds_the_worst_case():
    sure = Predictive(probabilities=np.array([[[1.0, 0.0, 0.0, 0.0]]]), weights=np.ones(1)).floored(1e-3)
    assert accuracy(sure, np.array([2])) == pytest.approx(np.log2(1e-3 / 4))
