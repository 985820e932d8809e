"""The gate: one clear refutation closes it, and what does not pass it does not win by being short."""

from dataclasses import replace

import numpy as np
import pytest

from aitia.explanations import Alignment, Explanation, Premise, Settings, Variable, evaluate
from aitia.explanations.examples import (
    count_explanation,
    gate_network,
    gates_explanation,
    parity_accounts,
    parity_phenomenon,
    xor_phenomenon,
)
from aitia.explanations.examples.parity import FIRST_HALF, SECOND_HALF
from aitia.explanations.metrics.faithfulness import Trials

QUICK = Settings(controls=4, interventions=256, mutants=4, variants=16, resamples=100)


@pytest.fixture(scope="module")
def card():
    first, *others = parity_accounts(parity_phenomenon()).values()
    return evaluate(first, baselines=others)


def by_name(card):
    return {each.name: each for each in (card, *card.baselines)}


def met(card):
    return {each.name: each.met for each in card.conditions}


def evidence(card, name):
    return next(each.evidence for each in card.conditions if each.name == name)


class TestParity:
    def test_only_the_true_account_passes(self, card):
        assert card.standing == "mechanistic"
        assert {each.standing for each in card.baselines if each.explanation.variables} == {"refused"}
        assert [each.name for each in card.baselines if each.standing == "predictive"] == ["lookup table"]

    def test_it_is_first_by_informativeness(self, card):
        values = {each.name: each["informativeness"].value or 0.0 for each in (card, *card.baselines)}
        assert max(values, key=lambda name: values[name]) == card.name
        assert values.pop(card.name) > 1.9
        assert max(values.values()) < 0.02

    def test_nothing_dominates_it_by_being_shorter(self, card):
        for each in card.comparisons():
            assert each.dominates is None
            assert each.barred == (each.second,)
            assert "informativeness" not in [one.name for one in each.differences if one.better == -1]

    def test_the_count_and_the_whole_layer_are_trivial_and_the_count_is_not_there(self, card):
        named = by_name(card)
        for name in ("the middle layer counts the ones", "the middle layer holds the answer"):
            assert named[name]["interchange-intervention-accuracy"].value == 1
            assert named[name]["interchange-intervention-accuracy"].floor == 1
            assert "not told apart from the trivial" in evidence(named[name], "causal-mechanistic")
        assert "same activations" in evidence(named["the middle layer counts the ones"], "ontic")
        assert met(named["the middle layer holds the answer"])["ontic"] is True

    def test_the_card_says_who_did_not_pass(self, card):
        assert "No dominance: the middle layer counts the ones did not pass the gate." in card.markdown()


def half(components, read=None, write=None):
    """A parity that lies along a direction of three components, as the network's weights have it."""
    direction = {FIRST_HALF: np.array([1.0, -1.0, 0.5]), SECOND_HALF: np.array([0.5, 1.0, -1.0])}[components]
    return Variable(
        alignment=Alignment(
            site="middle",
            subspace=components,
            read=read or (lambda part: np.rint(part @ direction / (direction @ direction)).astype(int)),
            write=write or (lambda values: np.asarray(values, dtype=float)[:, None] * direction),
        )
    )


class TestVetoes:
    @pytest.fixture(scope="class")
    def plain(self):
        halves = parity_accounts(parity_phenomenon())["halves"]
        return replace(halves, variables={"p": half(FIRST_HALF), "q": half(SECOND_HALF)})

    def test_with_its_own_maps_the_truth_passes(self, plain):
        card = evaluate(plain, settings=QUICK)
        assert card["probing-agreement"].value == card["causal-by-writing"].value == 1
        assert card.standing == "mechanistic"

    def test_a_map_that_reads_the_opposite_closes_it(self, plain):
        wrong = half(FIRST_HALF, read=lambda part: 1 - np.rint(part[:, 0]).astype(int))
        card = evaluate(replace(plain, variables={**plain.variables, "p": wrong}), settings=QUICK)
        # The mean over both variables is 0, that of the wrong one -1; interchange does not see the maps of others.
        assert card["probing-agreement"].details["by_variable"]["p"] == -1
        assert met(card)["ontic"] is False
        assert card.standing == "refused"

    def test_a_value_written_wrong_closes_it(self, plain):
        right = plain.variables["p"].alignment
        wrong = replace(right, read=right.read, write=lambda values: right.write(1 - np.asarray(values)))
        card = evaluate(
            replace(plain, variables={**plain.variables, "p": Variable(alignment=wrong)}), settings=QUICK
        )
        assert card["interchange-intervention-accuracy"].value == 1
        assert card["causal-by-writing"].details["by_variable"]["p"] == 0
        assert met(card)["causal-mechanistic"] is False
        assert "values written" in evidence(card, "causal-mechanistic")

    def test_what_it_calls_inert_and_is_not_closes_it(self, plain):
        card = evaluate(replace(plain, inert={"last": None}), settings=QUICK)
        assert card["leakage"].value > 0.3
        assert met(card)["causal-mechanistic"] is False
        assert "inert" in evidence(card, "causal-mechanistic")

    def test_leaving_the_map_out_hides_no_refutation(self):
        count = parity_accounts(parity_phenomenon())["count"]
        mapped = Alignment(site="middle", read=lambda part: np.rint(np.abs(part).sum(axis=1)).astype(int))
        for place in (mapped, replace(mapped, read=None)):
            card = evaluate(
                replace(count, variables={"ones": Variable(values=5, alignment=place)}), settings=QUICK
            )
            assert met(card)["ontic"] is False
        assert card["probing-agreement"].value is None

    def test_one_false_variable_among_many_true_ones_closes_it(self):
        phenomenon = parity_phenomenon()
        halves = parity_accounts(phenomenon)["halves"]
        many = {f"p{i}": replace(halves.variables["p"]) for i in range(12)}

        def program(_premises, x, variable):
            p = x[:, 0] ^ x[:, 1]
            for name in many:
                p = variable(name, p)
            return p ^ variable("q", x[:, 2] ^ x[:, 3]) ^ (variable("idle", x[:, 0]) ^ x[:, 0])

        # `idle` is said to flip the answer where it is set otherwise, from a place that does the same as q.
        variables = many | {"q": halves.variables["q"], "idle": halves.variables["q"]}
        card = evaluate(
            Explanation(name="many", phenomenon=phenomenon, program=program, variables=variables),
            settings=QUICK,
        )
        assert card["interchange-intervention-accuracy"].value > 0.9
        assert met(card)["causal-mechanistic"] is False
        assert "idle" in evidence(card, "causal-mechanistic")


