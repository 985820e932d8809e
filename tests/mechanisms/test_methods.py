"""Methods as explanations, on a network whose mechanism is known: four states, two of them told apart by one unit."""

from dataclasses import replace

import numpy as np
import pytest

from aitia.errors import ExplanationError
from aitia.explanations import FunctionModel, Phenomenon, Settings, evaluate
from aitia.mechanisms import (
    MECHANISMS_BELOW,
    METHODS,
    circuit_explanation,
    cluster_explanation,
    dictionary_explanation,
    probe_explanation,
    record_site,
)

WIDTH = 6
FAST = Settings(interventions=64, controls=2, mutants=2, variants=8, resamples=20)


def network(weights, inputs, site):
    """Unit 0 holds 4a, unit 1 holds 4b, the others noise from the third input; the answer is a + 2b."""
    hidden = site("hidden", inputs @ weights["in"])
    return hidden @ weights["out"] + weights["bias"]


@pytest.fixture(scope="module")
def phenomenon():
    generator = np.random.default_rng(0)
    inputs = np.column_stack([generator.integers(0, 2, (160, 2)), generator.normal(size=160)])
    into = np.zeros((3, WIDTH))
    into[0, 0] = into[1, 1] = 4
    into[2, 2:] = 0.1 * np.arange(1, WIDTH - 1)
    out = np.zeros((WIDTH, 4))
    # Logit of (a', b') is -(h0 - 4a')^2 - (h1 - 4b')^2, but for what all have in common.
    out[0], out[1] = [0, 8, 0, 8], [0, 0, 8, 8]
    weights = {"in": into, "out": out, "bias": np.array([0, -16, -16, -32.0])}
    model = FunctionModel(name="four states", function=network, parameters=weights, sites=("hidden",))
    order = generator.permutation(160)
    return Phenomenon(
        name="a + 2b",
        model=model,
        inputs=inputs,
        outcomes=[str(i) for i in range(4)],
        fit=order[:100],
        test=order[100:],
        exhaustive=False,
    )


@pytest.fixture(scope="module")
def record(phenomenon):
    return record_site(phenomenon, "hidden", below=3 * WIDTH, above=WIDTH * 4 + 4)


def test_the_network_is_what_it_says(phenomenon):
    a, b = phenomenon.inputs[:, :2].T
    assert (phenomenon.observed == a + 2 * b).all()


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_finds_it_and_is_judged(name, record):
    explanation = METHODS[name](record)
    card = evaluate(explanation, settings=FAST)
    assert card["fidelity"].value == 1
    assert card["skill"].value > 0.85
    assert card["description-length"].value >= sum(p.length for p in explanation.premises.values())
    assert explanation.name == name


def test_clusters_are_the_four_states(record):
    explanation = METHODS["clusters"](record, sizes=(1,))
    states = explanation.states(record.phenomenon.inputs)["cluster"]
    answers = record.phenomenon.observed
    pairs = {(s, a) for s, a in zip(states, answers, strict=True)}
    assert len(pairs) == 4, "a state for each answer"
    card = evaluate(explanation, settings=FAST)
    # Written centres give the cluster's answer: nothing else at the site is needed.
    assert card["causal-by-writing"].value == 1
    assert card["description-length"].details["premises"] == 3 * WIDTH * 16 + 4 * 3 * 16


def test_the_circuit_is_the_two_units(record):
    explanation = METHODS["circuit"](record)
    assert set(explanation.premises) == {"unit 0", "unit 1"}
    assert explanation.inert == {"hidden": list(range(2, WIDTH))}
    card = evaluate(explanation, settings=FAST)
    assert card["leakage"].value == 0
    assert card["interchange-intervention-accuracy"].value == 1
    assert card["load-bearing"].value == 1


def test_the_probe_reads_the_subspace_that_the_answer_hangs_on(record):
    explanation = METHODS["probe"](record)
    basis = explanation.variables["answer"].alignment.subspace
    assert basis.T @ basis == pytest.approx(np.eye(basis.shape[1]))
    both = np.eye(WIDTH)[:2]
    assert np.linalg.norm(both @ basis, axis=1) == pytest.approx(1, abs=0.05)
    assert (
        evaluate(explanation, settings=FAST)["interchange-intervention-accuracy"].details["alike_where_moved"]
        > 0.95
    )


def test_the_dictionary_rebuilds_the_site(record):
    explanation = METHODS["dictionary"](record)
    features = [name for name in explanation.premises if name.startswith("feature")]
    bare = explanation.without(*features).predict(record.phenomenon.inputs).marginals
    assert (bare.argmax(axis=1) == bare.argmax(axis=1)[0]).all(), "without features only the middle is left"
    for each in explanation.variables.values():
        assert np.linalg.norm(each.alignment.subspace) == pytest.approx(1)


def test_without_the_model_below_nothing_is_said(record):
    explanation = METHODS["probe"](record).without(MECHANISMS_BELOW)
    assert not explanation.predict(record.phenomenon.inputs).covered.any()


def test_what_cannot_be_fitted_on(phenomenon):
    with pytest.raises(ExplanationError, match="fit split of at least four"):
        record_site(replace(phenomenon, fit=None), "hidden", below=0, above=0)
    with pytest.raises(ExplanationError, match="no site 'head'"):
        record_site(phenomenon, "head", below=0, above=0)


def test_the_table_of_methods_holds_every_function_by_its_name():
    assert {
        "clusters": cluster_explanation,
        "probe": probe_explanation,
        "dictionary": dictionary_explanation,
        "circuit": circuit_explanation,
    } == METHODS
