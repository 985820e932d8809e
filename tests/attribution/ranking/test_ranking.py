"""Methods and rankings against formulas written out by hand."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.covariance import ledoit_wolf

from aitia.attribution import (
    ActivationStore,
    Ranking,
    available_methods,
    rank,
    read_ranking,
    scan,
    score_concepts,
)
from aitia.attribution.gradients.curvature import CurvatureSettings, Damping
from aitia.attribution.gradients.curvature_fitting import fit_curvature
from aitia.attribution.gradients.measurements import ConceptMeasurement, LogProbability
from aitia.attribution.gradients.training_gradients import FactorCache, pass_batches, passes_over_rows
from aitia.attribution.influence.streaming import influence
from aitia.attribution.ranking import require_concept_of_store
from aitia.attribution.ranking.damping_sweep import DAMPINGS, sweep_of_ranking
from aitia.attribution.scanning.tokens import token_shares
from aitia.attribution.scorers import activation_scorers, find_activation_scorer
from aitia.concepts import Concept, fit_concept
from aitia.errors import AitiaError, ConceptError, StoreError
from aitia.models.linear_layers import find_linear_layers
from aitia.records import records_from_rows, row_shards, tokenize
from aitia.statistics import auc, find_labelled, precision_at_k

SITE = "resid_post.2"
SIGNAL_METHODS = list(activation_scorers())


@pytest.fixture(scope="module")
def made(make_model, rows, tmp_path_factory):
    """A model, its data, a concept and a store with every activation."""
    model = make_model("llama")
    data = records_from_rows(rows)
    texts = [
        records_from_rows([{"prompt": f"Question {i}?\n", "completion": f"{word} {i}."} for i in range(8)])
        for word in ("garden", "nothing")
    ]
    concept = fit_concept(model, *texts, sites=[SITE], shuffles=3)
    out = tmp_path_factory.mktemp("store") / "s"
    store = scan(
        model,
        data,
        sites=[SITE],
        out=out,
        activations=["backward", "on_policy_response"],
        shard_rows=5,
        max_batch_tokens=300,
        on_policy_response_tokens=4,
    )
    return model, data, concept, store


def activation(store, name):
    values = np.empty((len(store), 32))
    for positions, block in store.blocks([name], SITE):
        values[positions] = block[name]
    return values


def test_each_method_is_its_formula(made):
    _, _, concept, store = made
    v = concept.direction[0].astype(np.float64)
    response, end, own, backward = (
        activation(store, name) for name in ("response", "prompt_end", "on_policy_response", "backward")
    )
    covariance = ledoit_wolf((response - end).astype(np.float32))[0]
    expected = {
        "vector-filter": response @ v,
        "projection-difference": (response - own) @ v,
        "projection-difference-prompt": (response - end) @ v,
        "whitened-projection-difference": (response - end) @ np.linalg.inv(covariance) @ v,
        "activation-gradient": -backward @ v,
    }
    assert list(expected) == SIGNAL_METHODS
    for name, scores in expected.items():
        found = score_concepts(store, [concept], name)[0]
        np.testing.assert_allclose(found, scores, rtol=1e-3, atol=1e-4 * np.abs(scores).max())


def test_many_concepts_at_once_equal_one_by_one(made):
    _, _, concept, store = made
    others = [replace(concept, direction=np.random.default_rng(i).standard_normal(32)) for i in range(7)]
    together = score_concepts(store, others, "vector-filter")
    for i, other in enumerate(others):
        np.testing.assert_allclose(
            together[i], score_concepts(store, [other], "vector-filter")[0], rtol=1e-4, atol=1e-5
        )


def test_a_concept_of_several_directions_is_the_sum_of_its_parts(made):
    _, _, concept, store = made
    parts = np.random.default_rng(0).standard_normal((3, 32))
    whole = replace(concept, direction=parts, shuffled=None)
    single = [replace(concept, direction=part, shuffled=None) for part in parts]
    np.testing.assert_allclose(
        score_concepts(store, [whole], "activation-gradient")[0],
        score_concepts(store, single, "activation-gradient").sum(axis=0),
        rtol=1e-3,
        atol=1e-6,
    )


def test_row_contrasts_hold_halves_of_the_rows_against_each_other(made):
    _, _, concept, store = made
    scorer = find_activation_scorer("projection-difference-prompt")
    found = scorer.row_contrasts(store, concept, count=5, seed=3)
    values = activation(store, "response") - activation(store, "prompt_end")
    sides = np.random.default_rng(3).standard_normal((5, len(store)))
    for row, side in zip(found, sides, strict=True):
        contrast = values[side > 0].mean(axis=0) - values[side < 0].mean(axis=0)
        np.testing.assert_allclose(row, contrast / np.linalg.norm(contrast), atol=1e-5)
    again = scorer.row_contrasts(store, concept, count=5, seed=3)
    np.testing.assert_array_equal(found, again)


def test_turning_the_concept_round_turns_the_scores_round(made):
    _, _, concept, store = made
    turned = replace(concept, direction=-concept.direction)
    for name in SIGNAL_METHODS:
        np.testing.assert_allclose(
            score_concepts(store, [turned], name),
            -score_concepts(store, [concept], name),
            rtol=1e-5,
            atol=1e-6,
        )


def test_activation_gradient_predicts_what_a_step_on_the_row_does(made):
    """The sign convention: a small step down the row's loss, at the site, raises the concept where positive."""
    import torch

    model, data, concept, store = made
    scores = score_concepts(store, [concept], "activation-gradient")[0]
    v = torch.from_numpy(concept.direction[0])
    for position in (int(scores.argmax()), int(scores.argmin())):
        row = tokenize(data, model.tokenizer, max_length=256)[position]
        tokens = torch.from_numpy(row.tokens.astype(np.int64))[None]
        shift = torch.zeros(32, requires_grad=True)

        def push(_module, _inputs, output, row=row, shift=shift):
            return output + torch.from_numpy(row.response)[None, :, None] * shift

        handle = model.blocks[2].register_forward_hook(push)
        labels = torch.where(torch.from_numpy(row.response), tokens[0], -100)[None]
        loss = model.network(input_ids=tokens, labels=labels).loss
        loss.backward()
        handle.remove()
        assert (-shift.grad @ v).item() == pytest.approx(float(scores[position]), rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("method", SIGNAL_METHODS)
def test_token_shares_sum_to_the_score(made, method):
    model, data, concept, store = made
    scores = score_concepts(store, [concept], method)[0]
    tokenized = tokenize(data, model.tokenizer, max_length=256)
    reading = find_activation_scorer(method).reading
    for position in (0, 11, 23):
        shares = token_shares(model, tokenized[position], concept, store, reading)
        assert shares.sum() == pytest.approx(
            scores[position], rel=2e-3, abs=1e-3 * float(np.abs(scores).max())
        )
        assert not shares[~tokenized[position].response].any()


def test_ranking_orders_and_writes(made, tmp_path):
    _, data, concept, store = made
    ranking = rank(store, concept, method="vector-filter")
    by_hand = sorted(range(24), key=lambda i: (-ranking.score[i], i))
    assert ranking.order.tolist() == by_hand
    assert ranking.top(3) == [data[i].id for i in by_hand[:3]]
    assert ranking.bottom(2) == [data[i].id for i in by_hand[::-1][:2]]
    assert len(ranking.top(0.25)) == 6
    assert next(iter(ranking.scores)) == "vector-filter"
    assert set(ranking.scores) == set(SIGNAL_METHODS)
    assert [control.name for control in ranking.controls][-1] == "shuffled labels 3"
    assert len(ranking.controls) == 11
    loaded = read_ranking(ranking.write(tmp_path / "ranking.parquet"))
    assert loaded.top(24) == ranking.top(24)
    assert loaded.provenance["concept"]["fingerprint"] == concept.fingerprint
    for name in SIGNAL_METHODS:
        np.testing.assert_array_equal(loaded.scores[name], ranking.scores[name])


@pytest.mark.parametrize("method", ["concept-influence", "concept-gradient-product", "influence"])
def test_influence_methods_rank_like_the_functions_they_call(made, method):
    model, data, concept, store = made
    queries = records_from_rows([{"prompt": f"Query {i}?\n", "completion": f"garden {i}."} for i in range(3)])
    curvature = fit_curvature(model, data, CurvatureSettings(use_empirical_fisher=True))
    ranking = rank(store, concept, method=method, queries=queries, curvature=curvature)
    measurement = LogProbability() if method == "influence" else ConceptMeasurement(concept=concept)
    divided = None if method == "concept-gradient-product" else curvature
    expected = influence(model, data, queries, measurement, curvature=divided)
    np.testing.assert_allclose(ranking.score, expected, rtol=1e-2, atol=2e-3 * np.abs(expected).max())
    assert set(ranking.scores) == {method, *SIGNAL_METHODS}
    assert len(ranking.controls) == (0 if method == "influence" else 11)
    if ranking.controls:
        other = replace(concept, direction=concept.shuffled[0], shuffled=None)
        by_hand = influence(model, data, queries, ConceptMeasurement(concept=other), curvature=divided)
        found = ranking.controls[8].scores
        np.testing.assert_allclose(found, by_hand, rtol=1e-2, atol=2e-3 * np.abs(by_hand).max())
    row = tokenize(data, model.tokenizer, max_length=256)[3]
    assert ranking.token_shares(row).sum() == pytest.approx(float(ranking.score[3]), rel=1e-2)


def test_methods_can_share_a_cache_in_any_order(made, tmp_path):
    """The concept's layers are fewer than those of the log-probability; neither must miss any."""
    model, data, concept, store = made
    queries = records_from_rows([{"prompt": f"Query {i}?\n", "completion": f"garden {i}."} for i in range(3)])
    curvature = fit_curvature(model, data, CurvatureSettings(use_empirical_fisher=True))
    settings = {"queries": queries, "curvature": curvature, "random_controls": 0}
    for first, second in (("concept-influence", "influence"), ("influence", "concept-influence")):
        plain = rank(store, concept, method=first, compare=[second], **settings)
        cache = FactorCache(folder=tmp_path / first)
        cached = rank(store, concept, method=first, compare=[second], cache=cache, **settings)
        for name in (first, second):
            scale = np.abs(plain.scores[name]).max()
            np.testing.assert_allclose(cached.scores[name], plain.scores[name], rtol=2e-2, atol=3e-3 * scale)
    partial = FactorCache(folder=tmp_path / "partial")
    for layers in (find_linear_layers(model, site="resid_post.0"), find_linear_layers(model)):
        tokenized = tokenize(data, model.tokenizer, max_length=256)
        for shard in row_shards(tokenized, pass_batches(tokenized, 2048)):
            for _, _, factors in passes_over_rows(model, shard, layers, loss="mean", cache=partial):
                assert {layer.name for layer in layers} <= set(factors)


def test_a_damping_sweep_is_made_of_rankings_at_each_damping(made):
    model, data, concept, store = made
    queries = records_from_rows([{"prompt": f"Query {i}?\n", "completion": f"garden {i}."} for i in range(5)])
    curvature = fit_curvature(model, data, CurvatureSettings(use_empirical_fisher=True))
    settings = {"queries": queries, "curvature": curvature, "damping": Damping(value=0.1)}
    ranking = rank(store, concept, method="concept-influence", **settings)
    rows = sweep_of_ranking(ranking, label="planted", **settings)
    assert [row["damping"] for row in rows] == list(DAMPINGS)
    assert rows[2]["spearman"] == pytest.approx(1.0, abs=2e-3)
    other = rank(store, concept, method="concept-influence", **(settings | {"damping": Damping(value=10.0)}))
    labels = np.array(data.column("planted"))
    assert rows[4]["auc"] == pytest.approx(auc(other.score, labels), abs=0.02)
    assert rows[4]["spearman"] == pytest.approx(spearmanr(other.score, ranking.score).statistic, abs=0.02)
    halves = [
        rank(
            store,
            concept,
            method="concept-influence",
            **(settings | {"queries": queries.only(queries.ids[i::2])}),
        )
        for i in (0, 1)
    ]
    by_hand = spearmanr(halves[0].score, halves[1].score).statistic
    assert rows[2]["split_half"] == pytest.approx(by_hand, abs=0.02)
    with pytest.raises(AitiaError, match="has no damping"):
        sweep_of_ranking(rank(store, concept), **settings)


def test_influence_methods_need_queries(made):
    _, _, concept, store = made
    with pytest.raises(AitiaError, match="give texts that show the behaviour"):
        rank(store, concept, method="concept-influence")
    with pytest.raises(AitiaError, match="give queries to `rank`"):
        score_concepts(store, [concept], "influence")


def test_an_opened_store_ranks_like_the_fresh_one(made):
    _, _, concept, store = made
    fresh, opened = rank(store, concept), rank(ActivationStore.open(store.path), concept)
    np.testing.assert_array_equal(fresh.score, opened.score)
    for one, other in zip(fresh.controls, opened.controls, strict=True):
        np.testing.assert_array_equal(one.scores, other.scores)


def test_amounts_out_of_range_are_refused(made):
    _, _, concept, store = made
    ranking = rank(store, concept, random_controls=0)
    with pytest.raises(AitiaError, match="between 0 and 1"):
        ranking.top(1.5)
    with pytest.raises(AitiaError, match="cannot be -1"):
        ranking.top(-1)
    assert len(ranking.top(1000)) == 24
    assert ranking.top(0) == []


def test_what_does_not_fit_is_refused(made, make_model, tmp_path):
    model, data, concept, store = made
    with pytest.raises(AitiaError, match="choose among vector-filter"):
        rank(store, concept, method="astrology")
    with pytest.raises(ConceptError, match="fitted on another model"):
        rank(store, replace(concept, base_fingerprint="0" * 64))
    with pytest.raises(StoreError, match=r"site resid_post.1 was not scanned; the store holds resid_post.2"):
        rank(store, replace(concept, site="resid_post.1"))
    forward = scan(model, data, sites=[SITE], out=tmp_path / "f", activations=[])
    assert available_methods(forward) == (
        "vector-filter",
        "projection-difference-prompt",
        "whitened-projection-difference",
    )
    with pytest.raises(StoreError, match=r"activation backward was not scanned.*--activation backward"):
        rank(forward, concept, method="activation-gradient")
    with pytest.raises(ConceptError, match="at one site"):
        score_concepts(store, [concept, replace(concept, site="resid_post.1")], "vector-filter")


def test_texts_without_prompt_refuse_only_what_needs_one(made, tmp_path):
    model, _, concept, _ = made
    texts = records_from_rows([{"text": f"A cat sat on mat {i}."} for i in range(6)])
    store = scan(model, texts, sites=[SITE], out=tmp_path / "t")
    assert set(rank(store, concept, method="vector-filter").scores) == {
        "vector-filter",
        "activation-gradient",
    }
    with pytest.raises(StoreError, match="no prompt before the response"):
        rank(store, concept, method="projection-difference-prompt")


def simple_ranking(scores):
    n = len(scores)
    return Ranking(
        method="m",
        ids=np.array([f"r{i}" for i in range(n)], dtype=object),
        contents=np.array([f"c{i}" for i in range(n)], dtype=object),
        rows=np.arange(n),
        locations=np.array([""] * n, dtype=object),
        prompt_tokens=np.ones(n),
        response_tokens=np.ones(n),
        scores={"m": np.asarray(scores, dtype=np.float32)},
    )


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=40), st.floats(0, 1))
def test_top_and_bottom_share_the_rows_out(scores, share):
    ranking = simple_ranking(scores)
    top = ranking.top(share)
    rest = ranking.bottom(len(scores) - len(top))
    assert sorted(top + rest) == sorted(ranking.ids)
    values = dict(zip(ranking.ids, scores, strict=True))
    assert not top or not rest or min(values[i] for i in top) >= max(values[i] for i in rest)
    assert sorted(ranking.ranks) == list(range(1, len(scores) + 1))


def test_precision_at_k_counts():
    scores = np.array([0.9, 0.1, 0.8, 0.7])
    labels = np.array([True, False, False, True])
    assert precision_at_k(scores, labels, 1) == 1.0
    assert precision_at_k(scores, labels, 2) == 0.5
    assert find_labelled(scores, labels) == {"auc": 0.75, "precision_at_k": 0.5}


def test_concept_type_is_checked_by_width(made):
    _, _, concept, store = made
    wide = Concept(
        name="wide",
        site=SITE,
        direction=np.ones(33),
        model_name="x",
        model_fingerprint="",
        base_fingerprint=concept.base_fingerprint,
        recipe={},
    )
    with pytest.raises(ConceptError, match="width 33, the store 32"):
        rank(store, wide, method="vector-filter")


def test_a_concept_of_another_model_is_refused_by_the_store(made, make_model):
    _, _, concept, store = made
    require_concept_of_store(concept, store)
    other = replace(concept, base_fingerprint=make_model("llama", seed=5).base_fingerprint)
    with pytest.raises(ConceptError, match="fitted on another model .* which the store .* was scanned with"):
        require_concept_of_store(other, store)
