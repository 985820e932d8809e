"""Slices of rows: exact moments, p-values against enumeration, what cannot be tested, and what is found."""

import math
from itertools import combinations

import numpy as np
import pytest
import scipy.sparse as sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aitia.attribution.slices import SMALLEST_CONTROLS, label_features, slice_statistics
from aitia.attribution.slices.enrichment import enrichments
from aitia.attribution.slices.slice_statistics import (
    adjusted,
    control_p_values,
    null_moments,
    pearson_tail,
    permutation_p_values,
    z_scores,
)
from aitia.attribution.slices.slices import Slice, SliceSettings, slice_influence
from aitia.concepts import SparseAutoencoder, feature_matrix
from aitia.concepts.features import FeatureMatrix
from aitia.errors import AitiaError, ConceptError, NumericalError
from aitia.models import in_tokens, trace
from aitia.records import pad_batch, records_from_rows


def columns(*members, rows):
    dense = np.zeros((rows, len(members)), dtype=bool)
    for column, chosen in enumerate(members):
        dense[list(chosen), column] = True
    return sparse.csc_array(dense)


def matrix_of(dense, ids=None):
    values = sparse.csr_array(np.asarray(dense, dtype=np.float32))
    names = tuple(ids or (f"row-{i}" for i in range(values.shape[0])))
    return FeatureMatrix(values=values, ids=names, pooling="share", site="resid_post.0", sae="x")


def all_sums(scores, size):
    return np.array([sum(chosen) for chosen in combinations(scores, size)])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-5, 5, allow_subnormal=False), min_size=4, max_size=8), st.integers(1, 3))
def test_moments_are_those_of_every_possible_slice(values, size):
    scores = np.array(values)
    sums = all_sums(scores, size)
    mean, variance, third = null_moments(columns(range(size), rows=len(scores)), scores)
    assert mean[0] == pytest.approx(sums.mean(), abs=1e-9)
    assert variance[0] == pytest.approx(sums.var(), abs=1e-9)
    assert third[0] == pytest.approx(np.mean((sums - sums.mean()) ** 3), abs=1e-8)


def test_moments_within_strata_are_those_of_dealing_within_them():
    scores = np.array([1.0, 2.0, 4.0, 10.0, 20.0, 50.0])
    strata = np.array(["a", "a", "a", "b", "b", "b"])
    sums = np.array([sum(a) + b for a in combinations(scores[:3], 2) for b in scores[3:]])
    mean, variance, third = null_moments(columns([0, 1, 3], rows=6), scores, strata)
    assert mean[0] == pytest.approx(sums.mean())
    assert variance[0] == pytest.approx(sums.var())
    assert third[0] == pytest.approx(np.mean((sums - sums.mean()) ** 3))


def test_p_values_agree_with_enumeration():
    scores = np.random.default_rng(0).exponential(size=12)
    slice_ = columns([0, 1, 2, 3], [2, 5, 7, 11], rows=12)
    sums = all_sums(scores, 4)
    found = permutation_p_values(slice_, scores, permutations=20_000)
    for p, total in zip(found, slice_.T @ scores, strict=True):
        exact = 2 * min((sums >= total - 1e-12).mean(), (sums <= total + 1e-12).mean())
        assert p == pytest.approx(min(exact, 1), rel=0.1)


@pytest.mark.parametrize("shape", ["even", "skewed", "skewed down"])
def test_tail_beyond_the_permutations_errs_on_the_safe_side(shape):
    """All C(22, 8) = 319,770 slices of 22 scores: the tail is near the truth, and hardly ever below it."""
    generator = np.random.default_rng(1)
    scores = generator.normal(size=22) if shape == "even" else generator.gamma(2.0, size=22)
    scores = -scores if shape == "skewed down" else scores
    sums = np.sort(all_sums(scores, 8))
    mean, variance, third = null_moments(columns(range(8), rows=22), scores)
    for exact in (1e-2, 1e-3, 1e-4):
        total = sums[-round(exact * len(sums))]
        tail = pearson_tail(total - mean, variance, third)[0]
        assert tail > exact / 1.5
        if shape == "even":
            assert tail < 10 * exact


