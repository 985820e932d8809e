"""Changes to a network that its explanations predict the effect of (checks of Wu et al. 2025, on folded networks).

In a circuit whose right table mirrors its left one, a neuron tells x^-1 b from y c: turning one table round
makes it tell something else, turning both round tells the same difference from the other side, and so does
the absolute value in place of relu. Swapping the tables of a folded network gives its answer to (y, x), so that it is
right where x and y commute; no hypothesis of the answers can fail to predict that, and it is no test of one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from aitia.group_networks.network import GroupNetwork


def swap(network: GroupNetwork) -> GroupNetwork:
    """The network with its left and right tables exchanged."""
    return replace(network, left=network.right, right=network.left)


def negate_left(network: GroupNetwork) -> GroupNetwork:
    """The network with its left table turned round."""
    return replace(network, left=-network.left)


def negate_both(network: GroupNetwork) -> GroupNetwork:
    """The network with both tables turned round."""
    return replace(network, left=-network.left, right=-network.right)


def absolute_value(network: GroupNetwork) -> GroupNetwork:
    """The network with |.| in place of relu: every neuron has a twin with both tables turned round."""
    return replace(
        network,
        left=np.concatenate([network.left, -network.left], axis=1),
        right=np.concatenate([network.right, -network.right], axis=1),
        unembed=np.concatenate([network.unembed, network.unembed]),
    )


INTERVENTIONS: Mapping[str, Callable[[GroupNetwork], GroupNetwork]] = {
    "swap": swap,
    "negate_left": negate_left,
    "negate_both": negate_both,
    "absolute_value": absolute_value,
}
"""Name -> what it does to a network."""


@dataclass(frozen=True, kw_only=True)
class CausalCheck:
    """What an intervention did, and what an idealised network says it would do.

    Attributes:
        name: of the intervention.
        accuracy: of the network after it.
        predicted: accuracy of the idealised network after it.
        agreement: share of all inputs on which both give the same answer after it.
    """

    name: str
    accuracy: float
    predicted: float
    agreement: float


def causal_checks(network: GroupNetwork, ideal: GroupNetwork) -> list[CausalCheck]:
    """Put a network and its idealisation through every intervention.

    Args:
        network: the network.
        ideal: what it is said to be, as `Interpretation.coset_network`.

    Returns:
        One check an intervention.
    """
    checks = []
    for name, change in INTERVENTIONS.items():
        answers, accuracy = _answers(change(network))
        expected, predicted = _answers(change(ideal))
        checks.append(
            CausalCheck(
                name=name,
                accuracy=accuracy,
                predicted=predicted,
                agreement=float((answers == expected).mean()),
            )
        )
    return checks


def _answers(network: GroupNetwork) -> tuple[np.ndarray, float]:
    """[n^2] the answer to every input, the first of those that tie; and the accuracy, where a tie counts as wrong."""
    answers, hits = [], 0
    for x, logits in network.every_logit():
        right = np.take_along_axis(logits, network.group.table[x][:, :, None], axis=2)
        hits += int(((logits >= right).sum(axis=2) == 1).sum())
        answers.append(logits.argmax(axis=2).ravel())
    return np.concatenate(answers), hits / network.group.order**2
