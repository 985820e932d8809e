"""Sparse autoencoders: encoding by hand and by autograd, the files of other libraries, and what is refused."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from aitia.concepts import concept_from_feature, feature_matrix, load_sae, save_sae
from aitia.concepts.features import token_features
from aitia.concepts.sae import SparseAutoencoder, require_sae_fits
from aitia.errors import ConceptError, SiteError
from aitia.models import trace
from aitia.records import pad_batch, records_from_rows, tokenize

D, M = 6, 10


def weights(seed=0, d=D, m=M):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    return {"encoder": draw(d, m), "decoder": draw(m, d), "encoder_bias": draw(m), "decoder_bias": draw(d)}


def make(**options):
    return SparseAutoencoder(**weights(), **{"site": "resid_post.1"} | options)


def by_hand(sae, a):
    """One activation's features, a number at a time."""
    a = np.asarray(a, dtype=np.float64)
    shift, scale = 0.0, 1.0
    if sae.normalisation == "layer_norm":
        shift, scale = a.mean(), np.sqrt(((a - a.mean()) ** 2).sum() / (len(a) - 1)) + 1e-5
    if sae.normalisation == "constant_norm_rescale":
        scale = np.linalg.norm(a) / np.sqrt(len(a))
    a = (a - shift) / scale
    if sae.subtract_decoder_bias:
        a = a - sae.decoder_bias.numpy()
    before = [float(a @ sae.encoder[:, j].numpy() + float(sae.encoder_bias[j])) for j in range(sae.features)]
    if sae.scale_by_decoder:
        before = [x * float(np.linalg.norm(sae.decoder[j].numpy())) for j, x in enumerate(before)]
    kept = (
        sorted(range(sae.features), key=lambda j: -before[j])[: sae.k] if sae.activation == "topk" else None
    )
    found = []
    for j, x in enumerate(before):
        fires = x > 0 and (kept is None or j in kept)
        if sae.activation == "jumprelu":
            fires = x > max(0.0, float(sae.threshold[j]))
        found.append(x if fires else 0.0)
    return np.array(found)


@pytest.mark.parametrize("normalisation", ["none", "layer_norm", "constant_norm_rescale"])
@pytest.mark.parametrize("subtract", [True, False])
@pytest.mark.parametrize(
    "kind",
    [
        {"activation": "relu"},
        {"activation": "jumprelu", "threshold": torch.linspace(-1, 2, M)},
        {"activation": "topk", "k": 3},
        {"activation": "topk", "k": 3, "scale_by_decoder": True},
    ],
)
def test_encoding_is_the_formula(kind, subtract, normalisation):
    sae = make(**kind, subtract_decoder_bias=subtract, normalisation=normalisation)
    activations = 3 * torch.randn(2, 4, D, generator=torch.Generator().manual_seed(9)) + 1
    found = sae.encode(activations)
    for i in range(2):
        for j in range(4):
            np.testing.assert_allclose(found[i, j].numpy(), by_hand(sae, activations[i, j]), atol=2e-5)


def test_reconstruction_of_a_perfect_dictionary_gives_the_activations_back():
    axes = torch.cat([torch.eye(D), -torch.eye(D)], dim=1)
    zero = torch.zeros
    for normalisation in ("none", "layer_norm", "constant_norm_rescale"):
        sae = SparseAutoencoder(
            encoder=axes,
            decoder=axes.T.contiguous(),
            encoder_bias=zero(2 * D),
            decoder_bias=zero(D),
            site="resid_post.0",
            normalisation=normalisation,
        )
        activations = torch.randn(5, D)
        torch.testing.assert_close(sae.reconstruct(activations), activations, atol=1e-4, rtol=1e-4)


def test_reconstruction_scales_back_what_encoding_scaled():
    plain, scaled = make(activation="topk", k=M), make(activation="topk", k=M, scale_by_decoder=True)
    activations = torch.randn(5, D)
    torch.testing.assert_close(plain.reconstruct(activations), scaled.reconstruct(activations))


