"""Sites and gradients against transformers' own hidden states, and against finite differences."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from aitia.errors import NumericalError, SiteError
from aitia.models import require_finite, run, site_gradients, trace
from aitia.models.pooling import masked_mean, masked_sum, prompt_end_mask
from aitia.records import pad_batch, records_from_rows, tokenize


@pytest.fixture
def tokenized(tiny_tokenizer, rows):
    return tokenize(records_from_rows(rows), tiny_tokenizer, max_length=256)


def batch_of(model, tokenized, index):
    return pad_batch(tokenized, np.array(index), model.pad_id)


def own_hidden_states(model, batch):
    """hidden_states as transformers gives them, with an attention mask: an independent path."""
    with torch.no_grad():
        return model.network(
            input_ids=torch.from_numpy(batch.tokens),
            attention_mask=torch.from_numpy(batch.attention).long(),
            output_hidden_states=True,
        ).hidden_states


def test_trace_equals_transformers_hidden_states(any_model, tokenized):
    batch = batch_of(any_model, tokenized, [0, 3, 5, 8])
    states = own_hidden_states(any_model, batch)
    found = trace(any_model, batch, ["resid_post.0", "resid_post.2"])
    for layer in (0, 2):
        real = torch.from_numpy(batch.attention)
        torch.testing.assert_close(
            found[f"resid_post.{layer}"][real], states[layer + 1][real], atol=2e-5, rtol=1e-4
        )


def test_layers_above_the_last_site_are_not_run(any_model, tokenized):
    ran = []
    handles = [
        block.register_forward_hook(lambda *_, layer=layer: ran.append(layer))
        for layer, block in enumerate(any_model.blocks)
    ]
    trace(any_model, batch_of(any_model, tokenized, [0]), ["resid_post.1"])
    for handle in handles:
        handle.remove()
    assert ran == [0, 1] or ran == [0]  # the stopping hook of block 1 may run before ours
    assert 2 not in ran


def test_tracing_leaves_no_hook_behind(make_model, tokenized):
    model = make_model(
        "llama"
    )  # a fresh one: transformers leaves hooks of its own on a model that gave hidden states
    batch = batch_of(model, tokenized, [0])
    with pytest.raises(SiteError):
        trace(model, batch, ["resid_post.9"])
    trace(model, batch, ["resid_post.1"])
    site_gradients(model, batch, ["resid_post.1"])
    modules = list(model.network.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in modules)


def test_losses_equal_transformers_labels_loss(any_model, tokenized):
    batch = batch_of(any_model, tokenized, [1, 2, 7])
    losses = run(any_model, batch).losses()
    for row in range(3):
        tokens = torch.from_numpy(batch.tokens[row : row + 1, : batch.lengths[row]])
        labels = torch.where(
            torch.from_numpy(batch.response[row : row + 1, : batch.lengths[row]]), tokens, -100
        )
        with torch.no_grad():
            mean = any_model.network(input_ids=tokens, labels=labels).loss
        count = int((labels[:, 1:] != -100).sum())
        assert losses[row].item() == pytest.approx(mean.item() * count, rel=1e-4)


def test_site_gradient_equals_finite_differences(any_model, tokenized):
    """Push the residual stream along random directions by a hook of our own, in double precision."""
    network = any_model.network.double()
    try:
        batch = batch_of(any_model, tokenized, [2, 4])
        _, gradients = site_gradients(any_model, batch, ["resid_post.1", "resid_post.2"])
        for layer in (1, 2):
            gradient = gradients[f"resid_post.{layer}"]
            direction = torch.randn(
                gradient.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(layer)
            )

            def loss_at(step, layer=layer, direction=direction):
                def push(_module, _inputs, output):
                    hidden = output[0] if isinstance(output, tuple) else output
                    moved = hidden + step * direction
                    return (moved, *output[1:]) if isinstance(output, tuple) else moved

                handle = any_model.blocks[layer].register_forward_hook(push)
                with torch.no_grad():
                    logits = network(input_ids=torch.from_numpy(batch.tokens)).logits[:, :-1]
                handle.remove()
                keep = torch.from_numpy(batch.response[:, 1:])
                return functional.cross_entropy(
                    logits[keep], torch.from_numpy(batch.tokens[:, 1:])[keep], reduction="sum"
                ).item()

            # Norms and rotary embeddings are computed in float32 even here, so the steps must not be tiny;
            # the five-point stencil keeps the error of large steps down.
            step = 4e-3
            near, far = loss_at(step) - loss_at(-step), loss_at(2 * step) - loss_at(-2 * step)
            numerical = (8 * near - far) / (12 * step)
            assert (gradient * direction).sum().item() == pytest.approx(numerical, rel=2e-3, abs=2e-3)
    finally:
        any_model.network.float()


def test_gradient_of_a_concept_measurement_is_the_direction_where_it_is_measured(tiny_model, tokenized):
    batch = batch_of(tiny_model, tokenized, [0, 1])
    direction = torch.randn(tiny_model.width, generator=torch.Generator().manual_seed(0))

    def projection(outputs):
        return (outputs.activations["resid_post.2"] @ direction)[torch.from_numpy(batch.response)].sum()

    _, gradients = site_gradients(tiny_model, batch, ["resid_post.2", "resid_post.3"], projection)
    expected = torch.from_numpy(batch.response)[..., None] * direction
    torch.testing.assert_close(gradients["resid_post.2"], expected)
    assert gradients["resid_post.3"].abs().max() == 0


def test_padding_and_company_do_not_change_a_row(any_model, tokenized):
    index = [0, 2, 5, 11]
    together = batch_of(any_model, tokenized, index)
    _, gradients = site_gradients(any_model, together, ["resid_post.1"])
    for place, row in enumerate(index):
        alone = batch_of(any_model, tokenized, [row])
        _, own = site_gradients(any_model, alone, ["resid_post.1"])
        length = len(tokenized[row].tokens)
        torch.testing.assert_close(
            gradients["resid_post.1"][place, :length], own["resid_post.1"][0], atol=1e-4, rtol=1e-3
        )


def test_pooling_never_looks_at_pads():
    values = torch.randn(2, 4, 3)
    values[1, 2:] = float("nan")
    mask = torch.tensor([[False, True, True, False], [True, True, False, False]])
    torch.testing.assert_close(masked_sum(values, mask)[0], values[0, 1] + values[0, 2])
    torch.testing.assert_close(masked_mean(values, mask)[1], (values[1, 0] + values[1, 1]) / 2)


def test_prompt_end_is_the_token_before_each_response():
    response = torch.tensor([[0, 0, 1, 1, 0, 0, 1], [1, 1, 0, 0, 0, 0, 0]]).bool()
    assert prompt_end_mask(response).int().tolist() == [[0, 1, 0, 0, 0, 1, 0], [0] * 7]


def test_a_value_that_is_not_finite_names_its_row():
    values = torch.ones(3, 2)
    values[1, 0] = float("inf")
    with pytest.raises(NumericalError, match=r"b\.jsonl:7: the activation"):
        require_finite(values, ["b.jsonl:6", "b.jsonl:7", "b.jsonl:8"], "the activation")
