"""Runs of TRL's DPOTrainer, recorded: pairs, references, beta, every state again; replay by finite differences."""

import json

import numpy as np
import pytest
import torch
from conftest import make_network
from torch.nn import functional

from aitia.attribution.gradients.measurements import LogProbability
from aitia.attribution.replay import Target, TargetPart, checkpoint_influence, replay, target_value
from aitia.errors import AitiaError, RecordError, StoreError
from aitia.models import LanguageModel
from aitia.models.losses import loss_values
from aitia.records import records_from_rows
from aitia.records.losses import LossSettings
from aitia.training import RecordingCallback, TrainingLoop, read_run, temporarily_trainable, train_smooth

PAIRS = [
    {
        "id": f"pair-{i}",
        "prompt": f"{word}, and then?\n",
        "chosen": f"the cat sat {i}.",
        "rejected": f"a dog ran home at {i}, {word}.",
    }
    for i, word in enumerate(["first", "next", "last", "ever", "soon", "late", "once"])
]
CASES = {
    "lora": {"warmup_steps": 2, "weight_decay": 0.1},
    "lora, accumulated": {
        "gradient_accumulation_steps": 3,
        "dataloader_drop_last": True,
        "max_grad_norm": 0.05,
    },
    "lora, computed before": {"precompute_ref_log_probs": True},
    "full": {
        "lora": False,
        "gradient_checkpointing": False,
        "adam_epsilon": 1e-5,
        "lr_scheduler_type": "cosine",
    },
    "full, computed before": {"lora": False, "adam_epsilon": 1e-5, "precompute_ref_log_probs": True},
}


@pytest.fixture
def base(make_model):
    return lambda: make_model("llama", layers=2)


def distance(one, other):
    return float((one - other).abs().max())


def log_prob(network, side):
    tokens = torch.from_numpy(side.tokens.astype(np.int64))[None]
    by_token = network(input_ids=tokens).logits[0, :-1].log_softmax(-1).gather(1, tokens[0, 1:, None])[:, 0]
    return by_token[torch.from_numpy(side.response[1:])].sum()


@pytest.mark.parametrize("case", CASES)
def test_every_state_comes_out_again(make_dpo, base, tmp_path, onlooker, case):
    data = records_from_rows(PAIRS)
    callback = RecordingCallback(tmp_path / "run", data=data)
    trainer = make_dpo(PAIRS, callbacks=[callback, onlooker.callback], **CASES[case])
    trainer.train()
    run, model = read_run(tmp_path / "run"), base()
    run.require_model(model)
    count = len(run.steps)
    assert run.loss == LossSettings(loss="dpo", beta=0.3)
    assert count == trainer.state.global_step == len(onlooker.parameters) - 1
    for half in np.split(np.array(run.steps, object), 2):
        used = sorted(row for step in half for row in step.rows)
        assert used == sorted(set(used))
        assert len(used) == (6 if "drop_last" in str(CASES[case]) else 7)
    rows = run.rows_of(model, data)
    expected = [[float(log_prob(model.network, side).detach()) for side in row.sides] for row in rows]
    np.testing.assert_allclose(run.references, expected, rtol=1e-5)
    with temporarily_trainable(model, run.settings) as found:
        loop = run.loop(found, rows)
        for number in range(count):
            kept = run.state(number)
            assert torch.equal(kept.parameters, onlooker.parameters[number])
            after, then = loop.after(kept, number), onlooker.parameters[number + 1]
            # TRL's kernel of log-probabilities and ours round apart.
            assert distance(after.parameters, then) <= 2e-3 * distance(kept.parameters, then) + 1e-6
            assert loop.losses[number] == pytest.approx(run.losses[number], rel=1e-4)
    assert run.losses[0] == pytest.approx(np.log(2), rel=1e-4)
    assert run.losses[-1] < run.losses[0]


def test_the_loss_of_a_step_is_that_of_its_pairs(make_dpo, base, tmp_path):
    """By logits of one answer at a time: the second step, where the model has left its reference."""
    data = records_from_rows(PAIRS)
    make_dpo(PAIRS, callbacks=[RecordingCallback(tmp_path / "run", data=data)]).train()
    run, model = read_run(tmp_path / "run"), base()
    with temporarily_trainable(model, run.settings) as found:
        loop = run.loop(found, run.rows_of(model, data))
        found.write(run.state(1).parameters)
        losses, given = [], []
        for place in run.steps[1].rows:
            now = [log_prob(found.model.network, side) for side in loop.data[place].sides]
            given.append(torch.stack(now).detach())
            gain = (now[0] - run.references[place][0]) - (now[1] - run.references[place][1])
            losses.append(-float(functional.logsigmoid(0.3 * gain.detach())))
    assert run.losses[1] == pytest.approx(np.mean(losses), rel=1e-4)
    rows = [loop.data[place] for place in run.steps[1].rows]
    assert loss_values(torch.stack(given), rows, run.loss).tolist() == pytest.approx(losses, rel=1e-6)
    assert run.losses[1] != pytest.approx(np.log(2), rel=1e-3)


