"""A model's folder of which anything is damaged, missing, left over or of another kind is refused in one line."""

import json
import os
import shutil

import pytest
import torch
import transformers
from conftest import make_network, make_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from aitia.errors import ModelError, reason_of
from aitia.models import load_model

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 1000\n"
SIZES = {
    "vocab_size": 400,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A sound folder of a Llama."""
    folder = tmp_path_factory.mktemp("whole") / "model"
    tokenizer = make_tokenizer()
    make_network("llama", len(tokenizer), layers=2).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    """A copy to damage."""
    return shutil.copytree(whole, tmp_path / "model")


def refused(folder, pattern):
    with pytest.raises(ModelError, match=pattern) as caught:
        load_model(folder, device="cpu")
    assert "\n" not in str(caught.value)
    assert not str(caught.value).endswith(":")
    assert len(str(caught.value)) < 1200


def reshape(folder, change):
    file = folder / "model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})


def configure(folder, **changes):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def save(folder, network):
    network.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("gone", "named"),
    [
        ("lm_head.", "lack lm_head.weight, which would be drawn at random"),
        ("model.layers.1.", "lack model.layers.1.input_layernorm.weight, .* and 5 more"),
        ("model.embed_tokens.", "lack model.embed_tokens.weight"),
        ("model.norm.", "lack model.norm.weight"),
    ],
)
def test_missing_weights_are_named(gone, named, folder):
    reshape(folder, lambda held: {name: held[name] for name in held if not name.startswith(gone)})
    refused(folder, named)


def test_weights_left_over_and_misshapen_are_named(folder):
    configure(folder, num_hidden_layers=1)
    refused(folder, "has no place for model.layers.1")
    configure(folder, num_hidden_layers=3)
    refused(folder, "lack model.layers.2")
    configure(folder, num_hidden_layers=2, intermediate_size=48)
    refused(folder, r"mlp.down_proj.weight has shape \(32, 64\) in its files and \(32, 48\) by config.json")
    configure(folder, intermediate_size=64)
    reshape(folder, lambda held: held | {"score.weight": torch.zeros(2, 32)})
    refused(folder, "saved as LlamaForCausalLM.*no place for score.weight")


def test_buffers_that_earlier_versions_saved_are_no_fault(folder, whole):
    buffers = {
        "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4),
        "model.layers.0.self_attn.rotary_emb.cos_cached": torch.ones(4),
        "model.layers.0.attn.masked_bias": torch.tensor(-1e4),
    }
    reshape(folder, lambda held: held | buffers)
    assert load_model(folder, device="cpu").fingerprint == load_model(whole, device="cpu").fingerprint


@pytest.mark.parametrize("tied", [True, False])
def test_a_tied_head_need_not_be_saved(tied, tmp_path):
    network = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES, tie_word_embeddings=tied))
    save(tmp_path / "model", network)
    assert ("lm_head.weight" in load_file(tmp_path / "model" / "model.safetensors")) != tied
    tokens = torch.arange(6)[None]
    found = load_model(tmp_path / "model", device="cpu").network
    torch.testing.assert_close(found(tokens).logits, network.eval()(tokens).logits)


@pytest.mark.parametrize(
    ("network", "pattern"),
    [
        (
            lambda: transformers.LlamaModel(transformers.LlamaConfig(**SIZES)),
            "saved as LlamaModel.* lm_head.weight",
        ),
        (
            lambda: transformers.LlamaForSequenceClassification(transformers.LlamaConfig(**SIZES)),
            "saved as LlamaForSequenceClassification.*lm_head.weight.*score.weight",
        ),
        (
            lambda: transformers.BertLMHeadModel(_bert(transformers.BertConfig)),
            "BertLMHeadModel.*depends on later tokens",
        ),
        (lambda: transformers.BertForMaskedLM(_bert(transformers.BertConfig)), "depends on later tokens"),
        (
            lambda: transformers.T5ForConditionalGeneration(
                transformers.T5Config(vocab_size=400, d_model=32, num_layers=2, num_heads=4, d_ff=64, d_kv=8)
            ),
            "an encoder-decoder",
        ),
        (
            lambda: transformers.BartForConditionalGeneration(
                transformers.BartConfig(
                    vocab_size=400,
                    d_model=32,
                    encoder_layers=1,
                    decoder_layers=1,
                    encoder_attention_heads=4,
                    decoder_attention_heads=4,
                    encoder_ffn_dim=64,
                    decoder_ffn_dim=64,
                )
            ),
            "an encoder-decoder",
        ),
    ],
)
def test_what_is_no_decoder_is_refused(network, pattern, tmp_path):
    refused(save(tmp_path / "model", network()), pattern)


def _bert(kind):
    sizes = {name: SIZES[name] for name in SIZES if name != "num_key_value_heads"}
    return kind(**sizes, initializer_range=0.2)


def test_an_encoder_saved_as_a_decoder_is_one(tmp_path):
    config = _bert(transformers.BertConfig)
    config.is_decoder = True
    save(tmp_path / "model", transformers.BertLMHeadModel(config))
    assert load_model(tmp_path / "model", device="cpu").layers == 2


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_weight_that_is_not_finite_is_named(value, folder):
    def spoil(held):
        held["model.layers.1.mlp.up_proj.weight"][3, 5] = value
        return held

    reshape(folder, spoil)
    refused(folder, "1 of the 2048 numbers of model.layers.1.mlp.up_proj.weight are not finite in float32")


def test_numbers_too_large_for_float16_are_refused_there_alone(folder):
    def enlarge(held):
        held["model.layers.1.mlp.up_proj.weight"][3, 5] = 1e6
        return held

    reshape(folder, enlarge)
    load_model(folder, device="cpu", dtype="bfloat16")
    with pytest.raises(ModelError, match="not finite in float16; load it in bfloat16 or float32"):
        load_model(folder, device="cpu", dtype="float16")


def test_quantised_weights_are_refused(folder):
    configure(folder, quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True})
    refused(folder, r"its weights are quantised \(bitsandbytes\); give the checkpoint that it was made of")


@pytest.mark.parametrize(
    ("name", "content", "pattern"),
    [
        ("model.safetensors", LFS, "model.safetensors is a Git LFS pointer, .*git lfs pull"),
        ("model.safetensors", b"", "model.safetensors is empty"),
        ("model.safetensors", b"no weights at all, but text", "model.safetensors is damaged or cut short"),
        ("tokenizer.json", LFS, "tokenizer.json is a Git LFS pointer"),
        ("tokenizer.json", b'{"version": "1.0", "mod', "its tokenizer cannot be loaded"),
        ("tokenizer_config.json", b"{", "tokenizer_config.json is not JSON"),
        ("generation_config.json", b"{'eos_token_id': 2}", "generation_config.json is not JSON"),
        ("config.json", b"{", "config.json is not JSON"),
        ("config.json", b"[]", "config.json holds no JSON object"),
        ("config.json", b"{}", "config.json has no model_type"),
        ("config.json", b'{"model_type": "nothing-known"}', "does not know the model type 'nothing-known'"),
        ("config.json", b'{"model_type": "own", "auto_map": {"AutoConfig": "own.C"}}', "folder is never run"),
        ("config.json", b'{"model_type": "llava"}', "no causal language model of the type 'llava'"),
        ("config.json", b'{"model_type": "vit"}', "no causal language model of the type 'vit'"),
        ("config.json", b'{"model_type": "llama", "hidden_size": "wide"}', "cannot be loaded: "),
    ],
)
def test_a_damaged_file_is_named(name, content, pattern, folder):
    (folder / name).write_bytes(content)
    refused(folder, pattern)


@pytest.mark.parametrize(
    ("content", "pattern"),
    [(LFS, "a Git LFS pointer"), (b"", "is empty"), (b"GGUF and then nothing", "cannot be loaded: ")],
)
def test_a_damaged_gguf_file_is_named(content, pattern, tmp_path):
    (tmp_path / "model.gguf").write_bytes(content)
    refused(tmp_path / "model.gguf", f"model.gguf.*{pattern}")


@given(share=st.floats(0, 0.999))
@settings(max_examples=10)
def test_weights_cut_short_anywhere_are_named(share, whole, tmp_path_factory):
    folder = shutil.copytree(whole, tmp_path_factory.mktemp("cut") / "model")
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: int(share * len(content))])
    refused(folder, "model.safetensors is (damaged or cut short|empty)")


def test_shards_that_are_missing_damaged_or_unreadable_are_told_apart(folder, monkeypatch):
    network = transformers.AutoModelForCausalLM.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    network.save_pretrained(folder, max_shard_size="60KB")
    shards = sorted(folder.glob("model-*.safetensors"))
    assert load_model(folder, device="cpu").layers == 2
    content = shards[1].read_bytes()
    shards[1].write_bytes(content[:-8])
    refused(folder, f"{shards[1].name} is damaged or cut short")
    shards[1].unlink()
    refused(folder, f"{shards[1].name}: named by model.safetensors.index.json, but not there")
    shards[1].write_bytes(content)
    index = folder / "model.safetensors.index.json"
    index.write_text('{"weight_map": 3}')
    refused(folder, "index.json has no weight_map")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_not_called_damaged(folder):
    (folder / "model.safetensors").chmod(0)
    refused(folder, "model.safetensors cannot be read: Permission denied; it need not be damaged")


def test_a_file_that_cannot_be_read_is_not_called_damaged(folder):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to(
        "model.safetensors"
    )  # a ring of links cannot be opened by anyone
    refused(folder, "model.safetensors cannot be read: .*; it need not be damaged")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("gone")
    refused(folder, "model.safetensors is a link to nothing")


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma2", "gpt2"])
def test_a_folder_without_its_tokenizer_is_refused(family, tmp_path):
    tokenizer = make_tokenizer()
    make_network(family, len(tokenizer)).save_pretrained(tmp_path / "bare")
    refused(tmp_path / "bare", "its tokenizer .*none of tokenizer.json")
    tokenizer.save_pretrained(tmp_path / "bare")
    (tmp_path / "bare" / "tokenizer.json").unlink()
    refused(tmp_path / "bare", "its tokenizer .*none of tokenizer.json")


def test_a_tokenizer_of_another_model_is_refused_by_its_tokens(folder):
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["[PAD]"])
    tokenizer.save_pretrained(folder)
    refused(folder, r"1 tokens that the embedding of 395 rows has none for: '\[PAD\]' \(395\)")


def test_placeholders_of_images_may_lie_beyond_the_embedding(folder):
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["<image_soft_token>"], special_tokens=True)
    tokenizer.save_pretrained(folder)
    assert len(load_model(folder, device="cpu").tokenizer) == 396


def test_a_reason_is_one_bounded_line_with_all_that_matters():
    message = (
        "Error(s) in loading state_dict for Some:\n\tsize mismatch for a.weight:\n\t  (3, 4), not (4, 4)."
    )
    assert reason_of(RuntimeError(message)) == " ".join(message.split())
    assert reason_of(ValueError("what follows:\n")) == "what follows"
    assert reason_of(ValueError()) == "ValueError"
    assert reason_of(KeyError("model_type")) == "KeyError: 'model_type'"
    long = reason_of(ValueError("word " * 1000))
    assert len(long) <= 600
    assert long.endswith("word…")
