"""Shampoo's basis with measured eigenvalues, against gradients by autograd and matrices written out."""

import numpy as np
import pytest
import torch
from attribution.dense import concept_at, dense_concept_gradient, dense_loss_gradients

from aitia.attribution.gradients.curvature import CurvatureSettings, load_curvature
from aitia.attribution.gradients.curvature_fitting import curvature_layers, fit_curvature
from aitia.attribution.gradients.measurements import ConceptMeasurement
from aitia.attribution.gradients.planning import estimate_seconds, plan_curvature
from aitia.attribution.influence.streaming import influence
from aitia.records import tokenize

SETTINGS = CurvatureSettings(
    kind="eshampoo",
    use_empirical_fisher=True,
    site="resid_post.2",
    max_batch_tokens=300,
    precision="float32",
)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_basis_eigenvalues_and_scores_equal_dense_algebra(make_model, data, queries, family):
    model = make_model(family)
    concept = concept_at(model)
    curvature = fit_curvature(model, data, SETTINGS)
    found = influence(model, data, queries, ConceptMeasurement(concept=concept), curvature=curvature)
    layers = curvature_layers(model, SETTINGS)
    tokenized = tokenize(data, model.tokenizer, max_length=256)
    gradients = dense_loss_gradients(model, tokenized, layers)
    query = dense_concept_gradient(model, tokenize(queries, model.tokenizer, max_length=256), layers, concept)
    expected = 0
    for name, rows in gradients.items():
        rows, layer, asked = rows.double(), curvature.layers[name], query[name].double()
        moments = {
            "left": torch.einsum("nij,nkj->ik", rows, rows) / len(rows),
            "right": torch.einsum("nij,nik->jk", rows, rows) / len(rows),
        }
        for side, moment in moments.items():
            basis = getattr(layer, side).double()
            turned = basis.T @ moment @ basis
            diagonal = turned.diagonal()
            assert (turned - diagonal.diag()).abs().max() < 1e-4 * diagonal.max()
            assert (diagonal.diff() < 1e-5 * diagonal.max()).all()  # by falling eigenvalue
            torch.testing.assert_close(
                basis.T @ basis, torch.eye(len(basis), dtype=torch.float64), atol=1e-5, rtol=0
            )
        left, right = (torch.linalg.eigh(moment)[1] for moment in moments.values())
        turned = left.T @ rows @ right
        values = turned.square().mean(0)
        assert float(layer.eigenvalues.sum()) == pytest.approx(
            float(rows.square().sum() / len(rows)), rel=1e-3
        )
        inverse = 1 / (values + 0.1 * values.mean())
        expected = expected - (turned * ((left.T @ asked @ right) * inverse)).sum(dim=(1, 2)).numpy()
    np.testing.assert_allclose(found, expected, rtol=2e-2, atol=2e-3 * np.abs(expected).max())
    assert np.corrcoef(found, expected)[0, 1] > 0.99999


def test_gradients_that_are_a_kronecker_product_are_inverted_exactly():
    """Rows U S_i V^T with independent Gaussian S_i: H is diagonal in that basis, which no sum over tokens shows."""
    from aitia.attribution.gradients.kind_eshampoo import GradientMoments
    from aitia.attribution.gradients.layer_algebra import symmetric
    from aitia.models import Factors

    generator = torch.Generator().manual_seed(0)
    left, right = (
        torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))[0]
        for size in (4, 6)
    )
    scale = torch.outer(torch.tensor([4.0, 2.0, 1.0, 0.5]), torch.arange(6, 0, -1)).double()
    rows = left @ (scale * torch.randn(20000, 4, 6, generator=generator, dtype=torch.float64)) @ right.T
    inputs = torch.eye(6, dtype=torch.float64).expand(20000, 6, 6)
    totals: dict[str, torch.Tensor] = {}
    GradientMoments().add({"a": Factors(inputs=inputs, outputs=rows.transpose(1, 2))}, {}, totals)
    for side, basis in (("out", left), ("in", right)):
        turned = basis.T @ (symmetric(totals[f"{side}.a"]) / 20000) @ basis
        exact = scale.square().sum(1 if side == "out" else 0)
        torch.testing.assert_close(turned, exact.diag(), atol=0.03 * float(exact.max()), rtol=0)


def test_a_fit_that_was_stopped_goes_on_and_is_planned(tiny_model, data, tmp_path, monkeypatch):
    import aitia.attribution.gradients.curvature_fitting as module

    settings = CurvatureSettings(kind="eshampoo", max_batch_tokens=200)
    straight = fit_curvature(tiny_model, data, settings)
    monkeypatch.setattr(module._Sums.__init__, "__defaults__", (0.0,))
    real, calls = module.passes_over_rows, []

    def stops(*arguments, **options):
        for item in real(*arguments, **options):
            calls.append(1)
            if len(calls) in (3, 8):
                raise KeyboardInterrupt
            yield item

    monkeypatch.setattr(module, "passes_over_rows", stops)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            fit_curvature(tiny_model, data, settings, out=tmp_path / "c.safetensors")
    fit_curvature(tiny_model, data, settings, out=tmp_path / "c.safetensors")
    resumed = load_curvature(tmp_path / "c.safetensors", tiny_model)
    for name, layer in straight.layers.items():
        for part in ("left", "right", "eigenvalues"):
            assert torch.equal(getattr(resumed.layers[name], part), getattr(layer, part))
    plan = plan_curvature(tiny_model, data, settings)
    assert plan.passes == 2
    assert plan.operations > plan_curvature(tiny_model, data, CurvatureSettings(kind="ekfac")).operations
    assert estimate_seconds(tiny_model, data, settings, plan) > 0