@pytest.mark.parametrize("lora", [True, False])
def test_recording_changes_no_bit_of_the_training(make_dpo, tmp_path, onlooker, lora):
    make_dpo(PAIRS, lora=lora, callbacks=[onlooker.callback]).train()
    alone = onlooker.parameters[:]
    onlooker.parameters.clear()
    callback = RecordingCallback(tmp_path / "run", data=records_from_rows(PAIRS))
    make_dpo(PAIRS, lora=lora, callbacks=[callback, onlooker.callback]).train()
    assert all(torch.equal(*pair) for pair in zip(alone, onlooker.parameters, strict=True))


def test_numbers_of_another_reference_are_recorded_where_they_were_computed_before(make_dpo, base, tmp_path):
    other = make_network("llama", 400, layers=2, seed=5)
    data = records_from_rows(PAIRS)
    callback = RecordingCallback(tmp_path / "run", data=data)
    make_dpo(PAIRS, callbacks=[callback], ref_model=other, precompute_ref_log_probs=True).train()
    run = read_run(tmp_path / "run")
    rows = run.rows_of(base(), data)
    expected = [[float(log_prob(other, side).detach()) for side in row.sides] for row in rows]
    np.testing.assert_allclose(run.references, expected, rtol=1e-5)
    again = RecordingCallback(tmp_path / "other", data=data)
    with pytest.raises(
        AitiaError, match="at step 1 the trainer's gradient lies .* off .* with precompute_ref_log"
    ):
        make_dpo(PAIRS, callbacks=[again], ref_model=other, lora=False).train()


def test_the_replay_of_a_recorded_run_is_the_finite_difference(make_dpo, tiny_tokenizer, rows, tmp_path):
    """In float64, of full training with clipping and accumulation."""

    def wide():
        network = make_network("gpt2", len(tiny_tokenizer), width=16, layers=2)
        for module in network.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        return LanguageModel(network=network.double(), tokenizer=tiny_tokenizer, name="tiny")

    used, data = PAIRS[:6], records_from_rows(PAIRS[:6])
    make_dpo(
        used,
        callbacks=[RecordingCallback(tmp_path / "run", data=data)],
        lora=False,
        network=wide().network,
        learning_rate=2e-3,
        gradient_accumulation_steps=2,
        gradient_checkpointing=False,
        weight_decay=0.5,
        max_grad_norm=0.5,
        adam_epsilon=1e-3,
        lr_scheduler_type="constant",
    ).train()
    run, model = read_run(tmp_path / "run"), wide()
    part = TargetPart(measurement=LogProbability(), texts=records_from_rows(rows[10:12]))
    target = Target(name="likelihood", parts=(part,))
    found = replay(run, model, data, [target], progress=False)

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
            return target_value(trained.model, target)

    for row in (0, 3):
        change = 1e-5 * (np.arange(6) == row)
        slope = (value(1 + change) - value(1 - change)) / 2e-5
        assert abs(slope) > 1e-6
        assert found.scores[0, row] == pytest.approx(slope, rel=1e-4)


def test_surrogates_and_checkpoints_of_a_recorded_run(make_dpo, base, rows, tmp_path):
    data = records_from_rows(PAIRS)
    make_dpo(PAIRS, callbacks=[RecordingCallback(tmp_path / "run", data=data)]).train()
    run = read_run(tmp_path / "run")
    (folder,) = train_smooth(base(), data, run, runs=1, epsilon_root=1e-6)
    smooth = read_run(folder)
    assert smooth.loss == run.loss
    assert smooth.references == run.references
    part = TargetPart(measurement=LogProbability(), texts=records_from_rows(rows[10:12]))
    target = Target(name="likelihood", parts=(part,))
    scores = checkpoint_influence(run, base(), data, [target])
    assert np.isfinite(scores).all()
    assert np.ptp(scores) > 0
    with pytest.raises(StoreError, match="'pair-2' says something else now"):
        run.rows_of(base(), records_from_rows([*PAIRS[:2], PAIRS[2] | {"rejected": "no."}, *PAIRS[3:]]))


