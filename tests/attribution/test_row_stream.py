"""Scores of rows as they come are those of a scan and a ranking of the same rows."""

import json
from itertools import count

import numpy as np
import pytest
from attribution.losses_by_hand import CASES, adapted

from aitia.attribution import RowScore, RowStream, StreamSettings, rank, scan, score_rows
from aitia.concepts import Concept
from aitia.errors import AitiaError, ConceptError, RecordError
from aitia.records import ReadingSettings, records_from_rows
from aitia.records.losses import LossSettings

SITE = "resid_post.1"
METHODS = ("vector-filter", "projection-difference-prompt", "activation-gradient")


@pytest.fixture(scope="module")
def model(make_model):
    return make_model("llama", layers=2)


def concept_of(model, **changed):
    direction = np.random.default_rng(0).normal(size=(2, model.width)).astype(np.float32)
    parts = {"name": "c", "site": SITE, "direction": direction, "recipe": {}, "model_name": model.name}
    parts |= {"model_fingerprint": model.fingerprint, "base_fingerprint": model.base_fingerprint}
    return Concept(**parts | changed)


@pytest.mark.parametrize("settings", [{}, {"look_ahead": 1}, {"look_ahead": 5, "max_batch_tokens": 200}])
def test_scores_are_those_of_a_scan_and_a_ranking(model, rows, tmp_path, settings):
    data, concept = records_from_rows(rows), concept_of(model)
    store = scan(model, data, sites=[SITE], out=tmp_path / "store", max_batch_tokens=200)
    ranking = rank(store, concept, method="vector-filter", compare=METHODS, random_controls=0)
    chosen = StreamSettings(methods=METHODS, **settings)
    for given in (rows, data, (json.dumps(row).encode() for row in rows)):
        found = list(score_rows(model, concept, given, chosen))
        assert [each.id for each in found] == list(ranking.ids)
        for name in METHODS:
            scores = [each.scores[name] for each in found]
            np.testing.assert_allclose(scores, ranking.scores[name], rtol=1e-4, atol=1e-5)


def test_rows_are_drawn_as_they_are_needed(model):
    def endless():
        for number in count():
            drawn.append(number)
            yield {"prompt": f"{number}? ", "completion": f"{number}."}

    drawn = []
    stream = score_rows(model, concept_of(model), endless(), StreamSettings(look_ahead=4))
    assert [next(stream).location for _ in range(5)] == [f"rows:{number}" for number in range(1, 6)]
    assert len(drawn) == 8


def test_a_bad_row_stops_the_stream_or_is_named_in_its_place(model):
    given = [
        {"prompt": "a? ", "completion": "b."},
        {"prompt": "a? "},
        {"prompt": "a? ", "completion": "long " * 400},
        {"prompt": "a? ", "completion": "c."},
    ]
    concept = concept_of(model)
    found = list(score_rows(model, concept, given, on_error="skip", max_length=64))
    assert [each.location for each in found] == ["rows:1", "rows:2", "rows:3", "rows:4"]
    assert [each.error is None for each in found] == [True, False, False, True]
    assert "tokens, longer than the 64 allowed" in found[2].error
    assert found[1].plain() == {"location": "rows:2", "error": found[1].error}
    assert set(found[0].plain()["scores"]) == {"activation-gradient"}
    stream = score_rows(model, concept, given)
    assert next(stream).error is None
    with pytest.raises(RecordError, match="rows:2: .*on_error=skip"):
        next(stream)
    assert all(
        each.error is None for each in score_rows(model, concept, given[2:], max_length=64, truncate=True)
    )


def test_a_row_without_a_prompt_is_refused_by_methods_that_need_one(model):
    concept, given = concept_of(model), [{"text": "a text"}]
    (found,) = score_rows(model, concept, given, methods=["projection-difference-prompt"], on_error="skip")
    assert "no prompt before the response, which method projection-difference-prompt needs" in found.error
    (found,) = score_rows(model, concept, given, methods=["vector-filter"])
    assert isinstance(found, RowScore)
    assert np.isfinite(found.scores["vector-filter"])


