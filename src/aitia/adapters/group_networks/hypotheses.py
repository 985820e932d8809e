"""The baseline hypotheses of group networks, each as an `Explanation` that predicts and can be put to the test.

They differ in what they say of the inside, not in the answer: a hypothesis predicts a distribution over products,
and claims where in the network its variables live. Those that say how relu is used also predict what becomes of the
network when its tables are turned round or relu is replaced, and register that before the network is asked; the
others abstain there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from aitia.adapters.group_networks.earlier_hypotheses import (
    character_hypothesis,
    clock_hypothesis,
    coset_hypothesis,
    max_margin_hypothesis,
    pizza_hypothesis,
)
from aitia.adapters.group_networks.hypothesis_parts import fact, inert, label, softmax, wrongness
from aitia.adapters.group_networks.under_study import (
    CHANGES,
    activation,
    changed_inputs,
    changes,
    product_phenomenon,
    table_signs,
)
from aitia.errors import NetworkError
from aitia.explanations import Alignment, Explanation, Phenomenon, Variable, register
from aitia.explanations.core import REAL_BITS, Tap
from aitia.group_networks import (
    Circuit,
    GroupNetwork,
    Interpretation,
    RhoSet,
    interpret,
    restricted,
    shared_dimension,
    shared_spectrum,
)

Values = Mapping[str, Any]


def group_network_explanations(interpretation: Interpretation) -> list[Explanation]:
    """Every hypothesis of one phenomenon, ours first: those that say nothing of this network are left out.

    Raises:
        NetworkError: no circuit was found, so there is nothing to explain with.
    """
    if not interpretation.circuits:
        raise NetworkError("nothing was found in this network: there is no explanation to put to the test")
    phenomenon = product_phenomenon(interpretation.network)
    found = [make(interpretation, phenomenon) for make in HYPOTHESES.values()]
    return [each for each in found if each is not None]


def explain_group_network(network: GroupNetwork) -> Explanation:
    """The hypothesis of a network by the points of G-sets: interpret it, and put what was found as an explanation.

    Raises:
        NetworkError: no circuit was found.
    """
    return group_network_explanations(interpret(network))[0]


def points_of_g_sets(interpretation: Interpretation, phenomenon: Phenomenon) -> Explanation:
    """Ours: neurons read the points x^-1 b and y c of finite G-sets from tables, alphas may differ.

    Variables: for each circuit where x^-1 sends the points, read off the left sums of its neurons, and the same for y
    on the right. (Single points would be finer, but hardly ever change an answer.) A premise for each circuit.
    """
    return _account_by_reading(
        interpretation,
        phenomenon,
        name="neurons on the points of G-sets",
        circuits=interpretation.circuits,
        numbers=[circuit.numbers for circuit in interpretation.circuits],
    )


def shared_space_hypothesis(interpretation: Interpretation, phenomenon: Phenomenon) -> Explanation:
    """Ours, shorter: the alphas of each circuit are combinations of the few vectors that they share, one or two mostly.

    Charged for are those vectors, and for each neuron its points, its place among them and its kappa.
    """
    circuits, numbers = [], []
    for circuit in interpretation.circuits:
        if circuit.is_free:  # its neurons share one table already
            circuits.append(circuit)
            numbers.append(circuit.numbers)
            continue
        weights = interpretation.weights[circuit.neurons]
        dimension = shared_dimension(shared_spectrum(circuit, weights))
        circuits.append(restricted(circuit, dimension, weights))
        table = circuit.left_set.size + circuit.right_set.size
        each = 2 + dimension + circuit.kernels.shape[1]
        numbers.append(dimension * table + len(circuit.neurons) * each)
    return _account_by_reading(
        interpretation,
        phenomenon,
        name="neurons that share a few vectors",
        circuits=circuits,
        numbers=numbers,
    )


def _account_by_reading(
    interpretation: Interpretation,
    phenomenon: Phenomenon,
    *,
    name: str,
    circuits: Sequence[Circuit],
    numbers: Sequence[int],
) -> Explanation:
    """A hypothesis whose variables are read from tables by neurons; so many numbers are charged for each circuit."""
    group, network = interpretation.network.group, interpretation.network
    parts = {
        label(circuit, k): (circuit, _reads(circuit, label(circuit, k)), circuit.weights()[2])
        for k, circuit in enumerate(circuits)
    }

    def program(premises: Values, inputs: np.ndarray, variable: Tap) -> np.ndarray:
        logits = np.broadcast_to(network.bias.astype(np.float64), (len(inputs), group.order)).copy()
        change = changes(inputs)
        signs: dict[str, np.ndarray] = dict(zip(("left", "right"), table_signs(change), strict=True))
        for part, (circuit, reads, unembed) in parts.items():
            sums = np.zeros((len(inputs), len(circuit.neurons)))
            for read in reads:
                value = variable(read.name, read.states[inputs[:, int(read.site == "right")]])
                sums += signs[read.site] * read.columns[value]
            if premises.get(part, False):
                logits += activation(sums, change) @ unembed
        return softmax(logits)

    variables = {
        read.name: Variable(values=len(read.columns), alignment=_alignment(read, circuit.neurons))
        for circuit, reads, _ in parts.values()
        for read in reads
    }
    found = Explanation(
        name=name,
        phenomenon=phenomenon,
        program=program,
        premises={part: fact(count) for part, count in zip(parts, numbers, strict=True)},
        variables=variables,
        inert=inert(interpretation),
    )
    return _registered(found, network)


def rho_set_hypothesis(interpretation: Interpretation, phenomenon: Phenomenon) -> Explanation:
    """Wu et al. 2025: every circuit is a rho-set, so that logits depend on x^-1 z y^-1 alone. A premise for each."""
    group = interpretation.network.group
    parts = {_rho_label(rho_set, k): rho_set for k, rho_set in enumerate(interpretation.rho_sets)}
    logits = {name: _changed_logits(rho_set) for name, rho_set in parts.items()}

    def program(premises: Values, inputs: np.ndarray, _variable: Tap) -> np.ndarray:
        total = np.zeros((len(CHANGES), group.order))
        for name, value in logits.items():
            if premises.get(name, False):
                total += value
        return softmax(total[changes(inputs)[:, None], wrongness(group, inputs)])

    found = Explanation(
        name="rho-sets",
        phenomenon=phenomenon,
        program=program,
        premises={name: fact(_numbers(each)) for name, each in parts.items()},
        inert=inert(interpretation),
    )
    return _registered(found, interpretation.network)


HYPOTHESES: Mapping[str, Callable[[Interpretation, Phenomenon], Explanation | None]] = {
    "g-sets": points_of_g_sets,
    "shared-spaces": shared_space_hypothesis,
    "rho-sets": rho_set_hypothesis,
    "characters": character_hypothesis,
    "cosets": coset_hypothesis,
    "clock": clock_hypothesis,
    "pizza": pizza_hypothesis,
    "max-margin": max_margin_hypothesis,
}
"""Name -> the hypothesis of a network, or None where it says nothing of its group."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Read:
    """A variable: what the k neurons of a circuit read of one factor.

    Attributes:
        name: of the variable.
        site: `left` or `right`.
        columns: [v, k] what each neuron adds for each value.
        states: [n] the value at each element.
        numbers: how many numbers the columns are made of.
    """

    name: str
    site: str
    columns: np.ndarray
    states: np.ndarray
    numbers: int


