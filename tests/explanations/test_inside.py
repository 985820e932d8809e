"""Informativeness and claims about states, held against calculations of their own."""

from collections import Counter
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from aitia.explanations import (
    Alignment,
    Explanation,
    FunctionModel,
    Phenomenon,
    Settings,
    Status,
    Variable,
    evaluate,
)
from aitia.explanations.core.settings import Settings as CoreSettings
from aitia.explanations.examples import (
    count_explanation,
    count_network,
    gate_network,
    parity_accounts,
    parity_phenomenon,
    xor_phenomenon,
)
from aitia.explanations.examples.modular_addition import addition_phenomenon
from aitia.explanations.examples.parity import FOUR_BITS, SECOND_HALF
from aitia.explanations.inside.informativeness import gain, reliance, trivial_predictions
from aitia.explanations.inside.mixtures import overlap, set_together, swap_all
from aitia.explanations.inside.scores import measure_inside
from aitia.explanations.inside.states import coincide, decode, distinctions
from aitia.explanations.metrics.study import Evaluation

PLACES = np.array([8, 4, 2, 1])
QUICK = Settings(controls=4, interventions=512, resamples=200)


def inside(explanation, settings=QUICK):
    return {
        each.name: each for each in measure_inside(Evaluation(explanation=explanation, settings=settings))
    }


def bits(explanation, settings=QUICK):
    return inside(explanation, settings)["informativeness"]


def account(phenomenon, program, variables, name="account"):
    return Explanation(name=name, phenomenon=phenomenon, program=program, variables=variables)


def at(site, *components, values=2):
    return Variable(values=values, alignment=Alignment(site=site, subspace=components or None))


@pytest.fixture(scope="module")
def phenomenon():
    return parity_phenomenon()


@pytest.fixture(scope="module")
def accounts(phenomenon):
    return parity_accounts(phenomenon)


class TestParts:
    def test_the_trivial_prediction_is_the_frequency_in_the_cell(self):
        generator = np.random.default_rng(0)
        hints, answers = generator.integers(0, 2, (600, 2)), generator.integers(0, 2, 600)
        groups = generator.integers(0, 2, 600)
        cells = [tuple(each) for each in np.column_stack([groups, hints])]
        both, alone = Counter(zip(cells, answers.tolist(), strict=True)), Counter(cells)
        expected = [both[cell, answer] / alone[cell] for cell, answer in zip(cells, answers, strict=True)]
        assert trivial_predictions(hints, answers, groups, 2) == pytest.approx(expected)

    def test_with_many_outcomes_it_knows_which_hint_the_answer_is(self):
        # 90 answers are the second hint, and 10 are some other outcome, half of them 7 and half of them 8.
        hints = np.column_stack([np.arange(100) % 3, 3 + np.arange(100) % 3])
        answers = hints[:, 1].copy()
        answers[:10] = [7, 8] * 5
        found = trivial_predictions(hints, answers, np.zeros(100, dtype=int), 20)
        assert found[10:] == pytest.approx(0.9)
        assert found[:10] == pytest.approx(0.1 * 0.5)

    @given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.integers(1, 3))
    @hypothesis_settings(max_examples=60, deadline=None)
    def test_what_follows_from_the_hints_gains_nothing(self, seed, k, columns):
        generator = np.random.default_rng(seed)
        hints = generator.integers(0, k, (400, columns))
        answers = np.where(generator.random(400) < 0.5, hints[:, 0], generator.integers(0, k, 400))
        trivial = trivial_predictions(hints, answers, np.zeros(400, dtype=int), k)
        for column in range(columns):
            assert reliance((hints[:, column] == answers).astype(float), trivial) == 0
        if k == 2:
            # Any table from hints to distributions, where cells are counted one by one.
            table = generator.random((2,) * columns)
            chance = table[tuple(hints.T)]
            assert reliance(np.where(answers == 1, chance, 1 - chance), trivial) == 0

    def test_reliance_is_the_best_of_all_weights(self):
        generator = np.random.default_rng(1)
        stated, trivial = generator.choice([0.0, 1.0], size=300, p=[0.3, 0.7]), np.full(300, 0.4)
        grid = np.linspace(0, 1, 2001)[:-1]
        scores = [np.log2((1 - w) * trivial + w * stated).mean() for w in grid]
        assert reliance(stated, trivial) == pytest.approx(grid[int(np.argmax(scores))], abs=1e-3)
        assert reliance(np.ones(5), np.full(5, 0.5)) == 1
        assert reliance(np.zeros(5), np.full(5, 0.5)) == 0

    def test_places_overlap_by_components_and_by_directions(self):
        whole, half = Alignment(site="a"), Alignment(site="a", subspace=(0, 1))
        basis = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
        assert overlap(whole, half, 4)
        assert not overlap(half, Alignment(site="a", subspace=(2, 3)), 4)
        assert not overlap(half, Alignment(site="b", subspace=(0, 1)), 4)
        first, second = (Alignment(site="a", subspace=basis[:, i : i + 2]) for i in (0, 2))
        assert not overlap(first, second, 4)
        assert overlap(first, Alignment(site="a", subspace=basis[:, 1:3]), 4)

    def test_what_is_not_set_at_a_site_comes_from_what_was_set_before_it(self, phenomenon):
        # a and b at `first` come from one source, q at `middle` from another: p is that of the first source.
        program = lambda _p, x, v: v("a", x[:, 0]) * 0 + v("q", x[:, 2] ^ x[:, 3])  # noqa: E731
        explanation = account(phenomenon, program, {"a": at("first", 0, 1), "q": at("middle", *SECOND_HALF)})
        rng = np.random.default_rng(0)
        bases, one, two = rng.integers(0, 16, (3, 200))
        model = phenomenon.model
        traced = model.trace(FOUR_BITS, ["first", "middle"])
        found = set_together(explanation, model, bases, {"a": one, "q": two}, traced)
        a, b, c, d = FOUR_BITS.T
        assert (found == (a ^ b)[one] ^ (c ^ d)[two]).all()


