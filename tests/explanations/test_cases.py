"""The cases that can be worked out by hand, each with its exact values."""

from dataclasses import replace

import numpy as np
import pytest

from aitia.errors import CertificateError
from aitia.explanations import Certificate, Explanation, Premise, Settings, Status, evaluate
from aitia.explanations.examples.cases import (
    memorised_or,
    noisy_or,
    one_latent_bit,
    overconfident_explanation,
    two_bits,
    uniform_explanation,
)
from aitia.explanations.examples.max_of_two import (
    lookup_explanation,
    max_phenomenon,
    proof_ladder,
    rule_explanation,
)
from aitia.explanations.examples.modular_addition import (
    addition_phenomenon,
    angle_explanation,
    circle_network,
    first_token_explanation,
)
from aitia.explanations.examples.xor import (
    BITS,
    count_explanation,
    count_network,
    gate_network,
    gates_explanation,
    xor_phenomenon,
)
from aitia.explanations.metrics.bayesian import (
    accuracy,
    co_explanation,
    descriptiveness,
    joint_entropy,
    power,
    precision,
    unification,
)
from aitia.explanations.metrics.proofs import on_frontier

UNFLOORED = Settings(epsilon=0.0)


def bayesian(explanation):
    """Accuracy, descriptiveness, co-explanation, precision, power, unification in total bits, unfloored."""
    phenomenon = explanation.phenomenon
    predictive, observed = explanation.predict(phenomenon.inputs), phenomenon.observed
    joint = joint_entropy(predictive)
    return (
        accuracy(predictive, observed),
        descriptiveness(predictive, observed),
        co_explanation(predictive, observed),
        precision(joint),
        power(predictive),
        unification(predictive, joint),
    )


class TestOneTwoBits:
    def test_copies_of_one_coin(self):
        assert bayesian(one_latent_bit(two_bits())) == pytest.approx((-1, -2, 1, -1, -2, 1), abs=1e-12)

    def test_two_coins(self):
        assert bayesian(uniform_explanation(two_bits())) == pytest.approx((-2, -2, 0, -2, -2, 0), abs=1e-12)

    def test_on_the_card_they_are_per_observation_with_the_totals_beside(self):
        card = evaluate(one_latent_bit(two_bits()), settings=UNFLOORED)
        names = ("accuracy", "descriptiveness", "co-explanation", "precision", "power", "unification")
        assert [card[name].details["total_bits"] for name in names] == pytest.approx([-1, -2, 1, -1, -2, 1])
        assert [card[name].value for name in names] == pytest.approx([-0.5, -1, 0.5, -0.5, -1, 0.5])
        assert card["skill"].value == pytest.approx(0.5)


class TestTwoLookupTable:
    @pytest.fixture(scope="class")
    def card(self):
        phenomenon = max_phenomenon(8, beyond=2)
        rule = rule_explanation(phenomenon)
        return evaluate(rule, baselines=[lookup_explanation(phenomenon)], settings=UNFLOORED)

    def test_both_predict_all_and_the_table_is_longer(self, card):
        table = card.baselines[0]
        assert card["skill"].value == table["skill"].value == 1
        lengths = card["description-length"].details, table["description-length"].details
        # The rule is one premise of eight characters, and a variable of eight values; the table is 64 rows of 3 bits.
        assert [each["premises"] for each in lengths] == [8 * 8, 64 * 3]
        assert [each["structure"] for each in lengths] == [3, 0]
        assert table["description-length"].value > card["description-length"].value

    def test_load_bearing_alone_would_flatter_the_table(self, card):
        table = card.baselines[0]
        assert table["load-bearing"].value == 1
        assert table["excess-scope"].value == 0
        assert card["excess-scope"].value == 1
        assert table["hard-to-vary"].value < card["hard-to-vary"].value == 1
        # With every row free, refitting changes what the shuffled labels change.
        assert table["hard-to-patch"].value == pytest.approx(
            3 * np.mean([changed / 3 for changed in table["hard-to-patch"].details["bits"]])
        )

    def test_the_table_has_no_inside(self, card):
        table = card.baselines[0]
        assert table["interchange-intervention-accuracy"].status is Status.NOT_EVALUABLE
        assert table["interchange-intervention-accuracy"].value is None
        assert table.verdict == "a predictive model, not a mechanistic explanation"
        # The head's output is all that the answer hangs on: no swap there says more than that.
        assert card["informativeness"].value == 0
        assert card["interchange-intervention-accuracy"].floor == 1
        assert card.verdict == "not shown to be a mechanistic explanation: causal-mechanistic"


