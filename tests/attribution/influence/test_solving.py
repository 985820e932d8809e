"""The exact solve: products against differences of the logits, and solutions against dense solves."""

import numpy as np
import pytest
import torch

from aitia.attribution.gradients.curvature import CurvatureSettings, Damping
from aitia.attribution.gradients.curvature_fitting import curvature_layers, fit_curvature
from aitia.attribution.gradients.measurements import LogProbability
from aitia.attribution.gradients.training_gradients import query_gradients
from aitia.attribution.influence.solving import (
    SolveSettings,
    conjugate_gradients,
    exact_solve,
    gauss_newton_product,
)
from aitia.errors import AitiaError
from aitia.models import in_tokens
from aitia.records import records_from_rows


@pytest.fixture(params=["llama", "gpt2"])
def small(request, make_model):
    return make_model(request.param)


def some_layers(model, curvature, count=1):
    layers = curvature_layers(model, curvature.settings)
    return sorted(layers, key=lambda layer: layer.inputs * layer.outputs)[:count]


@pytest.fixture
def few(rows):
    return rows[:3]


@pytest.mark.parametrize("loss", ["mean", "sum"])
def test_products_are_those_of_the_matrix(small, few, loss):
    data = in_tokens(small, records_from_rows(few))
    layers = curvature_layers(small, CurvatureSettings(loss=loss))
    generator = torch.Generator().manual_seed(0)
    vectors = {
        layer.name: torch.randn(2, layer.outputs, layer.inputs, generator=generator) for layer in layers
    }
    found = gauss_newton_product(small, data, vectors, layers, loss=loss, max_batch_tokens=64)
    # v^T H v by finite differences of the logits, which no derivative of ours takes part in.
    for number in range(2):
        wanted = bend_by_differences(small, data, layers, vectors, number, loss)
        got = float(sum((found[n][number] * vectors[n][number]).sum() for n in found))
        assert got == pytest.approx(wanted, rel=2e-3)
    # H is symmetric: u^T H v = v^T H u.
    one = sum((found[n][0] * vectors[n][1]).sum() for n in found)
    other = sum((found[n][1] * vectors[n][0]).sum() for n in found)
    assert float(one) == pytest.approx(float(other), rel=1e-3, abs=1e-4 * abs(float(one)) + 1e-5)


def bend_by_differences(model, data, layers, vectors, number, loss):
    """v^T H v in float64: the variance of the logits' change under p, summed over tokens."""
    import copy

    step, total = 1e-5, 0.0
    logits = []
    for sign in (1, -1):
        moved = copy.deepcopy(model.network).double()
        named = dict(moved.named_modules())
        place = {id(module): name for name, module in model.network.named_modules()}
        for layer in layers:
            module = named[place[id(layer.module)]]
            value = vectors[layer.name][number].double() * sign * step
            weight = value[:, :-1] if layer.bias else value
            module.weight.data += weight.T if type(layer.module).__name__ == "Conv1D" else weight
            if layer.bias:
                module.bias.data += value[:, -1]
        logits.append(
            [
                moved(input_ids=torch.from_numpy(row.tokens.astype(np.int64))[None]).logits[0, :-1][
                    torch.from_numpy(row.response[1:])
                ]
                for row in data
            ]
        )
    for high, low in zip(*logits, strict=True):
        with torch.no_grad():
            u = (high - low) / (2 * step)
            p = ((high + low) / 2).softmax(-1)
            bend = (p * u**2).sum(-1) - (p * u).sum(-1) ** 2
            total += float(bend.sum()) * (1 / len(u) ** 2 if loss == "mean" else 1)
    return total / len(data)


def test_a_solution_is_that_of_the_matrix(make_model, few):
    model = make_model("llama")
    data = in_tokens(model, records_from_rows(few))
    curvature = fit_curvature(model, data, CurvatureSettings(rows=0, precision="float32"))
    layer = some_layers(model, curvature)[0]
    only = {layer.name: curvature.layers[layer.name]}
    damping = Damping(value=1.0)
    amount = float(curvature.layers[layer.name].eigenvalues.mean())
    rng = np.random.default_rng(0)
    side = {layer.name: torch.from_numpy(rng.standard_normal((2, layer.outputs, layer.inputs))).float()}

    def product(vectors):
        found = gauss_newton_product(model, data, vectors, [layer], loss="mean")
        return {name: value + amount * vectors[name] for name, value in found.items()}

    def precondition(vectors):
        return {name: only[name].precondition(value, damping) for name, value in vectors.items()}

    settings = SolveSettings(cg_iterations=50, cg_tolerance=1e-6)
    x, residuals = conjugate_gradients(product, side, precondition, settings)
    again = product(x)
    for number in range(2):
        left = (again[layer.name] - side[layer.name])[number].norm() / side[layer.name][number].norm()
        assert float(left) < 2e-3
    assert residuals[-1].max() < 1e-3


@pytest.mark.parametrize("size", [5, 40])
def test_conjugate_gradients_solve_dense_systems(size):
    rng = np.random.default_rng(size)
    root = rng.standard_normal((size, size))
    matrix = torch.from_numpy(root @ root.T + 0.1 * np.eye(size)).double()
    sides = torch.from_numpy(rng.standard_normal((3, size, 1))).double()
    sides[2] = 0
    diagonal = matrix.diag()[:, None]
    x, residuals = conjugate_gradients(
        lambda v: {"a": matrix @ v["a"]},
        {"a": sides},
        lambda v: {"a": v["a"] / diagonal},
        SolveSettings(cg_iterations=4 * size, cg_tolerance=1e-10),
    )
    np.testing.assert_allclose(x["a"], torch.linalg.solve(matrix, sides), rtol=1e-6, atol=1e-8)
    assert (x["a"][2] == 0).all()
    assert residuals.shape[1] == 3


def test_the_fitted_curvature_makes_it_quick(tiny_model, data, queries):
    """After the same number of products, EK-FAC as preconditioner is nearer to the solution than a diagonal."""
    tokens = in_tokens(tiny_model, data)
    damping, gaps = Damping(value=1e-6, unit="absolute"), {}
    layers = curvature_layers(tiny_model, CurvatureSettings())
    sides = query_gradients(tiny_model, in_tokens(tiny_model, queries), LogProbability(), layers)

    def height(vectors):  # x^T A x / 2 - b^T x, by its definition
        product = gauss_newton_product(tiny_model, tokens, vectors, layers)
        return float(
            sum(
                (v * (product[n] + damping.value * v)).sum().double() / 2 - (v * sides[n]).sum().double()
                for n, v in vectors.items()
            )
        )

    for kind in ("ekfac", "diagonal"):
        curvature = fit_curvature(
            tiny_model, tokens, CurvatureSettings(kind=kind, rows=0, precision="float32")
        )
        found = exact_solve(
            tiny_model, tokens, sides, curvature, damping, SolveSettings(cg_iterations=5, cg_tolerance=1e-9)
        )
        gaps[kind] = height(found.vectors)
        alone = {n: curvature.layers[n].precondition(v, damping) for n, v in sides.items()}
        assert gaps[kind] < height(alone), "products improve on the fitted inverse alone"
    assert gaps["ekfac"] < gaps["diagonal"] < 0


def test_without_damping_it_is_refused(tiny_model, data):
    tokens = in_tokens(tiny_model, data)
    curvature = fit_curvature(tiny_model, tokens, CurvatureSettings(rows=0))
    name, layer = next(iter(curvature.layers.items()))
    with pytest.raises(AitiaError, match="damping above zero"):
        exact_solve(tiny_model, tokens, {name: layer.eigenvalues[None]}, curvature, Damping(value=0))
