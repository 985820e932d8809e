"""Addition modulo p on a circle: a network that adds angles, and two hypotheses of it.

Each token is an angle 2 pi w a / p; the angles are added by the trigonometric identities, and the label whose angle is
nearest wins: the mechanism found in trained networks by Nanda et al. (2023), with one frequency and exact weights.
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
from aitia.explanations.examples.max_of_two import pairs_of


def circle_network(modulus: int, *, frequency: int = 1, sign: int = 1) -> FunctionModel:
    """A + sign * b modulo p: at `embed` the two angles, at `angle` the cosine and sine of their sum."""
    if np.gcd(modulus, frequency) != 1:
        raise ValueError(
            f"frequency {frequency} and modulus {modulus} share a divisor; the labels would coincide"
        )
    angles = 2 * np.pi * frequency * np.arange(modulus) / modulus
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)

    def network(parameters: Mapping[str, Any], inputs: np.ndarray, site: Tap) -> np.ndarray:
        first, second = parameters["embed"][inputs[:, 0]], parameters["embed"][inputs[:, 1]]
        second = second * np.array([1.0, sign])
        embedded = site("embed", np.concatenate([first, second], axis=1))
        ca, sa, cb, sb = embedded.T
        angle = site("angle", np.stack([ca * cb - sa * sb, sa * cb + ca * sb], axis=1))
        return angle @ parameters["unembed"]

    name = f"a {'+' if sign > 0 else '-'} b modulo {modulus}, frequency {frequency}"
    weights = {"embed": circle, "unembed": circle.T}
    return FunctionModel(name=name, function=network, parameters=weights, sites=("embed", "angle"))


def addition_phenomenon(modulus: int = 7, *, model: FunctionModel | None = None) -> Phenomenon:
    """The network's answer to every pair."""
    return Phenomenon(
        name=f"addition modulo {modulus}",
        model=model or circle_network(modulus),
        inputs=pairs_of(np.arange(modulus)),
        outcomes=[str(each) for each in range(modulus)],
    )


def angle_explanation(phenomenon: Phenomenon, *, frequency: int = 1) -> Explanation:
    """The hypothesis "it adds on a circle": the sum modulo p is the angle at `angle`."""
    modulus = len(phenomenon.outcomes)
    return _sum_explanation(phenomenon, "angle", (0, 1), "adds on a circle", modulus, frequency)


def first_token_explanation(phenomenon: Phenomenon, *, frequency: int = 1) -> Explanation:
    """The same answers, with the sum said to live where only the first token does: right answer, wrong place."""
    modulus = len(phenomenon.outcomes)
    return _sum_explanation(phenomenon, "embed", (0, 1), "adds at the first token", modulus, frequency)


def _sum_explanation(
    phenomenon: Phenomenon, site: str, components: tuple[int, ...], name: str, modulus: int, frequency: int
) -> Explanation:
    def program(premises: Mapping[str, Any], inputs: np.ndarray, variable: Tap) -> np.ndarray:
        total = inputs.sum(axis=1) if premises["sum"] else inputs[:, 0]
        return variable("sum", total % premises["modulus"])

    inverse = pow(frequency, -1, modulus)

    def read(part: np.ndarray) -> np.ndarray:
        turns = np.rint(np.arctan2(part[:, 1], part[:, 0]) * modulus / (2 * np.pi)).astype(int)
        return turns * inverse % modulus

    def write(values: np.ndarray) -> np.ndarray:
        angles = 2 * np.pi * frequency * np.asarray(values) / modulus
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)

    alignment = Alignment(
        site=site, subspace=components, read=read, write=write, bits=float(np.log2(modulus))
    )
    return Explanation(
        name=name,
        phenomenon=phenomenon,
        program=program,
        premises={
            "sum": Premise(kind="law", statement="a+b"),
            "modulus": Premise(
                kind="parameter", value=modulus, bits=float(np.log2(modulus)), variants=(modulus - 1,)
            ),
        },
        variables={"sum": Variable(values=modulus, alignment=alignment)},
    )
