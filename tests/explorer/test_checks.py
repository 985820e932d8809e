"""Controls and figures of labelled rows against the library's own."""

import numpy as np
import pytest
from explorer.conftest import GARDEN, RAIN

from aitia.attribution import rank
from aitia.errors import AitiaError
from aitia.statistics import auc, spearman

TEXTS = {"kind": "texts", "positive": GARDEN, "negative": RAIN, "methods": ["vector-filter"]}
KEY = "ranking:activation-gradient"


@pytest.fixture
def asked(session):
    return session.ask(0, TEXTS)["scores"][0]["key"]


def test_controls_are_those_of_a_ranking(session, rows, asked):
    found = session.controls(0, asked)
    ranking = rank(rows.store, rows.scores[asked].direction, method="vector-filter", compare=())
    assert [(each["kind"], each["number"]) for each in found["controls"]] == [
        (control.kind.value, control.number) for control in ranking.controls
    ]
    for each, control in zip(found["controls"], ranking.controls, strict=True):
        assert each["agreement"] == pytest.approx(spearman(control.scores, ranking.score))
        assert each["spread"] == pytest.approx(float(control.scores.std()))
    assert found["warnings"] == list(ranking.warnings)
    lengths = rows.store.column("response_tokens")
    assert found["agreement"]["response-length"] == pytest.approx(spearman(lengths, ranking.score))
    assert set(found["agreement"]) == {"training-loss", "gradient-norm", "response-length"}


def test_scores_from_a_file_have_no_controls_here(session):
    with pytest.raises(AitiaError, match="the report of the run has those"):
        session.controls(0, KEY)


def test_labelled_rows_are_found_as_the_statistics_say(session, rows, asked):
    found = session.label(0, asked, "planted")
    planted = np.arange(60) % 4 == 0
    assert found["auc"][0] == pytest.approx(auc(rows.scores[asked].values, planted))
    assert found["auc"][1] <= found["auc"][0] <= found["auc"][2]
    assert found["labelled"] == 15
    assert found["used"] == 60
    assert found["confounds"] == ["training-loss", "gradient-norm", "response-length"]
    assert found["gain"][1] <= found["gain"][0] <= found["gain"][2]
    assert 0.01 <= found["p_value"] <= 1


def test_a_label_that_gives_itself_away_gains_and_one_by_chance_does_not(session, rows, asked):
    import pyarrow as pa

    column = rows.scores[asked]
    generator = np.random.default_rng(0)
    rows.texts._columns["own"] = pa.array(column.values > np.quantile(column.values, 0.7))
    rows.texts._columns["chance"] = pa.array(generator.random(60) < 0.4)
    assert session.label(0, asked, "own")["gain"][1] > 0
    assert session.label(0, asked, "own")["auc"][0] == 1.0
    assert session.label(0, asked, "chance")["gain"][1] <= 0


def test_many_rows_are_drawn_in_their_proportion(session, rows, asked, monkeypatch):
    monkeypatch.setattr("aitia.explorer.checks._ROWS", 20)
    assert session.label(0, asked, "planted")["used"] == 20


@pytest.mark.parametrize(("label", "said"), [("source", "no true-or-false"), ("no", "no true-or-false")])
def test_a_label_that_is_none_is_refused(session, asked, label, said):
    with pytest.raises(AitiaError, match=said):
        session.label(0, asked, label)


def test_labels_without_a_concept_at_hand_have_figures_without_a_p_value(session):
    found = session.label(0, KEY, "planted")
    assert found["p_value"] is None
    assert found["gain"] is not None
