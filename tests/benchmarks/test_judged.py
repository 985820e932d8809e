"""The benchmark of the virtues counts rightly: laws, budgets, regression, tables."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from aitia.models import LanguageModelUnderStudy
from judged.language import decision_at_site
from judged.laws import LAWS, optimism_rows
from judged.table import VIRTUES as TABLED
from judged.table import highly, table_rows
from judged.worth import OUTCOMES, VIRTUES, regressed


def network(bits, *, answers=1.0, logits=1.0, family="S5"):
    hypotheses = {
        f"hypothesis {i}": {"bits": b, "answers": answers, "logits": logits} for i, b in enumerate(bits)
    }
    return {
        "family": family,
        "order": 120,
        "width": 128,
        "numbers": 1000,
        "measures": dict.fromkeys(LAWS.values(), 0.5),
        "hypotheses": hypotheses,
    }


def test_shares_within_a_budget():
    networks = [network([160, 16_000]), network([1_600]), network([160], logits=0.9), network([])]
    rows = optimism_rows(networks)
    found = {(row["faithful to"], row["budget"]): row["explained"] for row in rows}
    # A network of 1,000 numbers takes 16,000 bits.
    assert found["answers", 0.01] == 2 / 4
    assert found["answers", 0.1] == found["answers", 1.0] == 3 / 4
    assert found["logits", 0.01] == 1 / 4
    assert found["logits", 0.003] == 0


def rows_of(noise, networks=6, baselines=12):
    """Success follows skill alone; the other virtues are noise, and skill differs from network to network in level."""
    generator = np.random.default_rng(0)
    rows = []
    for label in range(networks):
        for _ in range(baselines):
            virtues = {name: float(generator.normal()) for name in VIRTUES}
            success = 0.1 * virtues["skill"] + noise * generator.normal() + label
            rows.append({"network": str(label), "virtues": virtues, **dict.fromkeys(OUTCOMES, success)})
    return rows


def test_the_regression_finds_what_success_follows():
    found = {(row["outcome"], row["virtue"]): row for row in regressed(rows_of(0.01), resamples=200)}
    skill = found["unseen inputs", "skill"]
    assert skill["slope"] == pytest.approx(1, abs=0.02), "in standard units, within networks"
    assert skill["rank correlation"] > 0.95
    assert skill["slope beside all"] == pytest.approx(1, abs=0.05)
    others = [row for (_, name), row in found.items() if name not in ("skill", "precision")]
    assert np.mean([row["low"] < 0 < row["high"] for row in others]) > 0.8


def test_a_virtue_in_which_rivals_do_not_differ_has_no_slope():
    rows = rows_of(0.01)
    for row in rows:
        row["virtues"]["probing-agreement"] = 1.0
    found = {(row["outcome"], row["virtue"]): row for row in regressed(rows, resamples=50)}
    assert found["unseen inputs", "probing-agreement"]["slope"] is None
    assert found["unseen inputs", "skill"]["slope"] == pytest.approx(1, abs=0.02)


def test_less_is_turned_and_lengths_are_logarithms():
    rows = rows_of(0.0)
    for row in rows:
        row["virtues"]["description-length"] = float(np.exp(9 - row["virtues"]["skill"]))
        row["virtues"]["calibration-gap"] = None
    found = {row["virtue"]: row for row in regressed(rows, resamples=20) if row["outcome"] == "unseen inputs"}
    assert found["description-length"]["slope"] == pytest.approx(1)
    assert "calibration-gap" not in found


def card(value, grade, floor=0.1):
    results = []
    for name in TABLED:
        results.append(
            {
                "name": name,
                "value": value,
                "status": "measured",
                "reason": "",
                "floor": floor,
                "grade": grade,
                "interval": {"low": value, "high": value},
                "discriminating": None,
                "details": {},
            }
        )
    conditions = [{"name": "ontic", "met": value > 0.5}]
    return {
        "family": "f",
        "hypothesis": "a",
        "results": results,
        "conditions": conditions,
        "joint": value,
        "seconds": {"made": 1.0},
    }


def test_the_table_takes_means_over_networks():
    from scipy.stats import t

    rows = table_rows([card(0.4, "weakly"), card(0.8, "highly"), {**card(1, "not"), "results": None}])
    assert rows[0]["met"] == {"ontic": 0.5}
    assert rows[1]["value"] == pytest.approx(0.6)
    row = rows[2]
    assert row["value"] == pytest.approx(0.6)
    assert row["high"] - row["value"] == pytest.approx(t.ppf(0.975, 1) * 0.2)
    assert row["grades"] == {"weakly": 1, "highly": 1}


def test_an_account_that_cannot_be_had_has_its_reason():
    cannot = {"family": "f", "hypothesis": "b", "results": None, "reason": "this is no group"}
    rows = table_rows([card(0.4, "weakly"), cannot])
    row = rows[-1]
    assert (row["hypothesis"], row["value"], row["status"]) == ("b", None, "not applicable")
    assert row["reason"] == "this is no group"
    assert set(highly(rows)) == {"a"}, "it is no cell that the hypothesis failed to fill"


def test_a_decision_at_a_site_is_that_of_the_whole_model(tiny_model):
    generator = np.random.default_rng(0)
    inputs = generator.integers(3, 300, (7, 9))
    words = (11, 42)
    part = decision_at_site(tiny_model, inputs, "resid_post.1", words, name="d", batch=3)
    whole = LanguageModelUnderStudy(model=tiny_model)
    order = generator.permutation(7)
    assert part.run(inputs[order]) == pytest.approx(whole.run(inputs[order])[:, words], abs=1e-4)
    there = whole.trace(inputs, ["resid_post.1"])["resid_post.1"]
    assert part.trace(inputs, part.sites)["resid_post.1"] == pytest.approx(there, abs=1e-4)
    new = {"resid_post.1": there[order] + 0.3}
    assert part.intervene(inputs, new)[0] == pytest.approx(
        whole.intervene(inputs, new)[0][:, words], abs=1e-4
    )
    drawn = part.randomised(5)
    assert drawn is part.randomised(5)
    other = whole.randomised(5)
    assert drawn.intervene(inputs, new)[0] == pytest.approx(
        other.intervene(inputs, new)[0][:, words], abs=1e-3
    )
