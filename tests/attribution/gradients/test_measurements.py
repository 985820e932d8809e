"""Measurements: which tokens count, and any callable."""

import numpy as np
import pytest
import torch
from attribution.dense import concept_at, dense_loss_gradients

from aitia.attribution.gradients.curvature import CurvatureSettings
from aitia.attribution.gradients.curvature_fitting import fit_curvature
from aitia.attribution.gradients.measurements import ConceptMeasurement, CustomMeasurement, LogProbability
from aitia.attribution.influence.streaming import (
    influence,
)
from aitia.models.linear_layers import find_linear_layers
from aitia.records import pad_batch, tokenize


@pytest.mark.parametrize(("tokens", "aggregate"), [("response", "sum"), ("last", "mean"), ("all", "mean")])
def test_concept_measurements_count_the_tokens_they_say(tiny_model, queries, tokens, aggregate):
    from aitia.models import run

    concept = concept_at(tiny_model)
    tokenized = tokenize(queries, tiny_model.tokenizer, max_length=256)
    batch = pad_batch(tokenized, np.arange(3), 0)
    outputs = run(tiny_model, batch, ["resid_post.2"])
    found = ConceptMeasurement(concept=concept, tokens=tokens, aggregate=aggregate).values(outputs, batch)
    for place, row in enumerate(tokenized):
        projected = (
            outputs.activations["resid_post.2"][place, : len(row.tokens)].detach().numpy() @ concept.vector
        )
        chosen = {"response": projected[row.response], "last": projected[-1:], "all": projected}[tokens]
        expected = chosen.sum() if aggregate == "sum" else chosen.mean()
        assert float(found[place]) == pytest.approx(float(expected), rel=1e-4)


def test_any_callable_can_be_measured(tiny_model, data, queries):
    concept = concept_at(tiny_model)
    v = torch.from_numpy(concept.vector)

    def projection(outputs, batch):
        mask = torch.from_numpy(batch.response).float()
        return ((outputs.activations["resid_post.2"] @ v) * mask).sum(1) / mask.sum(1)

    curvature = fit_curvature(tiny_model, data, CurvatureSettings(kind="identity", precision="float32"))
    expected = influence(tiny_model, data, queries, ConceptMeasurement(concept=concept), curvature=curvature)
    for below in (True, False):
        custom = CustomMeasurement(function=projection, sites=("resid_post.2",), below_sites_only=below)
        found = influence(tiny_model, data, queries, custom, curvature=curvature)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_log_probability_is_classical_influence(tiny_model, data, queries):
    settings = CurvatureSettings(kind="identity", loss="sum", precision="float32")
    curvature = fit_curvature(tiny_model, data, settings)
    measurement = LogProbability(aggregate="sum")
    found = influence(tiny_model, data, queries, measurement, curvature=curvature, average=False)
    layers = find_linear_layers(tiny_model)
    first = dense_loss_gradients(
        tiny_model, tokenize(data, tiny_model.tokenizer, max_length=256), layers, "sum"
    )
    second = dense_loss_gradients(
        tiny_model, tokenize(queries, tiny_model.tokenizer, max_length=256), layers, "sum"
    )
    expected = sum(torch.einsum("qoi,noi->qn", second[name], first[name]) for name in first)
    np.testing.assert_allclose(found, expected.numpy(), rtol=2e-3, atol=1e-3 * float(expected.abs().max()))
    weights = [1.0, -0.5, 2.0]
    weighted = influence(
        tiny_model, data, queries, LogProbability(aggregate="sum", weights=weights), curvature=curvature
    )
    np.testing.assert_allclose(
        weighted, np.array(weights) @ found / 3, rtol=1e-3, atol=1e-4 * np.abs(found).max()
    )
