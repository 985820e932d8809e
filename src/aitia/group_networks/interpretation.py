"""Opening a network: from neurons to circuits on finite G-sets, and how much of the network they explain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import numpy as np

from aitia.errors import NetworkError
from aitia.finite_groups import Group, RealIrrep, coset_action, orbitals, real_irreps
from aitia.group_networks.circuits import Circuit, RhoSet, rho_sets, shared_profile
from aitia.group_networks.matching import Profile, are_conjugate, correlations, find_profiles, rebase
from aitia.group_networks.measures import centred, irrep_shares
from aitia.group_networks.network import GroupNetwork
from aitia.settings import AtLeast, AtMost, Count, check


@dataclass(frozen=True, kw_only=True)
class InterpretationSettings:
    """Thresholds. They decide what is called found; they enter no guarantee.

    Attributes:
        similarity: least correlation of a neuron with a translate of its profile.
        structure: least share of the variance of a neuron's left, right and unembed that its circuit's form explains.
        negligible: the lightest neurons that together carry this share of the weight are set aside, unless they
            are like heavier ones.
        fewest: least number of neurons of a profile whose stabiliser is trivial, and which so says nothing of one.
    """

    similarity: Annotated[float, AtLeast(0), AtMost(1)] = 0.9
    structure: Annotated[float, AtLeast(0), AtMost(1)] = 0.8
    negligible: Annotated[float, AtLeast(0), AtMost(1)] = 0.005
    fewest: Count = 3

    def __post_init__(self) -> None:
        check(self, error=NetworkError)


@dataclass(frozen=True, kw_only=True, eq=False)
class Interpretation:
    """What was found in a network.

    Attributes:
        network: the network.
        irreps: the real irreducible representations of its group.
        weights: [m] each neuron's share of the weight, the product of its left, right and unembed norms.
        shares: [3, k, m] the shares of each neuron's left, right and unembed in each irrep.
        structure: [3, m] share of the variance of left, right and unembed that the neuron's circuit explains; 0 for
            neurons in no circuit.
        circuits: what was found, heaviest first; empty for an untrained network.
        negligible: [?] neurons in no circuit that together carry next to nothing.
        unexplained: [?] all other neurons in no circuit.
    """

    network: GroupNetwork
    irreps: Sequence[RealIrrep]
    weights: np.ndarray
    shares: np.ndarray
    structure: np.ndarray
    circuits: Sequence[Circuit]
    negligible: np.ndarray
    unexplained: np.ndarray

    @cached_property
    def rho_sets(self) -> list[RhoSet]:
        """The bi-equivariant idealisations of all circuits, heaviest first."""
        found = [each for circuit in self.circuits for each in rho_sets(circuit)]
        return sorted(found, key=lambda each: -self.weights[each.neurons].sum())

    @cached_property
    def ideal_logits(self) -> np.ndarray:
        """[n] the sum over the rho-sets as a function of x^-1 z y^-1: at the identity stands the right answer's."""
        return sum((each.logits() for each in self.rho_sets), np.zeros(self.network.group.order))

    @property
    def ideal_margin(self) -> float:
        """By how much the right answer's ideal logit exceeds every other; the same for all inputs."""
        others = np.delete(self.ideal_logits, self.network.group.identity)
        return float(self.ideal_logits[self.network.group.identity] - others.max(initial=-np.inf))

    @cached_property
    def coset_network(self) -> GroupNetwork:
        """The network with each neuron of a circuit made exactly of the circuit's form, and the others silenced."""
        return self._idealised(unembedding=True)

    @cached_property
    def hidden_network(self) -> GroupNetwork:
        """The same, but with the unembedding as trained: what the circuits say about the hidden layer alone."""
        return self._idealised(unembedding=False)

    def _idealised(self, *, unembedding: bool) -> GroupNetwork:
        left, right = (np.zeros(self.network.left.shape) for _ in range(2))
        unembed = self.network.unembed.astype(np.float64)
        for circuit in self.circuits:
            ideal = circuit.weights()
            left[:, circuit.neurons], right[:, circuit.neurons] = ideal[:2]
            if unembedding:
                unembed[circuit.neurons] = ideal[2]
        bias = self.network.bias.astype(np.float64)
        return GroupNetwork(group=self.network.group, left=left, right=right, unembed=unembed, bias=bias)


