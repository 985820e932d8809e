"""Controls of both kinds are kept, all of them where there is room, and what is left out is said."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aitia.attribution import rank, read_ranking, scan
from aitia.attribution.gradients.curvature import CurvatureSettings
from aitia.attribution.gradients.curvature_fitting import fit_curvature
from aitia.attribution.influence import store_influence
from aitia.attribution.ranking.controls import ControlKind, controls_kept, left_out_text, score_controls
from aitia.attribution.ranking.reporting import build_report
from aitia.concepts import fit_concept
from aitia.records import records_from_rows

SITE = "resid_post.2"


@given(asked=st.dictionaries(st.sampled_from("abc"), st.integers(0, 20), max_size=3), room=st.integers(0, 40))
def test_kinds_are_kept_in_turn(asked, room):
    kept = controls_kept(asked, room)
    assert list(kept) == list(asked)
    present = [kind for kind, count in asked.items() if count]
    assert all(min(1, asked[kind]) <= kept[kind] <= asked[kind] for kind in asked)
    assert sum(kept.values()) == min(sum(asked.values()), max(room, len(present)))
    for one in present:  # no kind has two more than another that could have had more
        assert all(kept[one] <= kept[other] + 1 for other in present if kept[other] < asked[other])


def test_each_control_has_the_scores_of_its_own_direction():
    directions = {
        ControlKind.MATCHED: np.arange(6.0).reshape(3, 2),
        ControlKind.SHUFFLED: 10 + np.arange(4.0).reshape(2, 2),
    }
    for room in (None, 2, 3, 5):
        found, account = score_controls(directions, lambda vectors: vectors * 2, room)
        for control in found:
            assert control.name == f"{control.kind} {control.number}"
            np.testing.assert_array_equal(control.scores, 2 * directions[control.kind][control.number - 1])
        assert len(found) == sum(account["kept"].values()) == (room or 5)
        assert (left_out_text(account) is None) == (room in (None, 5))


@pytest.fixture(scope="module")
def made(make_model, rows, tmp_path_factory):
    model, data = make_model("llama"), records_from_rows(rows)
    texts = [
        records_from_rows([{"prompt": f"Question {i}?\n", "completion": f"{word} {i}."} for i in range(8)])
        for word in ("garden", "nothing")
    ]
    concept = fit_concept(model, *texts, sites=[SITE], shuffles=3)
    store = scan(model, data, sites=[SITE], out=tmp_path_factory.mktemp("store") / "s")
    queries = records_from_rows([{"prompt": f"Query {i}?\n", "completion": f"garden {i}."} for i in range(3)])
    curvature = fit_curvature(model, data, CurvatureSettings(use_empirical_fisher=True))
    return store, concept, {"queries": queries, "curvature": curvature, "compare": ()}


@pytest.mark.parametrize(("room", "kept"), [(4, (2, 2)), (0, (1, 1)), (50, (8, 3))])
def test_influence_keeps_some_of_each_kind_and_says_what_it_leaves_out(
    made, monkeypatch, capsys, tmp_path, room, kept
):
    store, concept, settings = made
    everything = {
        each.name: each.scores
        for each in rank(store, concept, method="concept-influence", **settings).controls
    }
    monkeypatch.delenv("AITIA_PROGRESS")
    monkeypatch.setattr(store_influence, "directions_that_fit", lambda _: room)
    ranking = rank(store, concept, method="concept-influence", **settings)
    account = ranking.provenance["controls"]
    assert account["asked"] == {"matched direction": 8, "shuffled labels": 3}
    assert tuple(account["kept"].values()) == kept
    names = [f"matched direction {i + 1}" for i in range(kept[0])]
    assert [each.name for each in ranking.controls] == names + [
        f"shuffled labels {i + 1}" for i in range(kept[1])
    ]
    for control in ranking.controls:  # however many passes they took
        expected = everything[control.name]
        np.testing.assert_allclose(control.scores, expected, rtol=1e-2, atol=2e-3 * np.abs(expected).max())
    said, warnings = capsys.readouterr().err, build_report(ranking, shown=1).warnings
    text = f"{kept[0]} of 8 (matched direction) and {kept[1]} of 3 (shuffled labels)"
    assert (text in said) == (text in " ".join(warnings)) == (sum(kept) < 11)
    assert read_ranking(ranking.write(tmp_path / "r.parquet")).provenance["controls"] == account


def test_a_method_that_measures_texts_says_that_it_has_no_controls(made, monkeypatch, capsys):
    store, concept, settings = made
    monkeypatch.delenv("AITIA_PROGRESS")
    ranking = rank(store, concept, method="influence", **settings)
    assert not ranking.controls
    assert ranking.direction_scores is None
    assert "influence measures texts, not a direction" in capsys.readouterr().err
    assert "influence measures texts" in " ".join(build_report(ranking, shown=1).warnings)


@pytest.mark.parametrize("method", ["vector-filter", "concept-influence"])
def test_the_rows_are_scored_under_any_direction(made, method):
    store, concept, settings = made
    ranking = rank(store, concept, method=method, random_controls=2, **settings)
    assert ranking.direction_scores is not None
    found = ranking.direction_scores(concept.direction)
    np.testing.assert_allclose(found[0], ranking.score, rtol=1e-2, atol=2e-3 * np.abs(ranking.score).max())
    assert ranking.direction_scores(concept.direction[:0]).shape == (0, len(ranking))
