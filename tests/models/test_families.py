"""Every decoder-only family of the installed `transformers`, tiny: right to numerical tolerance, or refused at once.

Held against `transformers`' own hidden states and loss, row by row and without padding, and torch's own gradients
of the weights.
"""

import re

import numpy as np
import pytest
import torch
from conftest import SENTENCES, make_tokenizer
from models.families_page import PAGE, refusal, table_rows
from models.tiny_families import (
    FAST,
    OTHERS,
    REFUSED,
    WITHOUT_EMBEDDINGS,
    families,
    tiny_config,
    tiny_network,
)

from aitia.attribution.gradients.curvature import CurvatureSettings
from aitia.attribution.gradients.curvature_fitting import fit_curvature
from aitia.attribution.gradients.measurements import LogProbability
from aitia.attribution.influence.streaming import influence
from aitia.errors import ModelError
from aitia.models import LanguageModel, generate_responses, run, site_gradients, trace
from aitia.models.linear_layers import find_linear_layers, kinds_left_out
from aitia.records import pad_batch, records_from_rows, tokenize
from aitia.training import LoraSettings, finetune_lora

# Compared with the largest entry of what is expected.
TOLERANCE = 2e-3
ROWS = [
    {
        "prompt": SENTENCES[i][: 8 * i + 6],
        "completion": " " + SENTENCES[i + 2][: 20 + 7 * i],
        "id": f"row-{i}",
    }
    for i in range(3)
]


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


def close(found, expected, what, tolerance=TOLERANCE):
    scale = max(float(expected.abs().max()), 1e-9)
    off = float((found - expected).abs().max()) / scale
    assert off <= tolerance, f"{what}: off by {off:.2g} of the largest entry"


def own_results(model, row):
    """A row alone by transformers: its summed loss, its hidden states, and the loss's gradient after each block."""
    tokens = torch.from_numpy(row.tokens.astype(np.int64))[None]
    labels = torch.where(torch.from_numpy(row.response)[None], tokens, -100)
    after = {}

    def watch(number):
        def hook(_block, _inputs, output):
            hidden = output[0] if isinstance(output, tuple | list) else output
            if number:
                after[number] = hidden
                return output
            after[number] = hidden.detach().requires_grad_()
            changed = after[number].clone()
            return type(output)([changed, *output[1:]]) if isinstance(output, tuple | list) else changed

        return hook

    handles = [block.register_forward_hook(watch(number)) for number, block in enumerate(model.blocks)]
    output = model.network(
        input_ids=tokens,
        attention_mask=torch.ones_like(tokens),
        labels=labels,
        output_hidden_states=True,
        use_cache=False,
    )
    for handle in handles:
        handle.remove()
    loss = output.loss * int((labels[:, 1:] != -100).sum())
    gradients = torch.autograd.grad(loss, [after[number] for number in range(model.layers)])
    return loss.detach(), output.hidden_states, [each[0] for each in gradients]


def check_sites_and_losses(model, rows, family):
    """In one padded batch without a mask, against each row alone with one."""
    batch = pad_batch(rows, np.arange(len(rows)), model.pad_id)
    activations = trace(model, batch, model.sites)
    _, gradients = site_gradients(model, batch, model.sites)
    losses = run(model, batch).losses()
    real = torch.from_numpy(batch.attention)
    for site in model.sites[:-1]:
        close(trace(model, batch, [site])[site][real], activations[site][real], f"stopping at {site}", 1e-5)
    for place, row in enumerate(rows):
        loss, states, own = own_results(model, row)
        close(losses[place], loss, f"loss of row {place}")
        length = len(row.tokens)
        for number, site in enumerate(model.sites):
            close(gradients[site][place, :length], own[number], f"gradient of row {place} at {site}")
            if number < model.layers - 1:  # the last of the states has gone through the final norm
                state = states[number + (family not in WITHOUT_EMBEDDINGS)][0].detach()
                close(activations[site][place, :length], state, f"row {place} at {site}")


