"""Cases small enough to work out by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from aitia.explanations.core import Tap
from aitia.explanations.core.alignment import Alignment
from aitia.explanations.core.explanation import Explanation, Premise, Variable
from aitia.explanations.core.model import FunctionModel, black_box
from aitia.explanations.core.phenomenon import Phenomenon


def two_bits() -> Phenomenon:
    """Two observations of a bit, both of them 0."""
    model = black_box("two zeros", lambda inputs: np.zeros(len(inputs), dtype=int))
    return Phenomenon(name="two bits", model=model, inputs=np.array([[0], [1]]), outcomes=("0", "1"))


def one_latent_bit(phenomenon: Phenomenon) -> Explanation:
    """Both bits are copies of one fair coin: in bits, accuracy -1, descriptiveness -2, co-explanation 1."""

    def program(premises: Mapping[str, Any], inputs: np.ndarray, _variable: Tap) -> np.ndarray:
        return np.full(len(inputs), premises["coin"])

    return Explanation(
        name="one coin",
        phenomenon=phenomenon,
        program=program,
        premises={"coin": Premise(value=0, kind="fact", bits=1)},
        latents=((0.5, {"coin": 0}), (0.5, {"coin": 1})),
    )


def constant_explanation(phenomenon: Phenomenon, probabilities: np.ndarray, name: str) -> Explanation:
    """The same distribution [k] over the outcomes for every input."""

    def program(_premises: Mapping[str, Any], inputs: np.ndarray, _variable: Tap) -> np.ndarray:
        return np.broadcast_to(probabilities, (len(inputs), len(probabilities))).copy()

    return Explanation(name=name, phenomenon=phenomenon, program=program)


def uniform_explanation(phenomenon: Phenomenon) -> Explanation:
    """Everything is equally likely: it forbids nothing."""
    k = len(phenomenon.outcomes)
    return constant_explanation(phenomenon, np.full(k, 1 / k), "anything may happen")


def overconfident_explanation(phenomenon: Phenomenon) -> Explanation:
    """Sure of an outcome that never occurs: bold, and wrong."""
    k = len(phenomenon.outcomes)
    never = np.setdiff1d(np.arange(k), phenomenon.observed)
    return constant_explanation(phenomenon, np.eye(k)[never[0]], "sure and wrong")


def noisy_or(*, noise: int = 16, seed: int = 0) -> Phenomenon:
    """A OR b from inputs (a, b, a little noise): the same two bits occur in the fit and in the test split.

    With inputs that come in such clusters, a map that memorises reads any function of the two bits off any network.

    Returns:
        The phenomenon, with a fit split and a test split.
    """
    generator = np.random.default_rng(seed)
    bits = np.repeat(np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=float), noise, axis=0)
    inputs = np.column_stack([bits, generator.uniform(-0.01, 0.01, len(bits))])

    def network(parameters: Mapping[str, Any], inputs: np.ndarray, site: Tap) -> np.ndarray:
        hidden = site("hidden", inputs @ parameters["in"])
        return hidden @ parameters["out"]

    weights = {"in": np.eye(3), "out": np.array([1.0, 1.0, 0.0])}
    model = FunctionModel(name="OR with noise", function=network, parameters=weights, sites=("hidden",))
    order = generator.permutation(len(inputs))
    return Phenomenon(
        name="OR of two bits",
        model=model,
        inputs=inputs,
        outcomes=("0", "1"),
        observable=lambda outputs: (outputs > 0.5).astype(int),
        fit=order[: len(order) // 2],
        test=order[len(order) // 2 :],
    )


def memorised_or(phenomenon: Phenomenon, *, read: str = "memorise") -> Explanation:
    """The hypothesis that the answer is already at the hidden layer, read off by a map of some class."""

    def program(_premises: Mapping[str, Any], inputs: np.ndarray, variable: Tap) -> np.ndarray:
        return variable("or", (inputs[:, 0] + inputs[:, 1] > 0.5).astype(int))

    return Explanation(
        name=f"OR, read by {read}",
        phenomenon=phenomenon,
        program=program,
        variables={"or": Variable(alignment=Alignment(site="hidden", read=read))},
    )
