"""Choosing rows: against brute force over all subsets, exact solutions, and properties that any choice has."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aitia.attribution.control import (
    ControlSettings,
    Expansion,
    FrontSettings,
    RoundSettings,
    absolute_sums,
    choose_weights,
    pareto_front,
)
from aitia.errors import AitiaError, NumericalError


def brute_force(lower, keep, room, tolerance):
    """The most that one measurement falls by taking out at most so many rows, over every subset."""
    best, scale = 0.0, np.abs(keep).sum()
    for size in range(room + 1):
        for rows in map(list, combinations(range(len(lower)), size)):
            if -keep[rows].sum() >= -tolerance * scale - 1e-12:
                best = min(best, -lower[rows].sum())
    return best


@given(seed=st.integers(0, 10**6), tolerance=st.sampled_from([0.0, 0.02, 0.2]))
@settings(max_examples=25, deadline=None)
def test_whole_rows_are_those_of_every_subset(seed, tolerance):
    lower, keep = np.random.default_rng(seed).standard_normal((2, 9))
    choice = choose_weights(lower, keep, ControlSettings(share=0.34, tolerance=tolerance))
    best = brute_force(lower, keep, 3, tolerance)
    assert set(np.unique(choice.weights)) <= {0.0, 1.0}
    assert choice.lowered[0] == pytest.approx(best, abs=1e-3 * np.abs(lower).sum())
    assert choice.kept_share[0] >= -tolerance - 1e-9
    assert len(choice.removed) <= 3


def test_without_anything_to_keep_the_top_rows_go():
    lower = np.random.default_rng(0).standard_normal(50)
    choice = choose_weights(lower, settings=ControlSettings(share=0.2))
    assert set(choice.removed) == set(np.argsort(-lower)[:10])
    assert choice.removed_share == 0.2


def test_rows_that_help_nothing_stay_though_there_is_room():
    choice = choose_weights(np.array([1.0, -1, -2, 0]), settings=ControlSettings(share=1.0))
    assert choice.removed.tolist() == [0]


def test_weights_are_those_of_the_fractional_knapsack():
    """One room and one measurement: rows are filled by their worth, the last one in part."""
    lower = np.array([5.0, 4, 3, 2, 1])
    choice = choose_weights(lower, settings=ControlSettings(share=0.5, use_weights=True))
    np.testing.assert_allclose(choice.weights, [0, 0, 0.5, 1, 1], atol=1e-9)
    assert choice.lowered[0] == pytest.approx(-10.5)


def test_rows_are_weighed_up_where_they_help():
    lower = np.array([3.0, 0, 0, -2])
    chosen = ControlSettings(share=0.25, highest_weight=2)
    choice = choose_weights(lower, settings=chosen)
    np.testing.assert_allclose(choice.weights, [0, 1, 1, 2], atol=1e-9)
    assert choice.lowered[0] == pytest.approx(-5)


@given(seed=st.integers(0, 10**6), measured=st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_units_do_not_matter(seed, measured):
    generator = np.random.default_rng(seed)
    lower, keep = generator.standard_normal((measured, 30)), generator.standard_normal((2, 30))
    chosen = ControlSettings(share=0.3, use_weights=True, tolerance=0.05)
    one = choose_weights(lower, keep, chosen)
    units = generator.uniform(0.1, 10, (measured, 1))
    other = choose_weights(lower * units, keep * 7, chosen)
    assert other.lowered_share.sum() == pytest.approx(one.lowered_share.sum(), abs=1e-7)
    assert (other.kept_share >= -0.05 - 1e-7).all()


def test_several_kept_measurements_are_each_kept():
    generator = np.random.default_rng(3)
    lower, keep = np.abs(generator.standard_normal((1, 60))), np.abs(generator.standard_normal((3, 60)))
    choice = choose_weights(lower, keep, ControlSettings(share=0.5, tolerance=0.1))
    assert (choice.kept_share >= -0.1 - 1e-9).all()
    assert -0.5 < choice.lowered_share[0] < -0.05


def test_a_front_lowers_more_where_more_may_fall():
    generator = np.random.default_rng(1)
    skill = generator.standard_normal(80)
    bad = skill + generator.standard_normal(80)  # what is bad also helps the skill
    front = pareto_front(bad, skill, ControlSettings(share=0.3), points=5)
    lowered = [each.lowered_share[0] for each in front]
    assert len(front) >= 3
    assert lowered == sorted(lowered, reverse=True)
    assert [each.tolerance for each in front] == sorted(each.tolerance for each in front)
    free = choose_weights(bad, None, ControlSettings(share=0.3))
    assert lowered[-1] == pytest.approx(free.lowered_share[0], abs=1e-4)


def test_first_order_prediction_is_exact_for_a_linear_measurement():
    """A measurement that is linear in the weights changes by what is predicted."""
    lower, keep = np.random.default_rng(5).standard_normal((2, 40))
    choice = choose_weights(lower, keep, ControlSettings(share=0.4, tolerance=0.1))
    assert lower @ choice.weights - lower.sum() == pytest.approx(choice.lowered[0])
    assert keep @ choice.weights - keep.sum() == pytest.approx(choice.kept[0])


@pytest.mark.parametrize(
    ("lower", "keep", "chosen", "said"),
    [
        ([1.0, np.nan], None, {}, "lower: the derivative is not finite for row 1"),
        ([1.0] * 10, [1.0] * 9, {}, "10 rows to lower and of 9 rows to keep"),
        ([], None, {}, r"\[measurements, rows\], not \(1, 0\)"),
        ([1.0] * 4, None, {"share": 0.1}, "share 0.1 of 4 rows is less than one row"),
        ([1.0] * 4, None, {"share": 2}, "share 2"),
    ],
)
def test_what_makes_no_sense_is_refused(lower, keep, chosen, said):
    with pytest.raises((AitiaError, NumericalError), match=said):
        choose_weights(np.array(lower), None if keep is None else np.array(keep), ControlSettings(**chosen))


def test_a_front_of_one_point_is_refused():
    with pytest.raises(AitiaError, match="at least two points"):
        pareto_front(np.ones(5), np.ones(5), points=1)


def test_derivatives_of_a_linear_measurement_say_the_same_wherever_they_were_taken():
    lower, keep = np.random.default_rng(2).standard_normal((2, 30))
    chosen = ControlSettings(share=0.3, tolerance=0.1, use_weights=True)
    at = np.random.default_rng(3).uniform(0, 1, 30)
    about = Expansion(weights=at, lowered=np.array([lower @ (at - 1)]), kept=np.array([keep @ (at - 1)]))
    one, other = choose_weights(lower, keep, chosen), choose_weights(lower, keep, chosen, about=about)
    np.testing.assert_allclose(one.weights, other.weights, atol=1e-9)
    assert other.kept[0] == pytest.approx(one.kept[0])
    fronts = [pareto_front(lower, keep, chosen, points=3, about=each) for each in (None, about)]
    assert [each.lowered[0] for each in fronts[0]] == pytest.approx([each.lowered[0] for each in fronts[1]])


def test_rounds_keep_what_one_linearisation_loses():
    """Of a curved measurement, derivatives at the chosen weights foretell what those at one did not."""
    generator = np.random.default_rng(0)
    rows = 40
    bad, slope = generator.uniform(0.5, 1, rows), generator.uniform(0.5, 1, rows)
    bend = np.eye(rows) * 1.5  # each row taken out costs more of the skill than its derivative says

    def skill(weights):
        return slope @ (weights - 1) - 0.5 * (weights - 1) @ bend @ (weights - 1)

    chosen = ControlSettings(share=0.6, tolerance=0.2, use_weights=True)
    allowed = -0.2 * slope.sum()
    first = choose_weights(bad, slope, chosen)
    assert first.kept[0] == pytest.approx(allowed)
    assert skill(first.weights) < 1.5 * allowed
    choice, rounds = choose_weights(bad, slope, replace(chosen, share=0.6 / 8)), 8
    scales = {"lower_scale": absolute_sums(bad[None]), "keep_scale": absolute_sums(slope[None])}
    for number in range(2, rounds + 1):
        here = slope - bend @ (choice.weights - 1)
        about = Expansion(
            weights=choice.weights,
            lowered=np.array([bad @ (choice.weights - 1)]),
            kept=np.array([skill(choice.weights)]),
            reach=0.6 / rounds,
            **scales,
        )
        choice = choose_weights(bad, here, replace(chosen, share=0.6 * number / rounds), about=about)
        assert np.abs(choice.weights - about.weights).sum() <= 0.6 / rounds * rows + 1e-6
        # What is foretold is the tangent of the measurement.
        expected = skill(about.weights) + here @ (choice.weights - about.weights)
        assert choice.kept[0] == pytest.approx(expected)
    assert abs(skill(choice.weights) - allowed) < 0.3 * abs(skill(first.weights) - allowed)


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        (FrontSettings, {"shares": ()}, "at least one share"),
        (FrontSettings, {"shares": (0.1, 2)}, "shares"),
        (FrontSettings, {"points": 1}, "points"),
        (RoundSettings, {"rounds": 0}, "rounds"),
    ],
)
def test_settings_that_make_no_sense_are_refused(kind, given, said):
    with pytest.raises(AitiaError, match=said):
        kind(**given)
