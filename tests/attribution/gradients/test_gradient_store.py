"""The gradient store: exact where there is room for all, close where there is not."""

from datetime import date

import numpy as np
import pytest
from attribution.dense import concept_at

import aitia.records.templates.chat as chat_module
from aitia.attribution.gradients.curvature import CurvatureSettings
from aitia.attribution.gradients.curvature_fitting import fit_curvature
from aitia.attribution.gradients.gradient_store import build_gradient_store, choose_ranks, stored_influence
from aitia.attribution.gradients.measurements import ConceptMeasurement
from aitia.attribution.influence.streaming import (
    influence,
)
from aitia.errors import AitiaError, StoreError
from aitia.models.linear_layers import find_linear_layers
from aitia.records import records_from_rows


def test_a_store_with_room_for_all_is_exact_and_a_small_one_close(make_model, rows, queries, tmp_path):
    model, data = make_model("llama"), records_from_rows(rows)
    measurement = ConceptMeasurement(concept=concept_at(model))
    curvature = fit_curvature(model, data, CurvatureSettings(use_empirical_fisher=True))
    exact = influence(model, data, queries, measurement, curvature=curvature)
    full = 2 * sum(layer.inputs * layer.outputs for layer in find_linear_layers(model))
    correlations = []
    for budget in (full, full // 4, full // 40):
        store = build_gradient_store(model, data, curvature, tmp_path / str(budget), bytes_per_row=budget)
        assert store.bytes_per_row <= budget
        found = stored_influence(store, model, queries, measurement, curvature)
        correlations.append(np.corrcoef(found, exact)[0, 1])
    assert correlations[0] > 0.9999
    assert correlations[1] > 0.95
    assert correlations[0] > correlations[1] > correlations[2] > 0.3


def test_shards_of_a_store_do_not_matter(tiny_model, data, queries, tmp_path):
    curvature = fit_curvature(
        tiny_model, data, CurvatureSettings(use_empirical_fisher=True, precision="float32")
    )
    measurement = ConceptMeasurement(concept=concept_at(tiny_model))
    scores = []
    for tokens in (1, 200, 4000):
        store = build_gradient_store(
            tiny_model, data, curvature, tmp_path / str(tokens), bytes_per_row=4000, max_batch_tokens=tokens
        )
        scores.append(stored_influence(store, tiny_model, queries, measurement, curvature))
    assert len(list((tmp_path / "1").rglob("*.safetensors"))) == len(data)
    for other in scores[1:]:
        np.testing.assert_allclose(other, scores[0], rtol=5e-3, atol=1e-3 * np.abs(scores[0]).max())


def test_a_stopped_store_goes_on_and_other_parts_are_refused(
    tiny_model, data, queries, tmp_path, monkeypatch
):
    import aitia.attribution.gradients.gradient_store as module

    curvature = fit_curvature(tiny_model, data, CurvatureSettings(use_empirical_fisher=True))
    options = {"bytes_per_row": 4000, "max_batch_tokens": 200}
    straight = build_gradient_store(tiny_model, data, curvature, tmp_path / "a", **options)
    real, calls = module.passes_over_rows, []

    def stops(*arguments, **settings):
        for item in real(*arguments, **settings):
            calls.append(1)
            if len(calls) == 3:
                raise KeyboardInterrupt
            yield item

    monkeypatch.setattr(module, "passes_over_rows", stops)
    with pytest.raises(KeyboardInterrupt):
        build_gradient_store(tiny_model, data, curvature, tmp_path / "b", **options)
    half = module.open_gradient_store(tmp_path / "b")
    measurement = ConceptMeasurement(concept=concept_at(tiny_model))
    with pytest.raises(StoreError, match="missing; build the gradient store again"):
        stored_influence(half, tiny_model, queries, measurement, curvature)
    monkeypatch.undo()
    resumed = build_gradient_store(tiny_model, data, curvature, tmp_path / "b", **options)
    for path in sorted((tmp_path / "a").rglob("*.safetensors")):
        assert path.read_bytes() == (resumed.path / path.relative_to(straight.path)).read_bytes()
    with pytest.raises(StoreError, match="of other parts"):
        build_gradient_store(tiny_model, data, curvature, tmp_path / "b", bytes_per_row=8000)


def test_corners_keep_the_budget(tiny_model, data):
    curvature = fit_curvature(tiny_model, data, CurvatureSettings(use_empirical_fisher=True))
    for budget in (10, 1000, 50_000):
        truncated_eigenbases = choose_ranks(curvature, budget)
        assert 2 * sum(left * right for left, right in truncated_eigenbases.values()) <= budget
    with pytest.raises(AitiaError, match="hold nothing"):
        choose_ranks(curvature, 1)
    with pytest.raises(AitiaError, match="needs an eigenbasis, which curvature"):
        choose_ranks(fit_curvature(tiny_model, data, CurvatureSettings(kind="diagonal")), 1000)


def test_a_build_killed_while_it_wrote_the_manifest_leaves_nothing_behind(tiny_model, data, tmp_path):
    left = tmp_path / "store" / ".manifest.json.abc.part"
    left.mkdir(parents=True)
    curvature = fit_curvature(tiny_model, data, CurvatureSettings(use_empirical_fisher=True))
    build_gradient_store(tiny_model, data, curvature, out=tmp_path / "store")
    assert not left.exists()


def test_two_days_are_not_mixed_in_a_store(dated_model, talks, tmp_path, monkeypatch):
    data = records_from_rows(talks)
    curvature = fit_curvature(dated_model, data, CurvatureSettings(use_empirical_fisher=True))
    options = {"bytes_per_row": 4000, "max_batch_tokens": 200}
    build_gradient_store(dated_model, data, curvature, tmp_path / "s", **options)
    build_gradient_store(dated_model, data, curvature, tmp_path / "s", **options)
    monkeypatch.setattr(chat_module, "day_of_this_run", lambda: date(2033, 5, 8))
    with pytest.raises(StoreError, match="a gradient store of other parts"):
        build_gradient_store(dated_model, data, curvature, tmp_path / "s", **options)
