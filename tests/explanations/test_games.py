"""Games: ways to look better without being better. Each of them once raised a score; none may."""

import types
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from aitia.errors import CertificateError
from aitia.explanations import (
    Alignment,
    Certificate,
    Explanation,
    Phenomenon,
    Premise,
    Settings,
    Status,
    Variable,
    black_box,
    evaluate,
    register,
)
from aitia.explanations.card.comparison import compare
from aitia.explanations.core.model import turned
from aitia.explanations.examples import (
    gate_network,
    gates_explanation,
    parity_accounts,
    parity_phenomenon,
    xor_phenomenon,
)
from aitia.explanations.examples.cases import constant_explanation
from aitia.explanations.examples.max_of_two import (
    lookup_explanation,
    max_network,
    max_phenomenon,
    proof_ladder,
    rule_explanation,
)
from aitia.explanations.metrics.simplicity import description_length, edges, measure_simplicity, reached
from aitia.explanations.metrics.study import Evaluation

QUICK = Settings(controls=2, interventions=64, mutants=4, variants=32, resamples=100)


class TestNull:
    def test_the_default_null_heeds_weights(self):
        """A coin that weighs its outcomes as the domain does has no skill."""
        inputs = np.arange(40)[:, None]
        phenomenon = Phenomenon(
            name="half are 1, and weigh nine times as much",
            model=black_box("parity", lambda x: x[:, 0] % 2),
            inputs=inputs,
            outcomes=("0", "1"),
            weights=np.where(inputs[:, 0] % 2, 9.0, 1.0),
            fit=np.arange(20),
            exhaustive=False,
        )
        coin = constant_explanation(phenomenon, np.array([0.1, 0.9]), "a coin")
        assert evaluate(coin, settings=QUICK)["skill"].value < 0.03
        # By hand: half an observation is added to each outcome, and 20 inputs are 2 and 18 of them by weight.
        assert phenomenon.null_predictions(n=1)[0] == pytest.approx([2.5 / 21, 18.5 / 21])


class TestFruitfulness:
    def test_one_prediction_registered_many_times_counts_once(self):
        model = black_box("parity", lambda x: x.sum(axis=1) % 2)
        known = Phenomenon(name="p", model=model, inputs=np.array([[0, 0], [0, 1]]), outcomes=("0", "1"))
        explanation = Explanation(
            name="e", phenomenon=known, program=lambda _p, x, _v: (x[:, 0] > 1).astype(int)
        )
        right, wrong = np.array([[3, 0]]), np.array([[2, 0]])
        honest = [register(explanation, right), register(explanation, wrong)]
        padded = [register(explanation, np.repeat(right, 1000, axis=0)), *honest]
        once, often = (
            evaluate(replace(explanation, registered=each), settings=QUICK)["fruitfulness"]
            for each in (honest, padded)
        )
        assert often.n == once.n == 2
        assert often.value == pytest.approx(once.value)
        assert often.details["repeated"] == 1000

    def test_the_first_of_two_predictions_about_one_input_counts(self):
        model = black_box("parity", lambda x: x.sum(axis=1) % 2)
        known = Phenomenon(name="p", model=model, inputs=np.array([[0, 0]]), outcomes=("0", "1"))
        first = Explanation(name="e", phenomenon=known, program=lambda _p, x, _v: np.zeros(len(x), dtype=int))
        second = replace(first, program=lambda _p, x, _v: np.ones(len(x), dtype=int))
        asked = np.array([[3, 0]])
        earlier = replace(register(first, asked), registered="2020-01-01T00:00:00+00:00")
        both = [register(second, asked), earlier]
        found = evaluate(replace(first, registered=both), settings=QUICK)["fruitfulness"]
        assert found.details["confirmed_share"] == 0


