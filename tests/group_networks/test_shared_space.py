"""Shared vectors, shared planes and uniform sums: planted, measured, and turned."""

import numpy as np
import pytest
from group_networks.planted_networks import joined, planted

from aitia.errors import NetworkError
from aitia.finite_groups import coset_action, named_group, real_irreps, subgroup_classes
from aitia.group_networks import NETWORK_SUFFIX, interpret, restricted, summarise, write_page
from aitia.group_networks.shared_space import (
    circuit_network,
    point_vectors,
    shared_dimension,
    shared_spectrum,
    turned,
    uniformity,
)

SUM_ZERO = np.array([[1.0, -1, 0, 0, 0], [0.5, 0.3, -2, 0.1, 1.1], [0.3, 0, 0.7, -1.2, 0.2]])


def network_of_tables(tables, *, scattered, seed=0):
    """S5 neurons on all pairs of the five points, whose alphas are combinations of some tables.

    Each pair has one neuron for each of 12 directions, or only one neuron with a direction of its own if scattered.
    """
    rho_set = planted("S5", 24, "4a")
    generator = np.random.default_rng(seed)
    base = rho_set.network()
    moved_left = rho_set.left_set.permutations[base.group.inverses]
    pairs = np.indices((5, 5)).reshape(2, -1)
    parts = []
    angles = np.pi * np.arange(12) / 12 + 0.1
    for k in range(1 if scattered else len(angles)):
        mixes = generator.standard_normal((25, len(tables))) if scattered else None
        for pair in range(25):
            mix = mixes[pair] if scattered else np.array([np.cos(angles[k]), np.sin(angles[k])])
            alpha = mix[: len(tables)] @ tables
            alpha = alpha / np.linalg.norm(alpha)
            b, c = pairs[:, pair]
            parts.append(
                (
                    alpha[moved_left[:, b]],
                    -alpha[rho_set.right_set.permutations[:, c]],
                    base.unembed[pair],
                )
            )
    left, right, unembed = (np.array(column) for column in zip(*parts, strict=True))
    return type(base)(group=base.group, left=left.T, right=right.T, unembed=unembed, bias=base.bias)


def test_one_shared_vector_is_of_dimension_one_and_uniform():
    (circuit,) = interpret(joined([planted("S5", 24, "4a").network()], noise=1e-3)).circuits
    assert shared_dimension(shared_spectrum(circuit)) == 1
    assert uniformity(circuit) > 0.999


def test_a_shared_plane_whose_pairs_add_up_to_one_table():
    """No two of a pair's neurons share a vector, and yet the sum is bi-equivariant: only the table counts."""
    network = network_of_tables(SUM_ZERO[:2], scattered=False)
    found = interpret(network)
    (circuit,) = found.circuits
    spectrum = shared_spectrum(circuit)
    assert shared_dimension(spectrum) == 2
    assert spectrum[:2].sum() > 1 - 1e-12
    assert spectrum[0] < 0.9
    assert abs(uniformity(circuit) - 1) < 1e-12
    summary = summarise(found)
    assert summary.explained_by_shared_spaces
    assert summary.accuracy == 1
    assert summary.circuits[0].shared_dimension == 2


@pytest.mark.parametrize("count", [2, 3])
def test_scattered_vectors_are_not_uniform(count):
    """The same plane or space, but each pair with a vector of its own: the sum is no function of x^-1 z y^-1."""
    network = network_of_tables(SUM_ZERO[:count], scattered=True)
    found = interpret(network)
    (circuit,) = found.circuits
    assert shared_dimension(shared_spectrum(circuit)) == count
    assert uniformity(circuit) < 0.9
    assert not summarise(found).explained_by_shared_spaces


