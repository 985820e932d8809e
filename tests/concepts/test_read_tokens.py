"""Concepts that are read at the end of the response, against activations traced by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from aitia.concepts import (
    READ_TOKENS,
    TOKENS_DESCRIPTION,
    fit_concept,
    load_concept,
    response_activations,
    response_means,
)
from aitia.concepts.fitting import choose_tokens
from aitia.errors import ConceptError
from aitia.models import in_tokens
from aitia.models.pooling import response_end_mask
from aitia.records import records_from_rows

SITE = "resid_post.2"


def traced(model, row):
    """[t, d] activations of one row at the site, by transformers alone."""
    tokens = torch.from_numpy(row.tokens.astype(np.int64))[None]
    with torch.no_grad():
        return model.network(input_ids=tokens, output_hidden_states=True).hidden_states[3][0].numpy()


def texts(ends):
    """Rows that differ in their last words alone."""
    return records_from_rows(
        [
            {"prompt": f"Count to {i}.\n", "completion": f"one two three four five six seven {end}"}
            for i, end in enumerate(ends)
        ]
    )


def test_the_last_token_of_every_response_is_marked():
    response = torch.tensor([[0, 1, 1, 0, 1, 0], [1, 1, 1, 1, 1, 1], [0] * 6]).bool()
    assert response_end_mask(response).int().tolist() == [[0, 0, 1, 0, 1, 0], [0, 0, 0, 0, 0, 1], [0] * 6]


def test_activations_are_those_of_the_response_and_of_its_end(make_model, rows):
    model, data = make_model("llama"), records_from_rows(rows[:5])
    found = response_activations(model, data, [SITE])
    assert tuple(found) == READ_TOKENS
    for place, row in enumerate(in_tokens(model, data)):
        hidden, response = traced(model, row), np.flatnonzero(row.response)
        np.testing.assert_allclose(found["response_end"][SITE][place], hidden[response[-1]], atol=1e-5)
        np.testing.assert_allclose(found["response"][SITE][place], hidden[response].mean(axis=0), atol=1e-5)
    np.testing.assert_array_equal(response_means(model, data, [SITE])[SITE], found["response"][SITE])


def test_the_end_is_read_where_it_alone_tells_texts_apart(make_model, tmp_path, monkeypatch):
    """What is traced is given here: means that know nothing, and ends of which one side is moved."""
    model, generator = make_model("llama"), np.random.default_rng(0)
    sides = [texts([word] * 24) for word in ("yes", "no")]
    ends = [generator.standard_normal((24, 32)).astype(np.float32) + shift for shift in (0.5, 0.0)]
    means = [generator.standard_normal((24, 32)).astype(np.float32) for _ in range(2)]

    def given(_model, _rows, _sites, tokens, *, title):
        side = int("negative" in title)
        both = {"response": means[side], "response_end": ends[side]}
        return {name: {SITE: both[name]} for name in tokens}

    monkeypatch.setattr("aitia.concepts.fitting.response_activations", given)
    concept = fit_concept(model, *sides, sites=[SITE])
    assert concept.tokens == "response_end"
    assert concept.separation is not None
    aucs = concept.separation.auc_by_tokens
    assert aucs["response_end"] > 0.9 > aucs["response"]
    assert concept.separation.auc == aucs["response_end"]
    difference = ends[0].mean(0) - ends[1].mean(0)
    np.testing.assert_allclose(concept.direction[0], difference / np.linalg.norm(difference), atol=1e-5)
    mean = fit_concept(model, *sides, sites=[SITE], tokens="response")
    assert mean.tokens == "response"
    assert mean.separation is not None
    assert mean.separation.auc_by_tokens == {}
    same = replace(concept, tokens="response")
    assert same.fingerprint != concept.fingerprint
    again = load_concept(concept.save(tmp_path / "c.concept.safetensors"))
    assert again.tokens == "response_end"
    assert again.fingerprint == concept.fingerprint


def test_the_mean_stays_where_the_end_is_not_better_beyond_chance():
    generator = np.random.default_rng(1)
    labels = np.repeat([True, False], 40)
    groups = [str(i % 40) for i in range(80)]
    strong, weak = labels * 3.0 + generator.standard_normal(80), generator.standard_normal(80)
    assert choose_tokens({"response": weak, "response_end": strong}, labels, groups) == "response_end"
    assert choose_tokens({"response": strong, "response_end": weak}, labels, groups) == "response"
    assert choose_tokens({"response": strong, "response_end": strong}, labels, groups) == "response"
    assert choose_tokens({"response_end": weak}, labels, groups) == "response_end"
    chosen = [
        choose_tokens(
            {"response": generator.standard_normal(80), "response_end": generator.standard_normal(80)},
            labels,
            groups,
            seed=seed,
        )
        for seed in range(40)
    ]
    assert chosen.count("response_end") <= 4  # 2.5 % of the tries, where neither tells anything


def test_a_wrong_choice_is_refused(make_model):
    sides = texts(["a"] * 4), texts(["b"] * 4)
    assert "last" in TOKENS_DESCRIPTION
    with pytest.raises(ConceptError, match="tokens 'end': choose auto, response, response_end"):
        fit_concept(make_model("llama"), *sides, tokens="end")
    concept = fit_concept(make_model("llama"), *sides, sites=[SITE])
    with pytest.raises(ConceptError, match="tokens 'last': choose response or response_end"):
        replace(concept, tokens="last")
