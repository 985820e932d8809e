"""Matched null directions are calibrated where nothing is planted, isotropic ones are not; and how they are drawn."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from scipy.stats import binom

from aitia.attribution import NullSettings, rank, scan
from aitia.attribution.ranking import (
    MATCHED,
    NullKind,
    control_kind,
    hold_against_nulls,
    null_directions,
)
from aitia.attribution.ranking.controls import ControlKind
from aitia.attribution.ranking.labelled import confound_scores, label_figures
from aitia.attribution.ranking.reporting import build_report
from aitia.attribution.scanning.activation_products import RowsAlikeError
from aitia.concepts import contrast_weights, fit_concept, matched_directions, random_directions
from aitia.records import records_from_rows
from aitia.report import Paragraph, attribution_document
from aitia.statistics import auc, confound_adjusted_gain, exceedance_p_value

SITE = "resid_post.2"
SETS, DRAWS, LEVEL = 200, 60, 0.05
SPREADS = np.concatenate([[12.0, 8.0, 5.0], np.ones(125)])


def nothing_planted(seed, *, rows=120, texts=40):
    """Rows of which some differ in what dominates activations, and a direction between texts with shuffled labels."""
    generator = np.random.default_rng(seed)
    labels = generator.permutation(rows) < rows // 4
    data = generator.standard_normal((rows, len(SPREADS))) * SPREADS
    data[:, :3] += labels[:, None] * SPREADS[:3]
    first, second = (generator.standard_normal((texts // 2, len(SPREADS))) * SPREADS for _ in range(2))
    return data, labels, first.mean(axis=0) - second.mean(axis=0)


def p_value(data, labels, direction, kind, seed):
    def draw(count, among):
        if kind == MATCHED:
            return matched_directions(data[among], count=count, seed=seed)
        return random_directions(data.shape[1], count=count, seed=seed)[:, 0]

    found, away = hold_against_nulls(
        lambda vectors: vectors @ data.T, draw, data @ direction, labels, draws=DRAWS, halves=kind == MATCHED
    )
    assert away.shape == (DRAWS,)
    return found


def test_matched_nulls_find_nothing_where_nothing_is_planted_and_isotropic_ones_do():
    most = binom.ppf(0.99, SETS, LEVEL)
    found = dict.fromkeys(get_args(NullKind), 0)
    for seed in range(SETS):
        data, labels, direction = nothing_planted(seed)
        for kind in found:
            found[kind] += p_value(data, labels, direction, kind, seed) <= LEVEL
    assert found["matched"] <= most, found
    assert found["isotropic"] > most, found


def test_matched_nulls_still_find_what_is_planted():
    found = 0
    for seed in range(20):
        data, labels, _ = nothing_planted(seed)
        data[:, 60:80] += 1.5 * labels[:, None]
        planted = np.zeros(len(SPREADS))
        planted[60:80] = 1
        found += p_value(data, labels, planted, MATCHED, seed) <= LEVEL
    assert found >= 18


def test_an_exceedance_counts_the_value_among_its_nulls():
    assert exceedance_p_value(2.0, [1.0, 2.0, 3.0]) == 3 / 4
    assert exceedance_p_value(9.0, np.zeros(99)) == 0.01
    generator = np.random.default_rng(0)
    found = [exceedance_p_value(generator.random(), generator.random(19)) for _ in range(4000)]
    assert np.mean(np.array(found) <= 0.05) == pytest.approx(0.05, abs=0.012)


def test_matched_directions_have_the_covariance_of_the_rows():
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((40, 3)) @ np.array([[2.0, 1, 0], [0, 1, 0], [0, 0, 0.3]]) + 5
    weights = contrast_weights(len(rows), count=40_000, seed=1)
    np.testing.assert_allclose(weights.sum(axis=1), 0, atol=1e-9)
    sums = weights @ rows / np.sqrt(len(rows) - 1)
    np.testing.assert_allclose(np.cov(sums.T), np.cov(rows.T), atol=0.03 * np.cov(rows.T).max())
    found = matched_directions(rows, count=40_000, seed=1)
    np.testing.assert_allclose(found, sums / np.linalg.norm(sums, axis=1, keepdims=True), atol=1e-5)
    assert found.dtype == np.float32


def test_matched_directions_of_few_rows_lie_in_their_span():
    rows = np.random.default_rng(0).standard_normal((4, 30))
    found = matched_directions(rows, count=50, seed=2)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)
    assert np.linalg.matrix_rank(found, tol=1e-4) == 3  # the rows less their mean
    np.testing.assert_array_equal(found, matched_directions(rows, count=50, seed=2))
    two = contrast_weights(2, count=20, seed=0)
    np.testing.assert_array_equal(np.abs(two), 1)  # never both on one side
    assert not matched_directions(rows[:1], count=3).any()


@pytest.fixture(scope="module")
def made(make_model, rows, tmp_path_factory):
    model, data = make_model("llama"), records_from_rows(rows)
    texts = [
        records_from_rows([{"prompt": f"Question {i}?\n", "completion": f"{word} {i}."} for i in range(8)])
        for word in ("garden", "nothing")
    ]
    concept = fit_concept(model, *texts, sites=[SITE], shuffles=3)
    store = scan(model, data, sites=[SITE], out=tmp_path_factory.mktemp("store") / "s")
    return store, concept, data


def activations(store, kind):
    found = np.empty((len(store), 32))
    for positions, block in store.blocks([kind], SITE):
        found[positions] = block[kind]
    return found


def test_null_directions_of_a_store_are_those_of_its_response_activations(made):
    store, concept, _ = made
    responses = activations(store, "response")
    found = null_directions(store, SITE, concept.width, count=5, seed=3)
    np.testing.assert_allclose(found, matched_directions(responses, count=5, seed=3), atol=1e-5)
    among = np.arange(len(store)) % 2 == 0
    half = null_directions(store, SITE, concept.width, count=5, seed=3, among=among)
    np.testing.assert_allclose(half, matched_directions(responses[among], count=5, seed=3), atol=1e-5)
    isotropic = null_directions(store, SITE, concept.width, kind="isotropic", count=5, seed=3)
    np.testing.assert_array_equal(isotropic, random_directions(concept.width, count=5, seed=3)[:, 0])
    with pytest.raises(RowsAlikeError, match="control=isotropic"):
        null_directions(store, SITE, concept.width, count=2, among=np.arange(len(store)) == 0)


@pytest.mark.parametrize("kind", get_args(NullKind))
def test_a_ranking_has_controls_of_the_kind_that_is_asked_for(made, kind):
    store, concept, _ = made
    found = rank(
        store, concept, compare=(), random_controls=2, seed=4, nulls=NullSettings(control=kind, null_draws=9)
    )
    assert [each.kind for each in found.controls[:2]] == [control_kind(kind)] * 2
    assert found.provenance["controls"]["asked"] == {control_kind(kind): 2, ControlKind.SHUFFLED: 3}
    gradients = -activations(store, "backward")
    directions = null_directions(store, SITE, concept.width, kind=kind, count=2, seed=4)
    for control, direction in zip(found.controls, directions, strict=False):
        np.testing.assert_allclose(control.scores, gradients @ direction, rtol=1e-4, atol=1e-7)


def test_the_report_holds_a_ranking_against_both_kinds_of_nulls(made):
    store, concept, data = made
    found = rank(store, concept, compare=(), nulls=NullSettings(null_draws=19))
    labels = np.arange(len(store)) % 2 == 0
    figures = label_figures(found, labels, data)
    assert figures is not None
    assert [(each.kind, each.draws) for each in figures.nulls] == [("matched", 19), ("isotropic", 19)]
    assert figures.auc.value == pytest.approx(auc(found.score, labels))
    drawn = null_directions(store, SITE, concept.width, kind="isotropic", count=19)
    away = [abs(auc(-activations(store, "backward") @ each, labels) - 0.5) for each in drawn]
    expected = (1 + sum(each >= abs(auc(found.score, labels) - 0.5) for each in away)) / 20
    assert figures.nulls[1].p_value == expected
    assert label_figures(found, np.ones(len(store), dtype=bool), data) is None


def test_the_page_leads_with_what_the_ranking_adds_to_confounds(made):
    store, concept, data = made
    found = rank(store, concept, compare=(), nulls=NullSettings(null_draws=9))
    labels = np.arange(len(store)) % 2 == 0
    columns = confound_scores(found, data)
    assert list(columns) == [
        "response-length",
        "training-loss",
        "gradient-norm",
    ]  # the texts were in memory alone
    np.testing.assert_allclose(
        columns["gradient-norm"], np.linalg.norm(activations(store, "backward"), axis=1), rtol=1e-6
    )
    figures = label_figures(found, labels, data)
    assert figures is not None
    gain, before = confound_adjusted_gain(found.score, columns, labels)
    assert (figures.gain, figures.confounds_auc) == (gain, before)
    plain = replace(build_report(found, shown=1), label="even", labels=labels, label_figures=figures)
    first = attribution_document(plain).sections[0]
    assert first.key == "labelled"
    said = next(part.text for part in first.parts if isinstance(part, Paragraph))
    assert f"{gain.value:.3f}".replace("-", "−") in str(said)
    assert attribution_document(build_report(found, shown=1)).sections[0].key == "reading"
    by_length = rank(store, concept, method="response-length", compare=())
    own = label_figures(by_length, labels, data)
    assert own is not None
    assert own.gain is None
    assert "itself a confound" in own.said_of_gain()


def test_rows_that_are_alike_have_no_matched_controls_and_the_ranking_says_so(made, rows, tmp_path):
    store, concept, _ = made
    same = records_from_rows([rows[0] | {"id": f"r{i}"} for i in range(12)])
    alike = scan(store.load_model(), same, sites=[SITE], out=tmp_path / "s")
    found = rank(alike, concept, method="vector-filter", compare=())
    assert {control.kind for control in found.controls} == {ControlKind.SHUFFLED}
    assert found.provenance["controls"]["kept"][ControlKind.MATCHED] == 0
    assert "control=isotropic" in found.provenance["controls"]["left_out"]
    other = rank(alike, concept, method="vector-filter", compare=(), nulls=NullSettings(control="isotropic"))
    assert len(other.controls) == 11
