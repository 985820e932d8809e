"""What whoever builds explanations uses: premises that can be dropped, taps, maps and their price."""

import numpy as np
import pytest

from aitia.explanations import (
    MAPS,
    Alignment,
    Explanation,
    FunctionModel,
    Phenomenon,
    Premise,
    Settings,
    evaluate,
)
from aitia.explanations.core import REAL_BITS, DroppedPremise, Tap
from aitia.explanations.examples import max_network
from aitia.explanations.metrics import CAUSAL_BY_DIRECTION


def network(weights, inputs, tap: Tap):
    return tap("sum", inputs.sum(axis=1, keepdims=True)) @ weights["out"]


@pytest.fixture
def phenomenon():
    inputs = np.array([[a, b] for a in range(3) for b in range(3)], dtype=float)
    model = FunctionModel(
        name="adds", function=network, parameters={"out": np.array([[0.0, 1.0]])}, sites=("sum",)
    )
    return Phenomenon(name="adds", model=model, inputs=inputs, outcomes=("low", "high"))


def test_a_tap_shows_and_sets_a_named_place(phenomenon):
    model, inputs = phenomenon.model, phenomenon.inputs
    assert model.trace(inputs, ["sum"])["sum"].ravel().tolist() == inputs.sum(axis=1).tolist()
    outputs, _ = model.intervene(inputs, {"sum": np.full((9, 1), 7.0)})
    assert (outputs == [0.0, 7.0]).all()


def test_a_program_that_reads_a_dropped_premise_says_so(phenomenon):
    def program(premises, inputs, variable):
        try:
            return (inputs.sum(axis=1) > premises["bound"]).astype(int)
        except DroppedPremise as dropped:
            asked.append(dropped.args)
            return np.full(len(inputs), -1)

    asked = []

    explanation = Explanation(
        name="bound",
        phenomenon=phenomenon,
        program=program,
        premises={"bound": Premise(kind="parameter", value=0)},
    )
    assert (
        explanation.predict(phenomenon.inputs).marginals.argmax(axis=1).tolist()
        == phenomenon.observed.tolist()
    )
    assert not asked
    explanation.without("bound").predict(phenomenon.inputs)
    assert asked == [("bound",)]


@pytest.mark.parametrize("name", sorted(MAPS))
def test_a_fitted_map_reads_what_it_was_fitted_on_and_pays_for_its_numbers(name):
    values = np.repeat([0, 1, 2], 4)
    activations = np.stack([values * 2.0, -values], axis=1) + 0.01 * np.arange(12)[:, None]
    found = Alignment(site="a", read=name).resolve(activations, values)
    assert np.abs(found.read(activations) - values).max() < 0.05
    numbers = {"nearest-mean": 3 * 2, "linear": 2 + 1, "memorise": 12 * 2}[name]
    labels = 12 * np.log2(3) if name == "memorise" else 0
    assert found.bits == pytest.approx(numbers * REAL_BITS + labels)


def test_a_network_that_takes_the_larger_of_two():
    inputs = np.array([[a, b] for a in range(5) for b in range(5)])
    assert (max_network(5).run(inputs).argmax(axis=1) == inputs.max(axis=1)).all()


def test_without_a_direction_there_is_nothing_to_ablate(phenomenon):
    def program(premises, inputs, variable):
        return (inputs.sum(axis=1) > 0).astype(int)

    explanation = Explanation(name="sum", phenomenon=phenomenon, program=program)
    card = evaluate(
        explanation, settings=Settings(interventions=4, controls=2, mutants=2, variants=2, resamples=5)
    )
    assert card[CAUSAL_BY_DIRECTION].status == "not applicable"
    assert "no direction" in card[CAUSAL_BY_DIRECTION].reason
