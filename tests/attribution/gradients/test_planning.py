"""What gradients will take, said before: against what they then take."""

import numpy as np
from attribution.dense import concept_at

from aitia.attribution.gradients import (
    ConceptMeasurement,
    CurvatureSettings,
    Data,
    FactorCache,
    LogProbability,
    ModelShape,
    announce_curvature,
    curvature_layers,
    factor_bytes,
    fit_curvature,
    highest_site,
    plan_curvature,
    rank_cost,
)
from aitia.attribution.gradients.measurements import CustomMeasurement
from aitia.models import in_tokens


def test_a_cache_takes_what_was_said(tiny_model, data, tmp_path):
    settings = CurvatureSettings(use_empirical_fisher=True)
    said = factor_bytes(in_tokens(tiny_model, data), curvature_layers(tiny_model, settings))
    fit_curvature(tiny_model, data, settings, cache=FactorCache(folder=tmp_path))
    took = sum(path.stat().st_size for path in tmp_path.rglob("*.safetensors"))
    # Pads and the files' heads come on top; inputs that layers share are kept once.
    assert 0.5 * said < took < 1.5 * said


def test_the_plan_is_announced_on_standard_error(tiny_model, data, monkeypatch, capsys):
    monkeypatch.setenv("AITIA_PROGRESS", "1")
    settings = CurvatureSettings()
    plan, seconds = announce_curvature(tiny_model, data, settings)
    assert plan == plan_curvature(tiny_model, in_tokens(tiny_model, data), settings)
    said = capsys.readouterr()
    assert said.out == ""
    assert f"Curvature: {plan.text()}; about " in said.err
    assert seconds > 0


def test_no_layer_above_the_highest_site_matters(tiny_model):
    assert highest_site(ConceptMeasurement(concept=concept_at(tiny_model, "resid_post.1"))) == "resid_post.1"
    assert highest_site(LogProbability()) is None
    sites = ("resid_post.2", "resid_post.10", "resid_post.9")

    def made(**options):
        return CustomMeasurement(function=max, sites=sites, **options)

    assert highest_site(made(below_sites_only=True)) == "resid_post.10"
    assert highest_site(made()) is None


def test_ranking_costs_one_product_of_a_row_with_every_direction():
    shape = ModelShape(parameters=10**6, outside=10**5, layers=4, width=64, vocabulary=400)
    step = rank_cost(shape, Data(rows=1000, tokens=50_000, response_tokens=20_000), methods=3, controls=16)
    store, directions = np.ones((1000, 64)), np.ones((64, 19))
    assert step.multiply_adds == store.size * directions.shape[1]
    assert step.memory_bytes == (store @ directions).astype(np.float32).nbytes
    assert not step.spread