class TestConditions:
    def test_model_level_asks_that_other_weights_do_otherwise(self):
        # What every network of these sites does: the same answer for every input is said to be at `second`.
        phenomenon = replace(
            xor_phenomenon(gate_network()), observable=lambda outputs: np.zeros(len(outputs), dtype=int)
        )
        place = Variable(alignment=Alignment(site="second"))
        always = Explanation(
            name="always 0",
            phenomenon=phenomenon,
            program=lambda _p, x, v: v("answer", np.zeros(len(x), dtype=int)),
            variables={"answer": place},
        )
        assert met(evaluate(always, settings=QUICK))["model-level"] is False

    def test_without_controls_it_cannot_be_decided(self):
        card = evaluate(
            gates_explanation(xor_phenomenon(gate_network())), settings=replace(QUICK, controls=0)
        )
        assert met(card)["model-level"] is None
        assert card.standing == "refused"

    def test_the_floor_holds_the_answer_of_the_source(self):
        trials = Trials(
            hits=np.ones(4),
            answers=np.ones(4),
            still=np.array([1, 0, 0, 0], dtype=bool),
            moved=np.ones(4, dtype=bool),
            predicted=np.array([0, 1, 1, 0]),
            answered=np.array([0, 1, 1, 0]),
            follows=np.array([1, 1, 1, 0], dtype=bool),
        )
        assert trials.floor == 0.75
        assert replace(trials, follows=None).floor == 0.5


class TestDominance:
    def test_what_claims_nothing_of_the_inside_is_compared_with_its_like(self):
        phenomenon = xor_phenomenon(gate_network())
        plain = replace(gates_explanation(phenomenon), variables={}, name="plain")
        longer = replace(
            plain, name="longer", premises={**plain.premises, "idle": Premise(statement="it is elegant")}
        )
        compared = evaluate(plain, baselines=[longer], settings=QUICK).comparisons()[0]
        assert compared.barred == ()
        assert compared.dominates == "plain"

    def test_a_shorter_account_that_says_less_does_not_dominate_a_longer_one_that_is_right(self):
        halves = parity_accounts(parity_phenomenon())["halves"]

        def coarser(premises, x, variable):
            return variable("p", x[:, 0] ^ x[:, 1]) ^ x[:, 2] ^ x[:, 3]

        less = replace(
            halves,
            name="only the first half",
            program=coarser,
            premises={"p": halves.premises["p"]},
            variables={"p": halves.variables["p"]},
        )
        card = evaluate(halves, baselines=[less], settings=QUICK)
        assert card.standing == card.baselines[0].standing == "mechanistic"
        assert card.baselines[0]["description-length"].value < card["description-length"].value
        compared = card.comparisons()[0]
        assert "informativeness" in [each.name for each in compared.differences if each.better == 1]
        assert compared.dominates is None
        assert compared.barred == ()

    def test_what_fails_does_not_dominate_and_is_not_dominated(self):
        phenomenon = xor_phenomenon(gate_network())
        card = evaluate(
            gates_explanation(phenomenon), baselines=[count_explanation(phenomenon)], settings=QUICK
        )
        compared = card.comparisons()[0]
        assert compared.barred == ("count, then parity",)
        assert compared.dominates is None
