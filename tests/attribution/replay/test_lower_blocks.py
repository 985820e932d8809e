"""Passes that start at the lowest trained block against passes through all blocks."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from aitia.attribution.replay import checkpoint_influence, margin_target, replay
from aitia.attribution.replay.lower_blocks import LowerBlocks, lowest_trained_block
from aitia.models import LanguageModel, run, trace
from aitia.records import pad_batch, records_from_rows, tokenize
from aitia.training import LoraSettings, read_run, temporarily_trainable, train

UPPER = LoraSettings(
    rank=2, layers_to_transform=(2, 3), per_device_train_batch_size=4, epochs=1, epsilon_root=1e-6
)


class Calls:
    """How often each block's attention was run."""

    def __init__(self, model):
        self.counts = [0] * model.layers
        for number, block in enumerate(model.blocks):
            part = getattr(block, "self_attn", None) or block.attn
            part.forward = self.counting(number, part.forward)

    def counting(self, number, forward):
        def counted(*args, **named):
            self.counts[number] += 1
            return forward(*args, **named)

        return counted


@pytest.fixture
def tokenized(rows, tiny_tokenizer):
    return tokenize(records_from_rows(rows[:10]), tiny_tokenizer, max_length=256)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3"])
@pytest.mark.parametrize("place", [{}, {"memory_bytes": 0}])
def test_losses_gradients_and_sites_are_those_of_all_blocks(make_model, tokenized, family, place):
    model = make_model(family, layers=4)
    with temporarily_trainable(model, UPPER) as trainable:
        parameters = list(trainable.parameters.values())
        for value in parameters:
            torch.nn.init.normal_(value, std=0.1)
        batches = [pad_batch(tokenized, np.array(part), model.pad_id) for part in ([3, 1, 4], [5, 9, 2, 6])]

        def results():
            for batch in batches:
                outputs = run(
                    trainable.model, batch, ["resid_post.1", "resid_post.3"], gradients=True, detach=False
                )
                losses = outputs.losses()
                yield from (losses.detach(), *torch.autograd.grad(losses.sum(), parameters))
                real = torch.from_numpy(batch.attention)
                yield from (each.detach()[real] for each in outputs.activations.values())

        whole = list(results())
        own = [block.__dict__.get("forward") for block in model.blocks]
        calls = Calls(trainable.model)
        with LowerBlocks(trainable, [tokenized], **place).kept() as lower:
            before = list(calls.counts)
            short = list(results())
            assert calls.counts[:2] == before[:2], "the lower blocks ran again"
            assert calls.counts[2:] == [count + 2 for count in before[2:]]
            below = trace(trainable.model, batches[0], ["resid_post.0"])["resid_post.0"]
            with lower.paused():
                torch.testing.assert_close(
                    below,
                    trace(trainable.model, batches[0], ["resid_post.0"])["resid_post.0"],
                    rtol=0,
                    atol=0,
                )
        assert [block.__dict__.get("forward") for block in model.blocks] == own
    for one, other in zip(short, whole, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * max(float(other.abs().max()), 1e-3))


def test_texts_that_are_not_kept_and_texts_that_end_with_pads_are_right(make_model, tokenized):
    model = make_model("llama", layers=4)
    rows = list(tokenized)
    ending = [
        replace(
            row,
            tokens=np.append(row.tokens, [model.pad_id] * count),
            response=np.append(row.response, [True] * count),
        )
        for count, row in enumerate(rows[:3])
    ]
    texts = replace(tokenized, records=[*ending, *rows[2:5]])
    with temporarily_trainable(model, UPPER) as trainable:
        batches = [
            pad_batch(texts, np.arange(6), model.pad_id),
            pad_batch(tokenized, np.arange(4, 8), model.pad_id),
        ]
        whole = [run(trainable.model, batch).losses() for batch in batches]
        with LowerBlocks(trainable, [texts]).kept():
            for batch, losses in zip(batches, whole, strict=True):
                torch.testing.assert_close(run(trainable.model, batch).losses(), losses)


def test_it_starts_at_the_lowest_trained_block(make_model):
    for layers, lowest in (((3,), 3), ((1, 2), 1), ((), 0)):
        with temporarily_trainable(make_model("llama"), replace(UPPER, layers_to_transform=layers)) as found:
            assert lowest_trained_block(found) == lowest
    with temporarily_trainable(make_model("llama"), replace(UPPER, method="full")) as found:
        assert lowest_trained_block(found) == 0


def test_a_model_that_hands_on_more_than_one_stream_runs_whole(make_model, tokenized, monkeypatch):
    """The fourth block adds what the first one left aside, as some families' blocks do."""
    said = []
    monkeypatch.setattr("aitia.attribution.replay.lower_blocks.note", said.append)
    model, aside = make_model("llama", layers=4), []
    first, last = model.blocks[0].mlp, model.blocks[3].mlp
    first_forward, last_forward = first.forward, last.forward

    def keep(hidden):
        aside[:] = [first_forward(hidden)]
        return first_forward(hidden)

    first.forward = keep
    last.forward = lambda hidden: last_forward(hidden) + aside[0]
    with temporarily_trainable(model, UPPER) as trainable:
        batch = pad_batch(tokenized, np.array([3, 1]), model.pad_id)
        whole = run(trainable.model, batch).losses()
        with LowerBlocks(trainable, [tokenized]).kept():
            torch.testing.assert_close(run(trainable.model, batch).losses(), whole, rtol=0, atol=0)
    assert len(said) == 1
    assert "all of them run" in said[0]


def test_too_much_to_keep_is_not_kept(make_model, tokenized):
    with temporarily_trainable(make_model("llama", layers=4), UPPER) as trainable:
        lower = LowerBlocks(trainable, [tokenized], disk_bytes=100)
        distinct = {row.tokens.tobytes(): len(row.tokens) for row in tokenized}
        assert lower.bytes == sum(distinct.values()) * 32 * 4
        with lower.kept():
            assert not any("forward" in block.__dict__ for block in trainable.model.blocks)
        assert LowerBlocks(trainable, [tokenized, tokenized]).bytes == lower.bytes, (
            "the same texts are kept once"
        )


def test_replay_and_checkpoints_agree_with_all_blocks(make_model, rows, tmp_path, monkeypatch):
    data, targets = records_from_rows(rows[:10]), [margin_target(records_from_rows(rows[12:15]))]

    def base():
        model = make_model("gpt2", width=16, layers=4)
        model.network.double()
        return LanguageModel(network=model.network, tokenizer=model.tokenizer, name=model.name)

    train(base(), data, UPPER, tmp_path / "run", progress=False)
    recorded = read_run(tmp_path / "run")

    def scores():
        yield replay(recorded, base(), data, targets).scores
        yield checkpoint_influence(recorded, base(), data, targets)

    short = list(scores())
    monkeypatch.setattr(LowerBlocks, "bytes", 0)
    for one, other, rounding in zip(short, scores(), (1e-9, 1e-4), strict=True):
        np.testing.assert_allclose(one, other, rtol=rounding, atol=rounding * np.abs(other).max())