def test_a_row_whose_activations_are_not_finite_spoils_no_other(model, rows, monkeypatch):
    import aitia.attribution.row_stream as module

    plain = module.collect_activations

    def spoilt(model, batch, sites, locations, **more):
        from aitia.errors import NumericalError

        if "rows:3" in locations:
            raise NumericalError(f"rows:3: not finite, of {len(locations)} rows")
        return plain(model, batch, sites, locations, **more)

    before = list(score_rows(model, concept_of(model), rows[:6]))
    monkeypatch.setattr(module, "collect_activations", spoilt)
    found = list(score_rows(model, concept_of(model), rows[:6], on_error="skip"))
    assert [each.error for each in found] == [None, None, "rows:3: not finite, of 1 rows", None, None, None]
    for one, other in zip(before, found, strict=True):
        if other.error is None:
            assert one.scores["activation-gradient"] == pytest.approx(
                other.scores["activation-gradient"], rel=1e-3
            )


@pytest.mark.parametrize(
    ("method", "why"),
    [
        ("whitened-projection-difference", "covariance of all rows"),
        ("projection-difference", "a response that the model samples"),
        ("influence", "measures queries"),
        ("no-such", "does not exist"),
    ],
)
def test_methods_that_need_more_than_the_row_are_refused_at_once(model, method, why):
    with pytest.raises(AitiaError, match=why):
        RowStream(model, concept_of(model), StreamSettings(methods=(method,)))


def test_other_models_and_words_are_refused(model):
    with pytest.raises(ConceptError, match="another model"):
        RowStream(model, concept_of(model, base_fingerprint="0" * 64))
    with pytest.raises(AitiaError, match="choose stop or skip"):
        RowStream(model, concept_of(model), on_error="go")
    stream = RowStream(model, concept_of(model), reading=ReadingSettings(shape="text"), on_error="skip")
    assert [each.error is None for each in stream.score([{"text": "a"}, {"prompt": "p"}])] == [True, False]


@pytest.mark.parametrize("case", CASES)
def test_scores_under_other_losses_are_those_of_a_scan_and_a_ranking(make_model, tmp_path, case):
    rows, given = CASES[case]
    model, loss, data = adapted(make_model), LossSettings(**given), records_from_rows(rows)
    concept = concept_of(model)
    store = scan(model, data, sites=[SITE], out=tmp_path / "store", loss=loss)
    ranking = rank(store, concept, method="activation-gradient", compare=(), random_controls=0)
    found = list(score_rows(model, concept, rows, StreamSettings(look_ahead=3), loss=loss))
    scores = [each.scores["activation-gradient"] for each in found]
    np.testing.assert_allclose(scores, ranking.scores["activation-gradient"], rtol=1e-3, atol=1e-6)
    assert {name for each in found for name in each.sides} == set(ranking.sides)
    for name, values in ranking.sides.items():
        np.testing.assert_allclose([each.sides[name] for each in found], values, rtol=1e-3, atol=1e-6)
    assert ("sides" in found[0].plain()) == (loss.loss == "dpo")


def test_what_does_not_read_the_loss_is_refused_before_the_first_row(model, make_model):
    pairs, dpo = CASES["dpo"][0], LossSettings(loss="dpo")
    with pytest.raises(AitiaError, match="vector-filter does not read the gradient of a row's loss"):
        RowStream(
            adapted(make_model), concept_of(model), StreamSettings(methods=("vector-filter",)), loss=dpo
        )
    with pytest.raises(AitiaError, match="compares with a reference model"):
        RowStream(model, concept_of(model), loss=dpo)
    with pytest.raises(RecordError, match="`beta=0.3` is read with"):
        RowStream(model, concept_of(model), loss=LossSettings(beta=0.3))
    named = list(score_rows(model, concept_of(model), pairs[:1], on_error="skip"))
    assert "take the loss of pairs, `loss=dpo`" in named[0].error