def layout(options, folder, tensors, name="sae_weights.safetensors"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cfg.json").write_text(json.dumps(options))
    save_file({key: value.contiguous() for key, value in tensors.items()}, folder / name)
    return folder


def lens(extra=None):
    w = weights()
    return {
        "W_enc": w["encoder"],
        "W_dec": w["decoder"],
        "b_enc": w["encoder_bias"],
        "b_dec": w["decoder_bias"],
    } | (extra or {})


OLD = {"hook_name": "blocks.2.hook_resid_pre", "d_in": D, "d_sae": M, "apply_b_dec_to_input": False}
NEW = {"architecture": "standard", "metadata": {"hook_name": "blocks.1.hook_resid_post"}, "d_in": D}
THRESHOLD = {"threshold": torch.linspace(-1, 2, M)}
SAME = {"subtract_decoder_bias": False}


@pytest.mark.parametrize(
    ("options", "extra", "expected"),
    [
        (OLD, {}, SAME),
        (
            OLD | {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 3}},
            {},
            SAME | {"activation": "topk", "k": 3},
        ),
        (OLD | {"architecture": "jumprelu"}, THRESHOLD, SAME | {"activation": "jumprelu", **THRESHOLD}),
        (NEW, {}, {}),
        (NEW | {"normalize_activations": "layer_norm"}, {}, {"normalisation": "layer_norm"}),
        (
            NEW | {"architecture": "topk", "k": 4, "rescale_acts_by_decoder_norm": True},
            {},
            {"activation": "topk", "k": 4, "scale_by_decoder": True},
        ),
        (NEW | {"architecture": "jumprelu"}, THRESHOLD, {"activation": "jumprelu", **THRESHOLD}),
    ],
)
def test_old_and_new_layouts_of_sae_lens_are_read(tmp_path, options, extra, expected):
    loaded = load_sae(layout(options, tmp_path / "sae", lens(extra)))
    assert loaded.site == "resid_post.1"
    assert loaded.fingerprint == make(**expected).fingerprint


def test_half_precision_is_read_as_single(tmp_path):
    halves = {name: tensor.bfloat16() for name, tensor in lens().items()}
    loaded = load_sae(layout(NEW, tmp_path / "sae", halves))
    assert loaded.encoder.dtype == torch.float32
    torch.testing.assert_close(loaded.encoder, weights()["encoder"].bfloat16().float())


def test_sparsify_encodes_as_the_library_does(tmp_path):
    sparsify = pytest.importorskip("sparsify", reason="the extra `sae` is not installed")
    coder = sparsify.SparseCoder(D, sparsify.SparseCoderConfig(num_latents=M, k=3))
    torch.nn.init.normal_(coder.encoder.bias)
    torch.nn.init.normal_(coder.b_dec)
    coder.save_to_disk(tmp_path / "layers.5")
    loaded = load_sae(tmp_path / "layers.5")
    assert (loaded.site, loaded.k) == ("resid_post.5", 3)
    activations = torch.randn(7, D)
    values, places, _ = coder.encode(activations)
    theirs = torch.zeros(7, M).scatter_(1, places, values)
    torch.testing.assert_close(loaded.encode(activations), theirs.detach())
    torch.testing.assert_close(loaded.reconstruct(activations), coder(activations).sae_out.detach())


def test_a_plain_file_needs_a_site(tmp_path):
    save_file(lens(), tmp_path / "plain.safetensors")
    with pytest.raises(ConceptError, match="does not say where it lives"):
        load_sae(tmp_path / "plain.safetensors")
    loaded = load_sae(tmp_path / "plain.safetensors", site="resid_post.1", k=2)
    assert loaded.fingerprint == make(activation="topk", k=2).fingerprint


