"""A circuit: a few units of the site carry the answer, and the others may as well stand at their means.

Units are ranked by what setting each to its mean does to the model's outputs (mean ablation), and the fewest are kept
that leave the answers as they are. For one layer this is what circuit discovery by ablation does edge by edge.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from aitia.explanations import Alignment, Explanation, Premise, Variable
from aitia.explanations.core import REAL_BITS, Tap
from aitia.mechanisms.site import SiteRecord


def circuit_explanation(record: SiteRecord, *, share: float = 0.95, named: int = 8) -> Explanation:
    """The hypothesis that the answer comes from a few units alone.

    Variables: the units of most effect, each at its component. Every unit kept is a premise, and costs what the
    model's numbers cost that lead into it and out of it; the others are claimed inert.

    Args:
        record: the site.
        share: of the model's answers on held-back rows that must be left as they are.
        named: how many units are variables.

    Returns:
        The explanation; the units that are left out are its inert components.
    """
    middle = record.activations[~record.checked].mean(axis=0)
    order = _by_effect(record, middle)
    held, inputs = record.activations[record.checked], record.fit_inputs(record.checked)

    def answers_of(count: int) -> np.ndarray:
        kept = np.isin(np.arange(record.width), order[:count])
        return record.answers(inputs, np.where(kept, held, middle))

    wanted, labels = share, record.labels[record.checked]
    low, high = 1, record.width
    while low < high:
        count = (low + high) // 2
        if (answers_of(count) == labels).mean() >= wanted:
            high = count
        else:
            low = count + 1
    units = order[:high]
    confidence = record.confidence(answers_of(high))

    def program(premises: Mapping[str, Any], inputs: np.ndarray, variable: Tap) -> np.ndarray:
        traced = record.trace(inputs)
        state = np.tile(middle, (len(inputs), 1))
        for j in units:
            if f"unit {j}" in premises:
                state[:, j] = traced[:, j]
        for j in units[:named]:
            state[:, j] = variable(f"unit {j}", state[:, j])
        return record.as_distribution(record.answers(inputs, state), confidence)

    bits = (record.below + record.above) / record.width * REAL_BITS
    return Explanation(
        name="circuit",
        phenomenon=record.phenomenon,
        program=program,
        premises={f"unit {j}": Premise(kind="fact", bits=float(bits)) for j in units},
        variables={
            f"unit {j}": Variable(
                values=None,
                alignment=Alignment(
                    site=record.site,
                    subspace=(int(j),),
                    read=lambda part: part[:, 0],
                    write=lambda values: np.asarray(values, dtype=float)[:, None],
                    bits=1.0,
                ),
            )
            for j in units[:named]
        },
        inert={record.site: sorted(int(j) for j in order[high:])} if high < record.width else {},
    )


def _by_effect(record: SiteRecord, middle: np.ndarray, most: int = 256) -> np.ndarray:
    """[d] units, those first whose mean ablation moves the outputs most."""
    fitted = np.flatnonzero(~record.checked)[:most]
    inputs, rows = record.fit_inputs(fitted), record.activations[fitted]
    model = record.phenomenon.model
    before = np.asarray(model.run(inputs), dtype=float).reshape(len(inputs), -1)
    effects = np.zeros(record.width)
    for j in range(record.width):
        changed = rows.copy()
        changed[:, j] = middle[j]
        outputs = np.asarray(model.intervene(inputs, {record.site: changed})[0], dtype=float)
        effects[j] = np.square(outputs.reshape(len(inputs), -1) - before).sum()
    return np.argsort(-effects, kind="stable")
