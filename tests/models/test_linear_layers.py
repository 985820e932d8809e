"""How layers are used, and what is counted where none holds a weight: against torch's own gradients and counts."""

import numpy as np
import pytest
import torch
from attribution.dense import dense_loss_gradients
from peft import LoraConfig, get_peft_model
from torch import nn

from aitia.attribution.gradients.curvature import CurvatureSettings, Damping
from aitia.attribution.gradients.curvature_fitting import fit_curvature
from aitia.attribution.gradients.layer_algebra import row_gradients
from aitia.attribution.gradients.measurements import LogProbability
from aitia.attribution.gradients.training_gradients import training_factors
from aitia.attribution.influence.streaming import (
    influence,
    influence_by_token,
    influence_directions,
    influencing_layers,
)
from aitia.errors import ModelError
from aitia.models import LanguageModel
from aitia.models.linear_layers import find_linear_layers, kinds_left_out, weights_left_out
from aitia.records import pad_batch, records_from_rows, tokenize


@pytest.fixture
def rows_in_tokens(rows, tiny_tokenizer):
    return tokenize(records_from_rows(rows[:5]), tiny_tokenizer, max_length=256)


def again(model, adapter=None):
    """The same network taken up again, after it was changed."""
    return LanguageModel(network=model.network, tokenizer=model.tokenizer, name=model.name, adapter=adapter)


def assert_gradients_equal_autograd(model, layers, rows):
    expected = dense_loss_gradients(model, rows, layers)
    batch = pad_batch(rows, np.arange(len(rows)), model.pad_id)
    factors = training_factors(model, batch, layers, [""] * len(rows))
    for layer in layers:
        found = row_gradients(factors[layer.name].inputs, factors[layer.name].outputs)
        scale = float(expected[layer.name].abs().max())
        torch.testing.assert_close(found, expected[layer.name], atol=2e-4 * scale, rtol=2e-3)


class Experts(nn.Module):
    """A feed-forward layer whose experts see the tokens that are routed to them, in the order of their choices."""

    def __init__(self, width, experts, chosen):
        super().__init__()
        self.router = nn.Linear(width, experts)
        self.experts = nn.ModuleList(nn.Linear(width, width) for _ in range(experts))
        self.chosen = chosen

    def forward(self, hidden):
        flat = hidden.reshape(-1, hidden.shape[-1])
        weights, chosen = self.router(flat).softmax(-1).topk(self.chosen, dim=-1)
        mask = nn.functional.one_hot(chosen, len(self.experts)).permute(2, 1, 0)
        found = torch.zeros_like(flat)
        for number, expert in enumerate(self.experts):
            slot, token = torch.where(mask[number])
            found = found.index_add(0, token, expert(flat[token]) * weights[token, slot, None])
        return found.reshape(hidden.shape)


@pytest.mark.parametrize("chosen", [1, 2, 4])
def test_experts_that_see_only_their_tokens_are_left_out_and_counted(make_model, rows_in_tokens, chosen):
    """Where every expert is chosen each gets as many tokens as there are, but in the order of its choices."""
    model = make_model("llama")
    torch.manual_seed(1)
    for block in model.blocks:
        block.mlp = Experts(32, 4, chosen)
        nn.init.normal_(block.mlp.router.weight, std=0.5)
    model = again(model)
    layers = find_linear_layers(model)
    assert not any(".experts." in layer.name for layer in layers)
    assert any(layer.name == "2.mlp.router" for layer in layers)
    assert weights_left_out(model, layers) == 4 * 4 * 32 * 32
    assert list(kinds_left_out(model, layers)) == ["mlp.experts.weight"]
    assert_gradients_equal_autograd(model, layers, rows_in_tokens)


def test_layers_that_share_a_weight_have_the_sum_of_their_gradients(make_model, rows_in_tokens):
    model = make_model("llama")
    model.blocks[3].mlp.up_proj.weight = model.blocks[1].mlp.up_proj.weight
    model.blocks[2].self_attn.o_proj = model.blocks[0].self_attn.o_proj
    model = again(model)
    layers = find_linear_layers(model)
    names = {layer.name for layer in layers}
    assert "1.mlp.up_proj" in names
    assert not names & {"3.mlp.up_proj", "2.self_attn.o_proj"}
    assert weights_left_out(model, layers) == 0
    assert_gradients_equal_autograd(model, layers, rows_in_tokens)
    # A choice of higher blocks leaves them out: the graph does not reach their first use.
    assert all(layer.block == 3 for layer in find_linear_layers(model, layer_stride=4))
    assert not any("up_proj" in layer.name for layer in find_linear_layers(model, layer_stride=4))


@pytest.mark.parametrize(
    ("layers", "site", "stride", "from_top", "from_bottom"),
    [
        # What the published protocol takes: of the first 20 blocks every fourth, of the first 16 every third.
        (28, "resid_post.19", 4, [3, 7, 11, 15, 19], [0, 4, 8, 12, 16]),
        (32, "resid_post.15", 3, [0, 3, 6, 9, 12, 15], [0, 3, 6, 9, 12, 15]),
        (28, None, 5, [2, 7, 12, 17, 22, 27], [0, 5, 10, 15, 20, 25]),
    ],
)
def test_blocks_are_counted_from_the_top_or_from_the_bottom(
    make_model, layers, site, stride, from_top, from_bottom
):
    model = make_model("llama", layers=layers, width=8)

    def blocks(**choice):
        found = find_linear_layers(model, layer_stride=stride, site=site, **choice)
        return sorted({layer.block for layer in found})

    assert blocks() == from_top
    assert blocks(blocks_from="bottom") == from_bottom
    with pytest.raises(ModelError, match="choose top or bottom"):
        blocks(blocks_from="middle")


