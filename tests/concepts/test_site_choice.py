"""The site: by held-out AUC while it tells sites apart, by effect size over null directions where it saturates."""

import numpy as np
import pytest

from aitia.concepts.directions import difference_of_means
from aitia.concepts.separation import choose_site, held_out_projections, null_effect_sizes
from aitia.statistics import auc, effect_size

GROUPS = [f"p{i}" for i in range(40)] + [f"n{i}" for i in range(40)]
LABELS = np.repeat([True, False], 40)


def sides(spreads, shift, seed=0):
    """Two sides of texts with these standard deviations, whose means are apart by `shift`."""
    both = np.random.default_rng(seed).standard_normal((80, len(spreads))) * spreads
    both[:40] += shift
    return both[:40], both[40:]


def never(site):
    raise AssertionError(f"null directions were drawn at {site}")


def test_auc_chooses_where_it_does_not_saturate():
    assert choose_site({"a": 0.8, "b": 0.9, "c": 0.7}, {"a": 9, "b": 1, "c": 9}, never) == ("b", {})
    assert choose_site({"a": 0.9, "b": 0.9}, {"a": 1, "b": 2}, never) == ("b", {})  # a tie
    assert choose_site({"a": 1.0, "b": 0.98}, {"a": 1, "b": 9}, never) == ("a", {})  # one alone saturates


def test_effect_sizes_over_those_of_null_directions_choose_where_it_saturates():
    nulls = {"a": np.array([3.0, -4.0]), "b": np.array([0.5, -0.5]), "c": np.array([0.1, 0.1])}
    aucs, effects = {"a": 1.0, "b": 0.992, "c": 0.9}, {"a": 5.0, "b": 3.0, "c": 2.0}
    site, multiples = choose_site(aucs, effects, nulls.__getitem__)
    assert site == "b"
    assert multiples == pytest.approx({"a": 5 / np.sqrt(12.5), "b": 6.0})


def test_a_direction_off_the_texts_own_variation_beats_one_along_it():
    """Both sites separate perfectly, the first with the larger effect size; there any direction separates the sides."""
    spreads = np.array([4.0, *np.ones(9)])
    along = sides(spreads, np.array([40.0, *np.zeros(9)]))
    off = sides(spreads, np.array([*np.zeros(5), 5.0, 5.0, *np.zeros(3)]))
    figures = {}
    for name, (positive, negative) in {"along": along, "off": off}.items():
        held_out = held_out_projections(positive, negative, GROUPS, difference_of_means)
        figures[name] = auc(held_out, LABELS), effect_size(held_out, LABELS)
    assert min(found for found, _ in figures.values()) > 0.99
    assert figures["along"][1] > figures["off"][1]
    site, multiples = choose_site(
        {name: each[0] for name, each in figures.items()},
        {name: each[1] for name, each in figures.items()},
        lambda name: null_effect_sizes(*{"along": along, "off": off}[name], GROUPS),
    )
    assert site == "off"
    assert multiples["off"] > 2 * multiples["along"]


def test_null_effect_sizes_are_small_where_the_sides_do_not_differ_and_know_no_sign():
    found = null_effect_sizes(*sides(np.ones(6), np.zeros(6)), GROUPS, count=400)
    assert found.shape == (400,)
    assert np.abs(found).mean() < 0.35
    apart = null_effect_sizes(*sides(np.ones(6), np.full(6, 3.0)), GROUPS, count=400)
    assert np.abs(apart).mean() > 1
    assert abs(np.mean(np.sign(apart))) < 0.2
    np.testing.assert_array_equal(
        apart, null_effect_sizes(*sides(np.ones(6), np.full(6, 3.0)), GROUPS, count=400)
    )


def test_null_directions_know_no_difference_of_the_sides():
    """With one dimension alone in which texts of a side vary, every null direction is that dimension."""
    positive, negative = sides(np.array([1.0, 1e-9]), np.array([0.0, 100.0]))
    found = null_effect_sizes(positive, negative, GROUPS, count=20)
    first = np.concatenate([positive, negative])[:, 0]
    # The sides are 1e11 standard deviations apart in the other dimension, of which nothing may leak. Folds may disagree
    # in a direction's sign, which makes the effect smaller.
    assert np.abs(found).max() <= abs(effect_size(first, LABELS)) + 0.05
