"""Removal curves and concept-LDS on made-up results whose answer is known without them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr, t

from aitia.counterfactual.concept_lds import (
    concept_lds,
    draw_subsets,
    measured_changes,
    noise_ceiling,
    subset_cells,
)
from aitia.counterfactual.removal import (
    BOTTOM,
    TOP,
    Removal,
    against_random,
    plan_removals,
    recovered_fraction,
    removal_curves,
)
from aitia.counterfactual.removal_figures import removal_figure
from aitia.counterfactual.retraining import RunResult
from aitia.errors import AitiaError
from aitia.statistics import bootstrap_estimate, mean_estimate

IDS = [f"row-{i}" for i in range(20)]
EFFECT = np.where(np.arange(20) < 5, 1.0, 0.0)  # the first five rows cause the behaviour


def pretend_training(cells, noise=0.0):
    """The behaviour is the number of causes kept, and some noise by seed and subset."""
    results = []
    for cell in cells:
        causes = sum(EFFECT[IDS.index(name)] for name in cell.kept)
        generator = np.random.default_rng([cell.seed, len(cell.kept), int(causes * 10)])
        results.append(RunResult(run=cell, values={"b": (causes + noise * generator.standard_normal(),)}))
    return results


def test_removals_take_the_right_rows():
    scores = np.linspace(1, 0, 20)
    plan = plan_removals(IDS, {"m": scores}, [0.25], [0, 1])
    most = plan[Removal(method="m", end=TOP, share=0.25, seed=1)]
    least = plan[Removal(method="m", end=BOTTOM, share=0.25, seed=1)]
    assert most.kept == tuple(IDS[5:])
    assert least.kept == tuple(IDS[:15])
    assert most.seed == 1
    random = [plan[Removal(method="random", end=TOP, share=0.25, seed=seed)].kept for seed in (0, 1)]
    assert len(random[0]) == 15
    assert random[0] != random[1]
    assert plan[Removal(method="all", end=TOP, share=0.0, seed=0)].kept == tuple(IDS)
    assert plan[Removal(method="all", end=TOP, share=1.0, seed=0)].kept == ()


def test_a_right_method_holds_and_broken_ones_fail():
    """The harness tells a method from its negative and from its shuffled scores."""
    generator = np.random.default_rng(0)
    right = EFFECT + 0.01 * generator.standard_normal(20)
    methods = {"right": right, "flipped": -right, "shuffled": generator.permutation(right), "oracle": EFFECT}
    plan = plan_removals(IDS, methods, [0.25], range(6))
    removals, results = list(plan), pretend_training(plan.values(), noise=0.1)
    differences = {name: against_random(removals, results, "b", name, 0.25) for name in methods}
    assert differences["right"].high < 0
    assert differences["flipped"].low > 0
    assert differences["shuffled"].high > 0
    shares = {
        name: recovered_fraction(removals, results, "b", name, 0.25, oracle="oracle") for name in methods
    }
    assert shares["right"].value == pytest.approx(1, abs=0.05)
    assert shares["flipped"].value == pytest.approx(0, abs=0.05)
    assert shares["shuffled"].value < 0.6

    kept = draw_subsets(20, 40, seed=1)
    measured = measured_changes(pretend_training(subset_cells(IDS, kept, range(3)), noise=0.1), 40, "b")
    found = {name: concept_lds(scores, kept, measured).correlation for name, scores in methods.items()}
    assert found["right"].low > 0.8
    assert found["flipped"].high < -0.8
    assert abs(found["shuffled"].value) < 0.6


def test_curves_average_over_seeds():
    plan = plan_removals(IDS, {"m": EFFECT}, [0.1, 0.5], range(3))
    results = pretend_training(plan.values(), noise=0.2)
    points = {(p.method, p.end, p.share): p for p in removal_curves(list(plan), results, "b")}
    values = [
        result.mean("b")
        for removal, result in zip(plan, results, strict=True)
        if (removal.method, removal.end, removal.share) == ("m", TOP, 0.1)
    ]
    assert points["m", TOP, 0.1].behaviour.value == pytest.approx(np.mean(values))
    assert points["m", TOP, 0.5].behaviour.value == pytest.approx(0, abs=0.5)
    assert points["all", TOP, 1.0].seeds == 3


def test_bad_plans_are_refused():
    with pytest.raises(AitiaError, match="name is taken"):
        plan_removals(IDS, {"random": EFFECT}, [0.1], [0])
    with pytest.raises(AitiaError, match="2 scores for 20 rows"):
        plan_removals(IDS, {"m": EFFECT[:2]}, [0.1], [0])
    with pytest.raises(AitiaError, match="between 0 and 1"):
        plan_removals(IDS, {"m": EFFECT}, [1.5], [0])
    plan = plan_removals(IDS, {"m": EFFECT}, [0.1], [0])
    with pytest.raises(AitiaError, match="was not measured; there are b"):
        removal_curves(list(plan), pretend_training(plan.values()), "c")
    with pytest.raises(AitiaError, match="0.3 by m was planned"):
        against_random(list(plan), pretend_training(plan.values()), "b", "m", 0.3)
    with pytest.raises(AitiaError, match="at least 3"):
        draw_subsets(20, 2)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=9))
def test_mean_interval_is_students(values):
    found = mean_estimate(values)
    half = (found.high - found.low) / 2
    assert found.value == pytest.approx(np.mean(values), abs=1e-9)
    expected = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    assert half == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_one_value_has_no_interval():
    found = mean_estimate([3.0])
    assert found.value == 3
    assert np.isnan(found.low)
    assert np.isnan(found.high)


def test_bootstrap_interval_covers_the_mean_as_students_does():
    values = np.random.default_rng(0).standard_normal(400)
    found = bootstrap_estimate(400, lambda rows: float(values[rows].mean()))
    exact = mean_estimate(values)
    assert found.value == pytest.approx(exact.value)
    assert found.high - found.low == pytest.approx(exact.high - exact.low, rel=0.15)


def test_noise_ceiling_is_what_an_exact_prediction_reaches():
    """Truth plus noise of known size: the ceiling tells the truth's correlation with the mean over seeds."""
    generator = np.random.default_rng(0)
    truth = generator.standard_normal(3000)
    for noise, seeds in ((0.5, 2), (1.5, 3), (3.0, 4)):
        measured = truth[:, None] + noise * generator.standard_normal((3000, seeds))
        reached = spearmanr(truth, measured.mean(axis=1)).statistic
        assert noise_ceiling(measured) == pytest.approx(reached, abs=0.03)
    assert noise_ceiling(generator.standard_normal((3000, 3))) < 0.3
    assert np.isnan(noise_ceiling(truth[:, None]))


