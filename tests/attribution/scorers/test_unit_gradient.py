"""Scores by unit gradients: their formula by hand, other directions, tokens, and what they do not depend on."""

import numpy as np
import pytest
from attribution.dense import concept_at

from aitia.attribution import rank, scan
from aitia.attribution.scorers import goes_through_concept
from aitia.records import records_from_rows, tokenize

SITE = "resid_post.2"
NAME = "activation-gradient-cosine"


@pytest.fixture(scope="module")
def made(make_model, rows, tmp_path_factory):
    model = make_model("llama")
    data = records_from_rows(rows)
    store = scan(model, data, sites=[SITE], out=tmp_path_factory.mktemp("unit") / "s", shard_rows=5)
    gradients = np.empty((len(store), model.width))
    for positions, block in store.blocks(["backward"], SITE):
        gradients[positions] = block["backward"]
    return model, data, store, gradients


def cosines(gradients, v):
    return np.array([-(g @ v) / (np.linalg.norm(g) * np.linalg.norm(v)) for g in gradients])


def test_the_score_is_the_cosine_and_controls_are_those_of_their_directions(made):
    model, _, store, gradients = made
    concept = concept_at(model, SITE)
    found = rank(store, concept, method=NAME, compare=["gradient-norm"], random_controls=3)
    v = concept.vector.astype(np.float64)
    np.testing.assert_allclose(found.score, cosines(gradients, v) * np.linalg.norm(v), rtol=1e-4, atol=1e-6)
    assert goes_through_concept(NAME)
    assert len(found.controls) == 3
    directions = np.random.default_rng(9).standard_normal((4, model.width))
    for direction, scores in zip(directions, found.direction_scores(directions), strict=True):
        expected = cosines(gradients, direction) * np.linalg.norm(direction)
        np.testing.assert_allclose(scores, expected, rtol=1e-3, atol=1e-5)


def test_token_shares_sum_to_the_score(made):
    model, data, store, _ = made
    found = rank(store, concept_at(model, SITE), method=NAME, compare=())
    tokenized = tokenize(data, model.tokenizer, max_length=256)
    for position in (0, 11, 23):
        shares = found.token_shares(tokenized[position])
        assert shares.sum() == pytest.approx(found.score[position], rel=2e-3, abs=1e-4)
        assert not shares[~tokenized[position].response].any()


def test_the_size_of_a_gradient_plays_no_part_and_none_scores_0(made, monkeypatch):
    model, _, store, gradients = made
    concept = concept_at(model, SITE)
    sizes = np.random.default_rng(0).lognormal(sigma=2, size=len(store))
    sizes[4] = 0
    real = store.blocks

    def scaled(activations, site):
        for positions, block in real(activations, site):
            yield (
                positions,
                {name: (value * sizes[positions, None]).astype(np.float32) for name, value in block.items()},
            )

    before = rank(store, concept, method=NAME, compare=()).score
    monkeypatch.setattr(store, "blocks", scaled)
    after = rank(store, concept, method=NAME, compare=()).score
    assert after[4] == 0
    np.testing.assert_allclose(np.delete(after, 4), np.delete(before, 4), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(gradients, axis=1) > 0, True)