def _reads(circuit: Circuit, name: str) -> list[_Read]:
    """The left and the right variable; elements that the neurons cannot tell apart have one value."""
    found = []
    for site, values, tables in zip(
        ("left", "right"), circuit.weights(), (circuit.left_tables, circuit.right_tables), strict=False
    ):
        _, heads, states = np.unique(values.round(9), axis=0, return_index=True, return_inverse=True)
        found.append(
            _Read(
                name=f"{name}: {site}", site=site, columns=values[heads], states=states, numbers=tables.size
            )
        )
    return found


def _alignment(read: _Read, neurons: np.ndarray) -> Alignment:
    """Read the value whose column is nearest to the neurons' sums; write that column."""

    def nearest(part: np.ndarray) -> np.ndarray:
        distances = (read.columns**2).sum(axis=1) - 2 * part @ read.columns.T
        return distances.argmin(axis=1)

    def write(values: np.ndarray) -> np.ndarray:
        return read.columns[np.asarray(values, dtype=np.int64)]

    bits = float(read.numbers * REAL_BITS)
    return Alignment(site=read.site, subspace=neurons, read=nearest, write=write, bits=bits)


def _registered(hypothesis: Explanation, network: GroupNetwork) -> Explanation:
    """The hypothesis with its predictions of the changed network, made before the network is asked."""
    found = [register(hypothesis, changed_inputs(network, name)) for name in CHANGES[1:]]
    return replace(hypothesis, registered=found)


def _changed_logits(rho_set: RhoSet) -> np.ndarray:
    """[changes, n] the logits of a rho-set under each of `CHANGES`."""
    left = replace(rho_set, alpha=-rho_set.alpha)
    both = replace(left, gamma=-rho_set.gamma)
    unchanged, turned = rho_set.logits(), both.logits()
    return np.array([unchanged, left.logits(), turned, unchanged + turned])


def _numbers(rho_set: RhoSet) -> int:
    return len(rho_set.alpha) + len(rho_set.gamma) + len(rho_set.kappa)


def _rho_label(rho_set: RhoSet, number: int) -> str:
    return f"rho-set {number}, {rho_set.irrep} on {rho_set.left_set.size} points"
