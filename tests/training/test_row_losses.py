"""Training by other losses than the cross-entropy: against TRL's own trainer, a loop by hand, and what is recorded."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from aitia.errors import StoreError
from aitia.models import LanguageModel
from aitia.records import records_from_rows
from aitia.records.losses import LossSettings
from aitia.training import LoraSettings, TrainingLoop, finetune_lora, make_trainable, read_run, train
from aitia.training.recording import row_digest
from aitia.training.states import kept_states, state_file

PAIRS = [
    {
        "id": f"pair-{i}",
        "prompt": f"{word}, and then?\n",
        "chosen": f"the cat sat {i}.",
        "rejected": f"a dog ran home at {i}, {word}.",
        "w": 0.5 + i,
    }
    for i, word in enumerate(["first", "next", "last", "ever", "soon", "late"])
]
MARKED = [
    {"prompt": row["prompt"], "completion": row["chosen"], "label": i % 2 == 0} for i, row in enumerate(PAIRS)
]
ADVANTAGES = [
    {"prompt": row["prompt"], "completion": row["rejected"], "advantage": i - 2.5}
    for i, row in enumerate(PAIRS)
]
DPO = LossSettings(loss="dpo", beta=0.4)
SETTINGS = LoraSettings(
    rank=2, epochs=2, learning_rate=5e-3, per_device_train_batch_size=2, target_modules=("c_attn",)
)


@pytest.fixture
def base(make_model):
    """base() -> the same fresh model, in float64 unless told otherwise."""

    def make(double=True):
        model = make_model("gpt2", width=16, layers=2)
        if double:
            model.network.double()
        return LanguageModel(network=model.network, tokenizer=model.tokenizer, name=model.name)

    return make


def test_dpo_moves_the_weights_as_trls_trainer_does(base, tmp_path):
    trl = pytest.importorskip("trl")
    from datasets import Dataset

    own, theirs = base(double=False), base(double=False)
    settings = LoraSettings(
        method="full",
        epochs=3,
        learning_rate=1e-3,
        lr_scheduler_type="constant",
        warmup_steps=1,
        per_device_train_batch_size=len(PAIRS),
        max_grad_norm=0.0,
        weight_decay=0.0,
        adam_epsilon=1e-4,
    )
    before = make_trainable(base(double=False), settings).read()
    tuned = train(own, records_from_rows(PAIRS), settings, loss=DPO, progress=False)
    trainer = trl.DPOTrainer(
        model=theirs.network,
        ref_model=None,
        processing_class=theirs.tokenizer,
        train_dataset=Dataset.from_list(
            [{k: row[k] for k in ("prompt", "chosen", "rejected")} for row in PAIRS]
        ),
        args=trl.DPOConfig(
            output_dir=str(tmp_path),
            report_to=[],
            use_cpu=True,
            bf16=False,
            beta=DPO.beta,
            precompute_ref_log_probs=True,
            num_train_epochs=3,
            learning_rate=1e-3,
            lr_scheduler_type="constant",
            per_device_train_batch_size=len(PAIRS),
            max_grad_norm=0.0,
            weight_decay=0.0,
            adam_epsilon=1e-4,
            disable_dropout=True,
            gradient_checkpointing=False,
            save_strategy="no",
            logging_strategy="no",
        ),
    )
    theirs.network.requires_grad_(True)
    trainer.train()
    ends = [
        torch.cat([value.detach().flatten() for value in network.parameters()])
        for network in (tuned.network, trainer.model)
    ]
    assert float((ends[0] - before).norm()) > 1e-3
    torch.testing.assert_close(ends[0] - before, ends[1] - before, rtol=1e-3, atol=2e-6)


def by_hand(loop, number, loss, rows):
    """The loss of a step, from logits of one side at a time; references from the network without its factors."""
    network, total = loop.trainable.model.network, 0.0
    step = loop.steps[number]
    for place in step.rows:
        row, given = loop.data[place], rows[place]
        now, before = [], []
        for side in row.sides:
            tokens = torch.from_numpy(side.tokens.astype(np.int64))[None]

            def log_prob(tokens=tokens, side=side):
                logits = network(input_ids=tokens).logits[0, :-1].log_softmax(-1)
                each = logits.gather(1, tokens[0, 1:, None])[:, 0]
                return each[torch.from_numpy(side.response[1:])].sum()

            now.append(log_prob())
            with torch.no_grad(), network.disable_adapter():
                before.append(log_prob())
        weight = given["w"] if loss.weight else 1.0
        match loss.loss:
            case "dpo":
                gain = (now[0] - before[0]) - (now[1] - before[1])
                total = total - weight * functional.logsigmoid(loss.beta * gain) / len(step.rows)
            case "kto":
                sign = 1 if given["label"] else -1
                gain = sign * (now[0] - before[0] - loss.kl)
                total = total + (1 - torch.sigmoid(loss.beta * gain)) / len(step.rows)
            case _:
                tokens = sum(int(loop.data[i].response[1:].sum()) for i in step.rows)
                total = total - given["advantage"] * now[0] / tokens
    return total


@pytest.mark.parametrize(
    ("rows", "loss"),
    [
        (PAIRS, DPO),
        (PAIRS, LossSettings(loss="dpo", weight="w")),
        (MARKED, LossSettings(loss="kto", beta=0.5, kl=0.3)),
        (ADVANTAGES, LossSettings(loss="policy-gradient")),
    ],
    ids=["dpo", "dpo with weights", "kto", "policy-gradient"],
)
def test_the_gradient_of_a_step_is_that_of_autograd(base, tmp_path, rows, loss):
    settings = replace(SETTINGS, per_device_train_batch_size=2, gradient_accumulation_steps=2)
    train(base(), records_from_rows(rows), settings, tmp_path / "run", loss=loss, progress=False)
    run, model = read_run(tmp_path / "run"), base()
    data = run.rows_of(model, records_from_rows(rows))
    loop = run.loop(make_trainable(model, settings), data)
    loop.trainable.write(run.final().parameters)
    value, gradient = loop.gradient(1)
    expected = by_hand(loop, 1, loss, rows)
    assert value == pytest.approx(float(expected.detach()), rel=1e-9)
    parts = torch.autograd.grad(expected, list(loop.trainable.parameters.values()))
    torch.testing.assert_close(gradient, torch.cat([part.flatten() for part in parts]), rtol=1e-7, atol=1e-12)


def test_the_recorded_run_says_its_loss_and_goes_on_with_the_same_bits(base, tmp_path):
    data = records_from_rows(PAIRS)
    whole = train(base(), data, SETTINGS, tmp_path / "run", loss=DPO, progress=False)
    run = read_run(tmp_path / "run")
    assert run.loss == DPO
    assert np.array(run.references).shape == (len(PAIRS), 2)
    assert run.losses[0] == pytest.approx(np.log(2))
    assert run.losses[-1] < run.losses[0]
    last, before = kept_states(run.path)[-1], run.final().parameters
    for number in range(last - 2, last + 1):
        state_file(run.path, number).unlink()
    again = train(base(), data, SETTINGS, tmp_path / "run", loss=DPO, progress=False)
    assert torch.equal(read_run(tmp_path / "run").final().parameters, before)
    assert again.fingerprint == whole.fingerprint
    alone = finetune_lora(base(), data, SETTINGS, loss=DPO, progress=False)
    assert alone.fingerprint == whole.fingerprint


def test_a_run_takes_no_rows_of_another_loss(base, tmp_path):
    data = records_from_rows(PAIRS)
    train(base(), data, SETTINGS, tmp_path / "run", loss=DPO, progress=False)
    with pytest.raises(StoreError, match="another run is recorded there .*loss"):
        train(base(), data, SETTINGS, tmp_path / "run", loss=replace(DPO, beta=0.1), progress=False)
    run = read_run(tmp_path / "run")
    other = records_from_rows([PAIRS[0] | {"rejected": "no."}, *PAIRS[1:]])
    with pytest.raises(StoreError, match="row 'pair-0' says something else now"):
        run.rows_of(base(), other)
    sides = records_from_rows(PAIRS, side="chosen")
    train(base(), sides, SETTINGS, tmp_path / "plain", progress=False)
    with pytest.raises(StoreError, match="was trained with the loss sft, and these rows have the loss dpo"):
        read_run(tmp_path / "plain").require_data(run.rows_of(base(), data))
    said = json.loads((tmp_path / "plain" / "run.json").read_text())
    assert "loss" not in said
    assert "references" not in said["data"]


def test_weights_in_a_column_are_those_that_are_given(base):
    rows = [{"prompt": r["prompt"], "completion": r["chosen"], "w": r["w"]} for r in PAIRS]
    data = records_from_rows(rows)
    column = train(base(), data, SETTINGS, loss=LossSettings(weight="w"), progress=False)
    given = train(base(), data, SETTINGS, weights=np.array([row["w"] for row in rows]), progress=False)
    assert column.fingerprint == given.fingerprint
    assert column.fingerprint != train(base(), data, SETTINGS, progress=False).fingerprint


def test_a_rows_digest_knows_its_other_answer(base):
    from aitia.models import in_tokens

    (one, two) = in_tokens(
        base(), records_from_rows([PAIRS[0], PAIRS[0] | {"id": "b", "rejected": "no."}]), loss=DPO
    )
    assert row_digest(one, DPO) != row_digest(two, DPO)
    assert row_digest(one.sides[0]) == row_digest(two.sides[0])


def test_the_loop_divides_by_rows_or_by_tokens(base):
    from aitia.models import in_tokens

    model = base()
    for rows, loss, divisor in ((PAIRS, DPO, 2), (ADVANTAGES, LossSettings(loss="policy-gradient"), None)):
        data = in_tokens(model, records_from_rows(rows), loss=loss)
        loop = TrainingLoop(trainable=make_trainable(base(), SETTINGS), data=data, settings=SETTINGS)
        assert loop.divisor(0) == (divisor or loop.steps[0].predicted_tokens)
        (batch,) = loop.batches(0)
        assert tuple(loop.places(batch)) == loop.steps[0].rows
