"""What the neurons of a circuit read in common: the space that their shared vectors span.

In a rho-set every neuron has alpha(b) = a.b with one vector a (Wu et al. 2025). Where the vectors differ, they may
still lie in one small space, a plane above all; and the neurons on every pair of points may still add up to one table

    D(p, q) = sum_i size_i relu(a_i.p - a_i.q),

which is all that bi-equivariance asks for: sum over (b, c) of D(x^-1 b, y c) kappa(b, z c) depends on x^-1 z y^-1
alone for any table D. The single vectors need not agree. (This hypothesis is ours.)
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from aitia.errors import NetworkError
from aitia.finite_groups import GSet, RealIrrep
from aitia.group_networks.circuits import Circuit
from aitia.group_networks.measures import centred, equivariance
from aitia.group_networks.network import GroupNetwork

HELD = 0.99
"""Share of the squared length of the alphas that a shared space must hold."""


def shared_spectrum(circuit: Circuit, weights: np.ndarray | None = None) -> np.ndarray:
    """[r] shares of the squared singular values of the alphas, centred and of unit length, largest first.

    (1, 0, ...) is one shared vector, up to sign and size; (s, 1 - s, 0, ...) is a shared plane.

    Args:
        circuit: the circuit.
        weights: [k] how much each neuron counts; all the same if not given.

    Returns:
        [r], adding up to 1.
    """
    tables = centred(circuit.left_tables.T)
    norms = np.linalg.norm(tables, axis=0)
    tables = tables / np.where(norms > 0, norms, 1)
    squares = np.linalg.svd(tables * np.sqrt(1 if weights is None else weights), compute_uv=False) ** 2
    return squares / max(squares.sum(), 1e-300)


def shared_dimension(spectrum: np.ndarray) -> int:
    """How many vectors the shared space needs, to hold `HELD` of the spectrum: 1 for a rho-set, 2 for a plane."""
    return int((np.cumsum(spectrum) < HELD).sum()) + 1


def restricted(circuit: Circuit, dimension: int, weights: np.ndarray | None = None) -> Circuit:
    """The circuit with every alpha, and the gamma that goes with it, put into the best shared space of that dimension.

    With dimension 1 this is the hypothesis by one shared vector, with 2 that by a shared plane.

    Args:
        circuit: the circuit.
        dimension: how many shared vectors.
        weights: [k] how much each neuron counts; all the same if not given.

    Returns:
        The circuit with new tables; its points and coefficients stay.
    """
    joined = np.concatenate([circuit.left_tables, circuit.right_tables], axis=1)
    sizes = np.linalg.norm(joined, axis=1, keepdims=True)
    units = joined / np.where(sizes > 0, sizes, 1)
    scales = np.sqrt(np.ones(len(joined)) if weights is None else weights)[:, None]
    axes = np.linalg.svd(units * scales, full_matrices=False)[2][:dimension]
    left, right = np.split(joined @ axes.T @ axes, [circuit.left_tables.shape[1]], axis=1)
    return replace(circuit, left_tables=left, right_tables=right)


def plane_symmetry(circuit: Circuit, weights: np.ndarray | None = None) -> int:
    """How many group elements leave the shared plane where it is, to within 5 % of its two dimensions."""
    tables = centred(circuit.left_tables.T)
    scales = np.sqrt(np.ones(tables.shape[1]) if weights is None else weights)
    units = tables / np.maximum(np.linalg.norm(tables, axis=0), 1e-300)
    axes = np.linalg.svd(units * scales, full_matrices=False)[0][:, :2]
    moved = axes[circuit.left_set.permutations]  # [n, p, 2]
    overlaps = np.einsum("pi,gpj->gij", axes, moved)
    return int(((overlaps**2).sum(axis=(1, 2)) / 2 > 0.95).sum())


def circuit_network(circuit: Circuit) -> GroupNetwork:
    """The circuit alone: its neurons exactly of its form, without bias."""
    left, right, unembed = circuit.weights()
    return GroupNetwork(
        group=circuit.group, left=left, right=right, unembed=unembed, bias=np.zeros(circuit.group.order)
    )


def uniformity(circuit: Circuit) -> float:
    """The share of what the circuit adds to the logits that depends on x^-1 z y^-1 alone.

    It is 1 where the neurons of every pair of points add up to one and the same table D.

    Returns:
        The share, from 0 to 1.
    """
    return equivariance(circuit_network(circuit)).both


def point_vectors(action: GSet, irrep: RealIrrep) -> np.ndarray:
    """[p, d] the points of a transitive G-set as vectors of an irrep, of unit length: p -> rho(g) v for p = g 0.

    Returns:
        [p, d] float64.

    Raises:
        NetworkError: the stabiliser leaves no vector of the irrep in place, or more than one.
    """
    fixed = irrep.matrices[action.stabiliser(0)].mean(axis=0)
    if abs(np.trace(fixed) - 1) > 1e-6:
        raise NetworkError(f"the {action.size} points are not a rho-set of {irrep.name} in one way alone")
    vector = np.linalg.eigh((fixed + fixed.T) / 2)[1][:, -1]
    heads = np.argmax(action.permutations[:, :1] == np.arange(action.size), axis=0)
    return irrep.matrices[heads] @ vector


def turned(network: GroupNetwork, circuit: Circuit, irrep: RealIrrep, turns: np.ndarray) -> GroupNetwork:
    """The network with the vectors of one circuit's neurons turned: a.b becomes (Qa).b, on the right as on the left.

    Points, coefficients, unembedding and all other neurons stay as trained. If the logits depend on the vectors only
    through tables D that are the same for every pair, one turn for all neurons changes no answer; turns of their own
    make the tables differ.

    Args:
        network: the network that the circuit was found in.
        circuit: one of its circuits, on two equal G-sets.
        irrep: the circuit's irrep.
        turns: [d, d] orthogonal, for all neurons; or [k, d, d], one each.

    Returns:
        The turned network.

    Raises:
        NetworkError: the points are no vectors of the irrep.
    """
    left, right = network.left.astype(np.float64), network.right.astype(np.float64)
    before = circuit.weights()
    rows = np.arange(len(circuit.neurons))
    sides = (
        (left, before[0], circuit.left_set, circuit.left_tables, circuit.left_points),
        (right, before[1], circuit.right_set, circuit.right_tables, circuit.right_points),
    )
    for values, ideal, action, tables, points in sides:
        vectors = point_vectors(action, irrep)
        own = np.linalg.lstsq(vectors, tables.T, rcond=None)[0].T
        after = tables + ((turns @ own[:, :, None])[:, :, 0] - own) @ vectors.T
        moved = action.permutations[circuit.group.inverses] if values is left else action.permutations
        values[:, circuit.neurons] += after[rows, moved[:, points]] - ideal
    return GroupNetwork(
        group=network.group, left=left, right=right, unembed=network.unembed, bias=network.bias
    )
