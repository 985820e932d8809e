"""Interventions by their definitions, and what the idealised rho-set predicts of them."""

import numpy as np
import pytest
from group_networks.planted_networks import joined, planted

from aitia.group_networks import interpret
from aitia.group_networks.interventions import INTERVENTIONS, causal_checks


@pytest.fixture
def network():
    return joined([planted("S4", 6, "3a").network()], noise=1e-3)


def test_interventions_by_their_definitions(network):
    x, y = np.indices((24, 24))
    left, right, unembed = network.left, network.right, network.unembed
    wanted = {
        "swap": np.maximum(right[x] + left[y], 0) @ unembed,
        "negate_left": np.maximum(right[y] - left[x], 0) @ unembed,
        "negate_both": np.maximum(-left[x] - right[y], 0) @ unembed,
        "absolute_value": np.abs(left[x] + right[y]) @ unembed,
    }
    assert wanted.keys() == INTERVENTIONS.keys()
    for name, change in INTERVENTIONS.items():
        assert np.abs(change(network).logits(x, y) - wanted[name] - network.bias).max() < 1e-9


def test_a_rho_set_is_unmoved_by_turning_both_tables_round_and_destroyed_by_one(network):
    """Its linear part sums to zero, so that relu may be |.| / 2 and both signs give the same logits."""
    checks = {check.name: check for check in causal_checks(network, interpret(network).coset_network)}
    assert checks["negate_both"].accuracy == checks["negate_both"].predicted == 1
    assert checks["absolute_value"].accuracy == checks["absolute_value"].predicted == 1
    assert checks["negate_left"].accuracy < 0.1
    assert min(checks[name].agreement for name in ("negate_both", "absolute_value")) == 1
