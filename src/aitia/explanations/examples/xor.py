"""XOR computed in two ways: by an OR and an AND gate, and by counting to two and folding.

Both networks answer alike on all four inputs. Inside they differ, and so only one of two hypotheses fits each.
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

BITS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])


def gate_network() -> FunctionModel:
    """XOR by gates: at `second`, component 0 is a OR b and component 1 is a AND b."""

    def network(parameters: Mapping[str, Any], inputs: np.ndarray, site: Tap) -> np.ndarray:
        first = site("first", np.maximum(inputs @ parameters["in"] + parameters["shift"], 0.0))
        second = site("second", np.maximum(first @ parameters["gates"], 0.0))
        return second @ parameters["out"]

    weights = {
        "in": np.array([[1.0, 1.0], [1.0, 1.0]]),
        "shift": np.array([0.0, -1.0]),
        "gates": np.array([[1.0, 0.0], [-1.0, 1.0]]),
        "out": np.array([1.0, -1.0]),
    }
    return FunctionModel(name="XOR by gates", function=network, parameters=weights, sites=("first", "second"))


def count_network() -> FunctionModel:
    """XOR by counting: at `count`, component 0 is a + b, which the read-out folds so that 2 falls back onto 0."""

    def network(parameters: Mapping[str, Any], inputs: np.ndarray, site: Tap) -> np.ndarray:
        first = site("first", np.maximum(inputs @ parameters["in"], 0.0))
        count = site("count", first @ parameters["sum"])
        return np.maximum(count @ parameters["fold"] + parameters["shift"], 0.0) @ parameters["out"]

    weights = {
        "in": np.eye(2),
        "sum": np.ones((2, 1)),
        "fold": np.array([[1.0, 1.0]]),
        "shift": np.array([0.0, -1.0]),
        "out": np.array([1.0, -2.0]),
    }
    return FunctionModel(
        name="XOR by counting", function=network, parameters=weights, sites=("first", "count")
    )


def xor_phenomenon(model: FunctionModel) -> Phenomenon:
    """Whether a network's read-out exceeds one half, over all four inputs."""
    return Phenomenon(
        name="XOR of two bits",
        model=model,
        inputs=BITS,
        outcomes=("0", "1"),
        observable=lambda outputs: (outputs > 0.5).astype(int),
    )


def gates_explanation(phenomenon: Phenomenon) -> Explanation:
    """The hypothesis "it takes OR and AND, and answers OR but not AND".

    In the gate network the two are said to be components 0 and 1 of `second`, and they are. In the counting
    network both can be read off the count without an error, and so are said to live there; but they do not.

    Returns:
        The explanation, with variables `either` and `both`.
    """

    def program(premises: Mapping[str, Any], inputs: np.ndarray, variable: Tap) -> np.ndarray:
        a, b = inputs.T
        either = variable("either", (a | b) if premises["or"] else a)
        both = variable("both", (a & b) if premises["and"] else a)
        return either & (1 - both) if premises["but not"] else either

    if "second" in phenomenon.model.sites:
        either, both = _unit("second", 0), _unit("second", 1)
    else:
        either, both = _threshold("count", 1), _threshold("count", 2)
    return Explanation(
        name="OR but not AND",
        phenomenon=phenomenon,
        program=program,
        premises={
            "or": Premise(statement="e=a|b"),
            "and": Premise(statement="f=a&b"),
            "but not": Premise(statement="e&~f"),
        },
        variables={"either": Variable(alignment=either), "both": Variable(alignment=both)},
    )


def count_explanation(phenomenon: Phenomenon) -> Explanation:
    """The hypothesis "it counts the ones, and answers whether the count is odd".

    In the counting network the count is said to be component 0 of `count`, and it is. In the gate network it can be
    read off component 0 of `first` without an error; but that component alone is not what the answer hangs on.

    Returns:
        The explanation, with the variable `ones`.
    """

    def program(premises: Mapping[str, Any], inputs: np.ndarray, variable: Tap) -> np.ndarray:
        ones = variable("ones", inputs.sum(axis=1) if premises["count"] else inputs[:, 0])
        return ones % premises["modulus"]

    site = "count" if "count" in phenomenon.model.sites else "first"
    return Explanation(
        name="count, then parity",
        phenomenon=phenomenon,
        program=program,
        premises={
            "count": Premise(statement="s=a+b"),
            "modulus": Premise(kind="parameter", value=2, statement="s%2", variants=(3,)),
        },
        variables={"ones": Variable(values=3, alignment=_unit(site, 0))},
    )


def _unit(site: str, component: int) -> Alignment:
    """One component of a site; the value is its activation, rounded."""
    return Alignment(
        site=site,
        subspace=(component,),
        read=lambda part: np.rint(part[:, 0]).astype(int),
        write=lambda values: np.asarray(values, dtype=float)[:, None],
        bits=1.0,
    )


def _threshold(site: str, least: int) -> Alignment:
    """Component 0 of a site; the value is whether its activation, rounded, is at least so much."""
    return Alignment(
        site=site, subspace=(0,), read=lambda part: (np.rint(part[:, 0]) >= least).astype(int), bits=1.0
    )
