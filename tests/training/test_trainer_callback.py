"""Runs of the real Trainer and SFTTrainer, recorded: every state comes out again, and nothing of the run is changed."""

import json

import numpy as np
import pytest
import torch
from conftest import make_network

from aitia.attribution.gradients.measurements import LogProbability
from aitia.attribution.replay import Target, TargetPart, replay, target_value
from aitia.errors import AitiaError, StoreError
from aitia.models import LanguageModel, in_tokens, load_model
from aitia.records import records_from_rows
from aitia.training import RecordingCallback, TrainingLoop, read_run, temporarily_trainable, train_smooth

CASES = {
    "sft, lora": {"gradient_accumulation_steps": 2, "warmup_steps": 2, "weight_decay": 0.1},
    "sft, full": {
        "lora": False,
        "gradient_accumulation_steps": 2,
        "weight_decay": 0.1,
        "lr_scheduler_type": "cosine",
        "max_grad_norm": 0.5,
    },
    "sft, odd schedule": {
        "lr_scheduler_type": "cosine_with_min_lr",
        "lr_scheduler_kwargs": {"min_lr": 1e-3},
        "optim": "adamw_torch",
        "adam_beta1": 0.8,
        "adam_epsilon": 1e-6,
    },
    "trainer, lora": {
        "kind": "trainer",
        "gradient_accumulation_steps": 3,
        "lr_scheduler_type": "cosine",
        "max_grad_norm": 0.05,
        "gradient_checkpointing": True,
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
    },
    "trainer, full, sgd": {
        "kind": "trainer",
        "lora": False,
        "optim": "sgd",
        "optim_args": "momentum=0.8",
        "weight_decay": 0.1,
        "max_grad_norm": 0.5,
    },
    "trainer, full, by length": {
        "kind": "trainer",
        "lora": False,
        "train_sampling_strategy": "group_by_length",
        "warmup_steps": 1,
        "max_grad_norm": 0.0,
    },
}


@pytest.fixture
def base(make_model):
    return lambda: make_model("llama", layers=2)


def distance(one, other):
    return float((one - other).abs().max())


@pytest.mark.parametrize("case", CASES)
def test_every_state_comes_out_again(make_trainer, base, rows, tmp_path, onlooker, case):
    used = rows[:9]
    data = records_from_rows(used)
    callback = RecordingCallback(tmp_path / "run", data=data)
    trainer = make_trainer(used, callbacks=[callback, onlooker.callback], onlooker=onlooker, **CASES[case])
    trainer.train()
    run, model = read_run(tmp_path / "run"), base()
    run.require_model(model)
    count = len(run.steps)
    assert run.kept == list(range(count + 1))
    assert count == trainer.state.global_step == len(onlooker.parameters) - 1
    if onlooker.read:
        # Rows 0 and 6 say the same, and take turns.
        assert [row % 6 for step in run.steps for row in step.rows] == [row % 6 for row in onlooker.read]
    epochs = [
        sorted(row for step in half for row in step.rows) for half in np.split(np.array(run.steps, object), 2)
    ]
    assert epochs == [list(range(9))] * 2
    shares = []
    with temporarily_trainable(model, run.settings) as found:
        loop = run.loop(found, run.rows_of(model, data))
        walked = run.state(0)
        for number in range(count):
            kept = run.state(number)
            assert torch.equal(kept.parameters, onlooker.parameters[number])
            found.write(kept.parameters)
            shares.append(float(loop.gradient(number)[1].norm()))
            after, expected = loop.after(kept, number), onlooker.parameters[number + 1]
            moved = distance(kept.parameters, expected)
            assert distance(after.parameters, expected) <= 1e-4 * moved + 2.5e-7
            known = run.state(number + 1)
            assert distance(after.first, known.first) < 1e-6 or run.settings.optimizer == "sgd"
            torch.testing.assert_close(after.second, known.second, rtol=1e-4, atol=1e-9)
            walked = loop.after(walked, number)
            assert distance(walked.parameters, expected) < 3e-5
            assert loop.losses[number] == pytest.approx(run.losses[number], rel=1e-5)
        limit = run.settings.max_grad_norm
        assert not 0 < limit < 1 or max(shares) > limit  # where it is set low, it binds
    trained = trainer.accelerator.unwrap_model(trainer.model)
    folder = tmp_path / "run" / ("adapter" if run.settings.method == "lora" else "model")
    assert folder.is_dir()
    assert sum(value.numel() for value in trained.parameters() if value.requires_grad) == len(
        run.final().parameters
    )


def test_what_is_said_of_a_run(make_trainer, rows, tmp_path):
    callback = RecordingCallback(tmp_path / "run", data=records_from_rows(rows[:5]))
    make_trainer(rows[:5], callbacks=[callback], lora=False, weight_decay=0.1, seed=7).train()
    run = read_run(tmp_path / "run")
    assert run.settings.undecayed == (
        "input_layernorm.weight",
        "model.norm.weight",
        "post_attention_layernorm.weight",
    )
    said = run.said["trainer"]
    assert said["arguments"].startswith("trl.")
    assert said["optimizer"] == "torch.optim.adamw.AdamW"
    assert said["seed"] == run.settings.seed == 7
    assert run.ids == [f"row-{i}" for i in range(5)]
    assert run.said["data"]["masks"] == {}
    assert load_model(tmp_path / "run" / "model").fingerprint != run.said["model"]["fingerprint"]


