"""Influence of rows under other losses: a row's gradient is that of its whole loss, by autograd on the parameters."""

import numpy as np
import pytest
import torch
from attribution.dense import concept_at, dense_gradient
from attribution.losses_by_hand import CASES, SITE, adapted, loss_of_row

from aitia.attribution import rank, scan
from aitia.attribution.gradients import CurvatureSettings, Damping, fit_curvature
from aitia.attribution.gradients.measurements import ConceptMeasurement, LogProbability
from aitia.attribution.influence.streaming import influence_directions, influencing_layers
from aitia.errors import RecordError
from aitia.models import in_tokens
from aitia.records import records_from_rows, tokenize
from aitia.records.losses import LossSettings


@pytest.fixture(scope="module")
def model(make_model):
    return adapted(make_model)


@pytest.mark.parametrize("method", ["concept-gradient-product", "concept-influence", "influence"])
@pytest.mark.parametrize("case", CASES)
def test_scores_are_those_of_autograd(model, queries, tmp_path, case, method):
    rows, settings = CASES[case]
    loss = LossSettings(**settings)
    store = scan(model, records_from_rows(rows), sites=[SITE], out=tmp_path / "s", loss=loss)
    tokenized = tokenize(records_from_rows(rows), model.tokenizer, max_length=256, loss=loss)
    kind = "identity" if method == "concept-gradient-product" else "ekfac"
    curvature = fit_curvature(
        model, tokenized.answers, CurvatureSettings(kind=kind, parameters="lora", precision="float32")
    )
    concept = concept_at(model)
    ranking = rank(
        store, concept, method=method, compare=(), queries=queries, curvature=curvature, random_controls=1
    )
    measurement = LogProbability() if method == "influence" else ConceptMeasurement(concept=concept)
    layers = influencing_layers(model, measurement, curvature)
    asked = in_tokens(model, queries)
    directions = influence_directions(model, asked, measurement, layers, curvature, Damping())
    expected = []
    model.network.requires_grad_(True)
    for row, given in zip(tokenized, rows, strict=True):
        gradient = dense_gradient(model, layers, loss_of_row(model, row, given, settings))
        expected.append(sum(float((directions[name][0] * part).sum()) for name, part in gradient.items()))
    model.network.requires_grad_(False)
    size = np.abs(expected).max()
    np.testing.assert_allclose(ranking.score, expected, rtol=3e-3, atol=3e-4 * size)
    if settings["loss"] == "dpo":
        np.testing.assert_allclose(
            ranking.sides["chosen"] + ranking.sides["rejected"], ranking.score, rtol=1e-4, atol=1e-5 * size
        )
        assert (np.abs(ranking.sides["chosen"]) > 0).all()
    else:
        assert not ranking.sides
    if ranking.controls:
        assert all(np.isfinite(control.scores).all() for control in ranking.controls)
        assert all(len(control.scores) == len(rows) for control in ranking.controls)


def test_without_a_curvature_one_is_fitted_to_all_answers(model, queries, tmp_path):
    rows, settings = CASES["dpo"]
    loss = LossSettings(**settings)
    store = scan(model, records_from_rows(rows), sites=[SITE], out=tmp_path / "s", loss=loss)
    found = rank(
        store, concept_at(model), method="concept-influence", compare=(), queries=queries, random_controls=0
    )
    answers = tokenize(records_from_rows(rows), model.tokenizer, max_length=256, loss=loss).answers
    assert len(answers) == 2 * len(rows)
    given = rank(
        store,
        concept_at(model),
        method="concept-influence",
        compare=(),
        queries=queries,
        random_controls=0,
        curvature=fit_curvature(model, answers, CurvatureSettings()),
    )
    np.testing.assert_allclose(found.score, given.score, rtol=1e-4)


def test_what_knows_no_losses_takes_no_rows_with_one(model):
    rows, settings = CASES["dpo"]
    tokenized = in_tokens(model, records_from_rows(rows), loss=LossSettings(**settings))
    with pytest.raises(RecordError, match="were cut for the loss dpo, and are taken here with the loss sft"):
        fit_curvature(model, tokenized, CurvatureSettings())
    assert in_tokens(model, tokenized, loss=LossSettings(**settings)) is tokenized


def test_the_coefficients_are_taken_at_the_models_parameters(model):
    from aitia.models.losses import sides_of_rows

    rows, settings = CASES["dpo"]
    loss = LossSettings(**settings)
    tokenized = in_tokens(model, records_from_rows(rows), loss=loss)
    sides = sides_of_rows(model, tokenized)
    assert sides.coefficients.shape == (len(rows), 2)
    np.testing.assert_allclose(sides.coefficients[:, 0], -sides.coefficients[:, 1])
    assert ((sides.coefficients[:, 0] > 0) & (sides.coefficients[:, 0] < settings["beta"])).all()
    with torch.no_grad():
        value = loss_of_row(model, tokenized[0], rows[0], settings)
    h = -torch.log(torch.expm1(value))  # from -log sigma(h)
    np.testing.assert_allclose(
        sides.coefficients[0, 0], settings["beta"] * float(torch.sigmoid(-h)), rtol=1e-4
    )