class TestCertificates:
    @pytest.mark.parametrize(
        "fields, message",
        [
            ({"bound": 1.5}, "bound 1.5"),
            ({"bound": -0.1}, "bound -0.1"),
            ({"unexplained": -3}, "unexplained -3"),
            ({"size": 0.0}, "size 0"),
            ({"cost": float("nan")}, "cost"),
            ({"search_cost": -1.0}, "search_cost"),
        ],
    )
    def test_what_is_out_of_its_range_is_refused(self, fields, message):
        with pytest.raises(CertificateError, match=message):
            Certificate(**({"bound": 0.5, "cost": 1.0, "brute_cost": 2.0} | fields))

    def test_what_was_typed_in_is_not_shown_as_measured_and_wins_nothing(self):
        phenomenon = max_phenomenon(4)
        typed = Certificate(bound=1.0, cost=1e-9, brute_cost=1e9, unexplained=0, size=1.0)
        card = evaluate(rule_explanation(phenomenon, certificate=typed), settings=QUICK)
        for name in ("tightness", "cost-ratio", "unexplained", "gain", "depth"):
            assert card[name].status is Status.DECLARED, name
        checked = replace(proof_ladder(phenomenon)["brute force"], verify=lambda: True)
        other = replace(rule_explanation(phenomenon, certificate=checked), name="checked")
        card = evaluate(other, baselines=[card.explanation], settings=QUICK)
        assert card["tightness"].status is Status.MEASURED
        assert not {each.name for each in card.comparisons()[0].differences} & {"cost-ratio", "gain", "depth"}


class TestSameScoreTwice:
    def test_without_a_shared_latent_four_virtues_do_not_arise(self):
        card = evaluate(gates_explanation(xor_phenomenon(gate_network())), settings=QUICK)
        for name in ("descriptiveness", "co-explanation", "power", "unification"):
            assert card[name].status is Status.NOT_APPLICABLE, name
            assert "no latent" in card[name].reason
        assert card["accuracy"].value is not None
        assert Premise(value=1).length == 8


class TestPremises:
    """Premises that do nothing, or nothing new."""

    def gates(self, **junk):
        plain = gates_explanation(xor_phenomenon(gate_network()))

        def program(premises, inputs, variable):
            for name in junk:
                _ = premises[name]
            return plain.program(premises, inputs, variable)

        return replace(plain, program=program, premises={**plain.premises, **junk})

    def test_a_premise_that_is_merely_read_bears_nothing(self):
        plain = evaluate(self.gates(), settings=QUICK)
        for premise in (
            Premise(value=3),
            Premise(value=0.5),
            Premise(value=[1, 2, 3]),
            Premise(value="elegant"),
            Premise(statement="it is elegant"),
            Premise(value=None),
        ):
            junk = {f"junk {i}": premise for i in range(6)}
            card = evaluate(self.gates(**junk), settings=QUICK)
            assert card["load-bearing"].value == pytest.approx(3 / 9)
            assert set(card["load-bearing"].details["idle"]) == set(junk)
            assert card["hard-to-vary"].value <= plain["hard-to-vary"].value
            assert card["hard-to-vary"].value < 1 or premise.value is None

    def test_the_author_s_variants_do_not_take_the_place_of_the_test_s_own(self):
        """An idle parameter beside values that the program balks at, chosen by the author."""
        plain = gates_explanation(xor_phenomenon(gate_network()))

        def program(premises, inputs, variable):
            answer = plain.program(premises, inputs, variable)
            return answer if premises["idle"] < 100 else 1 - answer

        def of(variants):
            idle = Premise(kind="parameter", value=3, variants=variants)
            return evaluate(
                replace(plain, program=program, premises={**plain.premises, "idle": idle}), settings=QUICK
            )["hard-to-vary"].value

        assert of(tuple(range(200, 220))) <= of(None) + 0.1
        assert of(()) == of(None) < 1

    def test_stacked_switches_do_not_make_it_harder_to_vary(self):
        plain = gates_explanation(xor_phenomenon(gate_network()))
        idle = {f"idle {i}": Premise(value=i) for i in range(2)}

        def stacked(count):
            names = [f"switch {i}" for i in range(count)]

            def program(premises, inputs, variable):
                on = min((premises[name] for name in names), default=True)
                return plain.program(premises, inputs, variable) if on else np.full(len(inputs), -1)

            switches = {name: Premise(statement="it must be so") for name in names}
            explanation = replace(plain, program=program, premises={**plain.premises, **idle, **switches})
            card = evaluate(explanation, settings=QUICK)
            return card["hard-to-vary"].value, card["load-bearing"].value

        assert max(stacked(1)) < 1
        assert stacked(12) == pytest.approx(stacked(1))


