"""The scorecard: no total, dominance by intervals, grades by visible thresholds, weights with their sensitivity."""

import json
from dataclasses import replace

import numpy as np
import pytest

from aitia.errors import ExplanationError
from aitia.explanations import Explanation, Phenomenon, Settings, black_box, evaluate, load_rubric
from aitia.explanations.card.comparison import compare, weigh
from aitia.explanations.card.rubric import grade
from aitia.explanations.core.catalogue import VIRTUES
from aitia.explanations.core.result import declared, measured, not_evaluable
from aitia.explanations.examples.max_of_two import lookup_explanation, max_phenomenon, rule_explanation
from aitia.explanations.examples.xor import (
    count_explanation,
    gate_network,
    gates_explanation,
    xor_phenomenon,
)
from aitia.pipelines.evaluation.schemas import ScorecardFile
from aitia.statistics import Interval


@pytest.fixture(scope="module")
def card():
    phenomenon = xor_phenomenon(gate_network())
    return evaluate(gates_explanation(phenomenon), baselines=[count_explanation(phenomenon)])


def estimated(name, low, value, high):
    return measured(name, value, n=10, interval=Interval(low=low, high=high, level=0.95, method="test"))


def test_json_has_the_published_form_and_no_total(card):
    text = json.dumps(card.as_json(), allow_nan=False)
    found = ScorecardFile.model_validate_json(text)
    assert [each.name for each in found.explanations] == [card.name, card.baselines[0].name]
    assert {each.name for each in found.explanations[0].results} == set(VIRTUES)
    assert "total" not in found.model_dump()
    with pytest.raises(ValueError):
        ScorecardFile.model_validate_json(json.dumps(card.as_json() | {"total": 1.0}))


def test_judging_again_gives_the_same_card(card):
    phenomenon = xor_phenomenon(gate_network())
    again = evaluate(gates_explanation(phenomenon), baselines=[count_explanation(phenomenon)])
    assert again.as_json() == card.as_json()
    other = evaluate(gates_explanation(phenomenon), settings=Settings(delta=0.02))
    assert other.as_json()["settings_fingerprint"] != card.as_json()["settings_fingerprint"]


def test_cards_are_written_in_three_forms(card, tmp_path):
    assert json.loads(card.write(tmp_path / "card.json").read_text()) == card.as_json()
    assert card.write(tmp_path / "card.md").read_text() == card.markdown()
    assert card.write(tmp_path / "card.html").read_text() == card.html()
    with pytest.raises(ExplanationError, match=r"\.json, \.md or \.html"):
        card.write(tmp_path / "card.pdf")


def test_an_unknown_virtue_is_named_with_those_there_are(card):
    with pytest.raises(ExplanationError, match="no virtue 'charm'; there are fidelity"):
        _ = card["charm"]


class TestDominance:
    def compared(self, first, second):
        names = [{each.name: each for each in side} for side in (first, second)]
        return compare(("a", "b"), names[0], names[1], None, Settings())

    def test_only_differences_whose_interval_excludes_zero_count(self):
        found = self.compared(
            [
                estimated("interchange-intervention-accuracy", 0.7, 0.8, 0.9),
                estimated("leakage", 0.1, 0.2, 0.3),
            ],
            [
                estimated("interchange-intervention-accuracy", 0.6, 0.7, 0.8),
                estimated("leakage", 0.5, 0.6, 0.7),
            ],
        )
        assert [each.better for each in found.differences] == [0, 1], "less leakage is better"
        assert found.dominates == "a"
        assert found.groups(1) == ["mechanism"]

    def test_one_virtue_the_other_way_prevents_dominance(self):
        found = self.compared(
            [
                estimated("interchange-intervention-accuracy", 0.8, 0.9, 1.0),
                measured("description-length", 9, n=1),
            ],
            [
                estimated("interchange-intervention-accuracy", 0.1, 0.2, 0.3),
                measured("description-length", 1, n=1),
            ],
        )
        assert found.dominates is None

    def test_what_has_no_value_or_was_typed_in_or_has_no_better_end_does_not_count(self):
        found = self.compared(
            [
                not_evaluable("interchange-intervention-accuracy", "?"),
                declared("prior", 0),
                measured("precision", -1, n=1),
            ],
            [
                measured("interchange-intervention-accuracy", 1, n=1),
                declared("prior", -9),
                measured("precision", -2, n=1),
            ],
        )
        assert found.differences == ()
        assert found.dominates is None

    def test_zero_is_best_for_the_calibration_gap(self):
        found = self.compared(
            [measured("calibration-gap", -0.1, n=1)], [measured("calibration-gap", 0.5, n=1)]
        )
        assert found.dominates == "a"

    def test_paired_items_see_what_intervals_apart_would_miss(self):
        generator = np.random.default_rng(0)
        inputs = np.arange(400)[:, None]
        noise = generator.uniform(0.1, 0.9, 400)
        labels = (generator.uniform(size=400) < noise).astype(int)
        phenomenon = Phenomenon(
            name="p",
            model=black_box("coins", lambda x: labels[x[:, 0]]),
            inputs=inputs,
            outcomes=("0", "1"),
            exhaustive=False,
        )

        def explanation(name, softness):
            p = (1 - softness) * noise + softness / 2
            return Explanation(
                name=name,
                phenomenon=phenomenon,
                program=lambda _p, x, _v: np.stack([1 - p[x[:, 0]], p[x[:, 0]]], axis=1),
            )

        card = evaluate(explanation("sharp", 0.0), baselines=[explanation("soft", 0.4)])
        baseline = card.baselines[0]
        overlap = card["accuracy"].interval.low < baseline["accuracy"].interval.high
        difference = next(d for d in card.comparisons()[0].differences if d.name == "accuracy")
        assert overlap
        assert difference.better == 1

    def test_lookup_table_and_rule_are_told_apart(self):
        phenomenon = max_phenomenon(8, beyond=1)
        card = evaluate(rule_explanation(phenomenon), baselines=[lookup_explanation(phenomenon)])
        found = card.comparisons()[0]
        better = {each.name for each in found.differences if each.better == 1}
        assert {"description-length", "compression", "excess-scope", "hard-to-vary"} <= better
        assert not {each.name for each in found.differences if each.better == -1}