def test_few_permutations_are_helped_by_the_tail():
    scores = np.random.default_rng(1).normal(size=60)
    members = np.argsort(-scores)[:12]
    mean, variance, third = null_moments(columns(members, rows=60), scores)
    tail = pearson_tail(scores[members].sum() - mean, variance, third)[0]
    found = permutation_p_values(columns(members, rows=60), scores, permutations=200)[0]
    assert found == pytest.approx(2 * tail)
    assert found < 1e-6


def test_p_values_are_never_less_than_the_number_of_slices_allows():
    scores = np.concatenate([[1000.0, 900.0], np.random.default_rng(2).normal(size=28)])
    found = permutation_p_values(columns([0, 1], rows=30), scores, permutations=100)[0]
    assert found >= 2 / math.comb(30, 2)


def test_both_sides_count():
    scores = np.r_[np.full(8, -5.0), np.random.default_rng(3).normal(size=40)]
    slice_ = columns(range(8), rows=48)
    assert z_scores(slice_, scores)[0] < -4
    assert permutation_p_values(slice_, scores, permutations=1000)[0] == pytest.approx(
        permutation_p_values(slice_, -scores, permutations=1000)[0], rel=0.2
    )


def test_p_values_are_uniform_where_scores_were_dealt_out():
    """Over many deals of skewed scores, a share of about a of the p-values lies under a."""
    generator = np.random.default_rng(4)
    slice_ = sparse.csc_array(generator.random((60, 200)) < 0.15)
    values = generator.gamma(0.7, size=60)
    found = np.concatenate(
        [
            permutation_p_values(slice_, generator.permutation(values), permutations=400, seed=seed)
            for seed in range(20)
        ]
    )
    for level in (0.01, 0.05, 0.2):
        assert abs((found <= level).mean() - level) < 0.5 * level


def test_strata_take_away_what_only_the_stratum_explains():
    generator = np.random.default_rng(5)
    strata = np.repeat(["a", "b"], 40)
    scores = generator.normal(size=80) + 3 * (strata == "b")
    members = generator.permutation(np.arange(40, 80))[:20]
    slice_ = columns(members, rows=80)
    assert permutation_p_values(slice_, scores, permutations=500)[0] < 1e-3
    assert permutation_p_values(slice_, scores, permutations=500, strata=strata)[0] > 0.01


def test_controls_excuse_a_slice_that_stands_out_in_every_direction():
    """Rows with one content differ from the others in all directions; one direction means something besides."""
    generator = np.random.default_rng(6)
    activations = generator.normal(size=(120, 50))
    activations[:30] += 0.6 * generator.normal(size=50)  # content: somewhere
    activations[:30, 0] += 4.0  # meaning
    directions = generator.normal(size=(164, 50))
    controls, others = directions[:64] @ activations.T, directions[64:] @ activations.T
    slice_ = columns(range(30), rows=120)

    def both(scores):
        rows = permutation_p_values(slice_, scores, permutations=200)[0]
        return rows, control_p_values(slice_, z_scores(slice_, scores), controls)[0][0]

    by_rows, by_controls = np.array([both(scores) for scores in others]).T
    assert (by_rows <= 0.05).mean() > 0.3  # far more than promised, for directions that mean nothing
    assert (by_controls <= 0.05).mean() < 0.1
    assert max(both(activations[:, 0])) < 0.02


@pytest.mark.parametrize("strata", [None, np.array(["a", "b"] * 15), np.array(["a", *["b"] * 29])])
def test_wandering_is_the_root_mean_square_of_the_z_scores(strata, monkeypatch):
    monkeypatch.setattr(slice_statistics, "_NUMBERS_AT_ONCE", 200)  # so that controls come in several blocks
    generator = np.random.default_rng(0)
    membership = sparse.csr_array(generator.random((30, 7)) < 0.3)
    controls = np.concatenate([generator.normal(size=(20, 30)), np.zeros((1, 30))])
    one_by_one = [slice_statistics.z_scores(membership, scores, strata) for scores in controls]
    expected = np.sqrt(np.mean(np.square(one_by_one), axis=0))
    found = slice_statistics.root_mean_square_z(membership, controls, strata)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_adjusted_values_are_benjamini_and_hochbergs():
    p = [0.001, 0.02, 0.03, 0.5]
    by_hand = [0.004, 0.04, 0.04, 0.5]
    assert adjusted(p) == pytest.approx(by_hand)
    assert len(adjusted([])) == 0


