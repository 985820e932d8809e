"""Bad input is refused with a message that says what and where, or reported as what it is."""

from dataclasses import replace

import numpy as np
import pytest

from aitia.errors import ExplanationError
from aitia.explanations import (
    Alignment,
    Explanation,
    FunctionModel,
    Phenomenon,
    Premise,
    Settings,
    Status,
    Variable,
    black_box,
    evaluate,
    load_rubric,
    register,
)
from aitia.explanations.examples.cases import uniform_explanation
from aitia.explanations.examples.xor import (
    BITS,
    count_explanation,
    count_network,
    gate_network,
    gates_explanation,
    xor_phenomenon,
)


def saying(answer, phenomenon=None, **fields):
    """An explanation that gives the rows of `answer` to the inputs 00, 01, 10, 11."""
    phenomenon = phenomenon or xor_phenomenon(gate_network())
    return Explanation(
        name="mine", phenomenon=phenomenon, program=lambda _p, x, _v: answer[2 * x[:, 0] + x[:, 1]], **fields
    )


@pytest.mark.parametrize(
    "answer, message",
    [
        (np.array([[0.5, 0.5], [0.5, 0.6], [0.5, 0.5], [0.5, 0.5]]), r"mine: .* input 1 .*sum to 1"),
        (np.array([[0.5, 0.5], [1.5, -0.5], [0.5, 0.5], [0.5, 0.5]]), r"input 1 .*at least 0"),
        (np.array([[0.5, np.nan], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5]]), r"input 0"),
        (np.array([0, 1, 2, 0]), r"from 0 to 1, or -1"),
        (np.array([0.0, 0.5, 1.0, 0.0]), r"whole numbers"),
        (np.zeros((4, 3)), r"shape \(4, 3\).*\[4, 2\]"),
    ],
)
def test_predictions_that_are_no_distributions(answer, message):
    with pytest.raises(ExplanationError, match=message):
        evaluate(saying(answer))


def test_abstentions_are_left_out_and_counted():
    card = evaluate(saying(np.array([0, -1, 1, -1])))
    assert card["coverage"].value == 0.5
    assert card["coverage"].details["abstentions"] == 2
    assert card["fidelity"].value == 1
    assert card["fidelity"].n == 2
    assert card["scope"].value == 0.5
    with pytest.raises(ExplanationError, match="abstains on every test input"):
        evaluate(saying(np.full(4, -1)))


def phenomenon(**fields):
    model = black_box("parity", lambda inputs: inputs.sum(axis=1) % 2)
    return Phenomenon(**({"name": "p", "model": model, "inputs": BITS, "outcomes": ("0", "1")} | fields))


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"inputs": np.zeros((0, 2))}, "no inputs"),
        ({"outcomes": ()}, "no outcomes"),
        ({"fit": np.array([], dtype=int)}, "fit split is empty"),
        ({"test": np.array([], dtype=int)}, "test split is empty"),
        ({"fit": np.arange(4)}, "test split is empty"),
        (
            {"fit": np.array([0, 1]), "test": np.array([1, 2])},
            r"1 inputs are in the fit and in the test split.*row 1",
        ),
        ({"fit": np.array([0]), "test": np.array([4])}, "outside 0 to 3"),
        ({"weights": np.array([1, 2, 3])}, "weights"),
        ({"weights": np.array([1, 2, 3, -1])}, "weights"),
        ({"weights": np.array([1, 0, 0, 0]), "fit": np.array([0])}, "weigh nothing"),
        ({"cases": np.array([0, 1])}, "cases"),
        ({"sources": np.array([], dtype=int)}, "sources"),
        ({"sources": np.array([9])}, "sources"),
    ],
)
def test_phenomena(fields, message):
    with pytest.raises(ExplanationError, match=message):
        phenomenon(**fields)


def test_the_same_input_on_both_sides_is_an_overlap_too():
    with pytest.raises(ExplanationError, match="both|fit and in the test split"):
        phenomenon(inputs=np.array([[0, 0], [0, 0], [1, 1]]), fit=np.array([0]))


def test_labels_must_be_outcomes():
    wrong = phenomenon(outcomes=("only",))
    with pytest.raises(ExplanationError, match="label 1, where 1 outcomes"):
        _ = wrong.observed
    half = phenomenon(observable=lambda outputs: outputs + 0.5)
    with pytest.raises(ExplanationError, match="whole-number"):
        _ = half.observed


def test_an_explanation_of_another_model_is_refused():
    ours = xor_phenomenon(gate_network())
    other = gates_explanation(ours)
    with pytest.raises(ExplanationError, match="made for another model"):
        replace(other, model_fingerprint=count_network().fingerprint)
    with pytest.raises(
        ExplanationError, match=r"sites that XOR by counting does not have: second.*first, count"
    ):
        replace(other, phenomenon=xor_phenomenon(count_network()))


def test_rivals_must_share_a_phenomenon_and_differ_in_name():
    first = gates_explanation(xor_phenomenon(gate_network()))
    with pytest.raises(ExplanationError, match="different phenomena"):
        evaluate(first, baselines=[count_explanation(xor_phenomenon(count_network()))])
    with pytest.raises(ExplanationError, match="different names"):
        evaluate(first, baselines=[first])
    for change in ({"null": np.array([0.9, 0.1])}, {"sources": [3]}, {"cases": np.array([0, 0, 1, 1])}):
        other = replace(first.phenomenon, **change)
        with pytest.raises(ExplanationError, match="different phenomena"):
            evaluate(first, baselines=[replace(first, name="other", phenomenon=other)])


