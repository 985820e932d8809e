"""Influence against dense algebra: per-row gradients by autograd, Fisher matrices written out, solves."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from aitia.attribution.curvature import CurvatureSettings, Damping, LayerCurvature, load_curvature
from aitia.attribution.curvature_fitting import curvature_layers, fit_curvature
from aitia.attribution.gradient_store import build_gradient_store, choose_corners, stored_influence
from aitia.attribution.gradients import FactorCache, query_gradients, training_factors
from aitia.attribution.influence import (
    influence,
    influence_by_token,
    influence_directions,
    influencing_layers,
)
from aitia.attribution.layer_algebra import row_gradients
from aitia.attribution.measurements import ConceptMeasurement, CustomMeasurement, LogProbability
from aitia.attribution.planning import estimate_seconds, in_words, plan_curvature
from aitia.concepts import Concept
from aitia.errors import AitiaError, ModelError, NumericalError, StoreError
from aitia.models import LanguageModel
from aitia.models.linear_layers import find_linear_layers
from aitia.records import pad_batch, records_from_rows, tokenize


def concept_at(model, site="resid_post.2"):
    return Concept(
        name="made up",
        site=site,
        direction=np.random.default_rng(3).standard_normal(model.width),
        model_name=model.name,
        model_fingerprint=model.fingerprint,
        base_fingerprint=model.base_fingerprint,
        recipe={},
    )


@pytest.fixture
def data(rows):
    return records_from_rows(rows[:10])


@pytest.fixture
def queries(rows):
    return records_from_rows([dict(row, id=f"q{i}") for i, row in enumerate(rows[12:15])])


def dense_gradient(model, layers, value):
    """d value / d weight (and bias) of each layer by autograd on the parameters themselves: name -> [out, in]."""
    parts = [
        part for layer in layers for part in (layer.module.weight, layer.module.bias) if part is not None
    ]
    gradients = torch.autograd.grad(value, parts, retain_graph=True, allow_unused=True)
    filled = iter([torch.zeros_like(p) if g is None else g for p, g in zip(parts, gradients, strict=True)])
    found = {}
    for layer in layers:
        weight = next(filled)
        columns = [weight.T if type(layer.module).__name__ == "Conv1D" else weight]
        if layer.bias:
            columns.append(next(filled)[:, None])
        found[layer.name] = torch.cat(columns, dim=1)
    return found


def dense_loss_gradients(model, tokenized, layers, loss="mean"):
    """Per-row gradients, one backward pass a row, from transformers' own loss: name -> [n, out, in]."""
    rows = []
    model.network.requires_grad_(True)
    for row in tokenized:
        tokens = torch.from_numpy(row.tokens.astype(np.int64))[None]
        labels = torch.where(torch.from_numpy(row.response)[None], tokens, -100)
        value = model.network(input_ids=tokens, labels=labels).loss
        if loss == "sum":
            value = value * int((labels[:, 1:] != -100).sum())
        rows.append(dense_gradient(model, layers, value))
    model.network.requires_grad_(False)
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def dense_concept_gradient(model, tokenized, layers, concept):
    """Gradient of the mean projection over the queries, by autograd on the parameters: name -> [out, in]."""
    model.network.requires_grad_(True)
    block = int(concept.site.split(".")[1])
    total = 0
    for row in tokenized:
        tokens = torch.from_numpy(row.tokens.astype(np.int64))[None]
        hidden = model.network(input_ids=tokens, output_hidden_states=True).hidden_states[block + 1][0]
        total = total + (hidden[torch.from_numpy(row.response)].mean(0) @ torch.from_numpy(concept.vector))
    found = dense_gradient(model, layers, total / len(tokenized))
    model.network.requires_grad_(False)
    return found


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


