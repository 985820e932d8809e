"""Options in the files of autoencoders: with any of them, features are what the library computes, or it is refused."""

import dataclasses
import json
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from safetensors.torch import save_file

from aitia.concepts import load_sae
from aitia.concepts.sae_options import HARMLESS, HONOURED, REFUSED
from aitia.errors import AitiaError, ConceptError

D, M = 6, 12


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def tensors():
    return {
        "W_enc": draw(D, M),
        "W_dec": draw(M, D, seed=1),
        "b_enc": draw(M, seed=2),
        "b_dec": draw(D, seed=3),
    }


INPUTS = 2 * draw(5, D, seed=4) + 1


def write(folder, options, held, name="sae_weights.safetensors"):
    Path(folder).mkdir(parents=True, exist_ok=True)
    (Path(folder) / "cfg.json").write_text(json.dumps(options))
    save_file({key: value.contiguous() for key, value in held.items()}, Path(folder) / name)
    return Path(folder)


def as_sae_lens_does(options, w, x):
    """Features by the source of sae_lens 5, `process_sae_in` and `encode_standard`, `_jumprelu`; none for the rest."""
    kind, function = options["architecture"], options["activation_fn_str"]
    if options["model_from_pretrained_kwargs"].get("center_writing_weights"):
        x = x - x.mean(dim=-1, keepdim=True)
    match options["normalize_activations"]:
        case "constant_norm_rescale":
            x = x * D**0.5 / x.norm(dim=-1, keepdim=True)
        case "layer_norm":
            x = x - x.mean(dim=-1, keepdim=True)
            x = x / (x.std(dim=-1, keepdim=True) + 1e-5)
        case "expected_average_only_in":
            return None  # by a number that is not in the files
    before = (x - w["b_dec"] * options["apply_b_dec_to_input"]) @ w["W_enc"] + w["b_enc"]
    match function:
        case "relu":
            features = before.relu()
        case "tanh-relu":
            features = before.relu().tanh()
        case "topk":
            values, places = before.topk(options["activation_fn_kwargs"]["k"], dim=-1)
            features = torch.zeros_like(before).scatter(-1, places, values.relu())
    if kind == "gated":
        return None
    return features * (before > w["threshold"]) if kind == "jumprelu" else features


@settings(max_examples=150)
@given(
    architecture=some.sampled_from(["standard", "jumprelu", "gated"]),
    function=some.sampled_from(["relu", "tanh-relu", "topk"]),
    normalisation=some.sampled_from(
        ["none", "layer_norm", "constant_norm_rescale", "expected_average_only_in", "by_hand"]
    ),
    subtract=some.booleans(),
    centred=some.booleans(),
    k=some.integers(1, M),
    head=some.sampled_from([None, 3]),
)
def test_features_are_those_of_sae_lens_or_refused(
    architecture, function, normalisation, subtract, centred, k, head
):
    options = {
        "architecture": architecture, "activation_fn_str": function, "normalize_activations": normalisation,
        "activation_fn_kwargs": {"k": k} if function == "topk" else {}, "apply_b_dec_to_input": subtract,
        "model_from_pretrained_kwargs": {"center_writing_weights": centred}, "hook_head_index": head,
        "hook_name": "blocks.1.hook_resid_post", "hook_layer": 1, "d_in": D, "d_sae": M, "dtype": "float32",
        "finetuning_scaling_factor": False, "context_size": 128, "prepend_bos": True, "seqpos_slice": [None],
    }  # fmt: skip
    held = tensors() | ({"threshold": draw(M, seed=5)} if architecture == "jumprelu" else {})
    with tempfile.TemporaryDirectory() as folder:
        try:
            sae = load_sae(write(folder, options, held))
        except ConceptError:
            plain = architecture == "standard" and function == "relu" and normalisation != "by_hand"
            scaled = normalisation == "expected_average_only_in"
            assert not plain or scaled or centred or head is not None, "what is supported must not be refused"
            return
    expected = as_sae_lens_does(options, held, INPUTS)
    assert expected is not None
    torch.testing.assert_close(sae.encode(INPUTS), expected)


sparsify = pytest.importorskip("sparsify", reason="the extra `sae` is not installed")


@settings(max_examples=60)
@given(
    activation=some.sampled_from(["topk", "groupmax"]),
    latents=some.sampled_from([0, M]),
    k=some.sampled_from([1, 2, 3]),
    switches=some.fixed_dictionaries(
        {
            name: some.booleans()
            for name in ("normalize_decoder", "multi_topk", "skip_connection", "transcode")
        }
    ),
)
def test_features_are_those_of_sparsify_or_refused(activation, latents, k, switches):
    config = sparsify.SparseCoderConfig(
        activation=activation, num_latents=latents, expansion_factor=2, k=k, **switches
    )
    coder = sparsify.SparseCoder(D, config)
    with torch.no_grad():
        for number, parameter in enumerate(coder.parameters()):
            parameter.copy_(draw(*parameter.shape, seed=number))
    with tempfile.TemporaryDirectory() as folder:
        coder.save_to_disk(Path(folder) / "layers.2")
        if activation == "groupmax" or switches["skip_connection"] or switches["transcode"]:
            with pytest.raises(ConceptError, match="groupmax|skip_connection|transcode"):
                load_sae(Path(folder) / "layers.2")
            return
        sae = load_sae(Path(folder) / "layers.2")
    values, places, _ = coder.encode(INPUTS)
    expected = torch.zeros(len(INPUTS), M).scatter(1, places, values)
    torch.testing.assert_close(sae.encode(INPUTS), expected.detach())
    torch.testing.assert_close(sae.reconstruct(INPUTS), coder.decode(values, places).detach())


