"""Every scorer under a concept that is read at the end of the response, against what is traced by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from attribution.dense import concept_at

from aitia.attribution import scan, score_concepts, score_rows
from aitia.attribution.gradients import ConceptMeasurement, Tokens
from aitia.attribution.scanning.null_directions import null_directions
from aitia.attribution.scanning.tokens import token_shares
from aitia.attribution.scorers import find_activation_scorer
from aitia.counterfactual import ConceptProjection
from aitia.errors import AitiaError, ConceptError, StoreError
from aitia.models import in_tokens
from aitia.records import records_from_rows

SITE = "resid_post.2"


@pytest.fixture(scope="module")
def made(make_model, rows, tmp_path_factory):
    model, data = make_model("llama"), records_from_rows(rows)
    out = tmp_path_factory.mktemp("read") / "s"
    store = scan(
        model,
        data,
        sites=[SITE],
        out=out,
        activations=["backward", "on_policy_response"],
        on_policy_response_tokens=4,
    )
    return model, data, replace(concept_at(model), tokens="response_end"), store


def ends(model, data):
    """[n, d] activations at the last response token, and before the response, by transformers alone."""
    found = []
    for row in in_tokens(model, data):
        with torch.no_grad():
            tokens = torch.from_numpy(row.tokens.astype(np.int64))[None]
            hidden = model.network(input_ids=tokens, output_hidden_states=True).hidden_states[3][0]
        response = np.flatnonzero(row.response)
        found.append((hidden[response[-1]].numpy(), hidden[response[0] - 1].numpy()))
    return tuple(np.stack(each) for each in zip(*found, strict=True))


def test_the_fast_family_reads_the_end(made):
    model, data, concept, store = made
    end, prompt = ends(model, data)
    expected = end @ concept.vector
    np.testing.assert_allclose(score_concepts(store, [concept], "vector-filter")[0], expected, atol=1e-4)
    difference = score_concepts(store, [concept], "projection-difference-prompt")[0]
    np.testing.assert_allclose(difference, (end - prompt) @ concept.vector, atol=1e-4)
    mean = replace(concept, tokens="response")
    for name in ("vector-filter", "whitened-projection-difference", "projection-difference"):
        assert not np.allclose(
            score_concepts(store, [concept], name), score_concepts(store, [mean], name), atol=1e-3
        )
    # A gradient with respect to activations is of all tokens, whatever the concept is read at.
    gradients = [score_concepts(store, [each], "activation-gradient") for each in (concept, mean)]
    np.testing.assert_array_equal(*gradients)
    with pytest.raises(
        ConceptError, match=r"read alike .* resid_post.2 \(response\), resid_post.2 \(response_end\)"
    ):
        score_concepts(store, [concept, mean], "vector-filter")


def test_rows_as_they_come_have_the_same_scores(made):
    model, data, concept, store = made
    known = score_concepts(store, [concept], "projection-difference-prompt")[0]
    stream = score_rows(model, concept, data, methods=["projection-difference-prompt"])
    found = [each.scores["projection-difference-prompt"] for each in stream]
    np.testing.assert_allclose(found, known, atol=1e-4)


def test_the_last_token_has_all_of_the_score(made):
    model, data, concept, store = made
    for name in ("vector-filter", "projection-difference-prompt", "projection-difference"):
        scores = score_concepts(store, [concept], name)[0]
        for place, row in enumerate(in_tokens(model, data)):
            if place in (0, 3):
                shares = token_shares(model, row, concept, store, find_activation_scorer(name).reading)
                assert np.flatnonzero(shares).tolist() == [np.flatnonzero(row.response)[-1]]
                assert shares.sum() == pytest.approx(scores[place], abs=1e-4)


def test_a_measurement_is_at_the_tokens_of_its_concept(made):
    model, data, concept, _ = made
    end, _ = ends(model, data)
    assert ConceptMeasurement(concept=concept).tokens == "response_end"
    assert ConceptMeasurement(concept=concept, tokens="response").tokens == "response"
    projection = ConceptProjection(concept=concept, texts=data)
    np.testing.assert_allclose(projection.values(model), end @ concept.vector, atol=1e-4)
    assert projection.identity()[-1] == "response_end"
    with pytest.raises(AitiaError, match="tokens 'first': choose response, response_end, last, all"):
        ConceptMeasurement(concept=concept, tokens="first")  # type: ignore[arg-type]
    assert "last" in Tokens.__args__


def test_null_directions_are_made_of_the_same_activations(made):
    model, data, concept, store = made
    end, _ = ends(model, data)
    found = null_directions(store, SITE, 32, count=3, seed=2, tokens=concept.tokens)
    centred = end - end.mean(axis=0)
    basis = np.linalg.svd(centred, full_matrices=False)[2][: len(data) - 1]
    np.testing.assert_allclose(found @ basis.T @ basis, found, atol=1e-4)
    assert not np.allclose(found, null_directions(store, SITE, 32, count=3, seed=2))


def test_a_store_of_before_refuses_it_and_says_what_to_do(made, monkeypatch):
    _, _, concept, store = made
    kept = [name for name in store.manifest["settings"]["activations"] if name != "response_end"]
    monkeypatch.setitem(store.manifest["settings"], "activations", kept)
    with pytest.raises(StoreError, match=r"activation response_end was not scanned.*Scan again"):
        score_concepts(store, [concept], "vector-filter")
    assert len(score_concepts(store, [replace(concept, tokens="response")], "vector-filter")[0]) == len(store)