def dense_scores(kind, gradients, query, damping, inputs_outputs=None):
    """-q^T (H + damping)^-1 g with H written out from the per-row gradients (and factors, for its basis)."""
    total = 0
    for name, rows in gradients.items():
        n = len(rows)
        if kind == "identity":
            inverse = torch.ones_like(rows[0])
            left, right = torch.eye(rows.shape[1]), torch.eye(rows.shape[2])
        else:
            if kind == "diagonal":
                left, right = torch.eye(rows.shape[1]), torch.eye(rows.shape[2])
            else:
                inputs, outputs, tokens = inputs_outputs[name]
                a_values, right = torch.linalg.eigh(inputs.T @ inputs / tokens)
                g_values, left = torch.linalg.eigh(outputs.T @ outputs / n)
            rotated = left.T @ rows @ right
            values = torch.outer(g_values, a_values) if kind == "kfac" else rotated.square().mean(0)
            inverse = 1 / (values + damping * values.mean())
        whitened = (left.T @ query[name] @ right) * inverse
        total = total - ((left.T @ rows @ right) * whitened).sum(dim=(1, 2))
    return total.numpy()


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("kind", ["identity", "diagonal", "kfac", "ekfac"])
def test_scores_equal_dense_algebra(make_model, data, queries, kind, family):
    model = make_model(family)
    concept = concept_at(model)
    settings = CurvatureSettings(
        kind=kind, labels="empirical", site="resid_post.2", max_batch_tokens=300, precision="float32"
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
    whole = fit_curvature(tiny_model, data, CurvatureSettings(kind="ekfac", labels="empirical"))
    layers = influencing_layers(tiny_model, measurement, whole)
    assert {layer.block for layer in layers} == {0, 1}
    everything = find_linear_layers(tiny_model)
    gradients = query_gradients(
        tiny_model, tokenize(queries, tiny_model.tokenizer, max_length=256), measurement, everything
    )
    for layer in everything:
        assert bool(gradients[layer.name].any()) == (layer.block <= 1)
    below = fit_curvature(
        tiny_model, data, CurvatureSettings(kind="ekfac", labels="empirical", site="resid_post.1")
    )
    np.testing.assert_allclose(
        influence(tiny_model, data, queries, measurement, curvature=whole),
        influence(tiny_model, data, queries, measurement, curvature=below),
        rtol=1e-4,
    )


def test_one_linear_write_is_kernel_times_backward_signal(tiny_model, data, queries):
    """The identity of the backward signal: for y = W u at the site, -sum_s <mean u, u_s> <v, dL/da_s>."""
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
        signal = gradients["resid_post.2"][0] / len(outputs.targets)
        expected.append(-((inputs @ mean) * (signal @ v)).sum().item())
        part = training_factors(tiny_model, batch, down, [""])["2.mlp.down_proj"]
        found.append(-(row_gradients(part.inputs, part.outputs)[0] * query).sum().item())
        kept.clear()
    handle.remove()
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_batches_order_and_company_do_not_matter(tiny_model, rows, queries):
    concept = ConceptMeasurement(concept=concept_at(tiny_model))
    settings = CurvatureSettings(labels="empirical", max_batch_tokens=2048, precision="float32")
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


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_factor_cache_changes_nothing_that_matters(
    tiny_model, data, queries, tmp_path, monkeypatch, precision
):
    settings = CurvatureSettings(labels="empirical", precision=precision)
    concept = ConceptMeasurement(concept=concept_at(tiny_model))
    plain = influence(tiny_model, data, queries, concept, curvature=fit_curvature(tiny_model, data, settings))
    cache = FactorCache(folder=tmp_path / "cache")
    curvature = fit_curvature(tiny_model, data, settings, cache=cache)
    ran = []
    import aitia.attribution.gradients as gradients_module

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
        CurvatureSettings(labels="empirical"),
    ):
        curvature = fit_curvature(tiny_model, data, settings)
        plain = influence(tiny_model, data, queries, concept, curvature=curvature)
        fit_curvature(tiny_model, data, settings, cache=cache)
        cached = influence(tiny_model, data, queries, concept, curvature=curvature, cache=cache)
        np.testing.assert_allclose(cached, plain, rtol=2e-2, atol=3e-3 * np.abs(plain).max())
        others = influence(tiny_model, queries, queries, concept, curvature=curvature, cache=cache)
        assert others.shape == (len(queries),)


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