def test_what_cannot_be_tested_says_why():
    dense = np.zeros((20, 7))
    dense[:, 1] = 1  # everywhere
    dense[3, 2] = 1  # one row
    dense[:3, 3] = 1  # three rows
    dense[:19, 4] = 1  # nearly everywhere
    dense[:8, 5] = 1  # to be tested
    dense[:8, 6] = 0.05  # under the threshold
    scores = np.random.default_rng(0).normal(size=20)
    found = slice_influence(matrix_of(dense), scores, SliceSettings(permutations=50))
    assert [slice_.feature for slice_ in found.tested] == [5]
    reasons = {slice_.feature: slice_.not_testable for slice_ in found.untested}
    assert reasons == {
        0: "dead: fires on no row",
        1: "fires on every row: nothing to compare with",
        2: "fires on one row only: see its own score",
        3: "fires on 3 rows, fewer than 5",
        4: "fires on 19 of 20 rows, more than 90%",
        6: "dead: fires on no row",
    }
    assert all(slice_.p_adjusted is None and slice_.z is None for slice_ in found.untested)
    assert found.of_feature(2).total == pytest.approx(scores[3])
    with pytest.raises(AitiaError, match="no feature 99"):
        found.of_feature(99)


def test_a_feature_that_follows_the_strata_cannot_be_tested_within_them():
    dense = np.zeros((20, 1))
    dense[:10] = 1
    scores, strata = np.arange(20.0), ["a"] * 10 + ["b"] * 10
    found = slice_influence(matrix_of(dense), scores, strata=strata)
    assert found.untested[0].not_testable == "fires on whole strata only: nothing to compare with inside them"
    assert not found.found


def test_nothing_to_test_is_no_error():
    found = slice_influence(matrix_of(np.zeros((6, 3))), np.arange(6.0), control_scores=np.ones((8, 6)))
    assert (found.tested, found.found, len(found.untested)) == ((), (), 3)


def test_scores_that_are_all_the_same_find_nothing():
    dense = np.zeros((20, 1))
    dense[:8] = 1
    found = slice_influence(matrix_of(dense), np.full(20, 0.1))
    assert found.tested[0].z == 0
    assert found.tested[0].p_adjusted == 1
    assert not found.found


def test_a_planted_slice_is_found_and_comes_first():
    generator = np.random.default_rng(0)
    dense = (generator.random((128, 60)) < 0.2).astype(float)
    scores = generator.normal(size=128)
    scores[dense[:, 17] > 0] += 2
    controls = generator.normal(size=(64, 128))
    found = slice_influence(matrix_of(dense), scores, control_scores=controls)
    assert found.tested[0].feature == 17
    assert found.tested[0].p_adjusted < 1e-4
    assert found.found[0].feature == 17
    assert found.member_ids(found.found[0]) == [f"row-{i}" for i in np.flatnonzero(dense[:, 17])]
    assert found.tested[0].total == pytest.approx(scores[dense[:, 17] > 0].sum())
    assert found.tested[0].mean == pytest.approx(scores[dense[:, 17] > 0].mean())