class TestLaws:
    def judged(self, explanation, models):
        return evaluate(explanation, models=models, settings=replace(QUICK, controls=4))

    def test_a_table_with_a_law_that_always_holds_has_no_law(self):
        phenomenon = max_phenomenon(4)
        table = lookup_explanation(phenomenon)
        law = Premise(kind="law", statement="numbers have an order", holds=lambda _model: 1.0)
        models = [max_network(4, sharpness=sharpness) for sharpness in (3.0, 5.0)]
        idle = replace(table, premises={**table.premises, "order": law})
        assert self.judged(idle, models)["invariance"].status is Status.NOT_APPLICABLE

        def switched(premises, inputs, variable):
            return (
                table.program(premises, inputs, variable) if premises["order"] else np.full(len(inputs), -1)
            )

        used = replace(idle, program=switched)
        found = self.judged(used, models)
        assert found["invariance"].status is Status.NOT_APPLICABLE
        assert "random weights" in found["invariance"].reason
        assert found["law-support"].value is None

    def test_a_law_that_is_used_and_can_fail_counts(self):
        phenomenon = max_phenomenon(4)
        models = [max_network(4, sharpness=sharpness) for sharpness in (3.0, 5.0)]
        assert self.judged(rule_explanation(phenomenon), models)["invariance"].value == 1


COINS = np.random.default_rng(5).integers(0, 2, 1024)
"""A random function of ten bits: nobody can write it in fewer than about 1,024 bits."""
module = types.ModuleType("module")
module.table = COINS


class Holder:
    table = COINS

    def __init__(self, rows):
        self.rows = rows

    def look_up(self, places):
        return self.rows[places]

    @property
    def all_rows(self):
        return self.rows

    def __call__(self, _premises, x, _variable):
        return self.rows[x[:, 0]]


def attributed(_premises, x, _variable):
    return attributed.table[x[:, 0]]


attributed.table = COINS


def from_default(_premises, x, _variable, table=COINS):
    return table[x[:, 0]]


LISTED = COINS.tolist()


def from_keyword(_premises, x, _variable, *, table=LISTED):
    return np.array(table)[x[:, 0]]


def from_global(_premises, x, _variable):
    return COINS[x[:, 0]]


def from_module(_premises, x, _variable):
    return module.table[x[:, 0]]


def from_class(_premises, x, _variable):
    return Holder.table[x[:, 0]]


def helped(places):
    return COINS[places]


def from_helper(_premises, x, _variable):
    return helped(x[:, 0])


def from_file(_premises, x, _variable):
    return np.load("coins.npy")[x[:, 0]]


def from_text(_premises, x, _variable):
    return globals()["COINS"][x[:, 0]]


def closures():
    rows, held, packed = COINS.copy(), Holder(COINS.copy()), np.packbits(COINS).tobytes()
    known = {i: int(each) for i, each in enumerate(COINS)}
    find = known.get

    def by_array(_premises, x, _variable):
        return rows[x[:, 0]]

    def by_bytes(_premises, x, _variable):
        return np.unpackbits(np.frombuffer(packed, dtype=np.uint8))[x[:, 0]].astype(int)

    def by_bound_method(_premises, x, _variable):
        return np.array([find(int(each)) for each in x[:, 0]])

    def by_object(_premises, x, _variable):
        return held.look_up(x[:, 0])

    def by_property(_premises, x, _variable):
        return held.all_rows[x[:, 0]]

    def by_vectorised(_premises, x, _variable):
        return np.vectorize(find)(x[:, 0])

    def by_inner(_premises, x, _variable):
        def inner(places):
            return rows[places]

        return inner(x[:, 0])

    return [by_array, by_bytes, by_bound_method, by_object, by_property, by_vectorised, by_inner]


def partially(table, _premises, x, _variable):
    return np.asarray(table)[x[:, 0]]


HIDING = [
    attributed,
    from_default,
    from_keyword,
    from_global,
    from_module,
    from_class,
    from_helper,
    from_file,
    from_text,
    Holder(COINS.copy()),
    partial(partially, COINS.tolist()),
    *closures(),
]


