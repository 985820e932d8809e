"""Influence against dense algebra: per-row gradients by autograd, Fisher matrices written out, solves."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from attribution.dense import (
    concept_at,
    dense_concept_gradient,
    dense_loss_gradients,
    dense_scores,
)

from aitia.attribution.gradients.curvature import CurvatureSettings, Damping
from aitia.attribution.gradients.curvature_fitting import curvature_layers, fit_curvature
from aitia.attribution.gradients.layer_algebra import row_gradients
from aitia.attribution.gradients.measurements import ConceptMeasurement, CustomMeasurement
from aitia.attribution.gradients.training_gradients import query_gradients, training_factors
from aitia.attribution.influence.streaming import (
    influence,
    influence_by_token,
    influence_directions,
    influencing_layers,
)
from aitia.errors import AitiaError, ModelError, NumericalError
from aitia.models import LanguageModel
from aitia.models.linear_layers import find_linear_layers
from aitia.records import pad_batch, records_from_rows, tokenize


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("kind", ["identity", "diagonal", "kfac", "ekfac"])
def test_scores_equal_dense_algebra(make_model, data, queries, kind, family):
    model = make_model(family)
    concept = concept_at(model)
    settings = CurvatureSettings(
        kind=kind, use_empirical_fisher=True, site="resid_post.2", max_batch_tokens=300, precision="float32"
    )
    curvature = fit_curvature(model, data, settings)
    found = influence(model, data, queries, ConceptMeasurement(concept=concept), curvature=curvature)
    layers = curvature_layers(model, settings)
    tokenized = tokenize(data, model.tokenizer, max_length=256)
    gradients = dense_loss_gradients(model, tokenized, layers)
    query = dense_concept_gradient(model, tokenize(queries, model.tokenizer, max_length=256), layers, concept)
    factors = {layer.name: ([], []) for layer in layers}
    for place in range(len(tokenized)):
        one = training_factors(model, pad_batch(tokenized, np.array([place]), 0), layers, [""])
        for name, part in one.items():
            factors[name][0].append(part.inputs[0])
            factors[name][1].append(part.outputs[0])
    tokens = sum(len(row.tokens) for row in tokenized)
    stacked = {name: (torch.cat(a), torch.cat(g), tokens) for name, (a, g) in factors.items()}
    expected = dense_scores(kind, gradients, query, 0.1, stacked)
    np.testing.assert_allclose(found, expected, rtol=2e-2, atol=2e-3 * np.abs(expected).max())
    assert np.corrcoef(found, expected)[0, 1] > 0.99999


def test_layers_above_the_site_are_left_out_on_both_sides(tiny_model, data, queries):
    concept = concept_at(tiny_model, "resid_post.1")
    measurement = ConceptMeasurement(concept=concept)
    whole = fit_curvature(tiny_model, data, CurvatureSettings(kind="ekfac", use_empirical_fisher=True))
    layers = influencing_layers(tiny_model, measurement, whole)
    assert {layer.block for layer in layers} == {0, 1}
    everything = find_linear_layers(tiny_model)
    gradients = query_gradients(
        tiny_model, tokenize(queries, tiny_model.tokenizer, max_length=256), measurement, everything
    )
    for layer in everything:
        assert bool(gradients[layer.name].any()) == (layer.block <= 1)
    below = fit_curvature(
        tiny_model, data, CurvatureSettings(kind="ekfac", use_empirical_fisher=True, site="resid_post.1")
    )
    np.testing.assert_allclose(
        influence(tiny_model, data, queries, measurement, curvature=whole),
        influence(tiny_model, data, queries, measurement, curvature=below),
        rtol=1e-4,
    )


def test_one_linear_write_is_kernel_times_activation_gradient(tiny_model, data, queries):
    """The identity of the backward activation: for y = W u at the site, -sum_s <mean u, u_s> <v, dL/da_s>."""
    from aitia.models import site_gradients

    concept = concept_at(tiny_model)
    down = [layer for layer in find_linear_layers(tiny_model) if layer.name == "2.mlp.down_proj"]
    tokenized = tokenize(data, tiny_model.tokenizer, max_length=256)
    asked = tokenize(queries, tiny_model.tokenizer, max_length=256)
    query = query_gradients(tiny_model, asked, ConceptMeasurement(concept=concept), down)["2.mlp.down_proj"][
        0
    ]
    kept = []
    handle = down[0].module.register_forward_hook(lambda _m, given, _o: kept.append(given[0][0]))
    means, expected, found = [], [], []
    for row in asked:
        tiny_model.network(torch.from_numpy(row.tokens.astype(np.int64))[None])
        means.append(kept.pop()[torch.from_numpy(row.response)].mean(0))
    mean = torch.stack(means).mean(0)
    v = torch.from_numpy(concept.vector)
    for place in range(len(tokenized)):
        batch = pad_batch(tokenized, np.array([place]), 0)
        outputs, gradients = site_gradients(tiny_model, batch, ["resid_post.2"])
        inputs = kept.pop()
        activation = gradients["resid_post.2"][0] / len(outputs.targets)
        expected.append(-((inputs @ mean) * (activation @ v)).sum().item())
        part = training_factors(tiny_model, batch, down, [""])["2.mlp.down_proj"]
        found.append(-(row_gradients(part.inputs, part.outputs)[0] * query).sum().item())
        kept.clear()
    handle.remove()
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_batches_order_and_company_do_not_matter(tiny_model, rows, queries):
    concept = ConceptMeasurement(concept=concept_at(tiny_model))
    settings = CurvatureSettings(use_empirical_fisher=True, max_batch_tokens=2048, precision="float32")
    data, turned = records_from_rows(rows[:10]), records_from_rows(rows[:10][::-1])
    scores = [
        influence(tiny_model, data, queries, concept, curvature=fit_curvature(tiny_model, data, settings)),
        influence(
            tiny_model, turned, queries, concept, curvature=fit_curvature(tiny_model, turned, settings)
        )[::-1],
        influence(
            tiny_model,
            data,
            queries,
            concept,
            curvature=fit_curvature(tiny_model, data, replace(settings, max_batch_tokens=1)),
            max_batch_tokens=1,
        ),
    ]
    for other in scores[1:]:
        np.testing.assert_allclose(other, scores[0], rtol=1e-2, atol=1e-3 * np.abs(scores[0]).max())


def test_token_parts_sum_to_the_score(tiny_model, data, queries):
    measurement = ConceptMeasurement(concept=concept_at(tiny_model))
    curvature = fit_curvature(
        tiny_model, data, CurvatureSettings(use_empirical_fisher=True, precision="float32")
    )
    scores = influence(tiny_model, data, queries, measurement, curvature=curvature)
    layers = influencing_layers(tiny_model, measurement, curvature)
    asked = tokenize(queries, tiny_model.tokenizer, max_length=256)
    directions = influence_directions(tiny_model, asked, measurement, layers, curvature, Damping())
    row = tokenize(data, tiny_model.tokenizer, max_length=256)[4]
    parts = influence_by_token(tiny_model, row, directions, layers, loss="mean")
    assert parts.shape == row.tokens.shape
    assert float(parts.sum()) == pytest.approx(float(scores[4]), rel=1e-3)


def test_what_cannot_be_computed_is_refused(tiny_model, make_model, data, queries):
    low = ConceptMeasurement(concept=concept_at(tiny_model, "resid_post.0"))
    every_third = fit_curvature(
        tiny_model, data, CurvatureSettings(kind="identity", layer_stride=3, site="resid_post.2")
    )
    with pytest.raises(AitiaError, match="below every layer"):
        influence(tiny_model, data, queries, low, curvature=every_third)
    with pytest.raises(ModelError, match="no LoRA adapter; use full"):
        fit_curvature(tiny_model, data, CurvatureSettings(kind="identity", parameters="lora"))
    with pytest.raises(AitiaError, match="kind 'magic'"):
        CurvatureSettings(kind="magic")
    tied = make_model("llama")
    tied.blocks[1].mlp.up_proj.weight = torch.nn.Parameter(tied.blocks[0].mlp.up_proj.weight.data)
    with pytest.raises(ModelError, match=r"0.mlp.up_proj and 1.mlp.up_proj share one weight"):
        find_linear_layers(tied)
    constant = CustomMeasurement(
        function=lambda outputs, _batch: torch.zeros(outputs.size, requires_grad=True)
    )
    with pytest.raises(AitiaError, match="does not depend on any"):
        influence(tiny_model, data, queries, constant)
    broken = make_model("llama")
    with torch.no_grad():
        broken.blocks[3].mlp.down_proj.weight[0, 0] = float("nan")
    with pytest.raises(NumericalError, match=r"rows row \d+: the gradient of layer"):
        fit_curvature(broken, data, CurvatureSettings(use_empirical_fisher=True))


def test_low_precision_and_checkpointed_models_give_the_same_ranking(make_model, data, queries):
    model = make_model("llama")
    settings = CurvatureSettings(kind="identity")
    concept = concept_at(model)

    def scores(network):
        wrapped = LanguageModel(network=network, tokenizer=model.tokenizer, name="tiny")
        measurement = ConceptMeasurement(concept=concept)
        return influence(
            wrapped, data, queries, measurement, curvature=fit_curvature(wrapped, data, settings)
        )

    plain = scores(model.network)
    model.network.gradient_checkpointing_enable()
    np.testing.assert_allclose(scores(model.network), plain, rtol=1e-5)
    low = scores(make_model("llama").network.bfloat16())
    assert np.corrcoef(low, plain)[0, 1] > 0.97


@pytest.mark.parametrize("average", [True, False])
def test_queries_of_full_rank_change_nothing_and_of_low_rank_little(tiny_model, data, queries, average):
    settings = CurvatureSettings(use_empirical_fisher=True, rows=0, precision="float32")
    curvature = fit_curvature(tiny_model, data, settings)
    measurement = ConceptMeasurement(concept=concept_at(tiny_model))

    def scores(rank):
        return influence(
            tiny_model, data, queries, measurement, curvature=curvature, average=average, query_rank=rank
        )

    exact = scores(0)
    np.testing.assert_allclose(scores(64), exact, rtol=1e-3, atol=1e-4 * np.abs(exact).max())
    errors = [np.abs(scores(rank) - exact).max() for rank in (1, 8, 24)]
    assert errors[0] > errors[1] > errors[2]
    with pytest.raises(AitiaError, match="query rank -1"):
        scores(-1)


def test_bfloat16_products_change_scores_little(tiny_model, data, queries):
    scores = {}
    for precision in ("float32", "bfloat16", "auto"):
        settings = CurvatureSettings(use_empirical_fisher=True, rows=0, precision=precision)
        curvature = fit_curvature(tiny_model, data, settings)
        measurement = ConceptMeasurement(concept=concept_at(tiny_model))
        scores[precision] = influence(tiny_model, data, queries, measurement, curvature=curvature)
        assert curvature.provenance["products"] in ("float32", "bfloat16")
        assert precision in ("auto", curvature.provenance["products"])
    assert np.corrcoef(scores["float32"], scores["bfloat16"])[0, 1] > 0.999
    np.testing.assert_array_equal(scores["auto"], scores[curvature.provenance["products"]])
    with pytest.raises(AitiaError, match="precision 'float8'"):
        CurvatureSettings(precision="float8")
