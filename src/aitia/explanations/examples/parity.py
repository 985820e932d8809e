"""Parity of four bits as (a xor b) xor (c xor d): a network wired to compute it so, and seven accounts of it.

All accounts give the right answers. One of them is true. The others are false about the inside, say nothing of it, or
say only what is true of every network: that a whole layer decides the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from aitia.explanations.core import Tap
from aitia.explanations.core.alignment import Alignment
from aitia.explanations.core.explanation import Explanation, Premise, Variable
from aitia.explanations.core.model import FunctionModel
from aitia.explanations.core.phenomenon import Phenomenon

FOUR_BITS = np.array([[i >> 3 & 1, i >> 2 & 1, i >> 1 & 1, i & 1] for i in range(16)])
FIRST_HALF, SECOND_HALF = (0, 1, 2), (3, 4, 5)
"""Components of `middle` that carry a xor b, and c xor d."""


def parity_network() -> FunctionModel:
    """Parity by halves: at `first` the sums and conjunctions of two pairs, at `middle` their parities.

    Component pairs of `first` are relu(a + b) and relu(a + b - 1), and the same for c and d; a xor b is the one
    minus twice the other. `middle` holds a xor b along a direction of components 0 to 2, and c xor d along one of 3
    to 5. `last` holds relu(p + q) and relu(p + q - 1) of these parities.

    Returns:
        The network, exact on all sixteen inputs.
    """

    def network(parameters: Mapping[str, Any], inputs: np.ndarray, site: Tap) -> np.ndarray:
        first = site("first", np.maximum(inputs @ parameters["in"] + parameters["shift"], 0.0))
        middle = site("middle", first @ parameters["parities"])
        last = site("last", np.maximum(middle @ parameters["join"] + parameters["shift"][:2], 0.0))
        return last @ parameters["out"]

    one, other = np.array([1.0, -1.0, 0.5]), np.array([0.5, 1.0, -1.0])
    folded = np.array([1.0, -2.0])
    weights = {
        "in": np.kron(np.eye(2), np.ones((2, 2))),
        "shift": np.array([0.0, -1.0, 0.0, -1.0]),
        "parities": np.block(
            [[np.outer(folded, one), np.zeros((2, 3))], [np.zeros((2, 3)), np.outer(folded, other)]]
        ),
        "join": np.concatenate([one / (one @ one), other / (other @ other)])[:, None] * np.ones((1, 2)),
        "out": folded,
    }
    return FunctionModel(
        name="parity by halves", function=network, parameters=weights, sites=("first", "middle", "last")
    )


def parity_phenomenon(model: FunctionModel | None = None) -> Phenomenon:
    """Whether the network calls the number of ones odd, over all sixteen inputs."""
    return Phenomenon(
        name="parity of four bits",
        model=model or parity_network(),
        inputs=FOUR_BITS,
        outcomes=("even", "odd"),
        observable=lambda outputs: (outputs > 0.5).astype(int),
    )


def parity_accounts(phenomenon: Phenomenon) -> dict[str, Explanation]:
    """The seven accounts of a parity network, by a short name.

    * `halves`: (a xor b) xor (c xor d), each parity at its half of `middle`. It is true.
    * `wrong halves`: the same with b and c exchanged: right answers, false parities.
    * `count`: `middle` holds the number of ones, and the answer is whether it is odd. It holds no such number.
    * `middle holds the answer` and `last holds the answer`: true of every layer that all paths pass through.
    * `input copy`: `first` holds the input, and a table gives the answer.
    * `lookup`: a table, and nothing inside.

    Args:
        phenomenon: of `parity_phenomenon`, of a network with sites `first`, `middle` and `last`.

    Returns:
        Short name -> the account.
    """

    def account(name: str, program: Any, says: Mapping[str, Premise], **places: Variable) -> Explanation:
        variables = {each.replace("_", " "): place for each, place in places.items()}
        return Explanation(
            name=name, phenomenon=phenomenon, program=program, premises=says, variables=variables
        )

    def halves_of(first: tuple[int, int], second: tuple[int, int]) -> Any:
        def program(premises: Mapping[str, Any], inputs: np.ndarray, variable: Tap) -> np.ndarray:
            even = np.zeros(len(inputs), dtype=int)
            p = variable("p", inputs[:, first[0]] ^ inputs[:, first[1]]) if premises["p"] else even
            q = variable("q", inputs[:, second[0]] ^ inputs[:, second[1]]) if premises["q"] else even
            return p ^ q if premises["out"] else p

        return program

    def count(premises: Mapping[str, Any], inputs: np.ndarray, variable: Tap) -> np.ndarray:
        ones = variable("ones", inputs.sum(axis=1)) if premises["count"] else inputs[:, 0]
        return ones % 2 if premises["odd"] else ones

    def answer(premises: Mapping[str, Any], inputs: np.ndarray, variable: Tap) -> np.ndarray:
        return variable("answer", inputs.sum(axis=1) % 2) if premises["computed"] else inputs[:, 0]

    places = np.array([8, 4, 2, 1])

    def copy(premises: Mapping[str, Any], inputs: np.ndarray, variable: Tap) -> np.ndarray:
        held = variable("input", inputs @ places)
        return np.array(premises["table"])[held]

    def lookup(premises: Mapping[str, Any], inputs: np.ndarray, _variable: Tap) -> np.ndarray:
        return np.array([premises[f"row {i}"] for i in range(16)])[inputs @ places]

    table = (FOUR_BITS.sum(axis=1) % 2).tolist()
    pairs = {
        "p": Variable(alignment=Alignment(site="middle", subspace=FIRST_HALF)),
        "q": Variable(alignment=Alignment(site="middle", subspace=SECOND_HALF)),
    }
    whole = {site: Alignment(site=site) for site in phenomenon.model.sites}
    accounts = {
        "halves": account(
            "(a xor b) xor (c xor d)",
            halves_of((0, 1), (2, 3)),
            {"p": _says("p=a^b"), "q": _says("q=c^d"), "out": _says("p^q")},
            **pairs,
        ),
        "wrong halves": account(
            "(a xor c) xor (b xor d)",
            halves_of((0, 2), (1, 3)),
            {"p": _says("p=a^c"), "q": _says("q=b^d"), "out": _says("p^q")},
            **pairs,
        ),
        "count": account(
            "the middle layer counts the ones",
            count,
            {"count": _says("s=a+b+c+d"), "odd": _says("s%2")},
            ones=Variable(values=5, alignment=whole["middle"]),
        ),
        "input copy": account(
            "the first layer is the input, then a table",
            copy,
            {"table": Premise(value=table, bits=16, variants=())},
            input=Variable(values=16, alignment=whole["first"]),
        ),
        "lookup": account(
            "lookup table", lookup, {f"row {i}": Premise(value=table[i], bits=1) for i in range(16)}
        ),
    }
    for layer in ("middle", "last"):
        accounts[f"{layer} holds the answer"] = account(
            f"the {layer} layer holds the answer",
            answer,
            {"computed": _says("y=f(x)")},
            answer=Variable(alignment=whole[layer]),
        )
    return accounts


def _says(statement: str) -> Premise:
    return Premise(statement=statement)
