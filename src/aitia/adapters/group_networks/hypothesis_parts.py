"""What the hypotheses of a group network share: premises, what they leave out, and answers from logits."""

from __future__ import annotations

import numpy as np

from aitia.adapters.group_networks.under_study import changes
from aitia.explanations import Premise
from aitia.explanations.core import REAL_BITS
from aitia.finite_groups import Group
from aitia.group_networks import Circuit, Interpretation, every_logit


def fact(numbers: int) -> Premise:
    """A circuit that the hypothesis posits: so many real numbers."""
    return Premise(kind="fact", value=True, bits=float(numbers * REAL_BITS))


def label(circuit: Circuit, number: int) -> str:
    """What the premise of a circuit is called."""
    return f"circuit {number}, {circuit.irrep} on {circuit.left_set.size} x {circuit.right_set.size}"


def inert(interpretation: Interpretation) -> dict[str, list[int]]:
    """Neurons in no circuit are claimed not to matter."""
    inside = {int(i) for circuit in interpretation.circuits for i in circuit.neurons}
    rest = [i for i in range(interpretation.network.width) if i not in inside]
    return {"hidden": rest} if rest else {}


def mean_logits(interpretation: Interpretation) -> np.ndarray:
    """[n] the network's logits as a function of x^-1 z y^-1, averaged over all inputs."""
    group = interpretation.network.group
    x, w, y = np.ogrid[: group.order, : group.order, : group.order]
    logits = every_logit(interpretation.network)
    return logits[x, y, group.table[group.table[x, w], y]].mean(axis=(0, 2))


def wrongness(group: Group, inputs: np.ndarray) -> np.ndarray:
    """[n, |G|] x^-1 z y^-1 for inputs (x, y) and every answer z."""
    inverses = group.inverses
    return group.table[group.table[inverses[inputs[:, 0]]], inverses[inputs[:, 1], None]]


def softmax(logits: np.ndarray) -> np.ndarray:
    """[n, k] probabilities from logits."""
    values = np.exp(logits - logits.max(axis=1, keepdims=True))
    return values / values.sum(axis=1, keepdims=True)


def unchanged(inputs: np.ndarray) -> np.ndarray:
    """Where a hypothesis applies that says nothing of a changed network."""
    return changes(inputs) == 0
