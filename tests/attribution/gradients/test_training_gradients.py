"""Gradients of rows, and the cache that keeps them, against autograd."""

import numpy as np
import pytest
import torch
from attribution.dense import concept_at, dense_loss_gradients

from aitia.attribution.gradients.curvature import CurvatureSettings
from aitia.attribution.gradients.curvature_fitting import fit_curvature
from aitia.attribution.gradients.layer_algebra import row_gradients
from aitia.attribution.gradients.measurements import ConceptMeasurement
from aitia.attribution.gradients.planning import plan_curvature
from aitia.attribution.gradients.training_gradients import FactorCache, training_factors
from aitia.attribution.influence.streaming import (
    influence,
)
from aitia.errors import ModelError
from aitia.models import LanguageModel
from aitia.models.linear_layers import find_linear_layers
from aitia.records import pad_batch, tokenize


@pytest.mark.parametrize("loss", ["mean", "sum"])
def test_row_gradients_equal_autograd(any_model, data, loss):
    layers = find_linear_layers(any_model)
    tokenized = tokenize(data, any_model.tokenizer, max_length=256)
    expected = dense_loss_gradients(any_model, tokenized, layers, loss)
    batch = pad_batch(tokenized, np.arange(10), any_model.pad_id)
    factors = training_factors(any_model, batch, layers, [""] * 10, loss=loss)
    for layer in layers:
        part = factors[layer.name]
        found = row_gradients(part.inputs, part.outputs)
        scale = float(expected[layer.name].abs().max())
        torch.testing.assert_close(found, expected[layer.name], atol=2e-4 * scale, rtol=2e-3)


def test_lora_factor_gradients_equal_autograd(make_model, data, tmp_path):
    from peft import LoraConfig, get_peft_model

    plain = make_model("llama")
    torch.manual_seed(0)
    wrapped = get_peft_model(
        plain.network, LoraConfig(r=3, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    )
    model = LanguageModel(network=wrapped, tokenizer=plain.tokenizer, name="tiny", adapter="made up")
    layers = find_linear_layers(model, parameters="lora")
    assert len(layers) == 4 * 2 * 2
    assert not any("lora" in layer.name for layer in find_linear_layers(model))
    assert len(find_linear_layers(model)) == 4 * 7
    tokenized = tokenize(data, model.tokenizer, max_length=256)
    expected = dense_loss_gradients(model, tokenized, layers)
    batch = pad_batch(tokenized, np.arange(10), model.pad_id)
    factors = training_factors(model, batch, layers, [""] * 10)
    for layer in layers:
        found = row_gradients(factors[layer.name].inputs, factors[layer.name].outputs)
        scale = float(expected[layer.name].abs().max())
        torch.testing.assert_close(found, expected[layer.name], atol=2e-4 * scale, rtol=2e-3)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_factor_cache_changes_nothing_that_matters(
    tiny_model, data, queries, tmp_path, monkeypatch, precision
):
    settings = CurvatureSettings(use_empirical_fisher=True, precision=precision)
    concept = ConceptMeasurement(concept=concept_at(tiny_model))
    plain = influence(tiny_model, data, queries, concept, curvature=fit_curvature(tiny_model, data, settings))
    cache = FactorCache(folder=tmp_path / "cache")
    curvature = fit_curvature(tiny_model, data, settings, cache=cache)
    ran = []
    import aitia.attribution.gradients.training_gradients as gradients_module

    real = gradients_module.training_factors
    monkeypatch.setattr(gradients_module, "training_factors", lambda *a, **k: ran.append(1) or real(*a, **k))
    cached = influence(tiny_model, data, queries, concept, curvature=curvature, cache=cache)
    assert not ran
    np.testing.assert_allclose(cached, plain, rtol=2e-2, atol=2e-3 * np.abs(plain).max())
    cache.clear()
    assert not cache.folder.exists()


def test_one_cache_serves_passes_that_have_nothing_in_common(tiny_model, data, queries, tmp_path):
    concept = ConceptMeasurement(concept=concept_at(tiny_model))
    cache = FactorCache(folder=tmp_path / "cache")
    for settings in (
        CurvatureSettings(),
        CurvatureSettings(loss="sum"),
        CurvatureSettings(use_empirical_fisher=True),
    ):
        curvature = fit_curvature(tiny_model, data, settings)
        plain = influence(tiny_model, data, queries, concept, curvature=curvature)
        fit_curvature(tiny_model, data, settings, cache=cache)
        cached = influence(tiny_model, data, queries, concept, curvature=curvature, cache=cache)
        np.testing.assert_allclose(cached, plain, rtol=2e-2, atol=3e-3 * np.abs(plain).max())
        others = influence(tiny_model, queries, queries, concept, curvature=curvature, cache=cache)
        assert others.shape == (len(queries),)


def test_parameters_stay_frozen_and_without_gradient(make_model, data, queries):
    """The usual case: nothing is trained, and a model that came with gradients switched on is frozen."""
    plain = make_model("llama")
    plain.network.requires_grad_(True)
    model = LanguageModel(network=plain.network, tokenizer=plain.tokenizer, name="tiny")
    scores = influence(model, data, queries, ConceptMeasurement(concept=concept_at(model)))
    assert scores.any()
    assert all(p.grad is None and not p.requires_grad for p in model.network.parameters())


def test_an_adapter_in_float32_on_a_base_in_bfloat16(make_model, data, queries):
    from peft import LoraConfig, get_peft_model

    def scores(dtype):
        plain = make_model("llama")
        torch.manual_seed(0)
        settings = LoraConfig(r=3, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
        wrapped = get_peft_model(plain.network.to(dtype), settings)
        assert {p.dtype for name, p in wrapped.named_parameters() if "lora_" in name} == {torch.float32}
        model = LanguageModel(network=wrapped, tokenizer=plain.tokenizer, name="tiny", adapter="made up")
        curvature = fit_curvature(
            model, data, CurvatureSettings(parameters="lora", use_empirical_fisher=True)
        )
        measurement = ConceptMeasurement(concept=concept_at(model))
        return influence(model, data, queries, measurement, curvature=curvature)

    assert np.corrcoef(scores(torch.float32), scores(torch.bfloat16))[0, 1] > 0.95


class Passing(torch.nn.Module):
    """A block without a layer."""

    def forward(self, hidden_states, **_others):
        return hidden_states


def test_layers_of_other_kinds_are_left_out_and_said_to_be(make_model, data, queries):
    model, settings = make_model("llama"), CurvatureSettings(kind="identity")
    measurement = ConceptMeasurement(concept=concept_at(model))
    plain = influence(model, data, queries, measurement, curvature=fit_curvature(model, data, settings))
    assert plan_curvature(model, data, settings).weights_left_out == 0
    model.blocks[1].experts = torch.nn.ParameterList([torch.nn.Parameter(torch.zeros(2, 3, 5))])
    plan = plan_curvature(model, data, settings)
    assert plan.weights_left_out == 30
    assert "(30 others, under 1%, left out)" in plan.text()
    found = influence(model, data, queries, measurement, curvature=fit_curvature(model, data, settings))
    np.testing.assert_array_equal(found, plain)
    nothing = make_model("llama", layers=1)
    nothing.network.model.layers[0] = Passing()
    with pytest.raises(ModelError, match="no linear layers to take gradients of"):
        find_linear_layers(LanguageModel(network=nothing.network, tokenizer=nothing.tokenizer, name="none"))
