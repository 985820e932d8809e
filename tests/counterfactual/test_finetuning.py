import numpy as np
import pytest
import torch

from aitia.counterfactual import LoraSettings, finetune_lora
from aitia.errors import AitiaError
from aitia.models import load_model, run, save_model
from aitia.records import pad_batch, records_from_rows, tokenize

SETTINGS = LoraSettings(rank=4, epochs=6, learning_rate=1e-2, batch_rows=4, modules=("q_proj", "down_proj"))


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
    settings = [SETTINGS, SETTINGS, LoraSettings(rank=4, epochs=6, learning_rate=1e-2, batch_rows=4, seed=1,
                                                 modules=("q_proj", "down_proj"))]  # fmt: skip
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
