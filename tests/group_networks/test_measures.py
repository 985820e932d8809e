"""Measures against their definitions, by loops and least squares."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from aitia.finite_groups import left_cosets, named_group, real_irreps, right_cosets, subgroup_classes
from aitia.group_networks import GroupNetwork
from aitia.group_networks.measures import (
    coset_share,
    deviation,
    equivariance,
    every_logit,
    explained_share,
    irrep_shares,
    left_correlations,
    norm_ratios,
    rank_one_share,
    right_correlations,
    spread,
)


def random_network(name="S3", width=7, seed=0):
    group, generator = named_group(name), np.random.default_rng(seed)
    n = group.order
    return GroupNetwork(
        group=group,
        left=generator.standard_normal((n, width)),
        right=generator.standard_normal((n, width)),
        unembed=generator.standard_normal((width, n)),
        bias=generator.standard_normal(n),
    )


@pytest.mark.parametrize("name", ["S4", "Q8", "Z7", "A4"])
def test_irrep_shares_are_those_of_the_least_squares_fit_to_matrix_entries(name):
    group = named_group(name)
    functions = np.random.default_rng(0).standard_normal((group.order, 3))
    irreps = real_irreps(group)
    shares = irrep_shares(functions, irreps)
    for k, irrep in enumerate(irreps):
        entries = irrep.matrices.reshape(group.order, -1)
        fit = entries @ np.linalg.lstsq(entries, functions, rcond=None)[0]
        assert np.allclose(shares[k], (fit**2).sum(axis=0) / (functions**2).sum(axis=0))
    assert np.allclose(shares.sum(axis=0), 1)
    assert (irrep_shares(np.zeros((group.order, 1)), irreps) == 0).all()


def test_coset_share_is_the_between_part_of_the_variance():
    group = named_group("S4")
    functions = np.random.default_rng(0).standard_normal((24, 2))
    for members in subgroup_classes(group):
        cosets = right_cosets(group, members)
        for i in range(2):
            means = np.array([functions[cosets == cosets[x], i].mean() for x in range(24)])
            wanted = means.var() / functions[:, i].var()
            assert abs(coset_share(functions, cosets)[i] - wanted) < 1e-12
    assert coset_share(np.ones((24, 1)), left_cosets(group, members))[0] == 1


def test_correlations_with_translates_by_loops():
    group, generator = named_group("S3"), np.random.default_rng(0)
    functions, reference = generator.standard_normal((6, 2)), generator.standard_normal(6)
    on_left, on_right = (
        measure(group, functions, reference) for measure in (left_correlations, right_correlations)
    )
    for i, g in product(range(2), range(6)):
        left = np.array([reference[group.table[group.inverses[g], x]] for x in range(6)])
        right = np.array([reference[group.table[x, g]] for x in range(6)])
        assert abs(on_left[i, g] - np.corrcoef(functions[:, i], left)[0, 1]) < 1e-12
        assert abs(on_right[i, g] - np.corrcoef(functions[:, i], right)[0, 1]) < 1e-12


@pytest.mark.parametrize("name, irrep", [("S4", "3a"), ("Z7", "2a"), ("Q8", "4a")])
def test_matrix_elements_are_of_rank_one_and_sums_are_not(name, irrep):
    rho = next(each for each in real_irreps(named_group(name)) if each.name == irrep)
    generator = np.random.default_rng(0)
    d = rho.dimension
    one, other = (
        np.einsum("i,xij,j->x", generator.standard_normal(d), rho.matrices, generator.standard_normal(d))
        for _ in range(2)
    )
    assert abs(rank_one_share(one, rho) - 1) < 1e-9
    if rho.multiplicity > 1:  # otherwise every function in the irrep is one term
        assert rank_one_share(one + other, rho) < 0.99


def test_equivariance_by_loops():
    network = random_network()
    group, n = network.group, 6
    logits = every_logit(network)
    values = logits - logits.mean(axis=(0, 1))
    total = (values**2).sum()
    moves = {
        "left": lambda g, _h, x, y, z: (group.table[g, x], y, group.table[g, z]),
        "right": lambda _g, h, x, y, z: (x, group.table[y, h], group.table[z, h]),
        "both": lambda g, h, x, y, z: (
            group.table[g, x],
            group.table[y, h],
            group.table[group.table[g, z], h],
        ),
    }
    found = equivariance(network)
    for name, move in moves.items():
        kept = 0.0
        for x, y, z in product(range(n), repeat=3):
            kept += np.mean([values[move(g, h, x, y, z)] for g, h in product(range(n), repeat=2)]) ** 2
        assert abs(getattr(found, name) - kept / total) < 1e-9
    answers = [
        network.logits(np.array(x), np.array(y))[group.table[x, y]] for x, y in product(range(n), repeat=2)
    ]
    assert abs(deviation(network) - np.std(answers) / abs(np.mean(answers))) < 1e-9


def test_a_network_of_the_answer_alone_is_not_called_equivariant():
    network = random_network()
    silent = GroupNetwork(
        group=network.group,
        left=np.zeros((6, 1)),
        right=np.zeros((6, 1)),
        unembed=np.zeros((1, 6)),
        bias=network.bias,
    )
    assert equivariance(silent).both == 0
    assert deviation(silent) > 0


def test_explained_share_ignores_what_changes_no_answer():
    network = random_network()
    logits = every_logit(network)
    generator = np.random.default_rng(0)
    assert abs(explained_share(logits, logits + generator.standard_normal((6, 6, 1))) - 1) < 1e-12
    assert abs(explained_share(logits, np.zeros_like(logits))) < 1e-12
    assert abs(explained_share(logits, 0.5 * logits) - 0.75) < 1e-12
    phi = generator.standard_normal(6)
    for x, y, z in product(range(6), repeat=3):
        table, inverses = network.group.table, network.group.inverses
        assert spread(network.group, phi)[x, y, z] == phi[table[table[inverses[x], z], inverses[y]]]


def test_norm_ratios_by_loops():
    network = random_network()
    found = norm_ratios(network)
    for i in range(network.width):
        left, right, unembed = (
            np.std(table) for table in (network.left[:, i], network.right[:, i], network.unembed[i])
        )
        assert abs(found[0, i] - left / right) < 1e-12
        assert abs(found[1, i] - 2 * unembed / (left + right)) < 1e-12
    silent = replace(network, right=np.zeros_like(network.right))
    assert (norm_ratios(silent)[0] == 0).all()