def interpret(
    network: GroupNetwork,
    settings: InterpretationSettings | None = None,
    *,
    irreps: Sequence[RealIrrep] | None = None,
) -> Interpretation:
    """Find the circuits of a network. Deterministic.

    Args:
        network: a folded network.
        settings: thresholds.
        irreps: the real irreps of its group, if they are at hand.

    Returns:
        The circuits, and the neurons that none of them explains.
    """
    settings = settings or InterpretationSettings()
    group = network.group
    irreps = list(irreps) if irreps is not None else real_irreps(group)
    tables = [np.asarray(t, dtype=np.float64) for t in (network.left, network.right, network.unembed.T)]
    norms = np.prod([np.linalg.norm(centred(table), axis=0) for table in tables], axis=0)
    weights = norms / max(norms.sum(), 1e-300)
    order = np.argsort(-weights, kind="stable")
    heavy = int((np.cumsum(weights[order][::-1])[::-1] > settings.negligible).sum())
    shares = np.array([irrep_shares(centred(table), irreps) for table in tables])
    structure = np.zeros((3, network.width))
    circuits: list[Circuit] = []
    left, right = tables[0][:, order], tables[1][:, order]
    profiles, found = find_profiles(group, left, right, heads=heavy, similarity=settings.similarity)
    profile_of = np.empty(network.width, dtype=np.int64)
    profile_of[order] = found
    for family in _families(group, profiles, profile_of, shares[0] * weights):
        circuit = _circuit(group, tables, profiles, profile_of, family, irreps, shares[0] * weights)
        explained = _structure(circuit, tables)
        kept = _kept(circuit, explained, settings)
        if kept.any():
            structure[:, circuit.neurons[kept]] = explained[:, kept]
            circuits.append(_only(circuit, kept))
    circuits.sort(key=lambda circuit: -weights[circuit.neurons].sum())
    inside = np.concatenate([np.zeros(0, dtype=np.int64), *(circuit.neurons for circuit in circuits)])
    return Interpretation(
        network=network,
        irreps=irreps,
        weights=weights,
        shares=shares,
        structure=structure,
        circuits=circuits,
        negligible=np.setdiff1d(order[heavy:], inside),
        unexplained=np.setdiff1d(order[:heavy], inside),
    )


def _families(
    group: Group, profiles: list[Profile], number: np.ndarray, shares: np.ndarray
) -> list[list[int]]:
    """Profiles of one irrep whose stabilisers are conjugate stand on the same G-sets: lists of their numbers."""
    carriers = [int(shares[:, number == k].sum(axis=1).argmax()) for k in range(len(profiles))]
    families: list[list[int]] = []
    for k, profile in enumerate(profiles):
        for family in families:
            head = profiles[family[0]]
            if (
                carriers[k] == carriers[family[0]]
                and profile.mirrored == head.mirrored
                and are_conjugate(group, profile.left_stabiliser, head.left_stabiliser)
                and are_conjugate(group, profile.right_stabiliser, head.right_stabiliser)
            ):
                family.append(k)
                break
        else:
            families.append([k])
    return families