class TestInformativeness:
    def test_the_true_account_has_a_bit_for_each_half(self, accounts):
        result = bits(accounts["halves"], replace(QUICK, interventions=4096))
        # By hand: given the answers to base and source, (a xor b)(source) xor (c xor d)(base) is a fair coin.
        assert result.value == pytest.approx(2, abs=0.03)
        assert result.value == pytest.approx(result.ceiling, abs=1e-12), (
            "it says all that the model does there"
        )
        assert result.discriminating is True
        assert result.interval.low <= result.value <= result.interval.high
        assert result.floor < 0.05

    def test_the_others_are_not_told_apart_from_zero(self, accounts):
        for name in ("count", "input copy", "middle holds the answer", "last holds the answer"):
            result = bits(accounts[name])
            assert result.value == 0, name
            assert result.discriminating is False
        wrong = bits(accounts["wrong halves"])
        assert wrong.value < 0.02
        assert wrong.discriminating is False
        assert bits(accounts["lookup"]).status is Status.NOT_EVALUABLE

    def test_finer_is_higher_and_coarser_is_lower(self, phenomenon, accounts):
        def coarser(_p, x, variable):
            return variable("p", x[:, 0] ^ x[:, 1]) ^ x[:, 2] ^ x[:, 3]

        def finer(_p, x, variable):
            ones, both = variable("ones", x[:, 0] + x[:, 1]), variable("both", x[:, 0] & x[:, 1])
            total = variable("p", ones - 2 * both) + variable("q", x[:, 2] ^ x[:, 3])
            # What a mixture of counts and conjunctions does is the network's own fold, off its usual range too.
            return (np.maximum(total, 0) - 2 * np.maximum(total - 1, 0) > 0.5).astype(int)

        places = accounts["halves"].variables
        gates = {"ones": at("first", 0, values=3), "both": at("first", 1)}
        found = [
            bits(account(phenomenon, coarser, {"p": places["p"]})).value,
            bits(accounts["halves"]).value,
            bits(account(phenomenon, finer, {**places, **gates})).value,
        ]
        assert found[0] < found[1] - 0.8
        assert found[1] < found[2] - 0.3

    def test_a_second_name_for_a_place_and_a_variable_without_effect_add_nothing(self, phenomenon, accounts):
        plain = accounts["halves"]

        def renamed(premises, x, variable):
            return plain.program(
                premises,
                x,
                lambda name, value: (
                    variable("copy", variable(name, value)) if name == "p" else variable(name, value)
                ),
            )

        copied = replace(plain, program=renamed, variables={**plain.variables, "copy": plain.variables["p"]})
        result, once = bits(copied), bits(plain)
        assert len(result.details["counted"]) == 2
        assert result.value <= once.value + 0.02

        wide = replace(
            phenomenon.model,
            function=lambda w, x, site: phenomenon.model.function(
                w,
                x,
                lambda name, value: (
                    site(name, np.pad(value, ((0, 0), (0, 1))))[:, :-1]
                    if name == "middle"
                    else site(name, value)
                ),
            ),
        )

        def idle(premises, x, variable):
            variable("idle", x[:, 0])
            return plain.program(premises, x, variable)

        spare = replace(
            plain,
            phenomenon=phenomenon.of(wide),
            program=idle,
            variables={**plain.variables, "idle": at("middle", 6)},
        )
        found = bits(spare)
        assert found.details["by_variable"]["idle"] == 0
        assert found.value == pytest.approx(once.value, abs=0.1)

    def test_many_outcomes(self):
        phenomenon = addition_phenomenon(7)

        def program(_p, x, variable):
            return (variable("a", x[:, 0]) + variable("b", x[:, 1])) % 7

        tokens = {"a": at("embed", 0, 1, values=7), "b": at("embed", 2, 3, values=7)}
        both = bits(account(phenomenon, program, tokens), replace(QUICK, interventions=2048))
        # What the answers to base and source leave open of a + b: about log2 of seven outcomes, for each token.
        assert 2 * 2.2 < both.value <= 2 * np.log2(7)
        whole = account(
            phenomenon, lambda _p, x, v: v("sum", x.sum(axis=1) % 7), {"sum": at("angle", 0, 1, values=7)}
        )
        assert bits(whole).value == 0

    def test_an_account_that_abstains_says_nothing(self, phenomenon, accounts):
        silent = replace(accounts["halves"], scope=lambda x: np.arange(len(x)) < 0)
        swaps = swap_all(
            silent,
            phenomenon.model,
            np.arange(16),
            np.arange(16),
            mass=np.full(16, 1 / 16),
            count=64,
            seed=0,
        )
        assert all(gain(silent, each).bits.sum() == 0 for each in swaps)

    @pytest.mark.parametrize("kind", ["cut", "skip"])
    def test_trivial_abstractions_are_never_told_apart_from_zero(self, kind):
        """Two hundred and more tries: random networks, whole layers, input and output copied, one after the other."""
        tries = 0
        for seed in range(60):
            generator = np.random.default_rng(seed)
            width, k = int(generator.integers(3, 7)), int(generator.integers(2, 5))
            weights = {
                "in": generator.normal(size=(4, width)),
                "middle": generator.normal(size=(width, width)),
                "out": generator.normal(size=(width, k)),
                "skip": generator.normal(size=(4, k)) * (kind == "skip"),
            }

            def network(w, x, site):
                first = site("first", np.maximum((x - 0.5) @ w["in"], 0))
                second = site("second", np.tanh(first @ w["middle"]))
                return second @ w["out"] + (x - 0.5) @ w["skip"]

            model = FunctionModel(
                name="random", function=network, parameters=weights, sites=("first", "second")
            )
            phenomenon = Phenomenon(
                name="p", model=model, inputs=FOUR_BITS, outcomes=[str(i) for i in range(k)]
            )
            answers = phenomenon.observed

            def says(x, answers=answers):
                return answers[x @ PLACES]

            def copied(_p, x, v, answers=answers):
                return answers[v("input", x @ PLACES)]

            def answered(_p, x, v, says=says):
                return v("answer", says(x))

            def chained(_p, x, v, answers=answers):
                return v("answer", answers[v("input", x @ PLACES)])

            first, second = at("first", values=16), at("second", values=k)
            trivial = [
                (copied, {"input": first}),
                (answered, {"answer": at("first", values=k)}),
                (answered, {"answer": second}),
                (chained, {"input": first, "answer": second}),
            ]
            for program, variables in trivial:
                explanation = account(phenomenon, program, variables)
                swaps = swap_all(
                    explanation,
                    model,
                    np.arange(16),
                    np.arange(16),
                    mass=np.full(16, 1 / 16),
                    count=256,
                    seed=seed,
                )
                for each in swaps:
                    assert gain(explanation, each).bits.mean() == 0
                tries += 1
        assert tries >= 200