def check_influence(model, rows):
    """Without curvature, against scalar products of torch's own gradients of each row's loss."""
    settings = CurvatureSettings(kind="identity", precision="float32")
    curvature = fit_curvature(model, rows, settings)
    found = influence(model, rows, rows, LogProbability(), curvature=curvature)
    layers = find_linear_layers(model)
    weights = [
        part for layer in layers for part in (layer.module.weight, layer.module.bias) if part is not None
    ]
    for weight in weights:
        weight.requires_grad_()
    flat = []
    for row in rows:
        tokens = torch.from_numpy(row.tokens.astype(np.int64))[None]
        labels = torch.where(torch.from_numpy(row.response)[None], tokens, -100)
        loss = model.network(input_ids=tokens, labels=labels, use_cache=False).loss
        parts = torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
        flat.append(torch.cat([part.flatten() for part in parts]))
    for weight in weights:
        weight.requires_grad_(False)
    gradients = torch.stack(flat)
    close(torch.from_numpy(found), gradients @ gradients.mean(dim=0), "influence")
    return layers


def check_nothing_is_left_out_in_silence(model, layers):
    """Every weight of the blocks that the loss depends on is held by a layer, or counted."""
    held = sum(
        part.numel()
        for layer in layers
        for part in (layer.module.weight, layer.module.bias)
        if part is not None
    )
    small = sum(part.numel() for part in model.blocks.parameters() if part.dim() < 2)
    biases = sum(layer.module.bias.numel() for layer in layers if layer.bias)
    counted = sum(kinds_left_out(model, layers).values())
    assert held + counted + small - biases == sum(part.numel() for part in model.blocks.parameters())


def check_outline(model, family, tokenizer):
    """What a plan counts without weights is what is there with them, but for layers that no loss depends on."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(tiny_config(family, len(tokenizer)))
    outline = LanguageModel(network=network, tokenizer=tokenizer, name=family)
    found = {layer.name for layer in find_linear_layers(model)}
    more = {layer.name for layer in find_linear_layers(outline)} ^ found
    assert all("indexer" in name or "router" in name for name in more)


def check_generation(model, tokenizer):
    prompts = [
        np.array(tokenizer(text).input_ids) for text in (SENTENCES[0][:9], SENTENCES[1], SENTENCES[2][:20])
    ]
    together = generate_responses(model, prompts, max_new_tokens=3, temperature=0.0)
    for prompt, response in zip(prompts, together, strict=True):
        (alone,) = generate_responses(model, [prompt], max_new_tokens=3, temperature=0.0)
        assert response.tolist() == alone.tolist()


def check_finetuning(model, data):
    """With the default places; something moves, and what moved is held by a layer or counted."""
    tuned = finetune_lora(model, data, LoraSettings(epochs=1, per_device_train_batch_size=2), progress=False)
    factors = {name: part for name, part in tuned.network.named_parameters() if "lora_" in name}
    assert any(bool(part.any()) for name, part in factors.items() if "lora_B" in name)
    layers = find_linear_layers(tuned, parameters="lora")
    held = sum(layer.module.weight.numel() for layer in layers)
    counted = sum(kinds_left_out(tuned, layers, parameters="lora").values())
    assert held + counted == sum(part.numel() for part in factors.values())


def refused(family, tokenizer):
    with pytest.raises(ModelError, match=re.escape(REFUSED[family])) as error:
        LanguageModel(network=tiny_network(family, len(tokenizer)), tokenizer=tokenizer, name=family)
    assert refusal(family, error.value) in PAGE.read_text()


@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=[] if name in FAST else pytest.mark.slow) for name in families()]
)
def test_family(family, tokenizer):
    page = PAGE.read_text()
    if family in REFUSED:
        refused(family, tokenizer)
        return
    model = LanguageModel(network=tiny_network(family, len(tokenizer)), tokenizer=tokenizer, name=family)
    assert (model.width, model.layers) == (32, 4)
    data = records_from_rows(ROWS)
    rows = tokenize(data, tokenizer, max_length=model.context_length)
    check_sites_and_losses(model, rows, family)
    layers = check_influence(model, rows)
    check_nothing_is_left_out_in_silence(model, layers)
    assert table_rows([(family, list(kinds_left_out(model, layers)))])[0] in page
    check_outline(model, family, tokenizer)
    curvature = fit_curvature(model, rows, CurvatureSettings(kind="ekfac", precision="float32"))
    scores = influence(model, rows, rows, LogProbability(), curvature=curvature)
    assert np.isfinite(scores).all()
    assert scores.any()
    if family != "xlstm":  # whose own generation fails on tiny sizes
        check_generation(model, tokenizer)
    check_finetuning(model, data)


def test_the_page_lists_every_family():
    page = PAGE.read_text()
    for family in [*families(), *OTHERS]:
        assert f"| `{family}` |" in page
    assert len(families()) - len(REFUSED) >= 50
