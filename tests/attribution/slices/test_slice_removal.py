"""Removing a slice: additivity, and the corrected estimate against training again, where that is exact."""

import numpy as np
import pytest

from aitia.attribution.gradients.curvature import CurvatureSettings, Damping
from aitia.attribution.gradients.curvature_fitting import fit_curvature
from aitia.attribution.gradients.measurements import LogProbability
from aitia.attribution.influence.streaming import influence
from aitia.attribution.slices.slice_removal import corrected_removal, first_order_removal, influence_kernel
from aitia.errors import AitiaError, NumericalError
from aitia.records import TokenizedRecords, records_from_rows, tokenize

ROWS, RIDGE = 120, 0.05


def ridge_fit(x, y, rows):
    """The minimum of 1/n sum over the rows of (x w - y)^2 / 2 + ridge |w|^2 / 2, n being that of all data."""
    return np.linalg.solve(x.T @ x / rows + RIDGE * np.eye(x.shape[1]), x.T @ y / rows)


@pytest.fixture(scope="module")
def regression():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(ROWS, 8))
    y = x @ generator.normal(size=8) + generator.normal(size=ROWS)
    query = generator.normal(size=8)
    weight = ridge_fit(x, y, ROWS)
    errors = x @ weight - y
    curvature = np.linalg.inv(x.T @ x / ROWS + RIDGE * np.eye(8))
    gradients = errors[:, None] * x
    return {
        "x": x,
        "y": y,
        "query": query,
        "weight": weight,
        "weights": 1 / errors**2,  # a row's curvature x x^T over its gradient's outer product
        "influences": -gradients @ curvature @ query,
        "kernel": gradients @ curvature @ gradients.T,
    }


@pytest.mark.parametrize("size", [1, 10, 40, 80])
def test_the_correction_is_exact_for_least_squares(regression, size):
    r = regression
    slice_ = np.argsort(-r["influences"])[:size]  # alike on purpose
    left = np.setdiff1d(np.arange(ROWS), slice_)
    again = ridge_fit(r["x"][left], r["y"][left], ROWS)
    truth = r["query"] @ (again - r["weight"])
    corrected = corrected_removal(
        r["influences"][slice_], r["kernel"][np.ix_(slice_, slice_)], ROWS, weights=r["weights"][slice_]
    )
    assert corrected == pytest.approx(truth, rel=1e-6)
    first = first_order_removal(r["influences"][slice_], ROWS)
    assert np.sign(first) == np.sign(truth)
    if size > 1:
        assert abs(first - truth) > 100 * abs(corrected - truth)


def test_the_first_order_is_the_limit_of_small_slices(regression):
    r = regression
    one = np.array([3])
    kernel = r["kernel"][np.ix_(one, one)]
    first = first_order_removal(r["influences"][one], ROWS)
    assert corrected_removal(r["influences"][one], 1e-6 * kernel, ROWS) == pytest.approx(first, rel=1e-6)


def test_slices_that_hold_all_curvature_are_refused(regression):
    r = regression
    with pytest.raises(NumericalError, match="removing these 120 rows"):
        corrected_removal(r["influences"], 1e3 * r["kernel"], ROWS)
    with pytest.raises(AitiaError, match="a kernel of shape"):
        corrected_removal(r["influences"][:3], r["kernel"], ROWS)


def test_a_slices_influence_is_the_sum_of_its_members(tiny_model, rows):
    """The gradient of the slice's loss, taken at once, gives what the members' scores add up to."""
    records = records_from_rows(rows[:8])
    queries = records_from_rows([dict(row, id=f"q{i}") for i, row in enumerate(rows[8:10])])
    curvature = fit_curvature(tiny_model, records, CurvatureSettings(kind="identity", precision="float32"))
    alone = influence(tiny_model, records, queries, LogProbability(), curvature=curvature)
    members = [1, 4, 6]
    asked = tokenize(queries, tiny_model.tokenizer, max_length=256)
    slice_ = TokenizedRecords(
        records=tuple(tokenize(records, tiny_model.tokenizer, max_length=256)[i] for i in members)
    )
    # the other way round: the mean log-probability of the slice as the measurement, the queries as the data
    together = influence(tiny_model, asked, slice_, LogProbability(), curvature=curvature, average=True)
    assert alone[members].sum() == pytest.approx(len(members) * together.mean(), rel=1e-4)


def test_the_kernel_is_symmetric_and_its_diagonal_positive(tiny_model, rows):
    records = records_from_rows(rows[:10])
    curvature = fit_curvature(
        tiny_model, records, CurvatureSettings(kind="kfac", use_empirical_fisher=True, precision="float32")
    )
    members, damping = [0, 3, 7], Damping(value=0.1)
    kernel = influence_kernel(tiny_model, records, members, curvature, damping=damping)
    assert kernel.shape == (3, 3)
    np.testing.assert_array_equal(kernel, kernel.T)
    assert (np.linalg.eigvalsh(kernel) > 0).all()
    tokenized = tokenize(records, tiny_model.tokenizer, max_length=256)
    one = TokenizedRecords(records=(tokenized[3],))
    alone = influence(tiny_model, tokenized, one, LogProbability(), curvature=curvature, damping=damping)
    np.testing.assert_allclose(kernel[1], alone[members], rtol=1e-3)


def test_the_kernel_has_the_curvatures_loss_on_both_sides(tiny_model):
    records = records_from_rows(
        [{"prompt": f"Row {i}\n", "completion": "the sun and rain " * (1 + i)} for i in range(4)]
    )
    kernels = {}
    for loss in ("mean", "sum"):
        settings = CurvatureSettings(kind="identity", loss=loss, precision="float32")
        curvature = fit_curvature(tiny_model, records, settings)
        kernels[loss] = influence_kernel(tiny_model, records, [0, 3], curvature)
    tokenized = tokenize(records, tiny_model.tokenizer, max_length=256)
    counts = np.array([tokenized[i].response[1:].sum() for i in (0, 3)])
    np.testing.assert_allclose(kernels["sum"], kernels["mean"] * np.outer(counts, counts), rtol=1e-3)