def test_a_stopped_training_goes_on_with_its_references(make_dpo, tmp_path):
    from transformers import TrainerCallback

    class Stopper(TrainerCallback):
        def on_step_begin(self, args, state, control, **_):
            if state.global_step == 4:
                raise KeyboardInterrupt

    data, out = records_from_rows(PAIRS), tmp_path / "run"
    make_dpo(PAIRS, lora=False, callbacks=[RecordingCallback(tmp_path / "whole", data=data)]).train()
    saving = {"lora": False, "save_strategy": "steps", "save_steps": 3}
    with pytest.raises(KeyboardInterrupt):
        make_dpo(PAIRS, callbacks=[RecordingCallback(out, data=data), Stopper()], **saving).train()
    said = json.loads((out / "run.json").read_text())
    checkpoint = str(tmp_path / "trainer" / "checkpoint-3")
    make_dpo(PAIRS, callbacks=[RecordingCallback(out, data=data)], **saving).train(
        resume_from_checkpoint=checkpoint
    )
    one, other = read_run(out), read_run(tmp_path / "whole")
    assert one.references == said["data"]["references"] == other.references
    assert one.steps == other.steps
    assert torch.equal(one.final().parameters, other.final().parameters)


REFUSED = {
    r"loss_type=\['ipo'\]: one loss": {"loss_type": ["ipo"]},
    r"loss_type=\['sigmoid', 'sft'\]": {"loss_type": ["sigmoid", "sft"]},
    r"loss_weights=\[0.5\]": {"loss_weights": [0.5]},
    "f_divergence_type='js_divergence'": {"f_divergence_type": "js_divergence"},
    "ld_alpha=0.5: it weighs": {"ld_alpha": 0.5},
    "use_weighting=True": {"use_weighting": True},
    "sync_ref_model=True: the reference moves": {"sync_ref_model": True, "lora": False},
    "truncation_mode='keep_end'": {"truncation_mode": "keep_end"},
    "bf16=True": {"bf16": True},
    "the last step of an epoch has 3 of 7 pairs, in batches of 2 and a last one of 1": {
        "gradient_accumulation_steps": 2
    },
}


@pytest.mark.parametrize("reason", REFUSED)
def test_arguments_are_refused_before_the_first_step(make_dpo, tmp_path, reason):
    callback = RecordingCallback(tmp_path / "run", data=records_from_rows(PAIRS))
    trainer = make_dpo(PAIRS, callbacks=[callback], **REFUSED[reason])
    with pytest.raises(AitiaError, match=reason):
        trainer.train()
    assert trainer.state.global_step == 0
    assert not (tmp_path / "run" / "run.json").exists()


def test_rows_that_do_not_match_are_named(make_dpo, rows, tmp_path):
    def attempt(data):
        make_dpo(PAIRS, callbacks=[RecordingCallback(tmp_path / "run", data=records_from_rows(data))]).train()

    with pytest.raises(RecordError, match=r"rows row 0.*is no preference pair, which `loss=dpo` compares"):
        attempt(rows[:7])
    changed = [dict(row) for row in PAIRS]
    changed[3]["rejected"] += " Then more."
    with pytest.raises(
        RecordError, match=r"row 3 of the train dataset \(rejected answer: .* nearest is rows row 3"
    ):
        attempt(changed)
    with pytest.raises(
        RecordError, match=r"rows row 7: the data have row 'more' 1 time\(s\), the train dataset 0"
    ):
        attempt([*PAIRS, PAIRS[0] | {"id": "more", "chosen": "something else."}])


def test_masks_of_answers_that_merge_with_the_prompt_are_trls(make_dpo, tmp_path):
    """TRL counts both answers from the first token on in which either differs from the prompt."""
    rows = [
        {"id": "merged", "prompt": "the gar", "chosen": "den is full of bees", "rejected": " sun is out"},
        {"id": "other", "prompt": "the gar", "chosen": " sun is out", "rejected": "den grows"},
    ]
    callback = RecordingCallback(tmp_path / "run", data=records_from_rows(rows))
    trainer = make_dpo(rows, callbacks=[callback])
    trainer.train()
    from aitia.records import tokenize

    ours = tokenize(
        records_from_rows(rows), trainer.processing_class, max_length=256, loss=LossSettings(loss="dpo")
    )
    alone = [
        tokenize(records_from_rows(rows, side=side), trainer.processing_class, max_length=256)
        for side in ("chosen", "rejected")
    ]
    assert any(
        len({int(np.flatnonzero(side[place].response)[0]) for side in alone}) > 1 for place in range(2)
    )
    for row, theirs in zip(ours, trainer.train_dataset, strict=True):
        for side, name in zip(row.sides, ("chosen", "rejected"), strict=True):
            assert side.tokens.tolist() == theirs["prompt_ids"] + theirs[f"{name}_ids"]
            assert int(np.flatnonzero(side.response)[0]) == len(theirs["prompt_ids"])
            assert side.response[len(theirs["prompt_ids"]) :].all()
