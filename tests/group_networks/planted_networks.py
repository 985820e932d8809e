"""Networks whose circuits are known, for the tests of this room."""

import numpy as np

from aitia.finite_groups import coset_action, named_group, orbitals, real_irreps, subgroup_classes
from aitia.group_networks import GroupNetwork, RhoSet


def planted(name, order, irrep, seed=0):
    """A complete rho-set of an irrep, on the cosets of a subgroup of that order that leaves a vector in place."""
    group = named_group(name)
    rho = next(each for each in real_irreps(group) if each.name == irrep).matrices
    for members in subgroup_classes(group):
        fixed = rho[members].mean(axis=0)
        if len(members) == order and np.trace(fixed) > 0.5:
            break
    vector = np.linalg.eigh(fixed)[1][:, -1]
    action = coset_action(group, members)
    heads = [int(np.flatnonzero(action.permutations[:, 0] == p)[0]) for p in range(action.size)]
    orbit = np.array([rho[g] @ vector for g in heads])
    shared = np.random.default_rng(seed).standard_normal(rho.shape[1])
    orbits = orbitals(action, action)
    kappa = np.zeros(orbits.max() + 1)
    kappa[orbits] = -orbit @ orbit.T
    return RhoSet(
        irrep=irrep,
        left_set=action,
        right_set=action,
        alpha=orbit @ shared,
        gamma=-orbit @ shared,
        kappa=kappa,
        neurons=np.zeros(0, dtype=int),
        coefficients=np.ones((action.size, action.size)),
    )


def joined(parts, seed=0, noise=0.0):
    """Several networks as one, neurons shuffled and rescaled as relu allows, with noise."""
    generator = np.random.default_rng(seed)
    left, right = (
        np.concatenate([getattr(part, name) for part in parts], axis=1) for name in ("left", "right")
    )
    unembed = np.concatenate([part.unembed for part in parts])
    order = generator.permutation(left.shape[1])
    scales = np.exp(0.3 * generator.standard_normal(len(order)))
    arrays = {
        "left": (left * scales)[:, order],
        "right": (right * scales)[:, order],
        "unembed": (unembed / scales[:, None])[order],
        "bias": sum(part.bias for part in parts),
    }
    noisy = {key: value + noise * generator.standard_normal(value.shape) for key, value in arrays.items()}
    return GroupNetwork(group=parts[0].group, **noisy)


def random_neurons(group, count, size=1.0, seed=0):
    generator = np.random.default_rng(seed)
    n = group.order
    return GroupNetwork(
        group=group,
        left=size * generator.standard_normal((n, count)),
        right=size * generator.standard_normal((n, count)),
        unembed=size * generator.standard_normal((count, n)),
        bias=np.zeros(n),
    )
