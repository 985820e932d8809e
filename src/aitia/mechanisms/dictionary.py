"""A dictionary: the site is a sum of a few features, learned by a sparse autoencoder with tied weights.

f(h) = relu(D^T (h - mu) + b), h' = mu + D f, with columns of D of unit length, trained on |h - h'|^2 + sparsity |f|
(as in Cunningham et al. 2023, arXiv 2309.08600). With tied weights a feature is read off its own direction alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from aitia.explanations import Alignment, Explanation, Premise, Variable
from aitia.explanations.core import REAL_BITS, Tap
from aitia.mechanisms.site import MECHANISMS_BELOW, SiteRecord


def dictionary_explanation(
    record: SiteRecord,
    *,
    features: int | None = None,
    sparsities: tuple[float, ...] = (0.3, 0.1, 0.03),
    steps: int = 600,
    named: int = 8,
    share: float = 0.95,
) -> Explanation:
    """The hypothesis that the site is a sum of features, and that the rest of the model goes by that sum.

    Variables: the features of most weight, each along its direction. Every feature that ever speaks is a premise.

    Args:
        record: the site.
        features: of the dictionary; default: as many as the site is wide.
        sparsities: penalties, sparsest first; the first whose sums leave `share` of the answers as they are is kept,
            else the one that leaves most.
        steps: of training.
        named: how many features are variables.
        share: of the answers on held-back rows.

    Returns:
        The explanation, one variable a feature.
    """
    rows = record.activations[~record.checked]
    held, inputs = record.activations[record.checked], record.fit_inputs(record.checked)
    found = []
    for sparsity in sparsities:
        parts = _trained(rows, features or record.width, sparsity, steps, record.seed)
        answers = record.answers(inputs, _decode(_encode(held, *parts), *parts))
        found.append((float((answers == record.labels[record.checked]).mean()), parts, answers))
        if found[-1][0] >= share:
            break
    _, (dictionary, bias, middle), answers = max(found, key=lambda each: each[0])
    confidence = record.confidence(answers)
    weight = np.square(_encode(rows, dictionary, bias, middle)).mean(axis=0)
    alive = np.flatnonzero(weight > 0)
    first = alive[np.argsort(-weight[alive], kind="stable")][:named]
    place = {f"feature {j}": int(j) for j in alive}

    def program(premises: Mapping[str, Any], inputs: np.ndarray, variable: Tap) -> np.ndarray:
        state = record.trace(inputs) if premises[MECHANISMS_BELOW] else np.zeros((len(inputs), record.width))
        values = _encode(state, dictionary, bias, middle)
        for j in first:
            values[:, j] = variable(f"feature {j}", values[:, j])
        values[:, [j for name, j in place.items() if name not in premises]] = 0.0
        return record.as_distribution(
            record.answers(inputs, _decode(values, dictionary, bias, middle)), confidence
        )

    def alignment(j: int) -> Alignment:
        direction = dictionary[:, j]
        offset = bias[j] - direction @ middle
        return Alignment(
            site=record.site,
            subspace=direction[:, None],
            read=lambda part: np.maximum(part[:, 0] + offset, 0.0),
            bits=1.0,
        )

    bits = float((record.width + 1) * REAL_BITS)
    beyond = {"the model above": Premise(kind="fact", bits=float(record.above * REAL_BITS), variants=())}
    return Explanation(
        name="dictionary",
        phenomenon=record.phenomenon,
        program=program,
        premises=record.premise_below | beyond | {name: Premise(kind="fact", bits=bits) for name in place},
        variables={f"feature {j}": Variable(values=None, alignment=alignment(j)) for j in first},
    )


def _encode(rows: np.ndarray, dictionary: np.ndarray, bias: np.ndarray, middle: np.ndarray) -> np.ndarray:
    return np.maximum((rows - middle) @ dictionary + bias, 0.0)


def _decode(values: np.ndarray, dictionary: np.ndarray, _bias: np.ndarray, middle: np.ndarray) -> np.ndarray:
    return middle + values @ dictionary.T


def _trained(
    rows: np.ndarray, features: int, sparsity: float, steps: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Dictionary [d, m], bias [m] and middle [d] in the activations' own scale."""
    import torch

    middle = rows.mean(axis=0)
    scale = max(float(np.sqrt(np.square(rows - middle).sum(axis=1).mean())), 1e-12)
    data = torch.tensor((rows - middle) / scale, dtype=torch.float32)
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn((rows.shape[1], features), generator=generator).requires_grad_()
    bias = torch.zeros(features, requires_grad=True)
    optimizer = torch.optim.Adam([weights, bias], lr=0.01)
    for _ in range(steps):
        columns = weights / weights.norm(dim=0)
        values = torch.relu(data @ columns + bias)
        loss = (values @ columns.T - data).square().sum(dim=1).mean() + sparsity * values.sum(dim=1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    columns = (weights / weights.norm(dim=0)).detach().numpy().astype(float)
    return columns, bias.detach().numpy().astype(float) * scale, middle
