"""The card on top: three sentences, and the first thing on which two explanations differ."""

import re

import numpy as np
import pytest

from aitia.explanations import Explanation, Settings, evaluate
from aitia.explanations.examples import parity_accounts, parity_phenomenon
from aitia.explanations.examples.parity import FIRST_HALF, FOUR_BITS
from aitia.explanations.inside.distinguishing import first_distinction
from aitia.explanations.metrics.study import Evaluation

QUICK = Settings(controls=4, interventions=256, mutants=2, variants=8, resamples=50)


@pytest.fixture(scope="module")
def phenomenon():
    return parity_phenomenon()


@pytest.fixture(scope="module")
def accounts(phenomenon):
    return parity_accounts(phenomenon)


def told(first, second):
    return first_distinction(*(Evaluation(explanation=each, settings=QUICK) for each in (first, second)))


def test_three_sentences_say_whether_how_much_and_how_simple(accounts):
    summary = {name: evaluate(each, settings=QUICK).summary for name, each in accounts.items()}
    assert summary["halves"][0].startswith("No test refutes it")
    assert "at its 2 places" in summary["halves"][1]
    assert "100%" in summary["halves"][1]
    assert summary["wrong halves"][0].startswith("It is refuted")
    assert "ones 0 and 2" in summary["count"][0]
    assert summary["middle holds the answer"][0].startswith("It is not told apart from the trivial")
    assert summary["lookup"][0] == "It claims nothing of the inside; of the answers 100.0% are as it says."
    assert "with its code and data" in summary["lookup"][2]


def test_two_accounts_of_one_place_differ_by_an_intervention_that_is_true_of_the_model(phenomenon, accounts):
    text = told(accounts["halves"], accounts["wrong halves"])
    source, base = (
        np.array([int(each) for each in part.split()]) for part in re.findall(r"on input ((?:\d ?){4})", text)
    )
    places = np.array([8, 4, 2, 1])
    middle = phenomenon.model.trace(FOUR_BITS, ["middle"])["middle"]
    swapped = middle[[base @ places]].copy()
    swapped[:, FIRST_HALF] = middle[[source @ places]][:, FIRST_HALF]
    answer = phenomenon.labels(phenomenon.model.intervene(base[None], {"middle": swapped})[0], 1)[0]
    assert text.endswith(f"the model says {phenomenon.outcomes[answer]}.")
    true, false = re.findall(r"says (even|odd)", text)[:2]
    assert true == phenomenon.outcomes[answer] != false


def test_answers_come_first_and_places_last(phenomenon, accounts):
    opposite = Explanation(
        name="opposite", phenomenon=phenomenon, program=lambda _p, x, _v: 1 - x.sum(axis=1) % 2
    )
    assert told(accounts["lookup"], opposite) == (
        "On input 0 0 0 0 lookup table says even and opposite says odd; the model says even."
    )
    silent = Explanation(
        name="silent",
        phenomenon=phenomenon,
        program=lambda _p, x, _v: np.where(x[:, 0] == 1, -1, x.sum(axis=1) % 2),
    )
    assert "silent says nothing" in told(accounts["lookup"], silent)
    assert told(accounts["lookup"], accounts["halves"]) == (
        "Answers do not tell them apart. Only (a xor b) xor (c xor d) says what happens where middle [0, 1, 2] is set "
        "(p); lookup table says nothing of it."
    )
    assert told(accounts["lookup"], accounts["lookup"]) == "Nothing that was tried here tells them apart."
