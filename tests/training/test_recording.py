"""A recorded run: the same bits however it is kept, stopped or walked through again; what does not fit is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from aitia.errors import AitiaError, StoreError
from aitia.models import load_model, save_model
from aitia.records import records_from_rows
from aitia.training import (
    LoraSettings,
    finetune_lora,
    make_trainable,
    open_run,
    read_run,
    temporarily_trainable,
    train,
)
from aitia.training.loop import TrainingLoop
from aitia.training.states import spacing

SETTINGS = LoraSettings(
    rank=2,
    epochs=3,
    learning_rate=1e-2,
    per_device_train_batch_size=3,
    gradient_accumulation_steps=2,
    target_modules=("q_proj", "down_proj"),
)
ONE_STATE = 5e-5  # gigabytes: no more than a few states of the tiny model


@pytest.fixture(scope="module")
def data(rows):
    return records_from_rows(rows[:12])


def final(path):
    return read_run(path).final().parameters


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_recording_and_its_spacing_change_no_bit(make_model, data, tmp_path, optimizer):
    settings = replace(SETTINGS, optimizer=optimizer)
    tuned = finetune_lora(make_model("llama"), data, settings, progress=False)
    plain = torch.cat([v.flatten() for n, v in tuned.network.named_parameters() if "lora_" in n])
    train(make_model("llama"), data, settings, tmp_path / "every")
    train(make_model("llama"), data, settings, tmp_path / "some", state_gigabytes=ONE_STATE)
    assert torch.equal(final(tmp_path / "every"), plain)
    assert torch.equal(final(tmp_path / "some"), plain)
    every, some = read_run(tmp_path / "every"), read_run(tmp_path / "some")
    assert every.kept == list(range(7))
    assert 0 in some.kept
    assert len(some.kept) < 7
    assert every.losses == some.losses
    assert len(every.losses) == 6
    model = make_model("llama")
    with temporarily_trainable(model, settings) as found:
        loop = some.loop(found, some.rows_of(make_model("llama"), data))
        for start, stop in some.segments():
            for number, state in enumerate(some.states_between(loop, start, stop), start=start):
                known = every.state(number)
                assert torch.equal(state.parameters, known.parameters)
                assert torch.equal(state.first, known.first)
                assert torch.equal(state.second, known.second)
    assert model.fingerprint == make_model("llama").fingerprint


def test_a_run_that_was_killed_ends_with_the_same_bits(make_model, data, tmp_path, monkeypatch):
    train(make_model("llama"), data, SETTINGS, tmp_path / "whole")
    with monkeypatch.context() as patch:
        taken = TrainingLoop.after

        def killed(loop, state, number):
            if number == 4:
                raise KeyboardInterrupt
            return taken(loop, state, number)

        patch.setattr(TrainingLoop, "after", killed)
        with pytest.raises(KeyboardInterrupt):
            train(make_model("llama"), data, SETTINGS, tmp_path / "run")
    with pytest.raises(StoreError, match="stopped at step 4"):
        read_run(tmp_path / "run")
    numbers = []
    monkeypatch.setattr(
        TrainingLoop,
        "after",
        lambda loop, state, number: numbers.append(number) or taken(loop, state, number),
    )
    train(make_model("llama"), data, SETTINGS, tmp_path / "run")
    assert numbers == [4, 5]
    assert torch.equal(final(tmp_path / "run"), final(tmp_path / "whole"))
    assert read_run(tmp_path / "run").losses == read_run(tmp_path / "whole").losses
    train(make_model("llama"), data, SETTINGS, tmp_path / "run")
    assert numbers == [4, 5]


def test_the_trained_adapter_and_the_trained_model_load_again(make_model, data, tmp_path):
    base = make_model("llama")
    save_model(base, tmp_path / "base")
    tuned = train(base, data, SETTINGS, tmp_path / "lora")
    assert (
        load_model(tmp_path / "base", adapter=tmp_path / "lora" / "adapter").fingerprint == tuned.fingerprint
    )
    full = replace(SETTINGS, method="full", learning_rate=1e-3)
    whole = train(make_model("llama"), data, full, tmp_path / "full")
    assert load_model(tmp_path / "full" / "model").fingerprint == whole.fingerprint
    assert whole.fingerprint != make_model("llama").fingerprint
    losses = read_run(tmp_path / "full").losses
    assert losses[-1] < losses[0]


def test_row_weights_scale_the_rows_losses_and_no_denominator(make_model, data, tmp_path):
    settings = replace(SETTINGS, epochs=1, optimizer="sgd", max_grad_norm=0, warmup_steps=1)
    start = finetune_start(make_model, settings)

    def moved(weights):
        tuned = train(make_model("llama"), data, settings, weights=weights, progress=False)
        found = torch.cat([v.flatten() for n, v in tuned.network.named_parameters() if "lora_" in n])
        return found - start

    first = read_steps(make_model, data, settings)[0]
    nothing = moved(np.zeros(12))
    assert not nothing.any()
    one_step = replace(settings, gradient_accumulation_steps=4)
    assert len(read_steps(make_model, data, one_step)) == 1
    assert len(first.rows) == 6
    settings = one_step
    half = np.arange(12) < 6
    torch.testing.assert_close(moved(half.astype(float)) + moved((~half).astype(float)), moved(np.ones(12)))
    torch.testing.assert_close(moved(2 * np.ones(12)), 2 * moved(None), rtol=1e-4, atol=1e-7)
    with pytest.raises(AitiaError, match="one for each of the 12 rows"):
        moved(np.ones(3))
    with pytest.raises(AitiaError, match="memory:2.*not finite|weight is not finite"):
        moved(np.where(np.arange(12) == 2, np.nan, 1.0))


def finetune_start(make_model, settings):
    model = make_model("llama")
    with temporarily_trainable(model, settings) as found:
        return found.read()


def read_steps(make_model, data, settings):
    from aitia.models import in_tokens
    from aitia.training.loop import plan_steps

    return plan_steps(in_tokens(make_model("llama"), data), settings)


def test_other_data_models_and_settings_are_refused_by_name(make_model, data, rows, tmp_path):
    train(make_model("llama"), data, SETTINGS, tmp_path / "run")
    run = read_run(tmp_path / "run")
    model = make_model("llama")
    changed = [dict(row) for row in rows[:12]]
    changed[5]["completion"] += " And more."
    with pytest.raises(StoreError, match="row 'row-5' says something else now"):
        run.rows_of(model, records_from_rows(changed))
    with pytest.raises(StoreError, match="row 'row-11', which the data lack"):
        run.rows_of(model, records_from_rows(rows[:11]))
    with pytest.raises(StoreError, match="row 'row-12' was not there"):
        run.rows_of(model, records_from_rows(rows[:13]))
    run.require_model(model)
    with pytest.raises(StoreError, match="not the model that .* started from: that was tiny-llama"):
        run.require_model(make_model("llama", seed=3))
    other = make_model("llama")
    other.network.to(torch.bfloat16)
    with pytest.raises(StoreError, match="not the model"):
        run.require_model(other)
    with pytest.raises(StoreError, match=r"another run is recorded there \(settings.rank"):
        train(make_model("llama"), data, replace(SETTINGS, rank=3), tmp_path / "run")
    with pytest.raises(StoreError, match="model.fingerprint"):
        train(make_model("llama", seed=3), data, SETTINGS, tmp_path / "run")
    with pytest.raises(StoreError, match="data.fingerprint"):
        train(model, records_from_rows(rows[:11]), SETTINGS, tmp_path / "run")
    assert model.adapter is None
    assert not any("lora" in name for name, _ in model.network.named_parameters())


def test_damaged_files_are_refused_by_name(make_model, data, tmp_path):
    train(make_model("llama"), data, SETTINGS, tmp_path / "run")
    state = tmp_path / "run" / "states" / "step-000006.safetensors"
    whole = bytearray(state.read_bytes())
    whole[-5] ^= 1
    state.write_bytes(bytes(whole))
    with pytest.raises(StoreError, match=r"step-000006.safetensors: damaged .*delete it"):
        read_run(tmp_path / "run").final()
    state.unlink()
    train(make_model("llama"), data, SETTINGS, tmp_path / "run")
    assert read_run(tmp_path / "run").finished
    said = json.loads((tmp_path / "run" / "run.json").read_text())
    said["settings"]["rank"] = 0
    (tmp_path / "run" / "run.json").write_text(json.dumps(said))
    with pytest.raises(StoreError, match=r"run.json: damaged"):
        read_run(tmp_path / "run")
    with pytest.raises(StoreError, match="no recorded run"):
        read_run(tmp_path)


def test_dropout_and_half_precision_are_refused(make_model, data):
    model = make_model("gpt2")
    model.network.train()
    with pytest.raises(AitiaError, match="drops out 0.1 of its inputs"):
        finetune_lora(model, data, LoraSettings())
    model = make_model("llama")
    model.network.to(torch.bfloat16)
    with pytest.raises(AitiaError, match="too coarse for small steps"):
        finetune_lora(model, data, LoraSettings(method="full"))


def test_spacing_fits_the_budget():
    for steps in (1, 7, 34, 1000):
        for budget in (0, 5, 30, 1e4):
            every = spacing(steps, 2, budget)
            kept = 2 + (steps - 1) // every
            assert every >= 1
            assert kept * 2 <= budget or every == steps or kept <= 2 or budget == 0
    assert spacing(34, 1, 1e9) == 1


def test_what_is_trained_are_the_factors_or_everything(make_model):
    factors = make_trainable(make_model("llama"), LoraSettings(rank=2, target_modules=("q_proj",)))
    assert all("lora_" in name for name in factors.parameters)
    assert sum(value.numel() for value in factors.parameters.values()) == len(factors.read())
    whole = make_trainable(model := make_model("llama"), LoraSettings(method="full"))
    assert len(whole.read()) == sum(value.numel() for value in model.network.parameters())


def test_a_run_that_was_stopped_is_opened_but_not_read(make_model, data, tmp_path):
    train(make_model("llama"), data, SETTINGS, tmp_path / "run", progress=False)
    last = sorted((tmp_path / "run" / "states").glob("step-*"))[-1]
    last.unlink()
    assert not open_run(tmp_path / "run").finished
    with pytest.raises(StoreError, match="was stopped at step"):
        read_run(tmp_path / "run")