class TestThreeXorTwoWays:
    def test_the_networks_are_xor(self):
        for network in (gate_network(), count_network()):
            assert xor_phenomenon(network).observed.tolist() == (BITS[:, 0] ^ BITS[:, 1]).tolist()

    @pytest.mark.parametrize(
        "network, right, wrong, low",
        [
            (gate_network(), gates_explanation, count_explanation, 11 / 16),
            (count_network(), count_explanation, gates_explanation, 10 / 16),
        ],
    )
    def test_right_answer_wrong_mechanism(self, network, right, wrong, low):
        phenomenon = xor_phenomenon(network)
        card = evaluate(right(phenomenon), baselines=[wrong(phenomenon)])
        baseline = card.baselines[0]
        assert card["fidelity"].value == baseline["fidelity"].value == 1
        assert card["probing-agreement"].value == baseline["probing-agreement"].value == 1, (
            "reading off is not enough"
        )
        assert card["interchange-intervention-accuracy"].value == 1
        assert baseline["interchange-intervention-accuracy"].value == low  # by hand, over all 16 pairs
        assert baseline["faithfulness-gap"].value == 1 - low
        assert card["interchange-intervention-accuracy"].details["alike_where_moved"] == 1
        assert "wrong mechanism" in baseline["faithfulness-gap"].reason
        assert "mechanism" in card.comparisons()[0].groups(1)
        # The count is the only channel of the counting network: swaps of it are trivial, and true as they are.
        trivial = network.name == "XOR by counting"
        assert card["informativeness"].discriminating is not trivial
        assert card.standing == ("refused" if trivial else "mechanistic")
        assert baseline.verdict == "not shown to be a mechanistic explanation: causal-mechanistic"


class TestFourDecoration:
    def decorated(self, phenomenon, count):
        plain = gates_explanation(phenomenon)
        idle = {f"idle {i}": Premise(value=i, statement="it is elegant") for i in range(count)}
        return replace(plain, premises={**plain.premises, **idle})

    def test_an_idle_premise_costs_and_does_nothing(self):
        phenomenon = xor_phenomenon(gate_network())
        plain, fancy = evaluate(gates_explanation(phenomenon)), evaluate(self.decorated(phenomenon, 1))
        assert fancy["accuracy"].value == plain["accuracy"].value
        lengths = [each["description-length"] for each in (fancy, plain)]
        assert lengths[0].value > lengths[1].value
        assert lengths[0].details["premises"] == lengths[1].details["premises"] + 8 * len("it is elegant")
        assert plain["load-bearing"].value == 1
        assert fancy["load-bearing"].value == 3 / 4
        assert fancy["load-bearing"].details["idle"] == ["idle 0"]
        assert fancy["hard-to-vary"].value < plain["hard-to-vary"].value

    def test_renaming_changes_nothing(self):
        phenomenon = xor_phenomenon(gate_network())
        plain = gates_explanation(phenomenon)
        names = {"either": "x", "both": "y"}

        def renamed(premises, inputs, variable):
            return plain.program(premises, inputs, lambda name, value: variable(names[name], value))

        variables = {names[name]: each for name, each in plain.variables.items()}
        other = replace(plain, program=renamed, variables=variables, code=plain.source)
        first, second = evaluate(plain), evaluate(other)
        longer = ("prior", "description-length", "compression")
        for result in first.results:
            if result.name not in longer:
                assert second[result.name].value == result.value, result.name
        # Other names cost nothing. The function around the program, which gives them, is charged for.
        assert second["description-length"].value > first["description-length"].value

    def test_premises_that_back_each_other_are_found_as_a_pair(self):
        phenomenon = xor_phenomenon(gate_network())

        def program(premises, inputs, _variable):
            known = "first" in premises or "second" in premises
            return inputs[:, 0] ^ inputs[:, 1] if known else np.full(len(inputs), -1)

        premises = {"first": Premise(statement="a^b"), "second": Premise(statement="b^a")}
        result = evaluate(
            Explanation(name="twice", phenomenon=phenomenon, program=program, premises=premises)
        )["load-bearing"]
        assert result.value == 0
        assert result.details["back_each_other"] == [["first", "second"]]


class TestFiveAndSix:
    def test_what_forbids_nothing(self):
        card = evaluate(uniform_explanation(xor_phenomenon(gate_network())))
        assert card["falsifiability"].value == 0
        assert card["precision"].details["normalised"] == pytest.approx(0)
        assert card["skill"].value == pytest.approx(0)
        assert not {each.name: each.met for each in card.conditions}["falsifiable"]

    def test_bold_and_wrong(self):
        phenomenon = two_bits()
        settings = Settings()
        card = evaluate(overconfident_explanation(phenomenon), settings=settings)
        assert card["accuracy"].value == pytest.approx(np.log2(settings.epsilon / 2))
        assert card["precision"].details["normalised"] > 0.98
        assert card["calibration-gap"].value < -10
        assert card["fidelity"].value == 0


class TestSevenVacuity:
    def test_a_map_that_memorises_does_not_discriminate(self):
        card = evaluate(memorised_or(noisy_or(noise=8)))
        result = card["probing-agreement"]
        controls = {each["name"]: each["value"] for each in result.details["controls"]}
        assert result.value == 1
        assert controls["random weights"] > 0.9
        assert controls["unrestricted map"] > 0.9
        assert result.discriminating is False

    def test_the_true_mechanism_beats_random_weights(self):
        result = evaluate(gates_explanation(xor_phenomenon(gate_network())))["probing-agreement"]
        assert result.discriminating is True
        controls = {each["name"]: each for each in result.details["controls"]}
        random = controls["random weights"]["interval"]
        assert random["low"] <= result.floor <= random["high"] < 0.5