@pytest.mark.parametrize(
    "options",
    [{}, {"activation": "topk", "k": 2, "scale_by_decoder": True}, {"activation": "jumprelu", **THRESHOLD}],
)
def test_saved_is_read_again_to_the_bit(tmp_path, options):
    sae = make(**options, base_fingerprint="abc", training={"tokens": 5}, site="resid_post.7")
    loaded = load_sae(save_sae(sae, tmp_path / "sae"))
    assert loaded.fingerprint == sae.fingerprint
    assert (loaded.base_fingerprint, loaded.training, loaded.site) == ("abc", {"tokens": 5}, "resid_post.7")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (NEW | {"architecture": "gated"}, "architecture 'gated' is not supported"),
        (NEW | {"normalize_activations": "expected_average_only_in"}, "fold it into the weights"),
        (NEW | {"metadata": {"hook_name": "blocks.3.attn.hook_z"}}, "made for blocks.3.attn.hook_z"),
        (NEW | {"metadata": {"hook_name": "blocks.0.hook_resid_pre"}}, "made for blocks.0.hook_resid_pre"),
        (NEW | {"reshape_activations": "hook_z"}, "reshapes its activations"),
        (NEW | {"architecture": "topk"}, "k None: must be a whole number"),
        (NEW | {"metadata": {}}, "does not say where it lives"),
        (NEW | {"architecture": "jumprelu"}, "no tensor threshold"),
        (NEW | {"architecture": "topk", "k": {"a": 1}}, "k .*: must be a whole number"),
        (NEW | {"metadata": 0.5}, "metadata is no object"),
        ({"expansion_factor": 2}, "k None: must be a whole number"),
        ({"expansion_factor": 2, "k": "many"}, "k 'many': must be a whole number"),
    ],
)
def test_what_cannot_be_used_is_refused(tmp_path, options, match):
    with pytest.raises(ConceptError, match=match):
        load_sae(layout(options, tmp_path / "sae", lens()))


def test_files_that_are_missing_or_damaged(tmp_path):
    with pytest.raises(ConceptError, match="no such file"):
        load_sae(tmp_path / "none.safetensors", site="resid_post.1")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConceptError, match="cfg.json: missing"):
        load_sae(tmp_path / "empty")
    folder = layout(NEW, tmp_path / "half", {"W_enc": weights()["encoder"]})
    with pytest.raises(ConceptError, match="no tensor W_dec"):
        load_sae(folder)
    (folder / "sae_weights.safetensors").write_bytes(b"hello")
    with pytest.raises(ConceptError, match="not a safetensors file"):
        load_sae(folder)
    (folder / "cfg.json").write_text("[1]")
    with pytest.raises(ConceptError, match="not the options"):
        load_sae(folder)
    broken = lens({"W_dec": torch.full((M, D), float("nan"))})
    with pytest.raises(ConceptError, match="decoder holds numbers that are not finite"):
        load_sae(layout(NEW, tmp_path / "nan", broken))


def test_shapes_that_do_not_fit():
    with pytest.raises(ConceptError, match="decoder has shape"):
        SparseAutoencoder(**weights() | {"decoder": torch.zeros(3, 3)}, site="resid_post.0")
    with pytest.raises(ConceptError, match="width 6, not 5"):
        make().encode(torch.zeros(2, 5))
    with pytest.raises(ConceptError, match="activation 'gelu'"):
        make(activation="gelu")


def model_sae(model, **options):
    """An autoencoder of the model's width whose features fire now and then."""
    w = weights(d=model.width, m=24)
    w["encoder_bias"] -= w["encoder_bias"].abs().mean()
    return SparseAutoencoder(**w, **{"site": "resid_post.1"} | options)


def test_another_width_site_or_model_is_refused(tiny_model):
    with pytest.raises(ConceptError, match="for width 6, but tiny-llama has width 32"):
        require_sae_fits(make(), tiny_model)
    with pytest.raises(SiteError, match=r"resid_post.9"):
        require_sae_fits(model_sae(tiny_model, site="resid_post.9"), tiny_model)
    with pytest.raises(ConceptError, match="of another model"):
        require_sae_fits(model_sae(tiny_model, base_fingerprint="other"), tiny_model)
    require_sae_fits(model_sae(tiny_model, base_fingerprint=tiny_model.base_fingerprint), tiny_model)