def test_token_parts_sum_to_the_score(tiny_model, data, queries):
    measurement = ConceptMeasurement(concept=concept_at(tiny_model))
    curvature = fit_curvature(tiny_model, data, CurvatureSettings(labels="empirical", precision="float32"))
    scores = influence(tiny_model, data, queries, measurement, curvature=curvature)
    layers = influencing_layers(tiny_model, measurement, curvature)
    asked = tokenize(queries, tiny_model.tokenizer, max_length=256)
    directions = influence_directions(tiny_model, asked, measurement, layers, curvature, Damping())
    row = tokenize(data, tiny_model.tokenizer, max_length=256)[4]
    parts = influence_by_token(tiny_model, row, directions, layers, loss="mean")
    assert parts.shape == row.tokens.shape
    assert float(parts.sum()) == pytest.approx(float(scores[4]), rel=1e-3)


def test_a_store_with_room_for_all_is_exact_and_a_small_one_close(make_model, rows, queries, tmp_path):
    model, data = make_model("llama"), records_from_rows(rows)
    measurement = ConceptMeasurement(concept=concept_at(model))
    curvature = fit_curvature(model, data, CurvatureSettings(labels="empirical"))
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
    curvature = fit_curvature(tiny_model, data, CurvatureSettings(labels="empirical", precision="float32"))
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
    import aitia.attribution.gradient_store as module

    curvature = fit_curvature(tiny_model, data, CurvatureSettings(labels="empirical"))
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
    curvature = fit_curvature(tiny_model, data, CurvatureSettings(labels="empirical"))
    for budget in (10, 1000, 50_000):
        corners = choose_corners(curvature, budget)
        assert 2 * sum(left * right for left, right in corners.values()) <= budget
    with pytest.raises(AitiaError, match="hold nothing"):
        choose_corners(curvature, 1)
    with pytest.raises(AitiaError, match="needs the eigenbasis"):
        choose_corners(fit_curvature(tiny_model, data, CurvatureSettings(kind="diagonal")), 1000)


def test_a_fit_that_was_stopped_goes_on_with_the_same_bits(tiny_model, data, tmp_path, monkeypatch):
    import aitia.attribution.curvature_fitting as module

    settings = CurvatureSettings(max_batch_tokens=200)
    straight = fit_curvature(tiny_model, data, settings, out=tmp_path / "a.safetensors")
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
            fit_curvature(tiny_model, data, settings, out=tmp_path / "b.safetensors")
    with pytest.raises(StoreError, match="sums of another fit"):
        fit_curvature(tiny_model, data, CurvatureSettings(seed=1), out=tmp_path / "b.safetensors")
    fit_curvature(tiny_model, data, settings, out=tmp_path / "b.safetensors")
    resumed = load_curvature(tmp_path / "b.safetensors", tiny_model)
    for name, layer in straight.layers.items():
        for part in ("left", "right", "eigenvalues"):
            assert torch.equal(getattr(resumed.layers[name], part), getattr(layer, part))
    left = [path.name for path in sorted(tmp_path.iterdir()) if not path.name.endswith(".lock")]
    assert left == ["a.safetensors", "b.safetensors"]
    assert resumed.settings == settings
    monkeypatch.setattr(module, "passes_over_rows", None)
    again = fit_curvature(tiny_model, data, settings, out=tmp_path / "b.safetensors")
    assert again.provenance == straight.provenance
    with pytest.raises(StoreError, match="of other data or settings"):
        fit_curvature(tiny_model, data, CurvatureSettings(kind="kfac"), out=tmp_path / "b.safetensors")


def test_bad_curvature_files_are_refused(tiny_model, make_model, data, tmp_path):
    file = tmp_path / "a.safetensors"
    fit_curvature(tiny_model, data, CurvatureSettings(kind="diagonal"), out=file)
    with pytest.raises(StoreError, match="fitted on another model"):
        load_curvature(file, make_model("llama", seed=1))
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(StoreError, match="damaged curvature"):
        load_curvature(file)
    with pytest.raises(StoreError, match="no such curvature"):
        load_curvature(tmp_path / "none")