def test_predicted_change_is_the_sum_over_kept_rows():
    generator = np.random.default_rng(0)
    scores, kept = generator.standard_normal(20), draw_subsets(20, 30, share=0.3, seed=2)
    assert (kept.sum(axis=1) == 6).all()
    predicted = np.array(
        [sum(score for score, here in zip(scores, row, strict=True) if here) for row in kept]
    )
    measured = predicted[:, None] ** 3  # any rising function of it
    assert concept_lds(scores, kept, measured).correlation.value == pytest.approx(1)


def test_the_figure_shows_the_curves_as_they_are():
    plan = plan_removals(IDS, {"m": EFFECT, "length": np.arange(20.0)}, [0.25, 0.5], [0, 1])
    removals = list(plan)
    results = pretend_training([plan[each] for each in removals], noise=0.1)
    figure = removal_figure(removals, results, "b", title="b falls", baselines=["length"])
    curves = {curve.label: curve for curve in figure.curves}
    assert [name for name, curve in curves.items() if curve.baseline] == ["random", "length"]
    value = {(r.method, r.end, r.share): [] for r in removals}
    for removal, result in zip(removals, results, strict=True):
        value[removal.method, removal.end, removal.share].append(result.mean("b"))
    expected = [value["all", TOP, 0.0], value["m", TOP, 0.25], value["m", TOP, 0.5]]
    np.testing.assert_allclose(curves["m"].y, [np.mean(each) for each in expected])
    assert list(curves["m"].x) == [0, 0.25, 0.5]
    assert figure.references[0].value == pytest.approx(np.mean(value["all", TOP, 1.0]))
