"""Circuits: neurons that stand on pairs of points of two finite G-sets.

A neuron on the pair (b, c) of a circuit with G-sets B and C reads

    left(x) = alpha(x^-1 b),    right(y) = gamma(y c),    unembed(z) = kappa(b, z c),

with kappa constant on the orbits of B x C. Substituting b = x b', c = y^-1 c' shows that a sum over all pairs
with one alpha, gamma and kappa is a function of x^-1 z y^-1 alone: it is bi-equivariant, whatever the type of
any representation, and no floating-point tolerance enters. (Wu et al. 2025 have alpha(b) = a.b and
kappa(b, c) = b.c for a rho-set B in R^d; the form with G-sets is ours.)

With an alpha of its own for each neuron the sum need not be equivariant, and still be right: if gamma = -alpha,
relu(alpha(x^-1 b) - alpha(y c)) vanishes wherever x^-1 b = y c, that is where the right answer takes c to b, and
is never negative; so every neuron speaks against wrong answers only. (This reading is ours.)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from aitia.finite_groups import Group, GSet, orbitals
from aitia.group_networks.network import GroupNetwork


@dataclass(frozen=True, kw_only=True, eq=False)
class Circuit:
    """k neurons on pairs of points of two G-sets, with what each would be if it were exactly of the circuit's form.

    Attributes:
        irrep: name of the irrep that carries most of it.
        left_set: B, transitive, p points.
        right_set: C, transitive, q points.
        neurons: [k] numbers of the neurons.
        left_points: [k] the point b of each.
        right_points: [k] the point c of each.
        left_tables: [k, p] each neuron's alpha.
        right_tables: [k, q] each neuron's gamma.
        kernels: [k, o] each neuron's kappa on the orbits of B x C.
        profiles: [k] which neurons share alpha and gamma up to a positive factor: numbers from 0.
    """

    irrep: str
    left_set: GSet
    right_set: GSet
    neurons: np.ndarray
    left_points: np.ndarray
    right_points: np.ndarray
    left_tables: np.ndarray
    right_tables: np.ndarray
    kernels: np.ndarray
    profiles: np.ndarray

    @property
    def group(self) -> Group:
        """The group that acts."""
        return self.left_set.group

    @cached_property
    def orbitals(self) -> np.ndarray:
        """[p, q] the number of each pair's orbit."""
        return orbitals(self.left_set, self.right_set)

    @property
    def pairs(self) -> int:
        """The number of pairs of points, pq."""
        return self.left_set.size * self.right_set.size

    @property
    def is_free(self) -> bool:
        """Whether a stabiliser is trivial, so that only a shared profile says anything about a neuron."""
        return self.group.order in (self.left_set.size, self.right_set.size)

    @property
    def numbers(self) -> int:
        """How many numbers describe the neurons: points, and tables of their own or factors of shared ones."""
        table = self.left_tables.shape[1] + self.right_tables.shape[1] + self.kernels.shape[1]
        if self.is_free:
            return int(self.profiles.max() + 1) * table + 5 * len(self.neurons)
        return len(self.neurons) * (table + 2)

    def weights(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Idealised left [n, k], right [n, k] and unembed [k, n] of the circuit's own neurons."""
        inverses = self.group.inverses
        left = self.left_tables[
            np.arange(len(self.neurons)), self.left_set.permutations[inverses][:, self.left_points]
        ]
        right = self.right_tables[
            np.arange(len(self.neurons)), self.right_set.permutations[:, self.right_points]
        ]
        moved = self.right_set.permutations[:, self.right_points].T
        unembed = np.take_along_axis(self.kernels, self.orbitals[self.left_points[:, None], moved], axis=1)
        return left, right, unembed


@dataclass(frozen=True, kw_only=True, eq=False)
class RhoSet:
    """One alpha, gamma and kappa for all pairs: the bi-equivariant idealisation of neurons with a common profile.

    Attributes:
        irrep: name of the irrep that carries most of it.
        left_set: B, p points.
        right_set: C, q points.
        alpha: [p] unit length.
        gamma: [q].
        kappa: [o] the mean over all pairs, missing ones counted as zero: the projection onto what is bi-equivariant.
        neurons: [k] the neurons it idealises.
        coefficients: [p, q] how much of kappa each pair carries; 1 on average.
    """

    irrep: str
    left_set: GSet
    right_set: GSet
    alpha: np.ndarray
    gamma: np.ndarray
    kappa: np.ndarray
    neurons: np.ndarray
    coefficients: np.ndarray

    @property
    def group(self) -> Group:
        """The group that acts."""
        return self.left_set.group

    @property
    def filled(self) -> float:
        """Share of the pairs that carry at least a fifth of the mean coefficient."""
        return float((self.coefficients > 0.2).mean())

    @property
    def variation(self) -> float:
        """Coefficient of variation of the coefficients over all pairs; 0 if they are uniform."""
        return float(self.coefficients.std())

    def network(self) -> GroupNetwork:
        """All pairs as a network of pq neurons, without bias."""
        pairs = np.indices((self.left_set.size, self.right_set.size)).reshape(2, -1)
        left_points, right_points = pairs
        moved = self.right_set.permutations[:, right_points]
        values = self.kappa[orbitals(self.left_set, self.right_set)]
        return GroupNetwork(
            group=self.group,
            left=self.alpha[self.left_set.permutations[self.group.inverses][:, left_points]],
            right=self.gamma[moved],
            unembed=values[left_points[:, None], moved.T],
            bias=np.zeros(self.group.order),
        )

    def logits(self) -> np.ndarray:
        """[n] the logit as a function of w = x^-1 z y^-1, in pqn steps: at (e, e) it is that of answer w."""
        active = np.maximum(self.alpha[:, None] + self.gamma, 0)
        values = self.kappa[orbitals(self.left_set, self.right_set)]
        return np.array([np.vdot(active, values[:, moved]) for moved in self.right_set.permutations])


def rho_sets(circuit: Circuit) -> list[RhoSet]:
    """The idealisation of each profile of a circuit, heaviest first."""
    found = []
    for number in range(circuit.profiles.max() + 1):
        members = np.flatnonzero(circuit.profiles == number)
        alpha, gamma, scales = shared_profile(circuit.left_tables[members], circuit.right_tables[members])
        kernels = scales[:, None] * circuit.kernels[members]
        kappa = kernels.sum(axis=0) / circuit.pairs
        sizes = np.bincount(circuit.orbitals.ravel())
        shape = kappa - (sizes * kappa).sum() / sizes.sum()
        coefficients = np.zeros((circuit.left_set.size, circuit.right_set.size))
        share = kernels @ (sizes * shape) / max((sizes * shape**2).sum(), 1e-300)
        np.add.at(coefficients, (circuit.left_points[members], circuit.right_points[members]), share)
        found.append(
            RhoSet(
                irrep=circuit.irrep,
                left_set=circuit.left_set,
                right_set=circuit.right_set,
                alpha=alpha,
                gamma=gamma,
                kappa=kappa,
                neurons=circuit.neurons[members],
                coefficients=coefficients,
            )
        )
    return found


def shared_profile(
    left_tables: np.ndarray, right_tables: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The one (alpha, gamma) whose multiples are nearest to the tables of k neurons, and the factors.

    Returns:
        alpha [p] of unit length, gamma [q], scales [k] positive for neurons that share it.
    """
    joined = np.concatenate([left_tables, right_tables], axis=1)
    vector = np.linalg.svd(joined, full_matrices=False)[2][0]
    if (joined @ vector).sum() < 0:
        vector = -vector
    alpha, gamma = np.split(vector, [left_tables.shape[1]])
    size = max(float(np.linalg.norm(alpha)), 1e-300)
    scales = joined @ vector
    return alpha / size, gamma / size, scales * size