def test_sampled_labels_estimate_the_true_fisher(make_model):
    """Many draws approach the Gauss-Newton diagonal, computed exactly from the softmax."""
    model = make_model("gpt2", layers=1, width=16)
    data = records_from_rows([{"prompt": "A cat sat on the mat.", "completion": "."}])
    layer = [layer for layer in find_linear_layers(model) if layer.name == "0.mlp.c_proj"]
    tokenized = tokenize(data, model.tokenizer, max_length=256)
    draws = torch.zeros(16, 65)
    count = 400
    for seed in range(count):
        batch = pad_batch(tokenized, np.array([0]), 0)
        part = training_factors(model, batch, layer, [""], loss="sum", sample_seed=seed)["0.mlp.c_proj"]
        draws += row_gradients(part.inputs, part.outputs)[0].square()
    model.network.requires_grad_(True)
    tokens = torch.from_numpy(tokenized[0].tokens.astype(np.int64))[None]
    logits = model.network(tokens).logits[0, :-1][torch.from_numpy(tokenized[0].response[1:])]
    exact = torch.zeros(16, 65)
    for position in range(len(logits)):
        log_probabilities = functional.log_softmax(logits[position], -1)
        for token in range(len(log_probabilities)):
            gradient = dense_gradient(model, layer, log_probabilities[token])["0.mlp.c_proj"]
            exact += log_probabilities[token].exp().item() * gradient.square()
    ratio = float(draws.sum() / count / exact.sum())
    assert ratio == pytest.approx(1.0, abs=0.25)


def test_damping_rules(tiny_model, data):
    curvature = fit_curvature(tiny_model, data, CurvatureSettings(kind="ekfac", labels="empirical"))
    layer = next(iter(curvature.layers.values()))
    mean = float(layer.eigenvalues.mean())
    torch.testing.assert_close(
        layer.damped_inverse(Damping(value=0.2)), 1 / (layer.eigenvalues + 0.2 * mean), rtol=1e-5, atol=0
    )
    torch.testing.assert_close(
        layer.damped_inverse(Damping(value=3.0, relative=False)),
        1 / (layer.eigenvalues + 3.0),
        rtol=1e-5,
        atol=0,
    )
    with pytest.raises(AitiaError, match="singular and the damping zero"):
        LayerCurvature(eigenvalues=torch.tensor([[1.0, 0.0]])).damped_inverse(Damping(value=0.0))
    for value in (-1.0, float("nan")):
        with pytest.raises(AitiaError, match="not negative"):
            Damping(value=value)


def test_what_cannot_be_computed_is_refused(tiny_model, make_model, data, queries):
    low = ConceptMeasurement(concept=concept_at(tiny_model, "resid_post.0"))
    every_third = fit_curvature(
        tiny_model, data, CurvatureSettings(kind="identity", stride=3, site="resid_post.2")
    )
    with pytest.raises(AitiaError, match="below every layer"):
        influence(tiny_model, data, queries, low, curvature=every_third)
    with pytest.raises(ModelError, match="no LoRA adapter; use full"):
        fit_curvature(tiny_model, data, CurvatureSettings(kind="identity", parameters="lora"))
    with pytest.raises(AitiaError, match="kind 'magic'"):
        CurvatureSettings(kind="magic")
    tied = make_model("llama")
    tied.blocks[1].mlp.up_proj.weight = tied.blocks[0].mlp.up_proj.weight
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
        fit_curvature(broken, data, CurvatureSettings(labels="empirical"))


