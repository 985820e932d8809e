"""The interface, measured by what a user types: twenty lines from a network to a card."""

import runpy

import numpy as np
import pytest

import aitia
from aitia.explanations import Alignment, FunctionModel, Premise, Variable


def test_twenty_lines_from_a_network_to_a_card(tmp_path):
    def network(weights, inputs, site):
        hidden = site("hidden", np.maximum(inputs @ weights["in"] + weights["shift"], 0))
        return hidden @ weights["out"]

    weights = {
        "in": np.ones((2, 2)),
        "shift": np.array([0.0, -1.0]),
        "out": np.array([[0.5, 0.0], [-1.0, 1.0]]),
    }
    model = FunctionModel(name="AND", function=network, parameters=weights, sites=("hidden",))
    phenomenon = aitia.Phenomenon(
        name="AND of two bits",
        model=model,
        inputs=np.array([[0, 0], [0, 1], [1, 0], [1, 1]]),
        outcomes=("no", "yes"),
        observable=lambda outputs: (outputs[:, 1] > 0.5).astype(int),
    )

    def hypothesis(premises, inputs, variable):
        return variable("all", (inputs.sum(axis=1) >= premises["threshold"]).astype(int))

    place = Alignment(site="hidden", subspace=[1], read=lambda part: np.rint(part[:, 0]).astype(int))
    explanation = aitia.Explanation(
        name="a unit that fires when both do",
        phenomenon=phenomenon,
        program=hypothesis,
        premises={"threshold": Premise(value=2, kind="parameter", statement="a+b>=2")},
        variables={"all": Variable(alignment=place)},
    )
    card = aitia.evaluate(explanation)
    card.write(tmp_path / "card.html")

    assert (
        card["fidelity"].value
        == card["interchange-intervention-accuracy"].value
        == card["probing-agreement"].value
        == 1
    )
    assert card["load-bearing"].value == card["hard-to-vary"].value == 1
    # Nothing but this unit reaches the answer, so that it is set right says no more than that.
    assert card["informativeness"].value == 0
    assert card.verdict == "not shown to be a mechanistic explanation: causal-mechanistic"
    assert (tmp_path / "card.html").stat().st_size > 5000


@pytest.mark.parametrize(
    "name", ["lookup-table-and-rule", "xor-by-gates", "xor-by-counting", "parity-by-halves"]
)
def test_the_published_cards_are_those_of_the_example(name, request):
    root = request.config.rootpath
    found = runpy.run_path(str(root / "examples" / "evaluate_baselines.py"))["CARDS"][name]().markdown()
    published = (root / "docs" / "cards" / f"{name}.md").read_text()

    def comparable(text):
        # How short a compressor makes a text depends on its version.
        return [line for line in text.splitlines() if "k-complexity-bound" not in line]

    assert comparable(found) == comparable(published), (
        "run `python examples/evaluate_baselines.py`, copy the .md files"
    )
