"""Asked concepts against the library's own ranking, and against sums by hand."""

import numpy as np
import pytest
from explorer.conftest import GARDEN, RAIN

from aitia.attribution import rank, score_concepts
from aitia.concepts import concept_from_feature, fit_concept, fit_direction, load_concept, load_sae
from aitia.errors import AitiaError
from aitia.explorer.asking import texts_of
from aitia.explorer.neighbours import nearest, stored_vectors
from aitia.records import read_records, records_from_rows

TEXTS = {"kind": "texts", "positive": GARDEN, "negative": RAIN}


def asked(session, **question):
    (scores,) = session.ask(0, question)["scores"][:1]
    return scores, session.rows(0).scores[scores["key"]]


def activations(rows, activation, site):
    found = np.full((len(rows), 32), np.nan)
    for positions, block in rows.store.blocks([activation], site):
        found[positions] = block[activation]
    return found


def test_texts_rank_the_rows_as_the_library_does(session, rows):
    scores, column = asked(
        session, **TEXTS, site="resid_post.1", methods=["activation-gradient", "vector-filter"]
    )
    texts = [records_from_rows([{"text": text} for text in side], "t") for side in (GARDEN, RAIN)]
    concept = fit_concept(rows.store.load_model(), *texts, sites=["resid_post.1"])
    ranking = rank(rows.store, concept, method="activation-gradient", random_controls=0)
    np.testing.assert_allclose(column.values, ranking.score, rtol=1e-5)
    other = rows.scores[column.key.replace("activation-gradient", "vector-filter")]
    np.testing.assert_allclose(other.values, ranking.scores["vector-filter"], rtol=1e-5)
    assert scores["auc"] == concept.separation.auc
    assert scores["texts"] == [3, 3]
    assert scores["site"] == "resid_post.1"


def test_a_question_that_was_asked_is_not_asked_again(session, monkeypatch):
    first, _ = asked(session, **TEXTS)
    monkeypatch.setattr("aitia.explorer.asking.fit_concept", lambda *_, **__: pytest.fail("fitted again"))
    assert asked(session, **TEXTS, name="another name")[0]["key"] == first["key"]


def test_a_saved_concept_ranks_as_its_ranking(session, rows, run_folder):
    (key,) = session.opened.concepts
    _, column = asked(session, kind="concept", concept=key)
    np.testing.assert_allclose(column.values, rows.scores["ranking:activation-gradient"].values, rtol=1e-5)
    assert column.direction.fingerprint == load_concept(run_folder / "c.concept.safetensors").fingerprint


def test_a_feature_ranks_by_its_direction(session, rows, run_folder):
    _, column = asked(session, kind="feature", autoencoder="sae", feature=5, side="decoder")
    concept = concept_from_feature(load_sae(run_folder / "sae"), 5, rows.store.load_model(), side="decoder")
    np.testing.assert_allclose(
        column.values, score_concepts(rows.store, [concept], column.method)[0], rtol=1e-5
    )


def test_more_like_one_row_needs_no_model(session, rows, monkeypatch):
    monkeypatch.setattr(type(rows.store), "load_model", lambda _: pytest.fail("the model was loaded"))
    scores, column = asked(session, kind="rows", positive=[7], site="resid_post.1", methods=["vector-filter"])
    h = activations(rows, "response", "resid_post.1")
    direction = h[7] - np.delete(h, 7, axis=0).mean(axis=0)
    np.testing.assert_allclose(column.values, h @ (direction / np.linalg.norm(direction)), atol=1e-5)
    assert scores["auc"] is None
    assert scores["concept"] == "like row-7"


def test_more_like_several_rows_is_the_difference_of_their_means(session, rows):
    above, below = [0, 4, 8, 12], [1, 2, 3, 5, 6, 7, 9]
    scores, column = asked(
        session, kind="rows", positive=above, negative=below, site="resid_post.1", methods=["vector-filter"]
    )
    h = activations(rows, "response", "resid_post.1")
    direction = h[above].mean(axis=0) - h[below].mean(axis=0)
    np.testing.assert_allclose(column.values, h @ (direction / np.linalg.norm(direction)), atol=1e-5)
    sides = ({"resid_post.1": h[some].astype(np.float32)} for some in (above, below))
    fitted = fit_direction(*sides, [f"row-{i}" for i in above + below])
    assert scores["auc"] == fitted.auc_by_site["resid_post.1"]
    assert scores["texts"] == [4, 7]


