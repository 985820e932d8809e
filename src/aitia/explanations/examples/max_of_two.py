"""The larger of two tokens: a network that computes it, a rule, a lookup table, and a ladder of proofs.

The ladder follows Gross et al. (2024) and its tutorial by Jaburi: brute force, symmetry, convexity. Each rung is
a short program that computes a lower bound on accuracy from the weights; what it costs is counted in units of one
forward pass, and the convexity rung's extra comparisons in passes of v comparisons.
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
from aitia.explanations.metrics.proofs import Certificate


def max_network(vocabulary: int, *, sharpness: float = 4.0) -> FunctionModel:
    """One attention head over two tokens: it attends to each with weight exp(sharpness * token) and copies.

    The head's output is a mixture of the two tokens' values; the logit of label t is 2 t h - t^2, largest at the
    whole number nearest to h. With a sharpness of 4 that is the larger token, for every pair.

    Returns:
        The network, with its named site.
    """

    def network(parameters: Mapping[str, Any], inputs: np.ndarray, site: Tap) -> np.ndarray:
        scores = parameters["attention"][0] * inputs
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        weights = weights / weights.sum(axis=1, keepdims=True)
        head = site("head", (weights * (parameters["value"][0] * inputs)).sum(axis=1, keepdims=True))
        labels = np.arange(vocabulary)
        return parameters["unembed"][0] * head * labels + parameters["unembed"][1] * labels**2

    weights = {
        "attention": np.array([sharpness]),
        "value": np.array([1.0]),
        "unembed": np.array([2.0, -1.0]),
    }
    return FunctionModel(
        name=f"max of two, {vocabulary} tokens", function=network, parameters=weights, sites=("head",)
    )


def pairs_of(tokens: np.ndarray) -> np.ndarray:
    """[m * m, 2] all pairs of tokens."""
    return np.stack(np.meshgrid(tokens, tokens, indexing="ij"), axis=-1).reshape(-1, 2)


def max_phenomenon(
    vocabulary: int = 8, *, beyond: int = 0, sharpness: float = 4.0, model: FunctionModel | None = None
) -> Phenomenon:
    """The network's answer to every pair of tokens.

    Args:
        vocabulary: v; the outcomes are the tokens.
        beyond: tokens below 0 with which pairs outside the domain are made; the larger one is still an outcome.
        sharpness: of the network's attention.
        model: another network to ask.

    Returns:
        The phenomenon, of all v^2 inputs.
    """
    tokens = np.arange(vocabulary)
    outside = np.array([(-b, t) for b in range(1, beyond + 1) for t in tokens]) if beyond else None
    return Phenomenon(
        name=f"the larger of two tokens out of {vocabulary}",
        model=model or max_network(vocabulary, sharpness=sharpness),
        inputs=pairs_of(tokens),
        outcomes=[str(token) for token in tokens],
        beyond=outside,
        metric=lambda inputs, labels: (labels == inputs.max(axis=1)).astype(float),
    )


def rule_explanation(phenomenon: Phenomenon, *, certificate: Certificate | None = None) -> Explanation:
    """The hypothesis "it answers the larger token", which is said to be what the head puts out."""

    def program(premises: Mapping[str, Any], inputs: np.ndarray, variable: Tap) -> np.ndarray:
        # Without its premise the rule would have nothing to say.
        return variable("larger", inputs.max(axis=1) if premises["larger"] else inputs.min(axis=1))

    aligned = "head" in phenomenon.model.sites
    alignment = Alignment(
        site="head",
        read=lambda part: np.rint(part[:, 0]).astype(int),
        write=lambda values: np.asarray(values, dtype=float)[:, None],
        bits=1.0,
    )
    return Explanation(
        name="the larger token",
        phenomenon=phenomenon,
        program=program,
        premises={"larger": Premise(kind="law", statement="max(a,b)", variants=(False,))},
        variables={
            "larger": Variable(values=len(phenomenon.outcomes), alignment=alignment if aligned else None)
        },
        certificate=certificate,
    )


def lookup_explanation(phenomenon: Phenomenon) -> Explanation:
    """The hypothesis "for this pair it says this": a premise for every pair, and nothing inside the model."""
    answers = phenomenon.observed
    bits = float(np.log2(len(np.unique(answers))))
    k = len(phenomenon.outcomes)
    keys = [_key(row) for row in phenomenon.inputs]

    def program(premises: Mapping[str, Any], inputs: np.ndarray, _variable: Tap) -> np.ndarray:
        return np.array([premises.get(_key(row), -1) for row in inputs], dtype=int)

    def refit(labels: np.ndarray) -> Explanation:
        return make(labels)

    def make(labels: np.ndarray) -> Explanation:
        return Explanation(
            name="lookup table",
            phenomenon=phenomenon,
            program=program,
            premises={
                key: Premise(value=int(label), bits=bits, variants=((int(label) + 1) % k,))
                for key, label in zip(keys, labels, strict=True)
            },
            refit=refit,
            code="",
        )

    return make(answers)


def _key(row: np.ndarray) -> str:
    return ",".join(str(int(each)) for each in row)


def proof_ladder(phenomenon: Phenomenon) -> dict[str, Certificate]:
    """Brute force, half the inputs, symmetry and convexity: what each proves of a max-of-two network, at what cost.

    * brute force runs all v^2 pairs: exact;
    * half of the inputs runs v^2/2 pairs and counts the rest as wrong: no understanding;
    * symmetry runs the v(v+1)/2 pairs with a <= b: the head does not see the order, so each stands for its mirror
      image, and the bound is exact;
    * convexity runs v pairs (b, b). For a < b the head's output is a mixture of a and b with at least weight
      1/(1+exp(-s)) on b (s the sharpness), so it lies within (b-a) / (1 + exp(s (b-a))) of b. The worst case of
      that over all a is compared with the margin 1/2 that label b has, once for each b.

    Returns:
        Name of the proof -> its certificate.
    """
    model = phenomenon.model
    assert isinstance(model, FunctionModel)
    v = len(phenomenon.outcomes)
    everything, brute = phenomenon.inputs, float(v * v)
    parameters = sum(int(np.size(each)) for each in model.parameters.values())
    size = float(2 * parameters + v)

    def right(pairs: np.ndarray) -> np.ndarray:
        return phenomenon.observe(model, pairs) == pairs.max(axis=1)

    half = everything[: v * v // 2]
    mirrored = everything[everything[:, 0] <= everything[:, 1]]
    weight = np.where(mirrored[:, 0] == mirrored[:, 1], 1, 2)
    diagonal = np.stack([np.arange(v), np.arange(v)], axis=1)
    return {
        "brute force": _certificate(
            "brute force", float(right(everything).mean()), brute, brute, size, v * v
        ),
        "half of the inputs": _certificate(
            "half of the inputs", float(right(half).sum()) / brute, len(half), brute, size, len(half)
        ),
        "symmetry": _certificate(
            "symmetry", float(weight @ right(mirrored)) / brute, len(mirrored), brute, size, len(mirrored)
        ),
        "convexity": _certificate(
            "convexity", _convexity_bound(model, right(diagonal), v), 2.0 * v, brute, size, v
        ),
    }


def _convexity_bound(model: FunctionModel, right: np.ndarray, v: int) -> float:
    """Share of pairs that are proved right from the diagonal and the worst drift of the head away from b."""
    sharpness = float(model.parameters["attention"][0])
    if float(model.parameters["value"][0]) != 1.0 or tuple(model.parameters["unembed"]) != (2.0, -1.0):
        return 0.0  # the argument holds for heads that copy, and for this read-out
    proved = 0
    for b in range(v):
        distance = np.arange(1, b + 1)
        drift = distance / (1 + np.exp(sharpness * distance))
        worst = float(drift.max()) if b else 0.0
        # All mirrored pairs below b stand or fall with the worst of them.
        proved += int(right[b]) * (1 + 2 * b * (worst < 0.5))
    return proved / v**2


def _certificate(
    name: str, bound: float, cost: float, brute: float, size: float, unexplained: int
) -> Certificate:
    return Certificate(
        bound=bound, cost=float(cost), brute_cost=brute, verifier=name, size=size, unexplained=unexplained
    )
