"""The checker against brute force in exact fractions, and against what is no certificate for a network."""

import json
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from aitia.errors import ProofError
from aitia.finite_groups import named_group
from aitia.group_networks import GroupNetwork
from aitia.proofs import (
    VERIFIERS,
    brute_force_cost,
    check_certificate,
    load_certificate,
    parse_certificate,
    prove_accuracy,
    verify,
    weights_of,
)
from proofs.proof_networks import certificate_for, planted_network, random_network


def right_in_fractions(network):
    """[n, n] whether the right logit is strictly the largest, in rational numbers, one input at a time."""
    n = network.group.order
    left, right, unembed = (
        [[Fraction(float(v)) for v in row] for row in getattr(network, key)]
        for key in ("left", "right", "unembed")
    )
    bias = [Fraction(float(v)) for v in network.bias]
    found = np.zeros((n, n), dtype=bool)
    for x in range(n):
        for y in range(n):
            hidden = [max(a + b, 0) for a, b in zip(left[x], right[y], strict=True)]
            logits = [sum(h * u[z] for h, u in zip(hidden, unembed, strict=True)) + bias[z] for z in range(n)]
            answer = network.group.table[x, y]
            found[x, y] = all(logits[answer] > logits[z] for z in range(n) if z != answer)
    return found


@pytest.mark.parametrize("seed", range(4))
def test_brute_force_is_right_in_fractions(seed):
    network = random_network(seed=seed, dtype=(np.float32, np.float64)[seed % 2])
    found = verify(weights_of(network), certificate_for(network))
    assert (found.certified == right_in_fractions(network)).all()


def test_ties_count_as_wrong_and_the_last_bit_decides():
    group = named_group("Z2")
    one = np.ones((2, 1))
    tie = GroupNetwork(group=group, left=one, right=one, unembed=np.full((1, 2), 0.1), bias=np.zeros(2))
    assert verify(weights_of(tie), certificate_for(tie)).count == 0
    ahead = replace(tie, unembed=np.array([[np.nextafter(0.1, 1), 0.1]]))
    assert (
        verify(weights_of(ahead), certificate_for(ahead)).certified == [[True, False], [False, True]]
    ).all()
    # 0.1 + 0.2 exceeds 0.3 in float64 by rounding alone; the exact values decide.
    rounded = GroupNetwork(
        group=group,
        left=np.array([[0.1], [0.1]]),
        right=np.array([[0.2], [0.2]]),
        unembed=np.array([[1.0, 0.0]]),
        bias=np.array([0.0, 0.1 + 0.2]),
    )
    expected = Fraction(0.1) + Fraction(0.2) > Fraction(0.1 + 0.2)
    assert verify(weights_of(rounded), certificate_for(rounded)).certified[0, 0] == expected


@pytest.mark.parametrize("noise", [0.0, 0.03, 0.1])
@pytest.mark.parametrize("verifier", VERIFIERS)
def test_every_certified_input_is_right(verifier, noise):
    network = planted_network(noise)
    certificate = prove_accuracy(network, verifier=verifier)
    found = verify(weights_of(network), certificate)
    assert not (found.certified & (network.margins <= 0)).any()
    assert found.count == certificate.certified
    assert found.bound == certificate.bound


def test_verifiers_that_decide_every_input_reach_the_accuracy():
    network = planted_network(0.05)
    for verifier in ("brute-force", "cascade"):
        assert prove_accuracy(network, verifier=verifier).bound == pytest.approx(network.accuracy, abs=1e-12)


def test_a_certificate_survives_its_file(tmp_path):
    network = planted_network()
    certificate = prove_accuracy(network, verifier="cascade")
    path = certificate.save(tmp_path / "c.certificate.json")
    assert load_certificate(path).plain() == certificate.plain()
    network.save(tmp_path / "n.network.safetensors")
    found = check_certificate(tmp_path / "n.network.safetensors", path)
    assert found
    assert found.verdict.count == certificate.certified


def test_false_claims_do_not_hold():
    network = planted_network()
    certificate = prove_accuracy(network, verifier="cascade")
    assert check_certificate(network, certificate)
    assert (
        "only" in check_certificate(network, replace(certificate, certified=certificate.certified + 1)).reason
    )
    assert "cost" in check_certificate(network, replace(certificate, cost=certificate.cost - 1)).reason
    assert "verifier" in check_certificate(network, replace(certificate, verifier="trust-me")).reason
    other = replace(network, bias=network.bias + 1e-9)
    assert "another network" in check_certificate(other, certificate).reason


def test_brute_force_costs_what_its_formula_says():
    network = random_network(width=3)
    cost = verify(weights_of(network), certificate_for(network)).cost
    n, m = 6, 3
    # Hidden layer: m additions, m maxima. Logits: m products, m - 1 sums, 1 bias each. n - 1 comparisons, 1 look-up.
    assert cost.steps["logits"] == n * n * (2 * m + n * (m + m - 1 + 1) + (n - 1) + 1)
    assert cost.steps["logits"] == brute_force_cost(n, m)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"claim": None}, "claim"),
        ({"claim": {"certified": 1, "inputs": 5, "cost": 1}}, "inputs"),
        ({"claim": {"certified": 37, "inputs": 36, "cost": 1}}, "37"),
        ({"claim": {"certified": -1, "inputs": 36, "cost": 1}}, "certified"),
        ({"claim": {"certified": True, "inputs": 36, "cost": 1}}, "certified"),
        ({"format": "aitia-certificate-v2"}, "format"),
        ({"explanation": []}, "explanation"),
        ({"verifier": 3}, "verifier"),
    ],
)
def test_what_is_no_certificate_is_named(change, message):
    plain = certificate_for(random_network()).plain() | change
    with pytest.raises(ProofError, match=message):
        parse_certificate(json.dumps(plain))


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON|nested"),
        ('{"format": NaN}', "NaN"),
        ('{"format": 1.5}', "1.5"),
        ('{"format": 1e999}', "1e999"),
        ('{"format": 9007199254740993}', "2\\^53"),
        ('{"format": ' + "9" * 5_000 + "}", "2\\^53"),
        ('{"format": 1, "format": 2}', "twice"),
        ("[]", "format"),
    ],
)
def test_texts_that_are_refused(text, message):
    with pytest.raises(ProofError, match=message):
        parse_certificate(text)


def test_the_checker_stays_apart_from_what_it_checks(tmp_path):
    """Checking a file imports neither torch nor anything that looks for explanations."""
    network = planted_network()
    network.save(tmp_path / "n.network.safetensors")
    prove_accuracy(network, verifier="cascade").save(tmp_path / "c.certificate.json")
    code = (
        "import sys; from pathlib import Path; from aitia.proofs.checker import check_certificate; "
        f"folder = Path({str(tmp_path)!r}); "
        "assert check_certificate(folder / 'n.network.safetensors', folder / 'c.certificate.json'); "
        "rooms = ('torch', 'scipy', 'aitia.group_networks', 'aitia.explanations', 'aitia.proofs.finding'); "
        "bad = [name for name in sys.modules if name.startswith(rooms)]; "
        "assert not bad, bad"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
