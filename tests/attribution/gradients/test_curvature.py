"""Curvature: sums that go on, labels, damping, files."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from attribution.dense import dense_gradient
from torch.nn import functional

from aitia.attribution.gradients.curvature import CurvatureSettings, Damping, LayerCurvature, load_curvature
from aitia.attribution.gradients.curvature_fitting import fit_curvature
from aitia.attribution.gradients.layer_algebra import row_gradients
from aitia.attribution.gradients.planning import estimate_seconds, in_words
from aitia.attribution.gradients.training_gradients import training_factors
from aitia.errors import AitiaError, StoreError
from aitia.models.linear_layers import find_linear_layers
from aitia.records import pad_batch, records_from_rows, tokenize


def test_a_fit_that_was_stopped_goes_on_with_the_same_bits(tiny_model, data, tmp_path, monkeypatch):
    import aitia.attribution.gradients.curvature_fitting as module

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
    assert resumed.settings == settings.for_model(tiny_model)  # which says what `auto` stood for
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
    curvature = fit_curvature(tiny_model, data, CurvatureSettings(kind="ekfac", use_empirical_fisher=True))
    layer = next(iter(curvature.layers.values()))
    mean = float(layer.eigenvalues.mean())
    torch.testing.assert_close(
        layer.damped_inverse(Damping(value=0.2)), 1 / (layer.eigenvalues + 0.2 * mean), rtol=1e-5, atol=0
    )
    torch.testing.assert_close(
        layer.damped_inverse(Damping(value=3.0, unit="absolute")),
        1 / (layer.eigenvalues + 3.0),
        rtol=1e-5,
        atol=0,
    )
    with pytest.raises(AitiaError, match="singular and the damping zero"):
        LayerCurvature(eigenvalues=torch.tensor([[1.0, 0.0]])).damped_inverse(Damping(value=0.0))
    for value in (-1.0, float("nan")):
        with pytest.raises(AitiaError, match="damping value .*: must be"):
            Damping(value=value)


def test_a_damping_per_token_is_that_of_curvature_times_the_mean_number_of_tokens(tiny_model, data):
    """curvlinops adds a damping to T E[g g^T], with T the mean number of tokens that the rows' losses are over."""
    curvature = fit_curvature(tiny_model, data, CurvatureSettings(kind="ekfac"))
    rows = tokenize(data, tiny_model.tokenizer, max_length=tiny_model.context_length)
    tokens = np.mean([np.flatnonzero(row.response).size - int(row.response[0]) for row in rows])
    assert len({int(row.response.sum()) for row in rows}) > 1
    assert curvature.provenance["mean_response_tokens"] == pytest.approx(tokens)
    per_token = Damping(value=1e-3, unit="per-token")
    for layer in curvature.layers.values():
        gradient = torch.randn(3, *layer.eigenvalues.shape, generator=torch.Generator().manual_seed(0))
        published = LayerCurvature(left=layer.left, right=layer.right, eigenvalues=tokens * layer.eigenvalues)
        expected = published.precondition(gradient, Damping(value=1e-3, unit="absolute"))
        found = layer.precondition(gradient, curvature.in_its_units(per_token))
        torch.testing.assert_close(found, tokens * expected, rtol=0, atol=1e-4 * float(found.abs().max()))
    with pytest.raises(AitiaError, match="in_its_units"):
        layer.damped_inverse(per_token)


def test_a_damping_per_token_needs_the_mean_loss_and_the_number_of_tokens(tiny_model, data):
    per_token = Damping(value=1e-3, unit="per-token")
    summed = fit_curvature(tiny_model, data, CurvatureSettings(kind="diagonal", loss="sum"))
    with pytest.raises(AitiaError, match="a curvature of the loss `mean`"):
        summed.in_its_units(per_token)
    mean = fit_curvature(tiny_model, data, CurvatureSettings(kind="diagonal"))
    earlier = {name: value for name, value in mean.provenance.items() if name != "mean_response_tokens"}
    with pytest.raises(StoreError, match="fit it again"):
        replace(mean, provenance=earlier).in_its_units(per_token)
    none = fit_curvature(tiny_model, data, CurvatureSettings(kind="identity"))
    assert none.in_its_units(per_token).unit == "absolute"
    kept = Damping(value=0.3)
    assert mean.in_its_units(kept) is kept


def test_the_rows_of_a_fit_are_drawn_or_the_first(tiny_model, data):
    few = data.only(data.ids[:5])
    first = fit_curvature(tiny_model, data, CurvatureSettings(kind="diagonal", rows=5, row_choice="first"))
    drawn = fit_curvature(tiny_model, data, CurvatureSettings(kind="diagonal", rows=5))
    alone = fit_curvature(tiny_model, few, CurvatureSettings(kind="diagonal", rows=0))
    in_tokens = tokenize(data, tiny_model.tokenizer, max_length=tiny_model.context_length)
    settings = CurvatureSettings(kind="diagonal", rows=5, row_choice="first")
    given_tokens = fit_curvature(tiny_model, in_tokens, settings)
    for name, layer in alone.layers.items():
        assert torch.equal(first.layers[name].eigenvalues, layer.eigenvalues)
        assert torch.equal(given_tokens.layers[name].eigenvalues, layer.eigenvalues)
        assert not torch.equal(drawn.layers[name].eigenvalues, layer.eigenvalues)


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
    curvature = fit_curvature(tiny_model, data, CurvatureSettings(kind="kfac", use_empirical_fisher=True))
    flat = first.flatten(0, 1).double()
    expected = (flat.T @ flat / sum(len(row.tokens) for row in tokenized)).numpy()
    for name in ("0.self_attn.q_proj", "0.self_attn.v_proj"):
        basis = curvature.layers[name].right.double().numpy()
        turned = basis.T @ expected @ basis
        off = turned - np.diag(np.diag(turned))
        assert np.abs(off).max() < 1e-4 * turned.max()
        assert (np.diff(np.diag(turned)) < 1e-5 * turned.max()).all()


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