class Twice(nn.Module):
    """A layer that is run on the tokens and on its own output."""

    def __init__(self, width):
        super().__init__()
        self.inner = nn.Linear(width, width)

    def forward(self, hidden):
        return self.inner(torch.tanh(self.inner(hidden)))


class ByHeads(nn.Module):
    """A layer that is run on every head, once before and once after heads and time change places."""

    def __init__(self):
        super().__init__()
        self.before, self.after = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, hidden):
        heads = self.before(hidden.unflatten(-1, (4, 8))).transpose(1, 2)
        return self.after(torch.tanh(heads)).transpose(1, 2).flatten(-2)


@pytest.mark.parametrize("feed_forward", [lambda: Twice(32), ByHeads])
def test_layers_that_are_used_several_times_for_a_token(make_model, rows_in_tokens, feed_forward):
    model = make_model("llama")
    torch.manual_seed(0)
    for block in model.blocks:
        block.mlp = feed_forward()
    model = again(model)
    layers = find_linear_layers(model)
    assert weights_left_out(model, layers) == 0
    assert_gradients_equal_autograd(model, layers, rows_in_tokens)
    curvature = fit_curvature(model, rows_in_tokens, CurvatureSettings(kind="identity", precision="float32"))
    scores = influence(model, rows_in_tokens, rows_in_tokens, LogProbability(), curvature=curvature)
    chosen = influencing_layers(model, LogProbability(), curvature)
    directions = influence_directions(model, rows_in_tokens, LogProbability(), chosen, curvature, Damping())
    parts = influence_by_token(model, rows_in_tokens[1], directions, chosen, loss="mean")
    assert len(parts) == len(rows_in_tokens[1].tokens)
    assert parts.sum() == pytest.approx(scores[1], rel=1e-3)


ADAPTERS = {
    "plain": ({}, 0),
    "modules_to_save": ({"modules_to_save": ["up_proj"]}, 0),
    "a whole feed-forward layer": ({"modules_to_save": ["mlp"]}, 0),
    "dora": ({"use_dora": True}, 4 * (32 + 16)),
    "embeddings": ({"target_modules": ["q_proj", "embed_tokens"]}, 4 * (395 + 32)),
    "an unembedding": ({"modules_to_save": ["lm_head"]}, 395 * 32),
    "tokens": ({"trainable_token_indices": [1, 5, 9]}, 3 * 32),
}


@pytest.mark.parametrize("kind", ADAPTERS)
def test_all_that_an_adapter_trained_is_held_or_counted(make_model, rows_in_tokens, kind):
    settings, expected = ADAPTERS[kind]
    model = make_model("llama")
    torch.manual_seed(0)
    config = LoraConfig(
        **{"r": 4, "target_modules": ["q_proj", "v_proj"], "init_lora_weights": False} | settings
    )
    wrapped = get_peft_model(model.network, config)
    trained = sum(part.numel() for part in wrapped.parameters() if part.requires_grad)
    tuned = LanguageModel(network=wrapped, tokenizer=model.tokenizer, name="tiny", adapter="made up")
    layers = find_linear_layers(tuned, parameters="lora")
    held = sum(layer.inputs * layer.outputs for layer in layers)
    assert weights_left_out(tuned, layers, parameters="lora") == trained - held == expected
    if kind != "dora":  # whose magnitudes PEFT keeps out of the graph
        assert_gradients_equal_autograd(tuned, layers, rows_in_tokens)
    full = find_linear_layers(tuned)
    assert len(full) == 4 * 7
    assert not any("original_module" in layer.name for layer in full)
    assert weights_left_out(tuned, full) == 0


@pytest.mark.parametrize(("bias", "count"), [("all", 4 * (32 + 16 + 16)), ("lora_only", 4 * (32 + 16))])
def test_trained_biases_are_counted(make_model, bias, count):
    model = make_model("qwen2")
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], bias=bias)
    wrapped = get_peft_model(model.network, config)
    trained = sum(part.numel() for part in wrapped.parameters() if part.requires_grad)
    tuned = LanguageModel(network=wrapped, tokenizer=model.tokenizer, name="tiny", adapter="made up")
    layers = find_linear_layers(tuned, parameters="lora")
    held = sum(layer.inputs * layer.outputs for layer in layers)
    assert weights_left_out(tuned, layers, parameters="lora") == trained - held == count


def test_a_layer_that_is_given_something_else_later_is_named(make_model, rows_in_tokens):
    model = make_model("llama")
    layers = find_linear_layers(model)
    block = model.blocks[2].mlp
    block.register_forward_pre_hook(lambda _module, given: (given[0].flatten(0, 1)[None],))
    block.register_forward_hook(lambda _module, _given, out: out.reshape(len(rows_in_tokens), -1, 32))
    batch = pad_batch(rows_in_tokens, np.arange(len(rows_in_tokens)), model.pad_id)
    with pytest.raises(ModelError, match=r"layer 2\.mlp\.gate_proj is given \[1, "):
        training_factors(model, batch, layers, [""] * len(rows_in_tokens))


def test_more_than_a_small_share_left_out_is_warned_of(make_model, rows_in_tokens, monkeypatch, capsys):
    monkeypatch.setenv("AITIA_PROGRESS", "1")
    model = make_model("llama")
    model.blocks[1].experts = nn.Parameter(torch.zeros(4, 32, 64))
    fit_curvature(model, rows_in_tokens, CurvatureSettings(kind="identity"))
    said = capsys.readouterr().err
    assert (
        "Warning: 8,192 weights, 18% of those that training moves in these blocks, count for nothing" in said
    )
    assert said.rstrip().endswith(": experts")
