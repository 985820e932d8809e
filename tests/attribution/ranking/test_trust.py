"""A ranking says by itself what speaks against it, and says nothing where nothing does."""

from dataclasses import replace

import numpy as np
import pytest

from aitia.attribution import Control, ControlKind, rank, read_ranking, scan
from aitia.attribution.ranking.reporting import build_report
from aitia.attribution.ranking.trust import controls_order_alike, saturated, scorers_disagree, trust_warnings
from aitia.concepts import SATURATED_AUC, Separation, fit_concept
from aitia.records import records_from_rows

ROWS = 200


def numbers(seed):
    return np.random.default_rng(seed).standard_normal(ROWS)


def controls(kind, share, count=8):
    """Controls with about a given correlation with the scores of seed 0."""
    return [
        Control(
            kind=kind,
            number=i + 1,
            scores=(-1) ** i * share * numbers(0) + np.sqrt(1 - share**2) * numbers(10 + i),
        )
        for i in range(count)
    ]


@pytest.mark.parametrize(
    ("matched", "shuffled", "expected"),
    [
        (0.0, 0.0, None),
        (0.9, 0.0, "8 of 8 (matched direction; largest 0.9"),
        (0.9, 0.9, " and 8 of 8 (shuffled labels; largest 0.9"),
        (0.0, 0.35, "beyond what null directions give"),
        (0.35, 0.35, None),
    ],
)
def test_controls_that_order_the_rows_alike_are_warned_of(matched, shuffled, expected):
    given = controls(ControlKind.MATCHED, matched) + controls(ControlKind.SHUFFLED, shuffled)
    said = controls_order_alike(numbers(0), given)
    if expected is None:
        assert said is None
    else:
        assert said is not None
        assert expected in said
        assert "aitia evaluate-ranking" in said


def test_a_ranking_without_controls_is_not_warned_of():
    assert controls_order_alike(numbers(0), []) is None


FAST = ("vector-filter", "projection-difference-prompt", "activation-gradient")


def test_scorers_that_disagree_are_warned_of():
    apart = {name: numbers(i) for i, name in enumerate(FAST)}
    said = scorers_disagree("activation-gradient", apart)
    assert said is not None
    assert "the 2 other scorers" in said
    together = {name: numbers(0) + 0.8 * numbers(i + 1) for i, name in enumerate(FAST)}
    assert scorers_disagree("activation-gradient", together) is None
    opposite = together | {"activation-gradient": -numbers(0)}
    assert scorers_disagree("activation-gradient", opposite) is not None
    assert scorers_disagree("vector-filter", opposite) is not None  # a mean near 0
    # Baselines do not ask about the concept, and two scorers alone are no crowd.
    assert scorers_disagree(FAST[0], {FAST[0]: numbers(0), FAST[1]: numbers(1), "tf-idf": numbers(2)}) is None
    assert scorers_disagree("tf-idf", apart | {"tf-idf": numbers(5)}) is None


@pytest.fixture(scope="module")
def made(make_model, rows, tmp_path_factory):
    model, data = make_model("llama"), records_from_rows(rows)
    texts = [
        records_from_rows([{"prompt": f"Question {i}?\n", "completion": f"{word} {i}."} for i in range(8)])
        for word in ("garden", "nothing")
    ]
    concept = fit_concept(model, *texts, shuffles=3)
    store = scan(model, data, sites=[concept.site], out=tmp_path_factory.mktemp("store") / "s")
    return store, concept


def separated(concept, *aucs):
    by_site = {f"resid_post.{i}": each for i, each in enumerate(aucs)}
    found = Separation(auc=max(aucs), effect_size=3, positives=9, negatives=9, auc_by_site=by_site)
    return replace(concept, separation=found)


def test_an_auc_that_saturates_is_warned_of(made):
    _, concept = made
    said = saturated(separated(concept, 0.6, 1.0, SATURATED_AUC, 0.995))
    assert said is not None
    assert "0.99 or more at 3 of 4 sites" in said
    for aucs in [(0.6, 0.7), (1.0,), (1.0, 0.8), (1.0, 1.0, 0.9, 0.9, 0.9)]:
        assert saturated(separated(concept, *aucs)) is None
    assert saturated(replace(concept, separation=None)) is None


def test_warnings_go_with_the_ranking_into_its_file_and_its_report(made, tmp_path):
    store, concept = made
    sure = separated(concept, 1.0, 1.0, 1.0)
    found = rank(store, sure)
    expected = saturated(sure)
    assert expected in found.warnings
    assert read_ranking(found.write(tmp_path / "r.parquet")).warnings == found.warnings
    assert expected in build_report(found, shown=1).warnings


def test_few_rows_are_not_warned_of(made):
    _, concept = made
    few = {name: numbers(i)[:20] for i, name in enumerate(FAST)}
    assert trust_warnings(FAST[0], few, (), separated(concept, 0.6, 0.7)) == []
    many = {name: numbers(i) for i, name in enumerate(FAST)}
    assert len(trust_warnings(FAST[0], many, (), separated(concept, 1.0, 1.0))) == 2