class TestEightProofs:
    @pytest.mark.parametrize("v", [4, 8, 11])
    def test_ladder(self, v):
        phenomenon = max_phenomenon(v)
        ladder = proof_ladder(phenomenon)
        scores = {
            name: evaluate(rule_explanation(phenomenon, certificate=each), settings=Settings(controls=0))
            for name, each in ladder.items()
        }
        assert scores["symmetry"]["cost-ratio"].value == pytest.approx((v + 1) / (2 * v))
        assert scores["symmetry"]["tightness"].value == pytest.approx(1)
        assert scores["brute force"]["tightness"].value == pytest.approx(1)
        assert scores["brute force"]["gain"].value == pytest.approx(0)
        assert scores["brute force"]["depth"].value == 0
        if v % 2 == 0:
            assert scores["half of the inputs"]["gain"].value == 0
        assert scores["convexity"]["gain"].value == pytest.approx(1 - 2 / v)

    def test_convexity_is_coarse_where_attention_is_soft(self):
        ladder = proof_ladder(max_phenomenon(8, sharpness=0.5))
        exact = ladder["brute force"].bound
        assert ladder["symmetry"].bound == exact
        assert 0 < ladder["convexity"].bound < exact < 1

    @pytest.mark.parametrize("sharpness", [0.2, 0.5, 0.8, 2.0])
    def test_no_rung_claims_too_much(self, sharpness):
        phenomenon = max_phenomenon(9, sharpness=sharpness)
        accuracy_of_model = np.mean(phenomenon.observed == phenomenon.inputs.max(axis=1))
        for each in proof_ladder(phenomenon).values():
            assert each.bound <= accuracy_of_model + 1e-12

    def test_frontier(self):
        assert on_frontier([1, 1, 0.5, 0.4], [100, 50, 10, 20]).tolist() == [True, True, True, False]


class TestNineLaws:
    def test_a_law_that_holds_in_two_models_of_three(self):
        models = [circle_network(7, frequency=2), circle_network(7, frequency=3), circle_network(7, sign=-1)]
        card = evaluate(angle_explanation(addition_phenomenon(7)), models=models)
        result = card["invariance"]
        assert result.value == pytest.approx(2 / 3)
        assert result.interval is not None
        assert (result.interval.low, result.interval.high) == pytest.approx((0.094, 0.992), abs=5e-4)
        assert card["law-support"].value == 0

    def test_a_law_that_holds_everywhere_supports_every_prediction(self):
        models = [circle_network(7, frequency=f) for f in (2, 3)]
        card = evaluate(angle_explanation(addition_phenomenon(7)), models=models)
        assert card["invariance"].value == card["model-scope"].value == 1
        # By hand: where b is 0 the answer is the same without the sum, in one pair of seven.
        assert card["law-support"].value == pytest.approx(6 / 7)

    def test_one_model_says_nothing_about_laws(self):
        assert (
            evaluate(angle_explanation(addition_phenomenon(5)))["invariance"].status is Status.NOT_EVALUABLE
        )


class TestTenInvalidCertificate:
    def test_a_bound_above_the_truth_is_a_hard_failure(self):
        phenomenon = max_phenomenon(8, sharpness=0.5)
        certificate = Certificate(bound=0.9, cost=10, brute_cost=64)
        with pytest.raises(CertificateError, match=r"claims at least 0\.9.* 0\.65625"):
            evaluate(rule_explanation(phenomenon, certificate=certificate))

    def test_a_certificate_that_does_not_verify_is_one_too(self):
        certificate = Certificate(bound=0.1, cost=10, brute_cost=64, verify=lambda: False)
        with pytest.raises(CertificateError, match="does not verify"):
            evaluate(rule_explanation(max_phenomenon(8), certificate=certificate))


class TestModularAddition:
    @pytest.mark.parametrize("frequency", [1, 2, 3])
    def test_network_adds(self, frequency):
        phenomenon = addition_phenomenon(7, model=circle_network(7, frequency=frequency))
        assert (phenomenon.observed == phenomenon.inputs.sum(axis=1) % 7).all()

    def test_right_and_wrong_place(self):
        phenomenon = addition_phenomenon(7)
        card = evaluate(angle_explanation(phenomenon), baselines=[first_token_explanation(phenomenon)])
        wrong = card.baselines[0]
        assert card["interchange-intervention-accuracy"].value == card["causal-by-writing"].value == 1
        assert wrong["fidelity"].value == 1
        # The first token says nothing of the sum; chance is one in seven.
        assert wrong["probing-agreement"].value == pytest.approx(0, abs=1e-12)
        assert wrong["interchange-intervention-accuracy"].value == pytest.approx(1 / 7, abs=0.03)
        assert wrong["interchange-intervention-accuracy"].discriminating is False
        assert wrong.verdict == "a predictive model, not a mechanistic explanation"