def _circuit(
    group: Group,
    tables: list[np.ndarray],
    profiles: list[Profile],
    number: np.ndarray,
    family: list[int],
    irreps: Sequence[RealIrrep],
    shares: np.ndarray,
) -> Circuit:
    """Put the neurons of a family on pairs of points, and average their tables over what should not matter."""
    head = profiles[family[0]]
    left_set = coset_action(group, head.left_stabiliser)
    right_set = coset_action(group, head.right_stabiliser)
    neurons, left_points, right_points, labels = [], [], [], []
    for label, k in enumerate(family):
        members = np.flatnonzero(number == k)
        profile = rebase(group, profiles[k], head.left_stabiliser, head.right_stabiliser)
        on_left, on_right = correlations(group, tables[0][:, members], tables[1][:, members], profile)
        neurons.append(members)
        left_points.append(left_set.permutations[on_left.argmax(axis=1), 0])
        right_points.append(right_set.permutations[on_right.argmax(axis=1), 0])
        labels.append(np.full(len(members), label))
    chosen, b, c = (np.concatenate(part) for part in (neurons, left_points, right_points))
    left, right, unembed = (table[:, chosen].T for table in tables)
    orbits = orbitals(left_set, right_set)
    moved = right_set.permutations[:, c].T
    averaged = (
        _means(left, left_set.permutations[group.inverses][:, b].T, left_set.size),
        _means(right, moved, right_set.size),
        _means(unembed, orbits[b[:, None], moved], orbits.max() + 1),
    )
    profile_of = np.concatenate(labels)
    if group.order in (left_set.size, right_set.size):
        averaged = _shared(*averaged, profile_of)
    return Circuit(
        irrep=irreps[int(shares[:, chosen].sum(axis=1).argmax())].name,
        left_set=left_set,
        right_set=right_set,
        neurons=chosen,
        left_points=b,
        right_points=c,
        left_tables=averaged[0],
        right_tables=averaged[1],
        kernels=averaged[2],
        profiles=profile_of,
    )


def _shared(
    left_tables: np.ndarray, right_tables: np.ndarray, kernels: np.ndarray, profiles: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give the neurons of a profile one alpha, gamma and kappa, each times a number.

    Where a stabiliser is trivial a table of one's own says nothing: any function is constant on single elements.

    Returns:
        alpha [p], gamma [q] and kappa [orbits].
    """
    left, right, unembed = (np.empty_like(part) for part in (left_tables, right_tables, kernels))
    for number in range(profiles.max() + 1):
        members = np.flatnonzero(profiles == number)
        alpha, gamma, scales = shared_profile(left_tables[members], right_tables[members])
        left[members], right[members] = np.outer(scales, alpha), np.outer(scales, gamma)
        means = kernels[members].mean(axis=1, keepdims=True)
        kappa = np.linalg.svd(kernels[members] - means, full_matrices=False)[2][0]
        unembed[members] = means + np.outer((kernels[members] - means) @ kappa, kappa)
    return left, right, unembed


def _means(values: np.ndarray, cells: np.ndarray, count: int) -> np.ndarray:
    """[k, count] the mean of each row's values [k, n] within each of its cells [k, n]; no cell is empty."""
    rows = np.arange(len(values))[:, None] * count
    sums = np.bincount((rows + cells).ravel(), weights=values.ravel(), minlength=len(values) * count)
    sizes = np.bincount((rows + cells).ravel(), minlength=len(values) * count)
    return (sums / sizes).reshape(len(values), count)


def _structure(circuit: Circuit, tables: list[np.ndarray]) -> np.ndarray:
    """[3, k] share of the variance of each neuron's left, right and unembed that the circuit's form explains."""
    left, right, unembed = circuit.weights()
    shares = []
    for ideal, table in zip((left, right, unembed.T), tables, strict=True):
        values = centred(table[:, circuit.neurons])
        total = (values**2).sum(axis=0)
        rest = ((values - centred(ideal)) ** 2).sum(axis=0)
        shares.append(1 - rest / np.where(total > 0, total, 1))
    return np.array(shares)


def _kept(circuit: Circuit, explained: np.ndarray, settings: InterpretationSettings) -> np.ndarray:
    """[k] which neurons the circuit's form does explain."""
    kept = np.asarray((explained >= settings.structure).all(axis=0))
    if circuit.is_free:
        counts = np.bincount(circuit.profiles[kept], minlength=circuit.profiles.max() + 1)
        kept &= counts[circuit.profiles] >= settings.fewest
    return kept


def _only(circuit: Circuit, kept: np.ndarray) -> Circuit:
    """The circuit with some of its neurons."""
    return Circuit(
        irrep=circuit.irrep,
        left_set=circuit.left_set,
        right_set=circuit.right_set,
        neurons=circuit.neurons[kept],
        left_points=circuit.left_points[kept],
        right_points=circuit.right_points[kept],
        left_tables=circuit.left_tables[kept],
        right_tables=circuit.right_tables[kept],
        kernels=circuit.kernels[kept],
        profiles=np.unique(circuit.profiles[kept], return_inverse=True)[1],
    )
