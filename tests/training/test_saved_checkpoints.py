"""Saved checkpoints of real trainers, against what was recorded of the same training."""

import json
import shutil

import numpy as np
import pytest
import torch

from aitia.attribution import rank, scan
from aitia.attribution.gradients.measurements import LogProbability
from aitia.attribution.replay import (
    Target,
    TargetPart,
    checkpoint_influence,
    projection_target,
    replay,
    smooth_replay,
)
from aitia.attribution.replay.checkpoints import Checkpoint, choose_checkpoints
from aitia.attribution.replay.orders import expected_divisors
from aitia.concepts import fit_contrast
from aitia.errors import AitiaError, StoreError
from aitia.models import in_tokens, load_model, save_model
from aitia.records import read_records, records_from_rows
from aitia.records.losses import LossSettings
from aitia.training import RecordingCallback, holds_checkpoints, read_checkpoints, read_run

SAVING = {
    "save_strategy": "steps",
    "save_steps": 1,
    "logging_strategy": "steps",
    "logging_steps": 1,
    "weight_decay": 0.1,
    "warmup_steps": 1,
}


@pytest.fixture
def base(make_model):
    return lambda: make_model("llama", layers=2)


@pytest.fixture
def target(rows):
    part = TargetPart(measurement=LogProbability(), texts=records_from_rows(rows[12:14]))
    return Target(name="likelihood", parts=(part,))


@pytest.mark.parametrize("lora", [True, False])
def test_they_are_the_recorded_states(make_trainer, base, rows, tmp_path, target, lora):
    data = records_from_rows(rows[:6])
    callback = RecordingCallback(tmp_path / "run", data=data)
    make_trainer(rows[:6], callbacks=[callback], lora=lora, **SAVING).train()
    saved, recorded = read_checkpoints(tmp_path / "trainer", base(), data), read_run(tmp_path / "run")
    assert saved.kept == recorded.kept[1:] == list(range(1, 7))
    assert saved.said["parameters"] == recorded.said["parameters"]
    for number in saved.kept:
        one, other = saved.state(number), recorded.state(number)
        for name in ("parameters", "first", "second"):
            assert torch.equal(getattr(one, name), getattr(other, name))
    for name in ("method", "rank", "target_modules", "weight_decay", "undecayed", "adam_beta2", "epochs"):
        assert getattr(saved.settings, name) == getattr(recorded.settings, name)
    rates = [step.learning_rate for step in recorded.steps]
    assert [step.learning_rate for step in saved.steps] == pytest.approx(rates)
    given = [Checkpoint(step=2, weight=0.3), Checkpoint(step=5, weight=0.1)]
    # Checkpoints do not say who was in a step: all rows over all tokens, where the recorded run knows the batches.
    tokens = saved.said["data"]["predicted_tokens"]
    model = base()
    divisors = [expected_divisors(run, run.rows_of(model, data)) for run in (saved, recorded)]
    np.testing.assert_array_equal(divisors[0], tokens)
    scores = [
        checkpoint_influence(run, base(), data, [target], checkpoints=given) * divided
        for run, divided in zip((saved, recorded), divisors, strict=True)
    ]
    np.testing.assert_allclose(*scores, rtol=1e-12)
    assert sum(each.weight for each in choose_checkpoints(saved, 2)) == pytest.approx(sum(rates))
    means = [
        sum(each.weight for each in choose_checkpoints(run, 2)) / divided.mean()
        for run, divided in zip((saved, recorded), divisors, strict=True)
    ]
    assert means[0] == pytest.approx(means[1], rel=0.3)