def test_bad_arrays_are_refused():
    matrix = matrix_of(np.ones((6, 2)))
    with pytest.raises(AitiaError, match="features of 6 rows"):
        slice_influence(matrix, np.ones(5))
    with pytest.raises(NumericalError, match="row 2"):
        slice_influence(matrix, np.array([1, 1, np.nan, 1, 1, 1]))
    with pytest.raises(AitiaError, match=f"3 control directions: give at least {SMALLEST_CONTROLS}"):
        slice_influence(matrix, np.ones(6), control_scores=np.ones((3, 6)))
    with pytest.raises(AitiaError, match="control scores of shape"):
        slice_influence(matrix, np.ones(6), control_scores=np.ones((8, 5)))
    with pytest.raises(AitiaError, match="2 strata for 6 rows"):
        slice_influence(matrix, np.ones(6), strata=["a", "b"])
    with pytest.raises(AitiaError, match="0 permutations"):
        permutation_p_values(columns([0], rows=3), np.ones(3), permutations=0)
    with pytest.raises(ConceptError, match="threshold -1"):
        matrix.fires(-1)
    for wrong in ({"smallest": 1}, {"largest": 0}, {"false_discovery_rate": 1}):
        with pytest.raises(AitiaError, match=next(iter(wrong))):
            SliceSettings(**wrong)


def slice_(feature, members):
    return Slice(feature=feature, members=np.asarray(members), total=0.0, mean=0.0)


def test_enrichment_by_count_is_the_hypergeometric_probability():
    values = [True] * 5 + [False] * 7
    found = enrichments([slice_(3, range(5))], "planted", values)[0]
    assert found.p_value == pytest.approx(1 / math.comb(12, 5))
    assert (found.value, found.inside, found.outside) == ("True", 1.0, 0.0)


def test_enrichment_by_rank_and_missing_values():
    values = [*range(25), None]
    found = enrichments([slice_(0, range(10)), slice_(1, [25])], "length", values)
    assert [each.feature for each in found] == [0]  # the other has no value at all
    assert found[0].value is None
    assert (found[0].inside, found[0].outside) == (4.5, 17.0)
    # U is 0 of 10 x 15; its mean is 75, its variance 10 x 15 x 26 / 12, and half a rank is taken off
    z = (75 - 0.5) / math.sqrt(10 * 15 * 26 / 12)
    assert found[0].p_value == pytest.approx(math.erfc(z / math.sqrt(2)), rel=1e-6)


def test_columns_that_cannot_be_compared():
    with pytest.raises(AitiaError, match="1 different values"):
        enrichments([slice_(0, [0])], "x", [1, 1, None])
    with pytest.raises(AitiaError, match="30 different values"):
        enrichments([slice_(0, [0])], "x", [f"name {i}" for i in range(30)])


def test_a_feature_is_labelled_by_the_tokens_on_which_it_fires_most(tiny_model):
    """An autoencoder that passes the residual stream on: where feature 3 peaks is read off the model itself."""
    eye, zero = torch.eye(tiny_model.width), torch.zeros(tiny_model.width)
    sae = SparseAutoencoder(
        encoder=eye, decoder=eye, encoder_bias=zero, decoder_bias=zero, site="resid_post.1"
    )
    texts = [f"garden of bees {i}" if i < 4 else f"late report {i}" for i in range(8)]
    records = records_from_rows(
        [{"prompt": "Say\n", "completion": text, "id": str(i)} for i, text in enumerate(texts)]
    )
    rows = in_tokens(tiny_model, records)
    matrix = feature_matrix(tiny_model, records, sae, pooling="max")
    label = label_features(tiny_model, rows, texts, sae, matrix, {3: range(4)}, spans=2, window=2)[3]
    peaks = {}
    for i in range(4):
        batch = pad_batch(rows, np.array([i]), tiny_model.pad_id)
        fired = trace(tiny_model, batch, [sae.site])[sae.site][0, :, 3].numpy() * rows[i].response
        peaks[str(i)] = int(fired.argmax()), float(fired.max())
    strongest = sorted(peaks, key=lambda name: -peaks[name][1])[:2]
    assert [span.id for span in label.spans] == strongest
    for span in label.spans:
        place, value = peaks[span.id]
        assert span.value == pytest.approx(value, rel=1e-4)
        assert span.peak == tiny_model.tokenizer.decode([int(rows[int(span.id)].tokens[place])])
    assert {"garden", "bees"} <= set(label.terms)
    assert not {"late", "report"} & set(label.terms)
