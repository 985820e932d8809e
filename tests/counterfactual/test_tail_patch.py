"""Tail-Patch, against a copy of the model that takes the step with PyTorch's own optimizer."""

import copy

import numpy as np
import pytest
import torch
from attribution.losses_by_hand import CASES, adapted, loss_of_row
from torch.nn.functional import log_softmax

from aitia.counterfactual import TailPatchSettings, tail_patch
from aitia.errors import AitiaError, RecordError
from aitia.models import in_tokens
from aitia.records import records_from_rows, tokenize
from aitia.records.losses import LossSettings
from aitia.training import LoraSettings, finetune_lora

QUERIES = [
    {"prompt": "What is out?\n", "completion": "The sun is out.", "id": "q0"},
    {"prompt": "And now?\n", "completion": "Rain again.", "id": "q1"},
]


def in_rows(model, records):
    return list(tokenize(records, model.tokenizer, max_length=256))


def log_probability(network, row) -> float:
    """The summed log-probability of a row's response, written out."""
    tokens = torch.from_numpy(row.tokens.astype(np.int64))
    with torch.no_grad():
        logs = log_softmax(network(input_ids=tokens[None]).logits[0, :-1].double(), -1)
    each = logs[torch.arange(len(tokens) - 1), tokens[1:]]
    return float(each[torch.from_numpy(row.response[1:])].sum())


def patched(network, row, rate, optimizer):
    """A copy after one step of PyTorch's own optimizer on transformers' own loss of a row."""
    copied = copy.deepcopy(network)
    wanted = [v for n, v in copied.named_parameters() if "lora_" in n or not hasattr(network, "peft_config")]
    copied.requires_grad_(False)
    for value in wanted:
        value.requires_grad_()
    if optimizer == "sgd":
        step = torch.optim.SGD(wanted, lr=rate)
    else:
        step = torch.optim.AdamW(wanted, lr=rate, weight_decay=0.0)
    tokens = torch.from_numpy(row.tokens.astype(np.int64))[None]
    labels = torch.where(torch.from_numpy(row.response)[None], tokens, -100)
    copied(input_ids=tokens, labels=labels).loss.backward()
    step.step()
    return copied


@pytest.fixture(params=["all weights", "adapter"])
def model(request, make_model, rows):
    found = make_model("llama")
    if request.param == "adapter":
        found = finetune_lora(found, records_from_rows(rows[:4]), LoraSettings(epochs=1), progress=False)
    return found


@pytest.mark.parametrize(("optimizer", "rate"), [("sgd", 0.5), ("adamw", 1e-3)])
def test_it_is_the_change_by_a_step_on_each_of_the_highest_rows(model, rows, optimizer, rate):
    data, queries = records_from_rows(rows[:6]), records_from_rows(QUERIES)
    shared = np.array([0.1, 0.9, 0.2, 0.8, 0.0, 0.3])  # rows 1 and 3
    own = np.stack([shared, -shared])  # for the second query rows 4 and 0
    settings = TailPatchSettings(rows=2, learning_rate=rate, optimizer=optimizer)
    state = {name: value.clone() for name, value in model.network.state_dict().items()}
    found = tail_patch(model, data, queries, {"shared": shared, "own": own}, settings)
    asked, trained = in_rows(model, queries), in_rows(model, data)
    before = np.array([log_probability(model.network, each) for each in asked])
    after = {
        place: np.array(
            [log_probability(patched(model.network, trained[place], rate, optimizer), each) for each in asked]
        )
        for place in (0, 1, 3, 4)
    }
    expected = (after[1] + after[3]) / 2 - before
    np.testing.assert_allclose(found["shared"].by_query, expected, rtol=1e-2, atol=2e-4)
    assert abs(expected).min() > 1e-3
    assert found["shared"].log_probability.value == pytest.approx(expected.mean(), rel=1e-2)
    low, high = found["shared"].log_probability.low, found["shared"].log_probability.high
    assert (low, high) == pytest.approx((expected.min(), expected.max()), rel=1e-2)
    other = (after[4] + after[0])[1] / 2 - before[1]
    np.testing.assert_allclose(found["own"].by_query, [expected[0], other], rtol=1e-2, atol=2e-4)
    shares = (np.exp(after[1]) + np.exp(after[3])) / 2 - np.exp(before)
    assert found["shared"].probability.value == pytest.approx(shares.mean(), rel=2e-2, abs=1e-12)
    for name, value in model.network.state_dict().items():
        assert torch.equal(value, state[name]), name
    assert not any(value.requires_grad for value in model.network.parameters())