def test_every_option_of_the_installed_library_is_known():
    known = HONOURED["sparsify"] | HARMLESS["sparsify"] | set(REFUSED["sparsify"])
    assert {each.name for each in dataclasses.fields(sparsify.SparseCoderConfig)} <= known


@pytest.mark.parametrize("library", ["sae_lens", "sparsify"])
def test_no_option_is_in_two_tables(library):
    tables = [HONOURED[library], HARMLESS[library], frozenset(REFUSED[library])]
    assert sum(map(len, tables)) == len(frozenset.union(*tables))


PLAIN = {"architecture": "standard", "hook_name": "blocks.1.hook_resid_post"}


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"activation_fn_str": "tanh-relu"}, "activation_fn_str 'tanh-relu'"),
        ({"model_from_pretrained_kwargs": {"center_writing_weights": True}}, "center_writing_weights"),
        ({"metadata": {"model_from_pretrained_kwargs": {"center_writing_weights": True}}}, "center_writing_weights"),
        ({"hook_head_index": 0}, "hook_head_index 0"),
        ({"metadata": {"hook_head_index": 2}}, "hook_head_index 2"),
        ({"seqpos_slice": [5, None]}, "seqpos_slice"),
        ({"finetuning_scaling_factor": True}, "finetuning_scaling_factor"),
        ({"d_out": 6, "hook_name_out": "blocks.1.hook_mlp_out"}, "d_out 6: a transcoder"),
        ({"architecture": "matryoshka_batchtopk"}, "matryoshka_batchtopk"),
        ({"architecture": "topk", "k": 2.5}, "k 2.5: must be a whole number"),
        ({"apply_b_dec_to_input": "false"}, "apply_b_dec_to_input 'false': must be true or false"),
        ({"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 2, "postact_fn": "abs"}}, "postact_fn"),
        ({"hook_layer": 3}, "hook_layer 3, but it is made for blocks.1.hook_resid_post"),
        ({"leaky_slope": 0.1}, "leaky_slope 0.1: it is not known"),
        ({"d_sae": 99}, "W_enc has shape (6, 12), but the number of features is 99 by cfg.json"),
        ({"d_in": 7}, "W_enc has shape (6, 12), but the width is 7 by cfg.json"),
    ],
)  # fmt: skip
def test_what_would_change_features_is_refused_by_name(tmp_path, options, named):
    with pytest.raises(ConceptError) as refused:
        load_sae(write(tmp_path / "sae", PLAIN | options, tensors()))
    assert named in str(refused.value)


def test_files_of_the_first_versions_are_those_of_sae_lens(tmp_path):
    """Whose `expansion_factor` must not be taken for a mark of sparsify."""
    first = {"hook_point": "blocks.3.hook_resid_pre", "hook_point_layer": 3, "hook_point_head_index": None,
             "expansion_factor": 2, "d_in": D, "d_sae": M, "use_ghost_grads": True}  # fmt: skip
    sae = load_sae(write(tmp_path / "sae", first, tensors()))
    assert sae.site == "resid_post.2"
    torch.testing.assert_close(
        sae.encode(INPUTS), ((INPUTS - tensors()["b_dec"]) @ tensors()["W_enc"] + tensors()["b_enc"]).relu()
    )


def test_what_is_switched_off_or_for_people_is_no_hindrance(tmp_path, capsys):
    options = PLAIN | {"new_switch": False, "metadata": {"note": "mine"}}
    load_sae(write(tmp_path / "sae", options, tensors()))
    assert "metadata says of note" in capsys.readouterr().err
    load_sae(
        write(tmp_path / "sae", PLAIN | {"model_from_pretrained_kwargs": {"revision": "step1"}}, tensors())
    )
    assert "loaded with revision" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["W_enc", "W_dec", "b_enc", "b_dec"])
@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 2, 2), ()])
def test_a_tensor_that_does_not_fit_is_named(tmp_path, name, shape):
    with pytest.raises(ConceptError, match=r"W_enc|W_dec|b_enc|b_dec") as refused:
        load_sae(write(tmp_path / "sae", PLAIN, tensors() | {name: torch.zeros(shape)}))
    assert "shape" in str(refused.value) or "dimensions" in str(refused.value)


@pytest.mark.parametrize("name", ["r_mag", "threshold", "W_skip", "b_gate"])
def test_tensors_that_would_be_passed_over_are_refused(tmp_path, name):
    with pytest.raises(ConceptError, match=f"holds {name} too"):
        load_sae(write(tmp_path / "sae", PLAIN, tensors() | {name: torch.zeros(M)}))


def test_a_folder_with_other_things_is_not_replaced(tmp_path):
    from aitia.concepts import save_sae

    sae = load_sae(write(tmp_path / "sae", PLAIN, tensors()))
    save_sae(sae, tmp_path / "sae")
    (tmp_path / "sae" / "notes.txt").write_text("mine")
    with pytest.raises(AitiaError, match=r"other things is there \(notes.txt\)"):
        save_sae(sae, tmp_path / "sae")
    assert (tmp_path / "sae" / "notes.txt").read_text() == "mine"
