"""Idealised circuits: bi-equivariance by brute force, for every type of representation and any pair of G-sets."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aitia.finite_groups import coset_action, named_group, orbitals, real_irreps, subgroup_classes
from aitia.group_networks import RhoSet
from aitia.group_networks.circuits import shared_profile

GROUPS = {name: named_group(name) for name in ("S3", "Z7", "Q8", "A4", "D5", "S4", "Dic3", "Z7:Z3")}
SUBGROUPS = {name: subgroup_classes(group) for name, group in GROUPS.items()}


def random_rho_set(name, left, right, seed):
    """Any alpha, gamma and kappa on the cosets of any two subgroups."""
    group, generator = GROUPS[name], np.random.default_rng(seed)
    classes = SUBGROUPS[name]
    left_set, right_set = (coset_action(group, classes[k % len(classes)]) for k in (left, right))
    count = orbitals(left_set, right_set).max() + 1
    return RhoSet(
        irrep="",
        left_set=left_set,
        right_set=right_set,
        alpha=generator.standard_normal(left_set.size),
        gamma=generator.standard_normal(right_set.size),
        kappa=generator.standard_normal(count),
        neurons=np.zeros(0, dtype=int),
        coefficients=np.ones((left_set.size, right_set.size)),
    )


def is_bi_equivariant(network, logits, tolerance=1e-10):
    """f(z | x, y) = logits(x^-1 z y^-1) for every x, y and z, by loops."""
    group = network.group
    for x, y in product(range(group.order), repeat=2):
        found = network.logits(np.array(x), np.array(y))
        for z in range(group.order):
            wrong = group.table[group.table[group.inverses[x], z], group.inverses[y]]
            if abs(found[z] - logits[wrong]) > tolerance:
                return False
    return True


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(GROUPS)), st.integers(0, 50), st.integers(0, 50), st.integers(0, 10**6))
def test_every_idealised_circuit_is_bi_equivariant(name, left, right, seed):
    rho_set = random_rho_set(name, left, right, seed)
    assert is_bi_equivariant(rho_set.network(), rho_set.logits())


def test_leaving_a_pair_out_breaks_it():
    rho_set = random_rho_set("S4", 9, 9, 0)
    network = rho_set.network()
    unembed = network.unembed.copy()
    unembed[0] = 0
    broken = type(network)(
        group=network.group, left=network.left, right=network.right, unembed=unembed, bias=network.bias
    )
    assert not is_bi_equivariant(broken, rho_set.logits(), tolerance=1e-3)


@pytest.mark.parametrize(
    "name, irrep, points",
    [("S4", "3a", 4), ("S4", "3b", 6), ("D5", "2a", 5), ("A4", "3a", 4), ("S3", "2a", 3)],
)
def test_a_rho_set_in_the_papers_sense_is_one_in_ours(name, irrep, points):
    """b rho(x) a, a rho(y) c, b rho(z) c for b in an orbit B, c in -B: built from matrices, and from G-sets."""
    group = GROUPS[name]
    rho = next(each for each in real_irreps(group) if each.name == irrep).matrices
    for members in SUBGROUPS[name]:
        fixed = rho[members].mean(axis=0)
        if group.order == points * len(members) and np.trace(fixed) > 0.5:
            break
    vector = np.linalg.eigh(fixed)[1][:, -1]
    action = coset_action(group, members)
    heads = [int(np.flatnonzero(action.permutations[:, 0] == p)[0]) for p in range(points)]
    orbit = np.array([rho[g] @ vector for g in heads])
    shared = np.random.default_rng(1).standard_normal(rho.shape[1])
    pairs = list(product(range(points), repeat=2))
    left = np.array([[orbit[b] @ rho[x] @ shared for b, _ in pairs] for x in range(group.order)])
    right = np.array([[-shared @ rho[y] @ orbit[c] for _, c in pairs] for y in range(group.order)])
    unembed = np.array([[-orbit[b] @ rho[z] @ orbit[c] for z in range(group.order)] for b, c in pairs])
    orbits = orbitals(action, action)
    kappa = np.zeros(orbits.max() + 1)
    kappa[orbits] = -orbit @ orbit.T
    found = RhoSet(
        irrep=irrep,
        left_set=action,
        right_set=action,
        alpha=orbit @ shared,
        gamma=-orbit @ shared,
        kappa=kappa,
        neurons=np.zeros(0, dtype=int),
        coefficients=np.ones((points, points)),
    )
    network = found.network()
    assert np.abs(network.left - left).max() < 1e-10
    assert np.abs(network.right - right).max() < 1e-10
    assert np.abs(network.unembed - unembed).max() < 1e-10
    assert is_bi_equivariant(network, found.logits())
    # A faithful irrep with an orbit that spans makes the right answer win: the closed form's consequence.
    kernel = [g for g in range(group.order) if np.abs(rho[g] - np.eye(rho.shape[1])).max() < 1e-9]
    best = found.logits()[group.identity]
    assert all(found.logits()[w] < best - 1e-9 for w in range(group.order) if w not in kernel)


def test_the_closed_form_of_the_logits():
    """phi(w) = -1/2 sum |a.(b - b')| b^T rho(w) b' for an orbit whose sum is zero."""
    group = GROUPS["S4"]
    rho = next(each for each in real_irreps(group) if each.name == "3a").matrices
    members = next(m for m in SUBGROUPS["S4"] if len(m) == 6 and np.trace(rho[m].mean(axis=0)) > 0.5)
    vector = np.linalg.eigh(rho[members].mean(axis=0))[1][:, -1]
    action = coset_action(group, members)
    orbit = np.array([rho[np.flatnonzero(action.permutations[:, 0] == p)[0]] @ vector for p in range(4)])
    shared = np.array([0.3, -1.2, 0.5])
    orbits = orbitals(action, action)
    kappa = np.zeros(orbits.max() + 1)
    kappa[orbits] = -orbit @ orbit.T
    found = RhoSet(
        irrep="3a",
        left_set=action,
        right_set=action,
        alpha=orbit @ shared,
        gamma=-orbit @ shared,
        kappa=kappa,
        neurons=np.zeros(0, dtype=int),
        coefficients=np.ones((4, 4)),
    )
    for w in range(24):
        wanted = -0.5 * sum(abs(shared @ (b - c)) * (b @ rho[w] @ c) for b in orbit for c in orbit)
        assert abs(found.logits()[w] - wanted) < 1e-10


def test_shared_profile_of_exact_multiples():
    generator = np.random.default_rng(0)
    alpha, gamma, scales = (
        generator.standard_normal(5),
        generator.standard_normal(4),
        np.array([0.5, 2.0, 1.0]),
    )
    found_alpha, found_gamma, found_scales = shared_profile(np.outer(scales, alpha), np.outer(scales, gamma))
    assert abs(np.linalg.norm(found_alpha) - 1) < 1e-12
    assert np.abs(np.outer(found_scales, found_alpha) - np.outer(scales, alpha)).max() < 1e-12
    assert np.abs(np.outer(found_scales, found_gamma) - np.outer(scales, gamma)).max() < 1e-12
