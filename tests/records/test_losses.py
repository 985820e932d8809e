"""Values of losses beside TRL's own functions, coefficients beside their closed forms, and rows that a loss refuses."""

import json
import math
from collections import defaultdict
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from aitia.errors import RecordError
from aitia.records import read_records, records_from_rows, tokenize
from aitia.records.losses import (
    LOSSES,
    PLAIN,
    REFERENCES,
    WEIGHT,
    LossSettings,
    RowLoss,
    loss_of,
    side_coefficients,
    usual_loss,
)

trl = pytest.importorskip("trl")
PAIR = {"prompt": "The cat", "chosen": " sat on the mat.", "rejected": " ran away over the hill."}


def trainer(**more):
    """What TRL's loss functions read of their trainer."""
    return SimpleNamespace(
        model=SimpleNamespace(training=True),
        accelerator=SimpleNamespace(
            device="cpu",
            gather=lambda value: value,
            gather_for_metrics=lambda value: value,
            reduce=lambda value, **_: value,
            num_processes=1,
        ),
        aux_loss_enabled=False,
        _metrics=defaultdict(lambda: defaultdict(list)),
        _total_train_tokens=0,
        _tp_size=1,
        **more,
    )


def outputs_of(log_probs):
    zeros = torch.zeros_like(log_probs)
    return SimpleNamespace(
        log_probs=log_probs, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool(), log_sum_sq_probs=zeros
    )


def batch_of(rows, tokens=4):
    ones = torch.ones(rows, tokens, dtype=torch.long)
    return {"input_ids": ones, "attention_mask": ones, "completion_mask": ones}


@pytest.fixture
def drawn():
    """Per-token log-probabilities of six answers, and references, float64."""
    generator = torch.Generator().manual_seed(3)
    return [-torch.rand(6, 3, generator=generator, dtype=torch.float64) * 4 for _ in range(2)]


@pytest.mark.parametrize("beta", [0.1, 0.7])
def test_dpo_is_trls(drawn, beta):
    from trl import DPOTrainer

    tokens, references = drawn[0], drawn[1].sum(dim=1)
    given = tokens.clone().requires_grad_()
    own = trainer(
        ld_alpha=None,
        precompute_ref_logps=True,
        f_divergence_type="reverse_kl",
        beta=beta,
        loss_types=["sigmoid"],
        loss_weights=[1.0],
        use_weighting=False,
        label_smoothing=0.0,
    )
    inputs = batch_of(6) | {"ref_chosen_logps": references[:3], "ref_rejected_logps": references[3:]}
    theirs = DPOTrainer._compute_loss(own, lambda **_: outputs_of(given), inputs, return_outputs=False)
    settings = LossSettings(loss="dpo", beta=beta)
    pairs = tokens.sum(dim=1).reshape(2, 3).T
    values = loss_of(settings).values(pairs, references.reshape(2, 3).T, {}, settings)
    torch.testing.assert_close(values.mean(), theirs.detach(), rtol=1e-12, atol=0)
    found = side_coefficients(pairs, references.reshape(2, 3).T, {}, settings)
    h = beta * ((pairs - references.reshape(2, 3).T) @ torch.tensor([1.0, -1.0], dtype=torch.float64))
    closed = beta * torch.sigmoid(-h)
    torch.testing.assert_close(found, torch.stack([closed, -closed], dim=1))
    (slope,) = torch.autograd.grad(theirs, given)  # the mean over three pairs
    torch.testing.assert_close(found.T.reshape(-1), -3 * slope[:, 0])


