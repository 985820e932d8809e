"""What a fingerprint means: exact bits for resuming, the base's identity for whatever its precision and place."""

import os
import shutil
import subprocess
import sys

import peft
import pytest
import torch
import transformers
from conftest import FAMILIES, make_network, make_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from aitia.models import LanguageModel, load_model
from aitia.models.loading.fingerprint import (
    base_fingerprint,
    model_fingerprint,
    tokenizer_fingerprint,
)


def save(folder, network):
    network.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", FAMILIES)
def test_float32_and_bfloat16_are_one_base_and_two_models(family, stored, tmp_path):
    folder = save(tmp_path / "model", make_network(family, 395).to(stored))
    wide = load_model(folder, device="cpu", dtype="float32")
    narrow = load_model(folder, device="cpu", dtype="bfloat16")
    assert wide.base_fingerprint == narrow.base_fingerprint
    assert wide.fingerprint != narrow.fingerprint
    again = save(tmp_path / "again", narrow.network)  # saved narrow, and read wide again
    assert load_model(again, device="cpu", dtype="float32").base_fingerprint == wide.base_fingerprint


def test_float16_loses_range_and_is_another_base(tmp_path):
    network = make_network("llama", 395)
    with torch.no_grad():
        network.model.layers[0].mlp.up_proj.weight.mul_(1e-6)
    folder = save(tmp_path / "model", network)
    wide, half = (load_model(folder, device="cpu", dtype=name) for name in ("float32", "float16"))
    assert wide.base_fingerprint != half.base_fingerprint


def test_neither_copy_folder_nor_process_counts(tmp_path):
    folder = save(tmp_path / "model", make_network("qwen2", 395))
    here = load_model(folder, device="cpu")
    copy = load_model(shutil.copytree(folder, tmp_path / "copied" / "other"), device="cpu")
    assert (copy.fingerprint, copy.base_fingerprint) == (here.fingerprint, here.base_fingerprint)
    assert copy.tokenizer_fingerprint == here.tokenizer_fingerprint
    code = (
        "from aitia.models import load_model; m = load_model('model', device='cpu'); "
        "print(m.fingerprint, m.base_fingerprint, m.tokenizer_fingerprint)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [here.fingerprint, here.base_fingerprint, here.tokenizer_fingerprint]


@given(
    first=st.integers(0, 2047),
    second=st.integers(0, 2047),
    change=st.sampled_from(["bit", "swap"]),
)
@settings(max_examples=40)
def test_any_bit_and_any_order_counts(first, second, change):
    network = torch.nn.Linear(32, 64)
    before = model_fingerprint(network)
    values = network.weight.data.view(-1)
    if change == "bit":
        values.view(torch.int32)[first] ^= 1 << second % 23
    else:
        values[first], values[second] = values[second].clone(), values[first].clone()
    same = change == "swap" and first == second
    assert (model_fingerprint(network) == before) == same


def test_the_base_is_known_whatever_is_on_it(tmp_path):
    folder = save(tmp_path / "base", make_network("llama", 395))
    base = load_model(folder, device="cpu")
    for name, settings_ in {
        "lora": {},
        "saved": {"modules_to_save": ["embed_tokens", "lm_head"]},
        "tokens": {"trainable_token_indices": [4, 5]},
        "embedding": {"target_modules": ["embed_tokens"]},
    }.items():
        network = transformers.AutoModelForCausalLM.from_pretrained(folder)
        given_ = {"r": 2, "target_modules": ["q_proj"], "init_lora_weights": False} | settings_
        network = peft.get_peft_model(network, peft.LoraConfig(**given_))
        held = LanguageModel(network=network, tokenizer=base.tokenizer, name="in memory")
        assert held.base_fingerprint == base.base_fingerprint, name
        assert held.fingerprint != base.fingerprint, name


def test_a_merged_adapter_and_a_padded_vocabulary_are_other_bases(tmp_path):
    network = make_network("llama", 395)
    before = base_fingerprint(network)
    tuned = peft.get_peft_model(
        make_network("llama", 395), peft.LoraConfig(target_modules=["q_proj"], init_lora_weights=False)
    )
    assert base_fingerprint(tuned) == before
    assert base_fingerprint(tuned.merge_and_unload()) != before
    network.resize_token_embeddings(400, mean_resizing=False)
    assert base_fingerprint(network) != before


def test_a_tied_weight_counts_once_and_a_persistent_buffer_counts():
    network = make_network("gpt2", 395)
    tied = model_fingerprint(network)
    network.lm_head.weight = torch.nn.Parameter(network.lm_head.weight.detach().clone())
    assert model_fingerprint(network) != tied
    network = torch.nn.Linear(2, 2)
    network.register_buffer("bias_of_router", torch.zeros(2))
    network.register_buffer("scratch", torch.zeros(2), persistent=False)
    before = base_fingerprint(network)
    network.scratch[0] = 1
    assert base_fingerprint(network) == before
    network.bias_of_router[0] = 1
    assert base_fingerprint(network) != before


def test_using_a_tokenizer_does_not_change_it():
    tokenizer = make_tokenizer()
    before = tokenizer_fingerprint(tokenizer)
    tokenizer(["a", "longer text"], padding=True, truncation=True, max_length=3)
    assert tokenizer_fingerprint(tokenizer) == before


def test_taking_a_fingerprint_leaves_weights_of_every_precision_as_they_are():
    import torch

    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        network = torch.nn.Linear(5, 3).to(dtype)
        before = network.weight.detach().clone()
        assert model_fingerprint(network) == model_fingerprint(network)
        assert torch.equal(network.weight, before)