@pytest.fixture
def without_dropout(tiny_tokenizer):
    """A GPT-2 whose activations a `LanguageModel` replaces; in float64 if wanted, as Llama's norms do not compute."""

    def make(wide=False):
        network = make_network("gpt2", len(tiny_tokenizer), width=16, layers=2)
        for module in network.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        return network.double() if wide else network

    return make


@pytest.mark.parametrize("kind", ["sft", "trainer", "gpt2"])
def test_recording_changes_no_bit_of_the_training(
    make_trainer, without_dropout, rows, tmp_path, onlooker, kind
):
    def train(*callbacks):
        more = {"network": without_dropout(), "lora": False} if kind == "gpt2" else {"kind": kind}
        make_trainer(rows[:7], callbacks=[*callbacks, onlooker.callback], **more).train()

    train()
    alone = onlooker.parameters[:]
    onlooker.parameters.clear()
    train(RecordingCallback(tmp_path / "run", data=records_from_rows(rows[:7])))
    assert len(alone) == len(onlooker.parameters) == 9
    assert all(torch.equal(*pair) for pair in zip(alone, onlooker.parameters, strict=True))


def test_states_are_kept_as_the_budget_allows(make_trainer, base, rows, tmp_path, onlooker):
    data = records_from_rows(rows[:8])
    callback = RecordingCallback(tmp_path / "run", data=data, state_gigabytes=3e-5)
    make_trainer(rows[:8], callbacks=[callback, onlooker.callback]).train()
    run, model = read_run(tmp_path / "run"), base()
    assert run.kept[0] == 0
    assert run.kept[-1] == 8
    assert 2 <= len(run.kept) < 8
    with temporarily_trainable(model, run.settings) as found:
        loop = run.loop(found, run.rows_of(model, data))
        for start, stop in run.segments():
            for number, state in enumerate(run.states_between(loop, start, stop), start=start):
                assert distance(state.parameters, onlooker.parameters[number]) < 1e-5


def test_file_of_data_workers_and_equal_rows(make_trainer, rows, tmp_path):
    used = [*rows[:3], rows[1] | {"id": "again"}]
    file = tmp_path / "train.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in used))
    make_trainer(
        used,
        callbacks=[RecordingCallback(tmp_path / "run", data=file)],
        dataloader_num_workers=1,
        num_train_epochs=3,
    ).train()
    run = read_run(tmp_path / "run")
    assert run.said["data"]["source"] == str(file)
    for epoch in range(3):
        steps = run.steps[2 * epoch : 2 * epoch + 2]
        assert sorted(row for step in steps for row in step.rows) == [0, 1, 2, 3]


def test_masks_of_the_trainer_are_recorded_by_name(make_trainer, base, tmp_path, capsys, onlooker):
    """TRL trains on all tokens of `messages`; aitia on the assistant's."""
    turns = [
        [{"role": "user", "content": f"Question {i}?"}, {"role": "assistant", "content": f"Answer {i}."}]
        for i in range(4)
    ]
    used = [{"messages": each} for each in turns]
    data = records_from_rows([{"id": f"talk-{i}", "messages": each} for i, each in enumerate(turns)])
    callback = RecordingCallback(tmp_path / "run", data=data)
    make_trainer(used, callbacks=[callback, onlooker.callback], max_steps=3, warmup_steps=2).train()
    assert "4 of 4 rows" in capsys.readouterr().err
    run, model = read_run(tmp_path / "run"), base()
    assert list(run.said["data"]["masks"]) == [f"talk-{i}" for i in range(4)]
    with temporarily_trainable(model, run.settings) as found:
        rows_now = run.rows_of(model, data)
        assert all(row.response[1:].all() for row in rows_now)
        loop = run.loop(found, rows_now)
        assert distance(loop.after(run.state(0), 0).parameters, onlooker.parameters[1]) < 1e-6
    run.require_data(rows_now)
    run.require_data(in_tokens(base(), data))
    (folder,) = train_smooth(base(), data, run, runs=1, epsilon_root=1e-6)
    smooth = read_run(folder)
    assert smooth.settings.epsilon_root == 1e-6
    rates = [[step.learning_rate for step in each.steps] for each in (smooth, run)]
    assert rates[0] == rates[1]
    assert all(row.response[1:].all() for row in smooth.rows_of(base(), data))
    changed = [{"id": f"talk-{i}", "messages": each} for i, each in enumerate(turns[::-1])]
    with pytest.raises(StoreError, match="says something else now"):
        run.rows_of(model, records_from_rows(changed))