def test_the_spectrum_is_that_of_the_vectors():
    """Against the eigenvalues of the mean outer product of unit vectors."""
    (circuit,) = interpret(network_of_tables(SUM_ZERO, scattered=True)).circuits
    rows = circuit.left_tables - circuit.left_tables.mean(axis=1, keepdims=True)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    weights = np.random.default_rng(0).random(len(rows))
    outer = np.einsum("k,ki,kj->ij", weights, rows, rows) / weights.sum()
    wanted = np.sort(np.linalg.eigvalsh(outer))[::-1]
    assert np.abs(shared_spectrum(circuit, weights) - wanted).max() < 1e-9


def test_a_circuit_alone_is_its_part_of_the_network():
    network = joined([planted("S4", 6, "3a").network(), planted("S4", 8, "2a").network()])
    found = interpret(network)
    x, y = np.indices((24, 24))
    total = sum(circuit_network(circuit).logits(x, y) for circuit in found.circuits)
    assert np.abs(total - found.coset_network.logits(x, y)).max() < 1e-9


def test_points_are_an_orbit_of_unit_vectors():
    group = named_group("S5")
    irrep = next(each for each in real_irreps(group) if each.name == "4a")
    members = next(m for m in subgroup_classes(group) if len(m) == 24)
    action = coset_action(group, members)
    vectors = point_vectors(action, irrep)
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-9
    for g in range(group.order):
        moved = vectors @ irrep.matrices[g].T
        assert np.abs(moved - vectors[action.permutations[g]]).max() < 1e-9
    gram = vectors @ vectors.T  # a simplex
    assert np.abs(gram - (1.25 * np.eye(5) - 0.25)).max() < 1e-9
    with pytest.raises(NetworkError, match="not a rho-set of 1b"):
        point_vectors(action, next(each for each in real_irreps(group) if each.name == "1b"))


def test_one_turn_for_all_keeps_a_rho_set_and_turns_of_their_own_do_not():
    network = joined([planted("S5", 24, "4a").network()], noise=1e-5)
    found = interpret(network)
    (circuit,) = found.circuits
    irrep = next(each for each in found.irreps if each.name == "4a")
    generator = np.random.default_rng(0)
    turns = np.linalg.qr(generator.standard_normal((len(circuit.neurons), 4, 4)))[0]
    same = turned(network, circuit, irrep, np.eye(4))
    assert np.abs(same.left - network.left).max() < 1e-9
    assert np.abs(same.right - network.right).max() < 1e-9
    common = turned(network, circuit, irrep, turns[0])
    assert np.abs(common.left - network.left).max() > 0.1
    assert common.accuracy == 1
    assert summarise(interpret(common)).bi_equivariance > 0.999
    apart = turned(network, circuit, irrep, turns)
    assert summarise(interpret(apart)).bi_equivariance < 0.7


def test_restricting_a_circuit_is_the_best_low_rank_fit_of_its_unit_tables():
    (circuit,) = interpret(network_of_tables(SUM_ZERO[:2], scattered=False)).circuits
    tables = np.concatenate([circuit.left_tables, circuit.right_tables], axis=1)
    sizes = np.linalg.norm(tables, axis=1)
    for dimension in (1, 2):
        found = restricted(circuit, dimension)
        made = np.concatenate([found.left_tables, found.right_tables], axis=1)
        assert np.linalg.matrix_rank(made, tol=1e-6) == dimension
        left, values, right = np.linalg.svd(tables / sizes[:, None], full_matrices=False)
        best = (left[:, :dimension] * values[:dimension]) @ right[:dimension]
        np.testing.assert_allclose(made, sizes[:, None] * best, atol=1e-9)


def test_the_page_of_a_network_is_written_whole(tmp_path):
    network = joined([planted("S3", 2, "2a").network()])
    assert network.save(tmp_path / f"a{NETWORK_SUFFIX}").name == "a.network.safetensors"
    text = write_page(interpret(network), tmp_path / "a.html", title="S3 <planted>").read_text(
        encoding="utf-8"
    )
    assert text.startswith("<!doctype html>")
    assert "S3 &lt;planted&gt;" in text
    assert "S3 <planted>" not in text
