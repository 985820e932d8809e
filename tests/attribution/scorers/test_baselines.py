"""Baselines against sums done by hand, and their refusals."""

from dataclasses import replace
from math import log

import numpy as np
import pytest
import torch

from aitia.attribution import scan, score_concepts
from aitia.attribution.scorers.baselines import (
    bm25_similarity,
    embedding_similarity,
    random_direction_scores,
    random_order,
    response_length,
    shuffled_direction_scores,
    tfidf_similarity,
    training_loss,
)
from aitia.concepts import Concept
from aitia.errors import AitiaError, StoreError
from aitia.records import records_from_rows, tokenize

SITE = "resid_post.1"


def answers(*texts):
    return records_from_rows([{"prompt": "q", "completion": text} for text in texts])


@pytest.fixture(scope="module")
def made(tiny_model, tmp_path_factory):
    """A store with losses, of which one row is a text without a prompt."""
    data = records_from_rows(
        [{"prompt": f"Say {i}.\n", "completion": "a cat " * (1 + i % 4)} for i in range(11)]
        + [{"text": "Only a text."}],
        shape="mixed",
    )
    store = scan(
        tiny_model,
        data,
        sites=[SITE],
        out=tmp_path_factory.mktemp("s") / "s",
        activations=["backward"],
        shard_rows=4,
    )
    generator = np.random.default_rng(0)
    concept = Concept(
        name="c",
        site=SITE,
        direction=generator.standard_normal(32),
        model_name="tiny",
        model_fingerprint=tiny_model.fingerprint,
        base_fingerprint=tiny_model.base_fingerprint,
        recipe={},
        shuffled=generator.standard_normal((3, 1, 32)),
    )
    return tiny_model, data, store, concept


def test_tfidf_finds_shared_words():
    data = answers("sad rain", "glad sun", "grey sad cloud", "sun sun")
    scores = tfidf_similarity(data, answers("sad grey rain cloud"), answers("glad bright sun"))
    assert scores[0] > 0 > scores[1]
    assert scores[2] > 0 > scores[3]


def test_bm25_by_hand():
    """Three responses of 2, 3 and 1 words; mean length 2."""
    data = answers("sad 7", "Glad, glad sad", "rain")
    rare, common = log(1 + 2.5 / 1.5), log(1 + 1.5 / 2.5)  # in one response, in two
    sizes = [1.2 * (0.25 + 0.75 * length / 2) for length in (2, 3, 1)]
    sad = [common * 2.2 / (1 + sizes[0]), common * 2.2 / (1 + sizes[1]), 0]
    seven = [rare * 2.2 / (1 + sizes[0]), 0, 0]
    glad = [0, rare * 2 * 2.2 / (2 + sizes[1]), 0]
    rain = [0, 0, rare * 2.2 / (1 + sizes[2])]
    positive, negative = answers("sad sad 7 unheard", "rain"), answers("glad")
    # Unheard words are in no response and count for nothing, so the first query has three words.
    expected = (2 * np.array(sad) + seven) / 3 / 2 + np.array(rain) / 2 - np.array(glad)
    np.testing.assert_allclose(bm25_similarity(data, positive, negative), expected, rtol=1e-12)


def test_bm25_without_length_or_saturation_is_a_sum_of_rarities():
    """With k1 = 0 a word counts once however often it stands there."""
    data = answers("a a a b", "b", "c", "c")
    found = bm25_similarity(data, answers("a b"), answers("c"), k1=0)
    rare, common = log(1 + 3.5 / 1.5), log(1 + 2.5 / 2.5)
    np.testing.assert_allclose(found, [(rare + common) / 2, common / 2, -common, -common])


def test_embeddings_by_hand():
    places = {"n": [0, 2], "e": [3, 0], "ne": [1, 1], "sw": [-4, -4]}
    found = embedding_similarity(
        answers("n", "e", "ne", "sw"),
        answers("n", "n"),
        answers("e", "ne"),
        lambda texts: np.array([places[text] for text in texts]),
    )
    # The negative mean is (2, 0.5); cosines with it and with north.
    length = np.hypot(2, 0.5)
    expected = [1 - 0.5 / length, -2 / length, np.sqrt(0.5) * (1 - 2.5 / length)]
    np.testing.assert_allclose(found, [*expected, -expected[2]])


def test_training_loss_is_the_mean_over_predicted_tokens(made):
    model, data, store, _ = made
    expected = []
    for row in tokenize(data, model.tokenizer, max_length=256):
        tokens = torch.from_numpy(row.tokens.astype(np.int64))[None]
        labels = torch.where(torch.from_numpy(row.response), tokens[0], -100)
        with torch.no_grad():
            logits = model.network(tokens).logits[0, :-1]
        expected.append(torch.nn.functional.cross_entropy(logits, labels[1:], ignore_index=-100).item())
    np.testing.assert_allclose(training_loss(store), expected, rtol=1e-4)


def test_training_loss_needs_a_store_with_losses(made, tmp_path):
    model, data, _, _ = made
    store = scan(model, data, sites=[SITE], out=tmp_path / "s", activations=[])
    with pytest.raises(StoreError, match="--activation backward"):
        training_loss(store)


def test_directions_that_mean_nothing_go_through_the_method(made):
    _, _, store, concept = made
    random = random_direction_scores(store, concept, "activation-gradient", count=5, seed=1)
    assert random.shape == (5, len(store))
    assert np.linalg.matrix_rank(random) == 5
    again = random_direction_scores(store, concept, "activation-gradient", count=5, seed=1)
    np.testing.assert_array_equal(random, again)
    shuffled = shuffled_direction_scores(store, concept, "vector-filter")
    for scores, direction in zip(shuffled, concept.shuffled, strict=True):
        norm = np.linalg.norm(direction)
        single = score_concepts(store, [replace(concept, direction=direction / norm)], "vector-filter")[0]
        np.testing.assert_allclose(scores / norm, single, rtol=1e-4, atol=1e-5)
    with pytest.raises(AitiaError, match="keeps no shuffled directions"):
        shuffled_direction_scores(store, replace(concept, shuffled=None), "vector-filter")


def test_orders_that_know_nothing():
    np.testing.assert_array_equal(response_length(np.array([3, 1])), [3.0, 1.0])
    assert len(set(random_order(50))) == 50
    np.testing.assert_array_equal(random_order(5, seed=2), random_order(5, seed=2))
    assert (random_order(5, seed=2) != random_order(5, seed=3)).any()