def test_the_encoder_side_is_the_gradient_of_the_feature(tiny_model):
    sae = model_sae(tiny_model)
    activation = torch.randn(tiny_model.width, requires_grad=True)
    with torch.no_grad():
        feature = int(sae.encode(activation).argmax())
    (gradient,) = torch.autograd.grad(sae.encode(activation)[feature], activation)
    concept = concept_from_feature(sae, feature, tiny_model)
    np.testing.assert_allclose(concept.vector, (gradient / gradient.norm()).numpy(), atol=1e-6)
    assert concept.site == sae.site
    assert concept.recipe["recipe"] == "sae-encoder"


def test_the_decoder_side_is_what_the_feature_writes(tiny_model):
    sae = model_sae(tiny_model)
    features = torch.zeros(24)
    features[5] = 2.0
    written = features @ sae.decoder
    concept = concept_from_feature(sae, 5, tiny_model, side="decoder", name="five")
    np.testing.assert_allclose(concept.vector, (written / written.norm()).numpy(), atol=1e-6)
    assert concept.name == "five"


def test_features_that_make_no_concept(tiny_model):
    sae = model_sae(tiny_model)
    sae.decoder[3] = 0
    with pytest.raises(ConceptError, match="feature 24: choose from 0 to 23"):
        concept_from_feature(sae, 24, tiny_model)
    with pytest.raises(ConceptError, match="side 'both'"):
        concept_from_feature(sae, 0, tiny_model, side="both")
    with pytest.raises(ConceptError, match="feature 3 has no decoder direction"):
        concept_from_feature(sae, 3, tiny_model, side="decoder")


@pytest.mark.parametrize("pooling", ["share", "mean", "max"])
def test_the_matrix_pools_response_tokens_alone(tiny_model, rows, pooling):
    sae = model_sae(tiny_model)
    records = records_from_rows(rows[:7])
    tokenized = tokenize(records, tiny_model.tokenizer, max_length=256)
    found = feature_matrix(tiny_model, records, sae, pooling=pooling, max_batch_tokens=80)
    assert found.values.shape == (7, 24)
    for i, row in enumerate(tokenized):
        hidden = trace(tiny_model, pad_batch(tokenized, np.array([i]), 0), [sae.site])[sae.site][0]
        features = sae.encode(hidden)[row.response].numpy()
        pooled = {"share": (features > 0).mean(0), "mean": features.mean(0), "max": features.max(0)}[pooling]
        np.testing.assert_allclose(found.values[[i]].toarray()[0], pooled, atol=1e-5)
    assert found.ids == records.ids


def test_a_row_does_not_depend_on_its_batch(tiny_model, rows):
    sae, records = model_sae(tiny_model), records_from_rows(rows)
    apart = feature_matrix(tiny_model, records, sae, pooling="mean", max_batch_tokens=1)
    together = feature_matrix(tiny_model, records, sae, pooling="mean")
    np.testing.assert_allclose(apart.values.toarray(), together.values.toarray(), atol=1e-5)


def test_token_features_are_those_the_matrix_pools(tiny_model, rows):
    sae, records = model_sae(tiny_model), records_from_rows(rows[:3])
    tokenized = tokenize(records, tiny_model.tokenizer, max_length=256)
    pooled = feature_matrix(tiny_model, records, sae, pooling="max").values.toarray()
    for i, fired in enumerate(token_features(tiny_model, tokenized, sae, [2, 9])):
        assert fired.shape == (len(tokenized[i].tokens), 2)
        np.testing.assert_allclose(fired.max(axis=0), pooled[i, [2, 9]], atol=1e-5)
        assert not fired[~tokenized[i].response].any()


def test_bad_pooling_and_threshold(tiny_model, rows):
    with pytest.raises(ConceptError, match="pooling 'median'"):
        feature_matrix(tiny_model, records_from_rows(rows[:2]), model_sae(tiny_model), pooling="median")