class TestRubric:
    def test_thresholds_are_kept_on_the_card_and_applied(self, card):
        rubric = load_rubric()
        assert card.as_json()["rubric"]["interchange-intervention-accuracy"] == list(
            rubric["interchange-intervention-accuracy"]
        )
        assert grade(card["interchange-intervention-accuracy"], rubric) == "highly"
        assert grade(card.baselines[0]["interchange-intervention-accuracy"], rubric) == "not"
        assert grade(estimated("leakage", 0, 0.05, 0.1), rubric) == "weakly"
        assert grade(measured("calibration-gap", -0.3, n=1), rubric) == "weakly"
        assert grade(not_evaluable("interchange-intervention-accuracy", "?"), rubric) is None
        assert grade(measured("variables", 1, n=1), rubric) is None

    def test_not_discriminating_is_not_virtuous(self):
        high = replace(measured("probing-agreement", 1.0, n=10), discriminating=False)
        assert grade(high, load_rubric()) == "not"

    def test_ones_own_thresholds(self, tmp_path):
        file = tmp_path / "mine.json"
        file.write_text('{"note": "strict", "skill": [1.5, 1.2]}')
        own = evaluate(gates_explanation(xor_phenomenon(gate_network())), rubric=load_rubric(file))
        graded = {each["name"]: each["grade"] for each in own.as_json()["explanations"][0]["results"]}
        assert graded["skill"] == "not"
        assert set(graded.values()) == {"not", None}


class TestWeights:
    def test_totals_and_sensitivity(self):
        results = {
            "a": {
                "interchange-intervention-accuracy": measured("interchange-intervention-accuracy", 1.0, n=1),
                "description-length": measured("description-length", 9, n=1),
            },
            "b": {
                "interchange-intervention-accuracy": measured("interchange-intervention-accuracy", 0.0, n=1),
                "description-length": measured("description-length", 1, n=1),
            },
        }
        found = weigh(results, {"interchange-intervention-accuracy": 3, "description-length": 1})
        assert found.totals == {"a": 0.75, "b": 0.25}
        # Each wins where its own virtue has more than half of the weight.
        assert found.wins["a"] == pytest.approx(0.5, abs=0.02)
        assert sum(found.wins.values()) == pytest.approx(1)

    def test_a_rival_that_is_best_at_all_wins_under_all_weights(self, card):
        found = card.weighed({"interchange-intervention-accuracy": 1, "skill": 1}).weighing
        assert found is not None
        assert found.wins[card.name] == 1
        assert (
            ScorecardFile.model_validate_json(
                json.dumps(card.weighed({"interchange-intervention-accuracy": 1}).as_json())
            ).weighing
            is not None
        )

    @pytest.mark.parametrize(
        "weights, message",
        [
            ({"charm": 1}, "no virtue"),
            ({"precision": 1}, "no better end"),
            ({"interchange-intervention-accuracy": -1}, "must not be negative"),
            ({"fruitfulness": 1}, "has no value of it"),
            ({"interchange-intervention-accuracy": 0}, "at least one weight"),
        ],
    )
    def test_weights_that_cannot_be_used(self, card, weights, message):
        with pytest.raises(ExplanationError, match=message):
            card.weighed(weights)

    def test_weights_need_baselines(self, card):
        with pytest.raises(ExplanationError, match="compare baselines"):
            card.baselines[0].weighed({"interchange-intervention-accuracy": 1})
