from dataclasses import replace

import numpy as np
import pytest
import torch

from aitia.errors import AitiaError
from aitia.models import load_model, run, save_model
from aitia.records import pad_batch, records_from_rows, tokenize
from aitia.training import LoraSettings, finetune_lora

SETTINGS = LoraSettings(
    rank=4,
    epochs=6,
    learning_rate=1e-2,
    per_device_train_batch_size=4,
    target_modules=("q_proj", "down_proj"),
)


def mean_loss(model, data):
    tokenized = tokenize(data, model.tokenizer, max_length=256)
    outputs = run(model, pad_batch(tokenized, np.arange(len(tokenized)), model.pad_id))
    return (outputs.losses().sum() / len(outputs.targets)).item()


def test_training_lowers_the_loss_and_the_adapter_loads_again(make_model, rows, tmp_path):
    data = records_from_rows(rows)
    model = make_model("llama")
    save_model(model, tmp_path / "base")
    before = mean_loss(model, data)
    weights = {name: value.clone() for name, value in model.network.named_parameters()}
    tuned = finetune_lora(model, data, SETTINGS, tmp_path / "adapter")
    after = mean_loss(tuned, data)
    assert after < before - 0.3
    for name, value in weights.items():
        module, _, leaf = name.rpartition(".")
        kept = dict(tuned.network.named_parameters())
        plain = f"base_model.model.{name}"
        wrapped = f"base_model.model.{module}.base_layer.{leaf}"
        torch.testing.assert_close(kept.get(plain, kept.get(wrapped)), value, rtol=0, atol=0)
    loaded = load_model(tmp_path / "base", adapter=tmp_path / "adapter", device="cpu")
    assert loaded.fingerprint == tuned.fingerprint
    assert mean_loss(loaded, data) == pytest.approx(after, rel=1e-5)


def test_training_is_reproducible_by_seed(make_model, rows, tmp_path):
    data = records_from_rows(rows[:8])
    settings = [SETTINGS, SETTINGS, replace(SETTINGS, seed=1)]
    prints = [
        finetune_lora(make_model("llama"), data, setting, tmp_path / str(i)).fingerprint
        for i, setting in enumerate(settings)
    ]
    assert prints[0] == prints[1] != prints[2]


def test_a_second_adapter_is_refused(make_model, rows, tmp_path):
    data = records_from_rows(rows[:4])
    tuned = finetune_lora(make_model("gpt2"), data, LoraSettings(epochs=1), tmp_path / "a")
    with pytest.raises(AitiaError, match="has an adapter"):
        finetune_lora(tuned, data, LoraSettings(epochs=1), tmp_path / "b")


def factors(tuned):
    return {name: value.clone() for name, value in tuned.network.named_parameters() if "lora_" in name}


def test_accumulated_batches_make_the_step_of_one_large_batch(make_model, rows):
    data = records_from_rows(rows[:10])
    whole = finetune_lora(make_model("llama"), data, SETTINGS, progress=False)
    parts = finetune_lora(
        make_model("llama"),
        data,
        replace(SETTINGS, per_device_train_batch_size=1, gradient_accumulation_steps=4),
        progress=False,
    )
    for name, value in factors(whole).items():
        torch.testing.assert_close(factors(parts)[name], value, rtol=1e-3, atol=1e-4)


def test_rank_stabilised_adapters_are_scaled_by_the_root_of_the_rank(make_model, rows):
    data = records_from_rows(rows[:4])
    for stabilised, scale in ((False, 16 / 4), (True, 16 / 2)):
        settings = replace(SETTINGS, alpha=16, use_rslora=stabilised)
        tuned = finetune_lora(make_model("llama"), data, settings, progress=False)
        layer = tuned.network.base_model.model.model.layers[1].self_attn.q_proj
        x = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
        low = x @ layer.lora_A["default"].weight.T @ layer.lora_B["default"].weight.T
        torch.testing.assert_close(layer(x), layer.base_layer(x) + scale * low)


def test_weight_decay_shrinks_the_factors_by_hand_calculation(make_model, rows):
    data = records_from_rows(rows[:4])
    once = replace(SETTINGS, epochs=1, warmup_steps=1)
    plain = factors(finetune_lora(make_model("llama"), data, once, progress=False))
    shrunk = factors(
        finetune_lora(make_model("llama"), data, replace(once, weight_decay=0.5), progress=False)
    )
    start = factors(
        finetune_lora(make_model("llama"), data, replace(once, learning_rate=1e-30), progress=False)
    )
    for name, value in plain.items():
        torch.testing.assert_close(shrunk[name], value - once.learning_rate * 0.5 * start[name])


def test_warmup_steps_ramp_the_learning_rate(make_model, rows):
    """Adam's first step moves every weight by the learning rate, whatever the gradient's size."""
    data = records_from_rows(rows[:4])
    once = replace(SETTINGS, epochs=1, warmup_steps=5)
    moved = factors(finetune_lora(make_model("llama"), data, once, progress=False))
    up = torch.cat([value.flatten() for name, value in moved.items() if "lora_B" in name])
    assert up.abs().median().item() == pytest.approx(once.learning_rate / 5, rel=1e-3)


def test_settings_that_came_later_do_not_rename_older_results():
    old = {
        "rank", "alpha", "target_modules", "layers_to_transform", "learning_rate", "warmup_ratio", "epochs",
        "per_device_train_batch_size", "max_length", "seed",
    }  # fmt: skip
    assert set(LoraSettings().identity()) == old
    changed = LoraSettings(gradient_accumulation_steps=2, weight_decay=0.1, warmup_steps=3, use_rslora=True)
    assert set(changed.identity()) == old | {
        "gradient_accumulation_steps",
        "weight_decay",
        "warmup_steps",
        "use_rslora",
    }


@pytest.mark.parametrize(
    "name", ["rank", "epochs", "per_device_train_batch_size", "gradient_accumulation_steps"]
)
def test_settings_that_make_no_sense_are_refused(name):
    with pytest.raises(AitiaError, match=f"training {name} 0: must be at least 1"):
        LoraSettings(**{name: 0})