class TestStates:
    def outcomes(self, explanation, settings=QUICK):
        n = len(explanation.phenomenon.inputs)
        found = distinctions(
            explanation,
            explanation.phenomenon.model,
            np.arange(n),
            np.arange(n),
            mass=np.full(n, 1 / n),
            settings=settings,
        )
        return {(each.variable, each.values): each for each in found}

    def test_a_count_is_no_count_where_only_its_parity_is_held(self, accounts):
        found = self.outcomes(accounts["count"])
        for first, second in product(range(5), range(5)):
            if first < second:
                outcome = found["ones", (first, second)].outcome
                assert outcome == ("absent" if (second - first) % 2 == 0 else "shown")
        result = inside(accounts["count"])["state-distinctions"]
        assert result.value == pytest.approx(0.6)
        assert "4 of 10 pairs refuted" in result.reason
        assert result.details["interchangeable"] == {"ones": [[0, 2, 4], [1, 3]]}

    def test_a_count_that_is_there_is_not_refuted(self):
        found = self.outcomes(count_explanation(xor_phenomenon(count_network())))
        assert found["ones", (0, 1)].outcome == found["ones", (1, 2)].outcome == "shown"
        # 0 and 2 give one answer, and a single input has either: neither intervention nor decoder can say.
        assert found["ones", (0, 2)].outcome == "open"
        result = inside(count_explanation(xor_phenomenon(count_network())))["state-distinctions"]
        assert result.value == pytest.approx(2 / 3)
        assert result.details["refuted"] == result.details["absent"] == 0

    def test_the_true_halves_are_shown_and_the_false_ones_refuted(self, accounts):
        assert {each.outcome for each in self.outcomes(accounts["halves"]).values()} == {"shown"}
        assert {each.outcome for each in self.outcomes(accounts["wrong halves"]).values()} == {"absent"}
        # The count can be read off a unit of the gate network, but answers hang on that unit otherwise.
        by_gates = self.outcomes(count_explanation(xor_phenomenon(gate_network())))
        assert by_gates["ones", (0, 1)].outcome == "refuted"

    def test_what_no_answer_hangs_on_is_decoded(self, phenomenon, accounts):
        def holding(scale):
            def network(w, x, site):
                def tap(name, value):
                    if name != "middle":
                        return site(name, value)
                    # A seventh component holds the count and some noise; nothing reads it.
                    noise = np.sin(37 * x @ np.array([1, 2, 4, 8]))[:, None]
                    extra = scale * x.sum(axis=1, keepdims=True) + 0.3 * noise
                    return site(name, np.concatenate([value, extra], axis=1))[:, :6]

                return phenomenon.model.function(w, x, tap)

            return replace(
                accounts["count"], phenomenon=phenomenon.of(replace(phenomenon.model, function=network))
            )

        with_count, without = self.outcomes(holding(2.0)), self.outcomes(holding(0.0))
        assert with_count["ones", (1, 3)].outcome == "held"
        assert with_count["ones", (1, 3)].decoded[0] == 1
        assert without["ones", (1, 3)].outcome in ("absent", "open")

    def test_decoding_is_cross_validated_and_beside_shuffled_labels(self):
        rng = np.random.default_rng(0)
        rows = [np.arange(30), np.arange(30, 60)]
        noise = rng.normal(size=(60, 40))
        score, controls = decode(noise, rows, rng)
        assert score < 0.75, "sixty points in forty dimensions can be split by any line, but not predicted"
        assert 0.4 < controls.mean() < 0.65
        apart = noise.copy()
        apart[:30, 0] += 8
        score, controls = decode(apart, rows, rng)
        assert score > 0.95 > controls.max()
        assert decode(noise, [np.arange(3), np.arange(3, 60)], rng) is None

    def test_rows_that_coincide(self):
        first = np.array([[1.0, 2.0], [3.0, 4.0]])
        assert coincide(first, np.array([[3.0 + 1e-12, 4.0]]))
        assert not coincide(first, np.array([[3.0, 4.1]]))

    def test_real_variables_have_no_pairs(self):
        phenomenon = xor_phenomenon(gate_network())
        explanation = account(
            phenomenon,
            lambda _p, x, v: (v("s", x.sum(axis=1).astype(float)) == 1).astype(int),
            {"s": Variable(values=None, alignment=Alignment(site="first", subspace=(0,)))},
        )
        assert inside(explanation)["state-distinctions"].status is Status.NOT_APPLICABLE


def test_informativeness_is_on_the_card_with_its_floor_and_ceiling(accounts):
    assert Settings is CoreSettings
    card = evaluate(accounts["halves"], baselines=[accounts["count"]], settings=QUICK)
    result = card["informativeness"]
    assert {each["name"] for each in result.details["controls"]} == {"random programs", "random places"}
    assert result.details["share_of_room"] == pytest.approx(1)
    assert result.status is Status.ESTIMATED
    difference = next(each for each in card.comparisons()[0].differences if each.name == "informativeness")
    assert difference.better == 1
