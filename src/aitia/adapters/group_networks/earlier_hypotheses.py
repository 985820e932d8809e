"""Earlier hypotheses of group networks, each as an `Explanation`: Chughtai, Stander, Nanda, Zhong, Morwani.

None says what becomes of a network whose tables are turned round, or whose relu is replaced; they abstain there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from aitia.adapters.group_networks.hypothesis_parts import (
    fact,
    inert,
    label,
    mean_logits,
    softmax,
    unchanged,
    wrongness,
)
from aitia.explanations import Explanation, Phenomenon, Premise
from aitia.explanations.core import REAL_BITS, Tap
from aitia.finite_groups import Group
from aitia.group_networks import Circuit, Interpretation, every_logit

Values = Mapping[str, Any]


def character_hypothesis(interpretation: Interpretation, phenomenon: Phenomenon) -> Explanation:
    """Chughtai et al. 2023: logits are a sum of characters of x^-1 z y^-1 over the key representations.

    The coefficient of each is fitted to the logits; it says nothing of how relu multiplies.
    """
    group = interpretation.network.group
    mean = mean_logits(interpretation)
    key = dict.fromkeys(circuit.irrep for circuit in interpretation.circuits)
    irreps = {irrep.name: irrep for irrep in interpretation.irreps if irrep.name in key}
    sizes = {
        name: float(mean @ irrep.character / (irrep.character @ irrep.character))
        for name, irrep in irreps.items()
    }

    def program(premises: Values, inputs: np.ndarray, _variable: Tap) -> np.ndarray:
        total = np.zeros(group.order)
        for name, irrep in irreps.items():
            total += premises.get(f"character {name}", 0.0) * irrep.character
        return softmax(total[wrongness(group, inputs)])

    return Explanation(
        name="characters of key representations",
        phenomenon=phenomenon,
        program=program,
        premises={
            f"character {name}": Premise(kind="parameter", value=size, bits=REAL_BITS)
            for name, size in sizes.items()
        },
        inert=inert(interpretation),
        scope=unchanged,
    )


def coset_hypothesis(interpretation: Interpretation, phenomenon: Phenomenon) -> Explanation:
    """Stander et al. 2024, our reading: a neuron is off if xy lies in its coset, and else on, by one amount.

    The coset is where xy c = b for the neuron's points b and c.
    """
    group, network = interpretation.network.group, interpretation.network
    parts = {}
    for k, circuit in enumerate(interpretation.circuits):
        if circuit.left_set.size == circuit.right_set.size:
            left, right, unembed = circuit.weights()
            amount = np.maximum(left[:, None] + right[None], 0).mean(axis=(0, 1))
            on = circuit.pairs / max(circuit.pairs - circuit.left_set.size, 1)
            parts[label(circuit, k)] = (circuit, (on * amount)[:, None] * unembed)

    def program(premises: Values, inputs: np.ndarray, _variable: Tap) -> np.ndarray:
        logits = np.broadcast_to(network.bias.astype(np.float64), (len(inputs), group.order)).copy()
        answers = group.table[inputs[:, 0], inputs[:, 1]]
        for name, (circuit, votes) in parts.items():
            if premises.get(name, False):
                moved = circuit.right_set.permutations[answers][:, circuit.right_points]
                logits += (moved != circuit.left_points) @ votes
        return softmax(logits)

    return Explanation(
        name="neurons that are off on a coset",
        phenomenon=phenomenon,
        program=program,
        premises={name: fact(3 * len(circuit.neurons)) for name, (circuit, _) in parts.items()},
        inert=inert(interpretation),
        scope=unchanged,
    )


def clock_hypothesis(interpretation: Interpretation, phenomenon: Phenomenon) -> Explanation | None:
    """Nanda et al. 2023, for cyclic groups: cos(w (x + y - z)) summed over the key frequencies."""
    return _angles(interpretation, phenomenon, "clock", lambda sum_, _difference: sum_)


def pizza_hypothesis(interpretation: Interpretation, phenomenon: Phenomenon) -> Explanation | None:
    """Zhong et al. 2023, for cyclic groups: |cos(w (x - y) / 2)| cos(w (x + y - z)) summed over the key frequencies."""
    return _angles(interpretation, phenomenon, "pizza", lambda sum_, difference: np.abs(difference) * sum_)


def max_margin_hypothesis(interpretation: Interpretation, phenomenon: Phenomenon) -> Explanation:
    """Morwani et al. 2024, our reading: the margin is as large as the norm allows, and the same to all wrong answers.

    With every irrep in use, each in proportion to its degree, the sum of d chi(x^-1 z y^-1) is n at the right answer
    and 0 at all others. The one size is fitted to the logits. What it says of the weights, `norm_ratios` measures.
    """
    group = interpretation.network.group
    mean = mean_logits(interpretation)
    right = np.zeros(group.order)
    right[group.identity] = 1.0
    right -= right.mean()
    size = float(mean @ right / max(right @ right, 1e-300))

    def program(premises: Values, inputs: np.ndarray, _variable: Tap) -> np.ndarray:
        return softmax(premises["margin"] * right[wrongness(group, inputs)])

    return Explanation(
        name="largest margin",
        phenomenon=phenomenon,
        program=program,
        premises={"margin": Premise(kind="parameter", value=size, bits=REAL_BITS)},
        scope=unchanged,
    )


def _angles(
    interpretation: Interpretation,
    phenomenon: Phenomenon,
    name: str,
    combine: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> Explanation | None:
    group = interpretation.network.group
    place = _exponents(group)
    if place is None:
        return None
    n = group.order
    frequencies = sorted(
        {_frequency(interpretation, circuit, place) for circuit in interpretation.circuits} - {0}
    )
    x, y, z = np.ogrid[:n, :n, :n]

    def wave(w: int, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        turn = 2 * np.pi * w / n
        return combine(np.cos(turn * (x + y - z)), np.cos(turn * (x - y) / 2))

    logits = every_logit(interpretation.network)
    sizes = {}
    for w in frequencies:
        basis = wave(w, place[x], place[y], place[z])
        sizes[f"frequency {w}"] = float((logits * basis).sum() / (basis**2).sum())

    def program(premises: Values, inputs: np.ndarray, _variable: Tap) -> np.ndarray:
        first, second = place[inputs[:, 0], None], place[inputs[:, 1], None]
        total = np.zeros((len(inputs), n))
        for w in frequencies:
            total += premises.get(f"frequency {w}", 0.0) * wave(w, first, second, place[None])
        return softmax(total)

    return Explanation(
        name=name,
        phenomenon=phenomenon,
        program=program,
        premises={key: Premise(kind="parameter", value=size, bits=REAL_BITS) for key, size in sizes.items()},
        inert=inert(interpretation),
        scope=unchanged,
    )


def _exponents(group: Group) -> np.ndarray | None:
    """[n] each element as a power of the first generator; None if the group is not cyclic."""
    generators = np.flatnonzero(group.element_orders == group.order)
    if not len(generators):
        return None
    place, power = np.zeros(group.order, dtype=np.int64), group.identity
    for k in range(group.order):
        place[power] = k
        power = group.table[power, generators[0]]
    return place


def _frequency(interpretation: Interpretation, circuit: Circuit, place: np.ndarray) -> int:
    """The frequency of a circuit's irrep: its character at the generator is 2 cos(2 pi w / n), or 1 or -1."""
    irrep = next(each for each in interpretation.irreps if each.name == circuit.irrep)
    cosine = irrep.character[place.tolist().index(1 % len(place))] / irrep.dimension
    return round(float(np.arccos(np.clip(cosine, -1, 1))) * len(place) / (2 * np.pi))
