"""The rival accounts of group networks, each as an `Explanation` that predicts and can be put to the test.

They differ in what they say of the inside, not in the answer: an account predicts a distribution over products,
and claims where in the network its variables live.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from aitia.errors import NetworkError
from aitia.explanations import Alignment, Explanation, Phenomenon, Premise, Variable
from aitia.explanations.alignment import REAL_BITS
from aitia.explanations.taps import Tap
from aitia.finite_groups import Group
from aitia.group_networks.circuits import Circuit, RhoSet
from aitia.group_networks.interpretation import Interpretation, interpret
from aitia.group_networks.measures import every_logit
from aitia.group_networks.network import GroupNetwork
from aitia.group_networks.study import product_phenomenon

Values = Mapping[str, Any]


def explanations(interpretation: Interpretation) -> list[Explanation]:
    """Every account of one phenomenon, ours first: those that say nothing of this network are left out.

    Raises:
        NetworkError: no circuit was found, so there is nothing to explain with.
    """
    if not interpretation.circuits:
        raise NetworkError("nothing was found in this network: there is no explanation to put to the test")
    phenomenon = product_phenomenon(interpretation.network)
    found = [make(interpretation, phenomenon) for make in ACCOUNTS.values()]
    return [each for each in found if each is not None]


def explain(network: GroupNetwork) -> Explanation:
    """The account of a network by the points of G-sets: interpret it, and put what was found as an explanation.

    Raises:
        NetworkError: no circuit was found.
    """
    return explanations(interpret(network))[0]


def points_of_g_sets(interpretation: Interpretation, phenomenon: Phenomenon) -> Explanation:
    """Ours: neurons read the points x^-1 b and y c of finite G-sets from tables, alphas may differ.

    Variables: for each point b where neurons stand the point x^-1 b, read off the left sums of those neurons, and the
    same for y c on the right. A premise for each circuit.
    """
    group, network = interpretation.network.group, interpretation.network
    parts = {
        _label(circuit, k): (circuit, circuit.weights()[2])
        for k, circuit in enumerate(interpretation.circuits)
    }

    def program(premises: Values, inputs: np.ndarray, variable: Tap) -> np.ndarray:
        logits = np.broadcast_to(network.bias.astype(np.float64), (len(inputs), group.order)).copy()
        for name, (circuit, unembed) in parts.items():
            left, right = _points(circuit, name, inputs, variable)
            if not premises.get(name, False):
                continue
            k = np.arange(len(circuit.neurons))
            sums = circuit.left_tables[k, left[:, circuit.left_points]]
            sums = sums + circuit.right_tables[k, right[:, circuit.right_points]]
            logits += np.maximum(sums, 0) @ unembed
        return _softmax(logits)

    variables: dict[str, Variable] = {}
    for name, (circuit, _) in parts.items():
        sides = (
            ("left", circuit.left_points, circuit.left_tables),
            ("right", circuit.right_points, circuit.right_tables),
        )
        for site, points, tables in sides:
            for point in np.unique(points):
                members = points == point
                variables[f"{name}: {site} {point}"] = Variable(
                    values=tables.shape[1],
                    alignment=_table_map(site, circuit.neurons[members], tables[members]),
                )
    return Explanation(
        name="neurons on the points of G-sets",
        phenomenon=phenomenon,
        program=program,
        premises={name: _fact(circuit.numbers) for name, (circuit, _) in parts.items()},
        variables=variables,
        inert=_inert(interpretation),
    )


def rho_set_account(interpretation: Interpretation, phenomenon: Phenomenon) -> Explanation:
    """Wu et al. 2025: every circuit is a rho-set, so that logits depend on x^-1 z y^-1 alone. A premise for each."""
    group = interpretation.network.group
    parts = {_rho_label(rho_set, k): rho_set for k, rho_set in enumerate(interpretation.rho_sets)}
    logits = {name: rho_set.logits() for name, rho_set in parts.items()}

    def program(premises: Values, inputs: np.ndarray, _variable: Tap) -> np.ndarray:
        total = sum(
            (value for name, value in logits.items() if premises.get(name, False)), np.zeros(group.order)
        )
        return _softmax(total[_wrongness(group, inputs)])

    return Explanation(
        name="rho-sets",
        phenomenon=phenomenon,
        program=program,
        premises={name: _fact(_numbers(each)) for name, each in parts.items()},
        inert=_inert(interpretation),
    )


def character_account(interpretation: Interpretation, phenomenon: Phenomenon) -> Explanation:
    """Chughtai et al. 2023: logits are a sum of characters of x^-1 z y^-1 over the key representations.

    The coefficient of each is fitted to the logits; it says nothing of how relu multiplies.
    """
    group = interpretation.network.group
    mean = _mean_logits(interpretation)
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
        return _softmax(total[_wrongness(group, inputs)])

    return Explanation(
        name="characters of key representations",
        phenomenon=phenomenon,
        program=program,
        premises={
            f"character {name}": Premise(kind="parameter", value=size, bits=REAL_BITS)
            for name, size in sizes.items()
        },
        inert=_inert(interpretation),
    )


def coset_account(interpretation: Interpretation, phenomenon: Phenomenon) -> Explanation:
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
            parts[_label(circuit, k)] = (circuit, (on * amount)[:, None] * unembed)

    def program(premises: Values, inputs: np.ndarray, _variable: Tap) -> np.ndarray:
        logits = np.broadcast_to(network.bias.astype(np.float64), (len(inputs), group.order)).copy()
        answers = group.table[inputs[:, 0], inputs[:, 1]]
        for name, (circuit, votes) in parts.items():
            if premises.get(name, False):
                moved = circuit.right_set.permutations[answers][:, circuit.right_points]
                logits += (moved != circuit.left_points) @ votes
        return _softmax(logits)

    return Explanation(
        name="neurons that are off on a coset",
        phenomenon=phenomenon,
        program=program,
        premises={name: _fact(3 * len(circuit.neurons)) for name, (circuit, _) in parts.items()},
        inert=_inert(interpretation),
    )


def clock_account(interpretation: Interpretation, phenomenon: Phenomenon) -> Explanation | None:
    """Nanda et al. 2023, for cyclic groups: cos(w (x + y - z)) summed over the key frequencies."""
    return _angles(interpretation, phenomenon, "clock", lambda sum_, _difference: sum_)


def pizza_account(interpretation: Interpretation, phenomenon: Phenomenon) -> Explanation | None:
    """Zhong et al. 2023, for cyclic groups: |cos(w (x - y) / 2)| cos(w (x + y - z)) summed over the key frequencies."""
    return _angles(interpretation, phenomenon, "pizza", lambda sum_, difference: np.abs(difference) * sum_)


ACCOUNTS: Mapping[str, Callable[[Interpretation, Phenomenon], Explanation | None]] = {
    "g-sets": points_of_g_sets,
    "rho-sets": rho_set_account,
    "characters": character_account,
    "cosets": coset_account,
    "clock": clock_account,
    "pizza": pizza_account,
}
"""Name -> the account of a network, or None where it says nothing of its group."""


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
        return _softmax(total)

    return Explanation(
        name=name,
        phenomenon=phenomenon,
        program=program,
        premises={key: Premise(kind="parameter", value=size, bits=REAL_BITS) for key, size in sizes.items()},
        inert=_inert(interpretation),
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


def _points(circuit: Circuit, name: str, inputs: np.ndarray, variable: Tap) -> tuple[np.ndarray, np.ndarray]:
    """[n, p] the point x^-1 b for each b and [n, q] y c for each c, those where neurons stand as variables."""
    inverses = circuit.group.inverses
    left = circuit.left_set.permutations[inverses[inputs[:, 0]]].copy()
    right = circuit.right_set.permutations[inputs[:, 1]].copy()
    for side, points, places in (("left", left, circuit.left_points), ("right", right, circuit.right_points)):
        for point in np.unique(places):
            points[:, point] = variable(f"{name}: {side} {point}", points[:, point])
    return left, right


def _table_map(site: str, neurons: np.ndarray, tables: np.ndarray) -> Alignment:
    """Neurons [k] with tables [k, p]: read the point whose column is nearest to their sums; write that column."""
    columns = tables.T

    def read(part: np.ndarray) -> np.ndarray:
        return np.square(part[:, None] - columns[None]).sum(axis=2).argmin(axis=1)

    def write(values: np.ndarray) -> np.ndarray:
        return columns[np.asarray(values, dtype=np.int64)]

    return Alignment(site=site, subspace=neurons, read=read, write=write, bits=float(tables.size * REAL_BITS))


def _fact(numbers: int) -> Premise:
    """A circuit that the account posits: so many real numbers."""
    return Premise(kind="fact", value=True, bits=float(numbers * REAL_BITS))


def _numbers(rho_set: RhoSet) -> int:
    return len(rho_set.alpha) + len(rho_set.gamma) + len(rho_set.kappa)


def _label(circuit: Circuit, number: int) -> str:
    return f"circuit {number}, {circuit.irrep} on {circuit.left_set.size} x {circuit.right_set.size}"


def _rho_label(rho_set: RhoSet, number: int) -> str:
    return f"rho-set {number}, {rho_set.irrep} on {rho_set.left_set.size} points"


def _inert(interpretation: Interpretation) -> dict[str, list[int]]:
    """Neurons in no circuit are claimed not to matter."""
    inside = {int(i) for circuit in interpretation.circuits for i in circuit.neurons}
    rest = [i for i in range(interpretation.network.width) if i not in inside]
    return {"hidden": rest} if rest else {}


def _mean_logits(interpretation: Interpretation) -> np.ndarray:
    """[n] the network's logits as a function of x^-1 z y^-1, averaged over all inputs."""
    group = interpretation.network.group
    x, w, y = np.ogrid[: group.order, : group.order, : group.order]
    logits = every_logit(interpretation.network)
    return logits[x, y, group.table[group.table[x, w], y]].mean(axis=(0, 2))


def _wrongness(group: Group, inputs: np.ndarray) -> np.ndarray:
    """[n, |G|] x^-1 z y^-1 for inputs (x, y) and every answer z."""
    inverses = group.inverses
    return group.table[group.table[inverses[inputs[:, 0]]], inverses[inputs[:, 1], None]]


def _softmax(logits: np.ndarray) -> np.ndarray:
    values = np.exp(logits - logits.max(axis=1, keepdims=True))
    return values / values.sum(axis=1, keepdims=True)
