"""Rows cut into tokens for a model, and the parts of a model that hold its linear layers."""

import numpy as np
import pytest
import torch

from aitia.errors import RecordError
from aitia.models import (
    batch_tensors,
    blocks_prefix,
    capturing,
    find_linear_layers,
    in_tokens,
    layers_named,
    observed_layers,
    row_length,
)
from aitia.records import pad_batch, records_from_rows, tokenize


@pytest.fixture
def records(rows):
    return records_from_rows(rows[:6])


def test_rows_are_cut_as_the_tokenizer_cuts_them_and_tokens_stay(tiny_model, records):
    found = in_tokens(tiny_model, records)
    expected = tokenize(records, tiny_model.tokenizer, max_length=tiny_model.context_length)
    for one, other in zip(found, expected, strict=True):
        assert one.tokens.tolist() == other.tokens.tolist()
        assert one.response.tolist() == other.response.tolist()
    assert in_tokens(tiny_model, found) is found
    short = in_tokens(tiny_model, records, max_length=40, truncate=True, on_error="skip")
    assert max(len(row.tokens) for row in short) == 40
    with pytest.raises(RecordError, match="row"):
        in_tokens(tiny_model, records, max_length=40)


def test_a_row_is_as_long_as_the_context_at_most(tiny_model):
    assert row_length(tiny_model, 0) == tiny_model.context_length == 256
    assert row_length(tiny_model, 7) == 7
    for length in (-1, 257):
        with pytest.raises(RecordError, match="1 to 256 tokens"):
            row_length(tiny_model, length)


def test_a_batch_lies_on_the_model_s_device(tiny_model, records):
    batch = pad_batch(in_tokens(tiny_model, records), np.array([2, 0]), tiny_model.pad_id)
    tokens, response = batch_tensors(tiny_model, batch)
    assert (tokens.device, tokens.dtype, response.dtype) == (tiny_model.device, torch.int64, torch.bool)
    assert tokens.tolist() == batch.tokens.tolist()
    assert response.tolist() == batch.response.tolist()


def test_layers_are_found_by_their_names(tiny_model):
    layers = observed_layers(tiny_model)
    prefix = blocks_prefix(tiny_model)
    assert prefix == "model.layers."
    linear = {
        name for name, module in tiny_model.network.named_modules() if isinstance(module, torch.nn.Linear)
    }
    assert {prefix + layer.name for layer in layers} == linear - {"lm_head"}
    chosen = [layers[3].name, layers[1].name]
    assert layers_named(tiny_model, [*chosen, "no.such.layer"]) == (layers[1], layers[3])


def test_captured_factors_give_the_gradients_of_autograd(tiny_model, records):
    layers = find_linear_layers(tiny_model, layer_stride=2)
    batch = pad_batch(in_tokens(tiny_model, records), np.arange(3), tiny_model.pad_id)
    tokens, _ = batch_tensors(tiny_model, batch)
    real = torch.from_numpy(batch.attention)

    def loss():
        return tiny_model.network(input_ids=tokens).logits[real].square().sum()

    with capturing(layers, tiny_model, real) as factors:
        loss().backward()
    assert set(factors) == {layer.name for layer in layers}
    weights = [layer.module.weight.requires_grad_() for layer in layers]
    expected = torch.autograd.grad(loss(), weights)
    for layer, gradient in zip(layers, expected, strict=True):
        found = factors[layer.name]
        product = torch.einsum("bto,bti->oi", found.outputs, found.inputs[..., : layer.module.in_features])
        torch.testing.assert_close(product, gradient, atol=1e-3 * float(gradient.abs().max()), rtol=1e-3)
        layer.module.weight.requires_grad_(False)