def test_what_they_cannot_serve_is_refused(make_trainer, base, make_model, rows, tmp_path, target):
    data = records_from_rows(rows[:6])
    make_trainer(rows[:6], num_train_epochs=1, **SAVING | {"save_steps": 2, "logging_steps": 10}).train()
    folder = tmp_path / "trainer"
    saved = read_checkpoints(folder, base(), data)
    assert saved.kept == [2, 3]
    # Only the rates to come are known: those of step 2 (from 0), and 0 after the last; a line lies between.
    rates = [step.learning_rate for step in saved.steps]
    assert rates == pytest.approx([5e-3, 5e-3, 5e-3])
    for act in (replay, lambda run, *given: smooth_replay([run], *given)):
        with pytest.raises(StoreError, match="do not say which rows"):
            act(saved, base(), data, [target])
    with pytest.raises(StoreError, match="not the model"):
        checkpoint_influence(saved, make_model("llama", layers=2, seed=3), data, [target])
    with pytest.raises(StoreError, match="row 'row-5', which the data lack"):
        checkpoint_influence(saved, base(), records_from_rows(rows[:5]), [target])
    with pytest.raises(StoreError, match="no checkpoint-1"):
        saved.state(1)
    with pytest.raises(StoreError, match="no checkpoint-\\* folder"):
        read_checkpoints(tmp_path / "none", base(), data)
    with pytest.raises((StoreError, AitiaError)):
        read_checkpoints(folder, make_model("gpt2"), data)
    state = torch.load(folder / "checkpoint-3" / "optimizer.pt", weights_only=True)
    state["state"] = {k: {"step": v["step"], "state1": v["exp_avg"]} for k, v in state["state"].items()}
    torch.save(state, folder / "checkpoint-3" / "optimizer.pt")
    with pytest.raises(AitiaError, match="keeps state1, step of .*lora_A.* the moments of AdamW"):
        read_checkpoints(folder, base(), data).state(3)
    (folder / "checkpoint-3" / "optimizer.pt").write_bytes(b"no pickle")
    with pytest.raises(StoreError, match=r"optimizer.pt: damaged"):
        read_checkpoints(folder, base(), data)
    (folder / "checkpoint-3" / "optimizer.pt").unlink()
    with pytest.raises(StoreError, match="save_only_model=False"):
        read_checkpoints(folder, base(), data)
    shutil.rmtree(folder / "checkpoint-3")
    logged = folder / "checkpoint-2" / "trainer_state.json"
    logged.write_text(json.dumps({"max_steps": 3}))
    with pytest.raises(StoreError, match=r"trainer_state.json: damaged"):
        read_checkpoints(folder, base(), data)
    logged.unlink()
    with pytest.raises(StoreError, match=r"trainer_state.json: it is gone"):
        read_checkpoints(folder, base(), data)


def test_a_pickle_in_a_checkpoint_is_not_run(make_trainer, base, rows, tmp_path):
    class Attack:
        def __reduce__(self):
            return (print, ("attack",))

    make_trainer(rows[:4], num_train_epochs=1, **SAVING).train()
    torch.save(
        {"state": Attack(), "param_groups": [1]}, tmp_path / "trainer" / "checkpoint-2" / "optimizer.pt"
    )
    with pytest.raises(StoreError, match="damaged, or not the optimizer"):
        read_checkpoints(tmp_path / "trainer", base(), records_from_rows(rows[:4]))


def test_a_trainers_folder_is_ranked_by_as_a_recorded_run_is(make_trainer, base, rows, tmp_path):
    """`rank` reads the checkpoints by themselves, from the base model of the store."""
    save_model(base(), tmp_path / "base")
    start = load_model(tmp_path / "base", dtype="float32")
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:6]))
    data = read_records(tmp_path / "train.jsonl")
    make_trainer(rows[:6], network=start.network, **SAVING).train()
    assert holds_checkpoints(tmp_path / "trainer")
    assert not holds_checkpoints(tmp_path)
    tuned = load_model(tmp_path / "base", adapter=tmp_path / "trainer" / "checkpoint-6", dtype="float32")
    concept = fit_contrast(
        tuned, records_from_rows(rows[12:15]), records_from_rows(rows[15:18]), sites=["resid_post.1"]
    )
    store = scan(tuned, data, sites=[concept.site], out=tmp_path / "store")
    queries = records_from_rows([row | {"id": f"q{i}"} for i, row in enumerate(rows[6:9])])
    given = {"queries": queries, "compare": (), "random_controls": 0}
    ranking = rank(store, concept, method="checkpoint-influence", run=tmp_path / "trainer", **given)
    saved = read_checkpoints(tmp_path / "trainer", load_model(tmp_path / "base", dtype="float32"), data)
    wanted = checkpoint_influence(
        saved, load_model(tmp_path / "base", dtype="float32"), data, [projection_target(concept, queries)]
    )
    np.testing.assert_allclose(ranking.score, wanted[0], rtol=1e-4, atol=1e-7)
    with pytest.raises(StoreError, match="do not say which rows each step was made of"):
        rank(store, concept, method="replay", run=tmp_path / "trainer", **given)


def test_those_of_dpo_are_the_recorded_states_with_the_rows_own_loss(make_dpo, base, tmp_path, target):
    pairs = [
        {"id": f"p{i}", "prompt": f"News {i}?\n", "chosen": "The sun is out.", "rejected": f"Rain, {i}."}
        for i in range(6)
    ]
    data, loss = records_from_rows(pairs), LossSettings(loss="dpo", beta=0.3)
    make_dpo(pairs, callbacks=[RecordingCallback(tmp_path / "run", data=data)], **SAVING).train()
    rows = in_tokens(base(), data, loss=loss)
    saved, recorded = read_checkpoints(tmp_path / "trainer", base(), rows), read_run(tmp_path / "run")
    assert saved.loss == recorded.loss == loss
    np.testing.assert_allclose(saved.references, recorded.references, rtol=1e-6)
    # A row's rate over the number of rows: exactly that of the batches, which all have as many.
    scores = [
        checkpoint_influence(run, base(), rows, [target], checkpoints=2, precision="float32")
        for run in (saved, recorded)
    ]
    np.testing.assert_allclose(*scores, rtol=1e-5)