def test_layers_of_other_kinds_are_left_out_and_said_to_be(make_model, data, queries):
    model, settings = make_model("llama"), CurvatureSettings(kind="identity")
    measurement = ConceptMeasurement(concept=concept_at(model))
    plain = influence(model, data, queries, measurement, curvature=fit_curvature(model, data, settings))
    assert plan_curvature(model, data, settings).weights_left_out == 0
    model.blocks[1].experts = torch.nn.ParameterList([torch.nn.Parameter(torch.zeros(2, 3, 5))])
    plan = plan_curvature(model, data, settings)
    assert plan.weights_left_out == 30
    assert "(30 of unsupported layers left out)" in plan.text()
    found = influence(model, data, queries, measurement, curvature=fit_curvature(model, data, settings))
    np.testing.assert_array_equal(found, plain)
    nothing = make_model("llama", layers=1)
    nothing.network.model.layers[0] = torch.nn.Identity()
    with pytest.raises(ModelError, match="no linear layers to take gradients of"):
        find_linear_layers(LanguageModel(network=nothing.network, tokenizer=nothing.tokenizer, name="none"))


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
        curvature = fit_curvature(model, data, CurvatureSettings(parameters="lora", labels="empirical"))
        measurement = ConceptMeasurement(concept=concept_at(model))
        return influence(model, data, queries, measurement, curvature=curvature)

    assert np.corrcoef(scores(torch.float32), scores(torch.bfloat16))[0, 1] > 0.95


def test_layers_that_are_given_one_tensor_share_its_covariance(tiny_model, data):
    """q, k and v: one tensor of factors, and the covariances of each are those of the whole."""
    layers = find_linear_layers(tiny_model)
    tokenized = tokenize(data, tiny_model.tokenizer, max_length=256)
    factors = training_factors(
        tiny_model, pad_batch(tokenized, np.arange(10), 0), layers, [""] * 10, dtype=torch.float32
    )
    first = factors["0.self_attn.q_proj"].inputs
    assert factors["0.self_attn.k_proj"].inputs is first
    assert factors["0.self_attn.v_proj"].inputs is first
    assert factors["0.mlp.gate_proj"].inputs is factors["0.mlp.up_proj"].inputs
    assert factors["0.self_attn.o_proj"].inputs is not first
    curvature = fit_curvature(tiny_model, data, CurvatureSettings(kind="kfac", labels="empirical"))
    flat = first.flatten(0, 1).double()
    expected = (flat.T @ flat / sum(len(row.tokens) for row in tokenized)).numpy()
    for name in ("0.self_attn.q_proj", "0.self_attn.v_proj"):
        basis = curvature.layers[name].right.double().numpy()
        turned = basis.T @ expected @ basis
        off = turned - np.diag(np.diag(turned))
        assert np.abs(off).max() < 1e-4 * turned.max()
        assert (np.diff(np.diag(turned)) < 1e-5 * turned.max()).all()


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
    settings = CurvatureSettings(labels="empirical", rows=0, precision="float32")
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
        settings = CurvatureSettings(labels="empirical", rows=0, precision=precision)
        curvature = fit_curvature(tiny_model, data, settings)
        measurement = ConceptMeasurement(concept=concept_at(tiny_model))
        scores[precision] = influence(tiny_model, data, queries, measurement, curvature=curvature)
        assert curvature.provenance["products"] in ("float32", "bfloat16")
        assert precision in ("auto", curvature.provenance["products"])
    assert np.corrcoef(scores["float32"], scores["bfloat16"])[0, 1] > 0.999
    np.testing.assert_array_equal(scores["auto"], scores[curvature.provenance["products"]])
    with pytest.raises(AitiaError, match="precision 'float8'"):
        CurvatureSettings(precision="float8")


def test_time_estimate_grows_with_the_rows(tiny_model, rows):
    data = records_from_rows(rows)
    many = records_from_rows([dict(row, id=f"{copy}-{row['id']}") for copy in range(20) for row in rows])
    settings = CurvatureSettings(kind="diagonal", rows=0)
    few, more = (
        np.median([estimate_seconds(tiny_model, part, settings) for _ in range(3)]) for part in (data, many)
    )
    assert 5 < more / few < 80  # twenty times the work, measured on a machine that does other things too
    assert estimate_seconds(tiny_model, data, CurvatureSettings(kind="identity")) == 0
    assert [in_words(seconds) for seconds in (0.2, 40, 600, 9000)] == [
        "1 second",
        "40 seconds",
        "10 minutes",
        "2.5 hours",
    ]
