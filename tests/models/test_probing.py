"""What is refused when a network is taken up, and what a model says of itself."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from aitia.errors import ModelError
from aitia.models import LanguageModel


def taken_up(model):
    return LanguageModel(network=model.network, tokenizer=model.tokenizer, name="changed")


class Changed(nn.Module):
    """A block, and something done to what it gives."""

    def __init__(self, block, change):
        super().__init__()
        self.block, self.change = block, change

    def forward(self, hidden_states, **others):
        return self.change(self.block(hidden_states, **others))


def looks_ahead(hidden):
    return hidden + 0.01 * hidden.roll(-1, dims=1)


def looks_beside(hidden):
    return hidden + 0.1 * hidden[:, :1].mean(dim=0, keepdim=True)


def breaks_the_graph(hidden):
    return hidden.detach()


CHANGES = {
    "depends on later tokens": looks_ahead,
    "depends on the rows and the padding beside it": looks_beside,
    "no gradient can be taken through block 2": breaks_the_graph,
    r"block 2 gives \[3, 11, 16\] where one residual stream": lambda hidden: hidden[..., :16],
}


@pytest.mark.parametrize("message", CHANGES)
def test_a_network_that_breaks_an_assumption_is_refused_by_what_it_breaks(make_model, message):
    model = make_model("llama")
    model.blocks[2] = Changed(model.blocks[2], CHANGES[message])
    if "16" in message:
        model.blocks[3] = Changed(nn.Identity(), lambda hidden: hidden.repeat(1, 1, 2))
        model.blocks[3].block.forward = lambda hidden, **_others: hidden
    with pytest.raises(ModelError, match=message):
        taken_up(model)


def test_weights_that_are_not_finite_are_no_matter_of_the_family(make_model):
    model = make_model("llama")
    with torch.no_grad():
        model.blocks[1].mlp.down_proj.weight[0, 0] = float("nan")
    assert taken_up(model).layers == 4


ROTARY = {"original_max_position_embeddings": 100}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"max_position_embeddings": 256}, 256),
        ({"n_positions": 128}, 128),
        ({"max_position_embeddings": None, "max_sequence_length": 90}, 90),
        ({}, 77),
        ({"max_position_embeddings": 256, "rope_parameters": {"rope_type": "yarn"} | ROTARY}, 256),
        ({"max_position_embeddings": 256, "rope_parameters": {"rope_type": "longrope"} | ROTARY}, 100),
        ({"max_position_embeddings": 256, "rope_parameters": {"full": {"rope_type": "dynamic"}}}, 256),
        (
            {"max_position_embeddings": 256, "rope_parameters": {"full": {"rope_type": "dynamic"} | ROTARY}},
            100,
        ),
    ],
)
def test_the_context_is_read_from_whatever_field_holds_it(fields, expected):
    tokenizer = SimpleNamespace(model_max_length=77)
    model = SimpleNamespace(config=SimpleNamespace(**fields), tokenizer=tokenizer)
    assert LanguageModel.context_length.fget(model) == expected


def test_a_cap_is_noticed_though_the_padding_token_gives_zeros(make_model):
    model = make_model("gemma2")
    with torch.no_grad():
        model.network.get_input_embeddings().weight[model.pad_id] = 0
    assert taken_up(model).plain_unembedding is None


def test_a_network_without_unembedding_is_refused(make_model):
    model = make_model("llama")
    model.network.get_output_embeddings = lambda: None
    with pytest.raises(ModelError, match="has no unembedding"):
        taken_up(model)