def test_kto_is_trls_at_its_baseline(drawn):
    from trl import KTOTrainer

    tokens, references = drawn[0], drawn[1].sum(dim=1)
    given = tokens.clone().requires_grad_()
    marks = torch.tensor([True, False, True, True, False, False])
    kl = 0.8
    own = trainer(
        calculate_KL=True,
        precompute_ref_logps=True,
        beta=0.3,
        loss_type="kto",
        desirable_weight=1.5,
        undesirable_weight=0.5,
        _compute_kl_logps=lambda _model, _batch: torch.full((6,), kl, dtype=torch.float64),
    )
    zeros = torch.zeros(6, dtype=torch.float64)
    inputs = batch_of(6) | {"label": marks, "ref_logps": references, "ref_KL_logps": zeros}
    theirs = KTOTrainer._compute_loss(own, lambda **_: outputs_of(given), inputs, return_outputs=False)
    settings = LossSettings(loss="kto", beta=0.3, desirable_weight=1.5, undesirable_weight=0.5, kl=kl)
    columns = {"desirable": marks.double()}
    one = tokens.sum(dim=1, keepdim=True)
    values = loss_of(settings).values(one, references[:, None], columns, settings)
    torch.testing.assert_close(values.mean(), theirs.detach(), rtol=1e-12, atol=0)
    found = side_coefficients(one, references[:, None], columns, settings)[:, 0]
    (slope,) = torch.autograd.grad(theirs, given)
    torch.testing.assert_close(found, -6 * slope[:, 0])
    sign = torch.where(marks, 1.0, -1.0)
    s = torch.sigmoid(0.3 * sign * (one[:, 0] - references - kl))
    torch.testing.assert_close(found, torch.where(marks, 1.5, 0.5) * sign * 0.3 * s * (1 - s))


def test_policy_gradient_is_grpos_where_the_policy_sampled(drawn):
    from trl import GRPOTrainer

    given = drawn[0].clone().requires_grad_()
    advantages = torch.tensor([1.0, -2.0, 0.5, 0.0, 3.0, -0.25], dtype=torch.float64)
    own = trainer(
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        importance_sampling_level="token",
        loss_type="dapo",
        beta=0.0,
        epsilon_low=0.2,
        epsilon_high=0.2,
        use_vllm=False,
        vllm_importance_sampling_correction=False,
        args=SimpleNamespace(delta=None, use_bias_correction_kl=False, steps_per_generation=1),
        _entropy_bonus_enabled=False,
        current_gradient_accumulation_steps=1,
        _step=0,
        tools=None,
        _get_per_token_logps_and_entropies=lambda *_, **__: (given, torch.zeros_like(given), None),
    )
    ones = torch.ones(6, 3, dtype=torch.long)
    inputs = {
        "prompt_ids": ones[:, :1],
        "prompt_mask": ones[:, :1],
        "completion_ids": ones,
        "completion_mask": ones,
        "advantages": advantages,
        "num_items_in_batch": torch.tensor(18),
    }
    theirs = GRPOTrainer._compute_loss(own, None, inputs)
    (slope,) = torch.autograd.grad(theirs, given)
    settings = LossSettings(loss="policy-gradient")
    one, columns = drawn[0].sum(dim=1, keepdim=True), {"advantage": advantages}
    found = side_coefficients(one, torch.zeros_like(one), columns, settings)[:, 0]
    torch.testing.assert_close(found, -18 * slope[:, 0])
    values = loss_of(settings).values(one, torch.zeros_like(one), columns, settings)
    torch.testing.assert_close(values, -advantages * one[:, 0])


def test_supervised_fine_tuning_has_the_coefficient_one(drawn):
    one = drawn[0].sum(dim=1, keepdim=True)
    torch.testing.assert_close(side_coefficients(one, one, {}, PLAIN), torch.ones_like(one))
    assert PLAIN.plain
    assert not LossSettings(weight="w").plain


@pytest.mark.parametrize("loss", LOSSES.values(), ids=list(LOSSES))
def test_every_loss_says_what_it_is(loss: RowLoss):
    assert loss.formula
    assert loss.source
    assert loss.sides
    assert LossSettings(loss=loss.name).loss == loss.name


def cut(rows, tokenizer, **settings):
    return tokenize(records_from_rows(rows), tokenizer, max_length=256, loss=LossSettings(**settings))


def test_the_sides_of_a_pair_are_cut_as_rows_of_their_own(tiny_tokenizer):
    found = cut([PAIR, PAIR | {"id": "again"}], tiny_tokenizer, loss="dpo")
    assert found.loss.loss == "dpo"
    assert len(found) == 2
    for name, side in zip(("chosen", "rejected"), found[1].sides, strict=True):
        (alone,) = tokenize(records_from_rows([PAIR], side=name), tiny_tokenizer, max_length=64)
        np.testing.assert_array_equal(side.tokens, alone.tokens)
        np.testing.assert_array_equal(side.response, alone.response)
    turns = [{"role": "user", "content": "hi"}]
    said = [[{"role": "assistant", "content": word}] for word in ("good day", "go away")]
    talk = {"prompt": turns, "chosen": said[0], "rejected": said[1]}
    (found,) = cut([talk], tiny_tokenizer, loss="dpo")
    (alone,) = tokenize(records_from_rows([talk], side="rejected"), tiny_tokenizer, max_length=64)
    np.testing.assert_array_equal(found.sides[1].tokens, alone.tokens)


