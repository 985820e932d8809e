"""Small networks and certificates for the tests of this room."""

from dataclasses import replace

import numpy as np
from group_networks.planted_networks import joined, planted, random_neurons

from aitia.finite_groups import named_group
from aitia.group_networks import GroupNetwork
from aitia.proofs import AccuracyCertificate, weights_of


def planted_network(noise=0.03, seed=0, name="S4", order=6, irrep="3a"):
    """A complete rho-set and the sign, shuffled, rescaled and with noise: right on most inputs."""
    parts = [planted(name, order, irrep, seed=seed).network()]
    size = np.abs(parts[0].logits(np.zeros(1, int), np.zeros(1, int))).max()
    parts[0] = replace(parts[0], unembed=parts[0].unembed * 10 / size)
    return joined([*parts, random_neurons(parts[0].group, 4, size=0.05, seed=seed)], seed=seed, noise=noise)


def random_network(name="S3", width=5, seed=0, size=1.0, dtype=np.float64):
    """Random weights, that are right on few inputs."""
    found = random_neurons(named_group(name), width, size=size, seed=seed)
    arrays = {key: getattr(found, key).astype(dtype) for key in ("left", "right", "unembed", "bias")}
    return GroupNetwork(group=found.group, **arrays)


def certificate_for(network, verifier="brute-force", explanation=None, certified=0, cost=2**52):
    """A certificate that claims nothing in particular."""
    weights = weights_of(network)
    return AccuracyCertificate(
        network=weights.sha256,
        group=network.group.name,
        order=weights.order,
        width=weights.width,
        verifier=verifier,
        certified=certified,
        cost=cost,
        explanation=explanation or {},
    )
