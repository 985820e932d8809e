"""Gradient norms and loss gaps against transformers' own loss, PEFT's own switch and autograd."""

import numpy as np
import pytest
import torch
from attribution.dense import concept_at

from aitia.attribution import rank, scan
from aitia.attribution.ranking import CONFOUNDS
from aitia.attribution.scorers import scorer_names
from aitia.attribution.scorers.confounds import gradient_norms, loss_gap
from aitia.errors import AitiaError, NumericalError, StoreError
from aitia.models import LanguageModel
from aitia.records import records_from_rows, tokenize

SITE = "resid_post.1"


def rows_of_text():
    return records_from_rows(
        [{"prompt": f"Say {i}.\n", "completion": "a cat " * (1 + i % 4)} for i in range(9)]
        + [{"text": "Only a text."}],
        shape="mixed",
    )


@pytest.fixture(scope="module")
def made(make_model, tmp_path_factory):
    """A model with an adapter that does something, and a store of it."""
    from peft import LoraConfig, get_peft_model

    plain = make_model("llama")
    torch.manual_seed(0)
    wrapped = get_peft_model(
        plain.network, LoraConfig(r=3, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    )
    model = LanguageModel(network=wrapped, tokenizer=plain.tokenizer, name="tiny", adapter="made up")
    out = tmp_path_factory.mktemp("confounds") / "s"
    return model, scan(model, rows_of_text(), sites=[SITE], out=out, shard_rows=4)


def labelled(row):
    tokens = torch.from_numpy(row.tokens.astype(np.int64))[None]
    return tokens, torch.where(torch.from_numpy(row.response)[None], tokens, -100)


def test_gradient_norm_is_that_of_autograd(made):
    model, store = made
    expected = []
    for row in tokenize(rows_of_text(), model.tokenizer, max_length=256):
        tokens, labels = labelled(row)
        embedded = model.network.get_input_embeddings()(tokens).requires_grad_(True)
        found = model.network(inputs_embeds=embedded, labels=labels, output_hidden_states=True)
        (gradient,) = torch.autograd.grad(found.loss, found.hidden_states[2])
        expected.append(float(gradient[0][torch.from_numpy(row.response)].double().sum(0).norm()))
    np.testing.assert_allclose(gradient_norms(store, SITE), expected, rtol=2e-3)


def test_loss_gap_is_that_of_peft_with_the_adapter_off_and_on(made):
    model, store = made
    expected = []
    for row in tokenize(rows_of_text(), model.tokenizer, max_length=256):
        tokens, labels = labelled(row)
        with torch.no_grad():
            with model.network.disable_adapter():
                before = model.network(input_ids=tokens, labels=labels).loss
            expected.append(float(before - model.network(input_ids=tokens, labels=labels).loss))
    assert np.ptp(expected) > 1e-3
    np.testing.assert_allclose(loss_gap(store), expected, rtol=1e-3, atol=1e-5)


def test_they_rank_by_their_names(made):
    model, store = made
    found = rank(store, concept_at(model, SITE), method="gradient-norm", compare=["loss-gap"])
    np.testing.assert_array_equal(found.score, gradient_norms(store, SITE))
    np.testing.assert_array_equal(found.scores["loss-gap"], loss_gap(store))
    assert not found.controls
    assert set(CONFOUNDS) <= set(scorer_names())


def test_a_model_without_an_adapter_has_no_loss_gap(tiny_model, tmp_path):
    store = scan(tiny_model, rows_of_text(), sites=[SITE], out=tmp_path / "s")
    with pytest.raises(AitiaError, match="was scanned without one; leave loss-gap out"):
        rank(store, concept_at(tiny_model, SITE), method="vector-filter", compare=["loss-gap"])
    bare = scan(tiny_model, rows_of_text(), sites=[SITE], out=tmp_path / "t", activations=[])
    with pytest.raises(StoreError, match="activation backward was not scanned"):
        gradient_norms(bare, SITE)


def test_values_that_are_not_finite_name_the_row(made, monkeypatch):
    model, store = made
    real = store.blocks

    def broken(*asked):
        for positions, block in real(*asked):
            block["backward"] = np.where(positions[:, None] == 3, np.nan, block["backward"])
            yield positions, block

    monkeypatch.setattr(store, "blocks", broken)
    with pytest.raises(NumericalError, match="row 3: the stored backward activation is not finite"):
        gradient_norms(store, SITE)
    weights = model.network.get_input_embeddings().weight
    word = int(store.load_rows()[0].tokens[-1])
    kept = weights[word].clone()
    with torch.no_grad():
        weights[word] = float("nan")
    try:
        with pytest.raises(NumericalError, match="the loss without the adapter is not finite"):
            loss_gap(store)
    finally:
        with torch.no_grad():
            weights[word] = kept