def test_rows_that_say_what_the_queries_say_teach_it(make_model):
    """A step on the same answer raises it more than a step on another."""
    model = make_model("llama")
    rows = [
        {
            "prompt": f"{i}, what is out?\n",
            "completion": "The sun is out." if i < 2 else "Bees hum.",
            "id": f"r{i}",
        }
        for i in range(4)
    ]
    right = np.array([1.0, 0.9, 0.1, 0.0])
    settings = TailPatchSettings(rows=2, learning_rate=0.1, optimizer="sgd")
    queries = records_from_rows(QUERIES[:1])
    found = tail_patch(model, records_from_rows(rows), queries, {"right": right, "wrong": -right}, settings)
    assert found["right"].log_probability.value > found["wrong"].log_probability.value
    assert found["right"].log_probability.value > 0
    assert np.isclose(found["right"].by_query[0], found["right"].log_probability.value)


def test_bad_input_is_refused(make_model, rows):
    model, data, queries = make_model("llama"), records_from_rows(rows[:3]), records_from_rows(QUERIES)
    with pytest.raises(AitiaError, match=r"mine: scores of shape \(2,\).*give \[3\] or \[2, 3\]"):
        tail_patch(model, data, queries, {"mine": np.zeros(2)})
    with pytest.raises(AitiaError, match="not finite"):
        tail_patch(model, data, queries, {"mine": np.array([0.0, np.nan, 1.0])})
    with pytest.raises(AitiaError, match="tail patch rows 0: must be"):
        TailPatchSettings(rows=0)
    model.network.to(torch.bfloat16)
    with pytest.raises(AitiaError, match="too coarse for one step"):
        tail_patch(model, data, queries, {"mine": np.zeros(3)})


def test_a_step_on_a_pair_is_one_on_its_own_loss(make_model):
    rows, given = CASES["dpo with weights"]
    model, loss = adapted(make_model), LossSettings(**given)
    data = in_tokens(model, records_from_rows(rows), loss=loss)
    settings = TailPatchSettings(rows=1, learning_rate=0.05, optimizer="sgd")
    asked = records_from_rows(QUERIES)
    found = tail_patch(model, data, asked, {"one": np.eye(len(rows))[2]}, settings)["one"]
    wanted = {name: value for name, value in model.network.named_parameters() if "lora_" in name}
    before = {name: value.detach().clone() for name, value in wanted.items()}
    first = [log_probability(model.network, row) for row in in_rows(model, asked)]
    for value in wanted.values():
        value.requires_grad_()
    loss_of_row(model, data[2], rows[2], given).backward()
    with torch.no_grad():
        for value in wanted.values():
            value -= 0.05 * value.grad
    after = [log_probability(model.network, row) for row in in_rows(model, asked)]
    with torch.no_grad():
        for name, value in wanted.items():
            value.copy_(before[name])
    np.testing.assert_allclose(found.by_query, np.subtract(after, first), rtol=1e-3, atol=1e-5)
    assert np.abs(found.by_query).max() > 1e-3
    with pytest.raises(RecordError, match="is a preference pair"):
        tail_patch(model, records_from_rows(rows), asked, {"one": np.eye(len(rows))[2]}, settings)