def test_the_fingerprint_knows_the_other_side_the_numbers_and_the_loss(tiny_tokenizer):
    prints = {
        cut([PAIR], tiny_tokenizer, loss="dpo").fingerprint,
        cut([PAIR | {"rejected": " fell."}], tiny_tokenizer, loss="dpo").fingerprint,
        cut([PAIR], tiny_tokenizer, loss="dpo", beta=0.2).fingerprint,
        cut([PAIR | {"w": 2}], tiny_tokenizer, loss="dpo", weight="w").fingerprint,
        cut([PAIR | {"w": 3}], tiny_tokenizer, loss="dpo", weight="w").fingerprint,
    }
    assert len(prints) == 5
    plain = [{"prompt": "a", "completion": " b"}]
    alone = tokenize(records_from_rows(plain), tiny_tokenizer, max_length=64).fingerprint
    assert cut(plain, tiny_tokenizer).fingerprint == alone


ANSWER = {"prompt": "The cat", "completion": " sat."}
REFUSED = {
    "pair as sft": ([PAIR], {}, "is a preference pair, and `loss=sft` takes single answers"),
    "answer as dpo": ([ANSWER], {"loss": "dpo"}, "is no preference pair, which `loss=dpo` compares"),
    "no mark": ([ANSWER], {"loss": "kto"}, "has no `label` that is true or false"),
    "mark as sft": ([ANSWER | {"label": True}], {}, "take `loss=kto`"),
    "no advantage": (
        [ANSWER | {"reward": 1}],
        {"loss": "policy-gradient"},
        "has no column 'advantage'.*reward",
    ),
    "infinite advantage": (
        [ANSWER | {"advantage": math.inf}],
        {"loss": "policy-gradient"},
        "column 'advantage' is inf, not a finite number; mend it",
    ),
    "advantage in words": (
        [ANSWER | {"advantage": "much"}],
        {"loss": "policy-gradient"},
        "column 'advantage' is 'much', not a number",
    ),
    "true advantage": ([ANSWER | {"advantage": True}], {"loss": "policy-gradient"}, "must be a number"),
    "no weight": (
        [ANSWER],
        {"weight": "w"},
        "has no column 'w', which `weight` reads; its other columns: none",
    ),
    "weight that is not a number": (
        [ANSWER | {"w": math.nan}],
        {"weight": "w"},
        "column 'w' is nan, not a finite number",
    ),
    "no reference": ([PAIR], {"loss": "dpo", "reference": "columns"}, "has no column 'ref_chosen_logps'"),
    "likelihood": (
        [PAIR | {"ref_chosen_logps": 0.5, "ref_rejected_logps": -1}],
        {"loss": "dpo", "reference": "columns"},
        "column 'ref_chosen_logps' is 0.5; the logarithm of a probability is at most 0",
    ),
    "short reference": (
        [PAIR | {"ref_chosen_logps": -3.0, "ref_rejected_logps": [-1.0, -2.0]}],
        {"loss": "dpo", "reference": "columns"},
        r"column 'ref_rejected_logps' has 2 numbers, but the answer has \d+ tokens",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_row_that_does_not_fit_its_loss_is_named(tiny_tokenizer, case):
    rows, settings, message = REFUSED[case]
    with pytest.raises(RecordError, match="rows row 0: .*" + message):
        cut(rows, tiny_tokenizer, **settings)


def test_sides_that_are_cut_to_the_same_tokens_are_refused(tiny_tokenizer):
    long = "word " * 20
    row = {"prompt": "The cat", "chosen": f" {long}yes", "rejected": f" {long}no"}
    with pytest.raises(RecordError, match="the same tokens, perhaps since both were cut"):
        tokenize(
            records_from_rows([row]),
            tiny_tokenizer,
            max_length=8,
            truncate=True,
            loss=LossSettings(loss="dpo"),
        )


def test_bad_rows_are_left_out_and_listed(tiny_tokenizer):
    rows = [ANSWER | {"advantage": each} for each in (1.0, math.nan, -1.0)]
    found = tokenize(
        records_from_rows(rows),
        tiny_tokenizer,
        max_length=64,
        on_error="skip",
        loss=LossSettings(loss="policy-gradient"),
    )
    assert [row.numbers for row in found] == [{"advantage": 1.0}, {"advantage": -1.0}]
    assert "nan" in found.skipped[0].reason


def test_references_in_columns_are_numbers_or_one_a_token(tiny_tokenizer):
    (found,) = cut([PAIR], tiny_tokenizer, loss="dpo")
    tokens = int(found.rejected.response[1:].sum())
    row = PAIR | {"ref_chosen_logps": -3.5, "ref_rejected_logps": [-0.5] * tokens, "w": "2"}
    (found,) = cut([row], tiny_tokenizer, loss="dpo", reference="columns", weight="w")
    assert found.numbers == {REFERENCES[0]: -3.5, REFERENCES[1]: -0.5 * tokens, WEIGHT: 2.0}


def test_settings_out_of_range_are_refused():
    with pytest.raises(RecordError, match="loss beta 0: must be above 0"):
        LossSettings(loss="dpo", beta=0)


def test_the_usual_loss_of_a_shape():
    shapes = (PAIR, ANSWER | {"label": False}, ANSWER)
    assert [usual_loss(records_from_rows([row])[0]).loss for row in shapes] == ["dpo", "kto", "sft"]


def test_a_setting_that_the_loss_would_pass_over_is_refused(tiny_tokenizer):
    with pytest.raises(RecordError, match="`beta=0.2` is read with `loss=dpo` and `loss=kto` alone"):
        cut([ANSWER], tiny_tokenizer, beta=0.2)
    with pytest.raises(RecordError, match="would be passed over with `loss=dpo`; leave it out"):
        cut([PAIR], tiny_tokenizer, loss="dpo", advantage="reward")


TURNS = {
    "prompt": [{"role": "user", "content": "hi"}],
    "chosen": [{"role": "assistant", "content": "good day"}],
    "rejected": [{"role": "assistant", "content": "go away"}],
}
MATRIX = {
    "pairs": (PAIR, {"loss": "dpo"}),
    "pairs in turns": (TURNS, {"loss": "dpo", "weight": "w"}),
    "pairs with references": (
        PAIR | {"ref_chosen_logps": -2.5, "ref_rejected_logps": -1.5},
        {"loss": "dpo", "reference": "columns"},
    ),
    "marked answers": (ANSWER | {"label": True}, {"loss": "kto", "weight": "w"}),
    "advantages": (ANSWER | {"advantage": -0.25}, {"loss": "policy-gradient"}),
    "rewards in conversations": (
        {"messages": [*TURNS["prompt"], *TURNS["chosen"]], "reward": 2.0},
        {"loss": "policy-gradient", "advantage": "reward"},
    ),
    "weights of ShareGPT": (
        {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "yes"}]},
        {"weight": "w"},
    ),
    "weights of Alpaca": ({"instruction": "Say yes.", "output": "yes"}, {"weight": "w"}),
    "weights of texts": ({"text": "the cat sat"}, {"weight": "w"}),
}
SOURCES = ("jsonl", "json", "csv", "parquet", "datasets")