def test_others_are_rows_at_even_distances(session):
    scores, _ = asked(session, kind="rows", positive=[0, 4])
    assert scores["texts"] == [2, 58]


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ({"kind": "no"}, "choose among texts"),
        ({"kind": "texts", "positive": ["a"], "negative": RAIN}, "at least two texts that show it"),
        ({"kind": "texts", "positive": GARDEN, "negative": [" ", ""]}, "at least two texts that do not"),
        ({"kind": "texts", "positive": GARDEN, "negative": "a"}, "must be a list of texts"),
        ({**TEXTS, "recipe": "magic"}, "choose among contrast"),
        ({**TEXTS, "site": "resid_post.7"}, "was not scanned"),
        ({**TEXTS, "methods": ["influence"]}, "choose among"),
        ({**TEXTS, "methods": "vector-filter"}, "choose among"),
        ({"kind": "rows", "positive": []}, "at least one row"),
        ({"kind": "rows", "positive": [1, 2], "negative": [2, 3]}, "on both sides"),
        ({"kind": "rows", "positive": [60]}, "there are 60 rows"),
        ({"kind": "rows", "positive": [-1]}, "positions of rows"),
        ({"kind": "concept", "concept": "x"}, "not among those that are opened"),
        ({"kind": "concept", "concept": "../c.concept.safetensors"}, "not among those that are opened"),
        ({"kind": "feature", "autoencoder": "../sae", "feature": 1}, "not among those that are opened"),
        ({"kind": "feature", "autoencoder": "sae", "feature": 24}, "choose from 0 to 23"),
        ({"kind": "feature", "autoencoder": "sae", "feature": "1"}, "whole number"),
    ],
)
def test_a_question_that_cannot_be_asked_is_said(session, question, said):
    with pytest.raises(AitiaError, match=said):
        session.ask(0, question)


def test_a_concept_of_another_model_is_refused(session, make_model):
    other = make_model("llama", layers=2, seed=5)
    texts = [records_from_rows([{"text": text} for text in side], "t") for side in (GARDEN, RAIN)]
    session.opened.concepts["other"] = fit_concept(other, *texts, sites=["resid_post.1"], name="foreign")
    with pytest.raises(AitiaError, match="was fitted on another model"):
        session.ask(0, {"kind": "concept", "concept": "other"})
    assert session.ask(0, TEXTS)["scores"]


def test_texts_may_be_rows_in_json():
    found = texts_of(['{"prompt": "a?", "completion": "b"}', "plain text", '{"not closed'], "positive")
    assert [record.kind for record in found] == ["prompt-completion", "text", "text"]
    with pytest.raises(AitiaError, match="at most 1000"):
        texts_of(["a"] * 1001, "positive")


def test_stored_vectors_come_in_the_order_that_is_asked(rows):
    h = activations(rows, "response", "resid_post.0")
    np.testing.assert_array_equal(
        stored_vectors(rows.store, "response", "resid_post.0", [33, 0, 59, 0]),
        h[[33, 0, 59, 0]].astype(np.float32),
    )
    with pytest.raises(AitiaError, match="was not scanned"):
        stored_vectors(rows.store, "response", "resid_post.9", [0])


def test_the_nearest_rows_are_those_of_brute_force(rows):
    h = activations(rows, "response", "resid_post.1")
    centred = h - h.mean(axis=0)
    cosines = centred @ centred[11] / np.linalg.norm(centred, axis=1) / np.linalg.norm(centred[11])
    cosines[11] = -np.inf
    wanted = np.argsort(-cosines, kind="stable")[:5]
    found = nearest(rows.store, "response", "resid_post.1", 11, count=5)
    np.testing.assert_allclose([value for _, value in found], cosines[wanted], atol=1e-4)
    assert found[0][0] in np.flatnonzero(cosines > cosines[wanted[0]] - 1e-4)
    assert len(nearest(rows.store, "response", "resid_post.1", 11, count=200)) == 59


def test_records_of_the_data_are_those_that_were_read(rows, run_folder):
    assert rows.texts.record(4).completion == read_records(run_folder / "train.jsonl")[4].completion
