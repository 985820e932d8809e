"""The parity case: one true account of a network wired by hand, and six that give the same answers."""

import numpy as np
import pytest

from aitia.explanations.examples import parity_accounts, parity_network, parity_phenomenon
from aitia.explanations.examples.parity import FIRST_HALF, FOUR_BITS


@pytest.fixture(scope="module")
def phenomenon():
    return parity_phenomenon()


def test_the_network_computes_parity_in_two_halves(phenomenon):
    a, b, c, d = FOUR_BITS.T
    assert phenomenon.observed.tolist() == (a ^ b ^ c ^ d).tolist()
    network = parity_network()
    middle = network.trace(FOUR_BITS, ["middle"])["middle"]
    # By hand: a swap of the first half gives (a xor b) of the source, xor (c xor d) of the base.
    bases, sources = np.repeat(np.arange(16), 16), np.tile(np.arange(16), 16)
    swapped = middle[bases].copy()
    swapped[:, FIRST_HALF] = middle[sources][:, FIRST_HALF]
    answers = phenomenon.labels(network.intervene(FOUR_BITS[bases], {"middle": swapped})[0], 256)
    assert (answers == ((a ^ b)[sources] ^ (c ^ d)[bases])).all()


def test_every_account_gives_the_right_answers(phenomenon):
    for name, account in parity_accounts(phenomenon).items():
        answers = account.predict(FOUR_BITS).marginals.argmax(axis=1)
        assert (answers == phenomenon.observed).all(), name