def stored(rows, source, folder):
    import csv

    import pyarrow as pa
    import pyarrow.parquet as parquet
    from datasets import Dataset

    path = folder / f"rows.{source}"
    match source:
        case "jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        case "json":
            path.write_text(json.dumps(rows))
        case "csv":
            with path.open("w", newline="") as handle:
                writer = csv.DictWriter(handle, list(rows[0]))
                writer.writeheader()
                for row in rows:
                    writer.writerow({k: json.dumps(v) if isinstance(v, list) else v for k, v in row.items()})
        case "parquet":
            parquet.write_table(pa.Table.from_pylist(rows), path)
        case _:
            Dataset.from_list(rows).save_to_disk(str(path))
    return path


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("shape", MATRIX)
def test_every_shape_with_its_loss_from_every_source(tiny_tokenizer, tmp_path, shape, source):
    row, settings = MATRIX[shape]
    rows = [row | {"id": f"r{i}", "w": 0.5 + i} for i in range(2)]
    expected = cut(rows, tiny_tokenizer, **settings)
    found = tokenize(
        read_records(stored(rows, source, tmp_path)),
        tiny_tokenizer,
        max_length=256,
        loss=LossSettings(**settings),
    )
    assert [row.numbers for row in found] == [row.numbers for row in expected]
    assert found.fingerprint == expected.fingerprint