def stop_at(number):
    from transformers import TrainerCallback

    class Stopper(TrainerCallback):
        def on_step_begin(self, args, state, control, **_):
            if state.global_step == number:
                raise KeyboardInterrupt

    return Stopper()


@pytest.mark.parametrize("kind, lora", [("sft", True), ("trainer", False)])
def test_a_stopped_training_says_so_and_goes_on(make_trainer, rows, tmp_path, kind, lora):
    used, data = rows[:8], records_from_rows(rows[:8])
    saving = {"kind": kind, "lora": lora, "save_strategy": "steps", "save_steps": 3}
    whole = RecordingCallback(tmp_path / "whole", data=data)
    make_trainer(used, callbacks=[whole], kind=kind, lora=lora).train()
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        make_trainer(
            used,
            callbacks=[RecordingCallback(out, data=data, state_gigabytes=1e-9), stop_at(5)],
            **saving,
        ).train()
    with pytest.raises(StoreError, match="stopped at step 3"):
        read_run(out)
    with pytest.raises(StoreError, match="was stopped at step 3 there; resume it"):
        make_trainer(used, callbacks=[RecordingCallback(out, data=data)], **saving).train()
    checkpoint = str(tmp_path / "trainer" / "checkpoint-3")
    with pytest.raises(StoreError, match="goes on at step 3, and the steps before it are not recorded"):
        other = RecordingCallback(tmp_path / "other", data=data)
        make_trainer(used, callbacks=[other], **saving).train(resume_from_checkpoint=checkpoint)
    with pytest.raises(StoreError, match=r"another run is recorded there \(settings.per_device"):
        again = RecordingCallback(out, data=data)
        make_trainer(used, callbacks=[again], per_device_train_batch_size=1, **saving).train(
            resume_from_checkpoint=checkpoint
        )
    again = RecordingCallback(out, data=data)
    make_trainer(used, callbacks=[again], **saving).train(resume_from_checkpoint=checkpoint)
    one, other = read_run(out), read_run(tmp_path / "whole")
    assert one.steps == other.steps
    assert one.losses == other.losses
    assert torch.equal(one.final().parameters, other.final().parameters)
    assert torch.equal(one.final().second, other.final().second)
    with pytest.raises(StoreError, match="a run is recorded there"):
        make_trainer(used, callbacks=[RecordingCallback(out, data=data)], **saving).train()


def test_a_training_that_ends_early_cannot_be_replayed(make_trainer, rows, tmp_path, capsys):
    from transformers import TrainerCallback

    class Early(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            control.should_training_stop = state.global_step == 2
            return control

    callback = RecordingCallback(tmp_path / "run", data=records_from_rows(rows[:8]))
    make_trainer(rows[:8], callbacks=[callback, Early()]).train()
    assert "ended at step 2 of 8" in capsys.readouterr().err
    with pytest.raises(StoreError, match="stopped at step 2"):
        read_run(tmp_path / "run")


def test_the_replay_of_a_recorded_run_is_the_finite_difference(
    make_trainer, without_dropout, tiny_tokenizer, rows, tmp_path
):
    """In float64, of full training with weight decay for some of the parameters, clipping and accumulation."""

    def wide():
        return LanguageModel(network=without_dropout(wide=True), tokenizer=tiny_tokenizer, name="tiny")

    used, data = rows[:6], records_from_rows(rows[:6])
    callback = RecordingCallback(tmp_path / "run", data=data)
    make_trainer(
        used,
        callbacks=[callback],
        lora=False,
        network=wide().network,
        num_train_epochs=1,
        gradient_accumulation_steps=2,
        weight_decay=0.5,
        max_grad_norm=0.5,
        adam_epsilon=1e-3,
        lr_scheduler_type="constant",
    ).train()
    run, model = read_run(tmp_path / "run"), wide()
    assert run.settings.undecayed
    texts = records_from_rows(rows[10:12])
    part = TargetPart(measurement=LogProbability(), texts=texts)
    found = replay(run, model, data, [Target(name="likelihood", parts=(part,))], progress=False)

    def value(weights):
        again = wide()
        with temporarily_trainable(again, run.settings) as trained:
            loop = TrainingLoop(
                trainable=trained,
                data=run.rows_of(again, data),
                settings=run.settings,
                weights=weights,
                steps=run.steps,
            )
            *_, last = loop.states(run.state(0), 0, len(run.steps))
            trained.write(last.parameters)
            return target_value(trained.model, Target(name="likelihood", parts=(part,)))

    for row in (0, 3):
        change = 1e-5 * (np.arange(6) == row)
        slope = (value(1 + change) - value(1 - change)) / 2e-5
        assert found.scores[0, row] == pytest.approx(slope, rel=1e-5)


def test_a_callback_that_comes_too_late_says_so(make_trainer, rows, tmp_path):
    late = RecordingCallback(tmp_path / "run", data=records_from_rows(rows[:4]))

    trainer = make_trainer(rows[:4])
    with pytest.raises(AitiaError, match="added after the training began"):
        late.on_step_begin(trainer.args, trainer.state, trainer.control)