def test_maps_cannot_be_fitted_without_a_fit_split():
    with pytest.raises(ExplanationError, match="no fit split"):
        evaluate(
            replace(
                gates_explanation(xor_phenomenon(gate_network())),
                variables={"either": Variable(alignment=Alignment(site="second", read="nearest-mean"))},
            )
        )
    with pytest.raises(ExplanationError, match="choose one of nearest-mean, linear, memorise"):
        Alignment(site="second", read="magic")


def test_interventions_must_name_what_is_there():
    model = gate_network()
    with pytest.raises(ExplanationError, match="cannot intervene on third: there is first, second"):
        model.intervene(BITS, {"third": np.zeros((4, 1))})
    with pytest.raises(ExplanationError, match=r"shape \(4, 2\).*\(4, 1\)"):
        model.intervene(BITS, {"second": np.zeros((4, 1))})
    with pytest.raises(ExplanationError, match="no site third"):
        model.trace(BITS, ["third"])
    listed = replace(gates_explanation(xor_phenomenon(model)), variables={"neither": Variable()})
    with pytest.raises(ExplanationError, match="never computes neither"):
        listed.states(BITS)


def test_latents_premises_settings_and_rubrics():
    with pytest.raises(ExplanationError, match="sum to 1"):
        saying(np.zeros(4, dtype=int), latents=((0.5, {}), (0.6, {})))
    with pytest.raises(ExplanationError, match="kind 'guess'"):
        Premise(kind="guess")
    with pytest.raises(ExplanationError, match="bits"):
        Premise(bits=-1)
    with pytest.raises(ExplanationError, match="epsilon"):
        Settings(epsilon=2)
    with pytest.raises(ExplanationError, match="level"):
        Settings(level=1)


def test_rubrics(tmp_path):
    file = tmp_path / "rubric.json"
    for text, message in [
        ("{", "rubric"),
        ('{"charm": [1, 0]}', "no virtue 'charm'"),
        ('{"interchange-intervention-accuracy": [0.9]}', "two numbers"),
        ('{"interchange-intervention-accuracy": [0.5, 0.9]}', "highly must ask for more"),
        ('{"leakage": [0.5, 0.1]}', "highly must ask for more"),
    ]:
        file.write_text(text)
        with pytest.raises(ExplanationError, match=message):
            load_rubric(file)
    with pytest.raises(ExplanationError, match="rubric"):
        load_rubric(tmp_path / "none.json")


def test_a_registration_that_was_changed_is_refused():
    even = phenomenon(inputs=np.array([[0, 0], [0, 1]]))
    explanation = Explanation(
        name="parity", phenomenon=even, program=lambda _p, inputs, _v: inputs.sum(axis=1) % 2
    )
    kept = register(explanation, np.array([[1, 0], [1, 1]]))
    changed = replace(kept, probabilities=kept.probabilities[::-1])
    with pytest.raises(ExplanationError, match="was changed"):
        evaluate(replace(explanation, registered=[changed]))
    with pytest.raises(ExplanationError, match="abstains"):
        register(saying(np.full(4, -1)), BITS)


def test_a_null_that_is_never_surprised_leaves_skill_undefined():
    sure = Phenomenon(
        name="always 0",
        model=black_box("zero", lambda inputs: np.zeros(len(inputs), dtype=int)),
        inputs=BITS,
        outcomes=("0", "1"),
        null=np.array([1.0, 0.0]),
    )
    card = evaluate(replace(uniform_explanation(sure), premises={"anything": Premise(statement="1/2")}))
    for name in ("skill", "compression", "hard-to-vary"):
        assert card[name].status is Status.NOT_APPLICABLE
        assert card[name].value is None


def test_a_model_without_weights_has_no_random_controls():
    def network(_weights, inputs, site):
        return site("sum", inputs.sum(axis=1, keepdims=True).astype(float))[:, 0]

    model = FunctionModel(name="sum", function=network, sites=("sum",))
    explained = Phenomenon(
        name="p", model=model, inputs=BITS, outcomes=("0", "1"), observable=lambda o: (o > 1.5).astype(int)
    )
    explanation = Explanation(
        name="sum",
        phenomenon=explained,
        program=lambda _p, inputs, variable: (variable("sum", inputs.sum(axis=1)) > 1).astype(int),
        variables={
            "sum": Variable(
                values=3, alignment=Alignment(site="sum", read=lambda h: np.rint(h[:, 0]).astype(int))
            )
        },
    )
    card = evaluate(explanation)
    assert card["interchange-intervention-accuracy"].value == 1
    assert card["interchange-intervention-accuracy"].discriminating is None
    assert set(card["mutation-score"].details["refuted_by"]) == {
        "a site at zero",
        "same answers, other inside",
    }
    assert {each.name: each.met for each in card.conditions}["ontic"] is None
    assert "cannot" not in card["interchange-intervention-accuracy"].reason