@pytest.fixture(scope="module")
def coins():
    return Phenomenon(
        name="coins",
        model=black_box("coins", lambda x: COINS[x[:, 0]]),
        inputs=np.arange(1024)[:, None],
        outcomes=("0", "1"),
    )


class TestHidingPlaces:
    @pytest.mark.parametrize(
        "program", HIDING, ids=lambda each: getattr(each, "__name__", type(each).__name__)
    )
    @pytest.mark.parametrize("code", [None, "", "x"])
    def test_a_table_is_charged_for_wherever_it_hides(self, coins, program, code, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        np.save("coins.npy", COINS)
        explanation = Explanation(
            name="short", phenomenon=coins, program=program, premises={"it is": Premise(bits=0)}, code=code
        )
        length = description_length(explanation)
        card = {
            each.name: each
            for each in measure_simplicity(Evaluation(explanation=explanation, settings=QUICK))
        }
        if length.trusted:
            # What cannot be followed is not measured, and wins nothing.
            assert card["description-length"].status is Status.DECLARED
        else:
            assert length.total > 1024
            assert card["description-length"].status is Status.MEASURED
        assert card["k-complexity-bound"].value >= 1024
        assert card["compression"].value < 0.01 or card["compression"].status is Status.DECLARED

    def test_only_what_cannot_be_followed_is_trusted(self, coins):
        trusted = [
            each
            for each in HIDING
            if description_length(
                Explanation(name="e", phenomenon=coins, program=each, premises={"it is": Premise(bits=0)})
            ).trusted
        ]
        assert trusted == [from_file, from_text]

    def test_a_premise_declared_to_cost_nothing_costs_what_it_holds(self, coins):
        def program(premises, x, _variable):
            return np.asarray(premises["table"])[x[:, 0]]

        for value in (COINS.tolist(), "".join(map(str, COINS)), {"rows": COINS}):
            free = Explanation(
                name="free",
                phenomenon=coins,
                program=program,
                premises={"table": Premise(value=value, bits=0)},
            )
            assert description_length(free).total > 1024

    def test_a_map_that_memorises_costs_what_it_memorises(self):
        phenomenon = xor_phenomenon(gate_network())
        plain = gates_explanation(phenomenon)

        def memorising():
            seen = np.random.default_rng(0).normal(size=(64, 2))
            values = np.random.default_rng(1).integers(0, 2, 64)
            return lambda part: values[np.abs(part[:, None] - seen[None, :, :1]).sum(axis=-1).argmin(axis=1)]

        def length(read):
            place = Alignment(site="second", subspace=(0,), read=read, bits=0)
            explanation = replace(plain, variables={"either": Variable(alignment=place)})
            return description_length(explanation).parts["maps"]

        assert length(memorising()) > 64 * 2 * 16
        assert length(lambda part: part[:, 0]) < 100

    def test_a_model_that_is_run_is_not_measured_as_short(self):
        phenomenon = xor_phenomenon(gate_network())
        model = phenomenon.model

        def itself(_premises, x, _variable):
            return (model.run(x) > 0.5).astype(int)

        explanation = Explanation(
            name="itself", phenomenon=phenomenon, program=itself, premises={"it is": Premise(bits=1)}
        )
        result = evaluate(explanation, settings=QUICK)["description-length"]
        assert result.status is Status.DECLARED
        assert "runs XOR by gates" in result.reason

    def test_labels_read_off_the_phenomenon_are_charged_for(self, coins):
        assert len(coins.observed) == 1024

        def answered(_premises, x, _variable):
            return coins.observed[x[:, 0]]

        length = description_length(Explanation(name="e", phenomenon=coins, program=answered))
        assert length.total > 1024 or length.trusted

    def test_names_comments_and_documentation_cost_nothing(self, coins):
        def plain(p, x, _v):
            return (x[:, 0] > p["a"]).astype(int)

        def wordy(premises: dict, inputs: np.ndarray, _variable: object) -> np.ndarray:
            """A long explanation of what follows."""
            # And a comment.
            return (inputs[:, 0] > premises["the threshold that it goes by"]).astype(int)

        def bits(program, name):
            return reached(
                Explanation(
                    name="e", phenomenon=coins, program=program, premises={name: Premise(value=3, bits=1)}
                )
            ).bits

        assert bits(plain, "a") == bits(wordy, "the threshold that it goes by")

    def test_counts_of_what_is_named_win_nothing(self, coins):
        def from_many(premises, x, _variable):
            return np.array([premises[f"row {i}"] for i in range(1024)])[x[:, 0]]

        def from_one(premises, x, _variable):
            return np.asarray(premises["rows"])[x[:, 0]]

        many = Explanation(
            name="many",
            phenomenon=coins,
            program=from_many,
            premises={f"row {i}": Premise(value=int(each), bits=1) for i, each in enumerate(COINS)},
        )
        one = replace(
            many, name="one", program=from_one, premises={"rows": Premise(value=COINS.tolist(), bits=1024)}
        )
        found = {
            name: {each.name: each for each in measure_simplicity(Evaluation(explanation=e, settings=QUICK))}
            for name, e in (("many", many), ("one", one))
        }
        assert found["one"]["premises"].value < found["many"]["premises"].value
        compared = compare(("many", "one"), found["many"], found["one"], None, QUICK)
        assert not {each.name for each in compared.differences} & {"premises", "variables", "free-parameters"}


class TestMutants:
    def test_what_says_nothing_of_the_inside_is_not_refuted_by_another_inside(self):
        accounts = parity_accounts(parity_phenomenon())
        scores = {
            name: evaluate(accounts[name], settings=QUICK)["mutation-score"]
            for name in ("halves", "middle holds the answer", "lookup")
        }
        insides = {
            name: each.details["refuted_by"]["same answers, other inside"] for name, each in scores.items()
        }
        assert insides == {"halves": "4 of 4", "middle holds the answer": "0 of 4", "lookup": "0 of 4"}
        assert scores["halves"].value == 1 > scores["middle holds the answer"].value

    def test_what_its_own_model_refutes_wins_nothing_by_being_refuted_by_all(self):
        accounts = parity_accounts(parity_phenomenon())
        wrong = evaluate(accounts["wrong halves"], settings=QUICK)["mutation-score"]
        assert wrong.details["refuted_by"]["same answers, other inside"] == "0 of 4"
        opposite = replace(
            accounts["lookup"], program=lambda _p, x, _v: 1 - x.sum(axis=1) % 2, premises={}, variables={}
        )
        assert evaluate(opposite, settings=QUICK)["mutation-score"].value == 0

    def test_a_turned_model_answers_alike_and_is_set_as_it_shows_itself(self):
        phenomenon = parity_phenomenon()
        model = turned(phenomenon.model, phenomenon.inputs, seed=0)
        inputs = phenomenon.inputs
        assert model.run(inputs) == pytest.approx(phenomenon.model.run(inputs))
        here, there = (
            model.trace(inputs, ["middle"])["middle"],
            phenomenon.model.trace(inputs, ["middle"])["middle"],
        )
        assert not np.allclose(here, there)
        assert np.linalg.norm(here, axis=1) == pytest.approx(np.linalg.norm(there, axis=1))
        order = np.random.default_rng(0).permutation(16)
        ours, theirs = (
            each.intervene(inputs, {"middle": rows[order]}, ["middle", "last"])
            for each, rows in ((model, here), (phenomenon.model, there))
        )
        assert ours[0] == pytest.approx(theirs[0])
        assert ours[1]["middle"] == pytest.approx(here[order])
        assert model.sites == phenomenon.model.sites
        assert model.fingerprint != phenomenon.model.fingerprint


class TestEdges:
    def test_edges_are_found_by_intervention_and_not_declared(self):
        phenomenon = xor_phenomenon(gate_network())

        def chain(_p, x, v):
            a = v("a", x[:, 0])
            b = v("b", a ^ x[:, 1])
            c = v("c", 1 - b)
            v("d", x[:, 1])
            return 1 - c

        for parents in ((), ("a", "b", "c")):
            explanation = Explanation(
                name="chain",
                phenomenon=phenomenon,
                program=chain,
                variables={name: Variable(parents=parents) for name in "abcd"},
            )
            assert edges(explanation) == {("a", "b"), ("b", "c")}
            assert evaluate(explanation, settings=QUICK)["edges"].value == 2
