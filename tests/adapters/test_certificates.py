"""Certificates as explanations: judged by what they prove, refused where they prove nothing."""

from dataclasses import replace

import pytest

import aitia
from aitia.adapters import certified_explanation, explain_group_network
from aitia.errors import CertificateError, ProofError
from aitia.explanations.core.settings import Settings
from aitia.explanations.metrics.proofs import measure_proofs
from aitia.explanations.metrics.study import Evaluation
from aitia.proofs import brute_force_cost, prove_accuracy, weights_of
from proofs.proof_networks import planted_network


def results(explanation):
    return {
        each.name: each for each in measure_proofs(Evaluation(explanation=explanation, settings=Settings()))
    }


def test_a_certificate_is_judged_by_bound_and_cost():
    network = planted_network()
    certificate = prove_accuracy(network, verifier="cascade")
    found = results(certified_explanation(network, certificate))
    weights = weights_of(network)
    assert found["tightness"].value == pytest.approx(certificate.bound / network.accuracy)
    ratio = certificate.cost / brute_force_cost(weights.order, weights.width)
    assert found["cost-ratio"].value == pytest.approx(ratio)
    assert found["gain"].value == pytest.approx(certificate.bound - min(ratio, network.accuracy))


def test_an_explanation_may_bring_a_certificate():
    network = planted_network(noise=0.0)
    explanation = certified_explanation(
        network, prove_accuracy(network, verifier="cascade"), explain_group_network(network)
    )
    assert explanation.name == explain_group_network(network).name
    assert results(explanation)["tightness"].value == pytest.approx(1.0)


def test_the_whole_card_is_written():
    network = planted_network()
    explanation = certified_explanation(network, prove_accuracy(network, verifier="cascade"))
    card = aitia.evaluate(explanation).as_json()
    assert "tightness" in str(card)


def test_a_certificate_that_does_not_hold_is_refused():
    network = planted_network()
    certificate = prove_accuracy(network, verifier="cascade")
    with pytest.raises(ProofError, match="only"):
        certified_explanation(network, replace(certificate, certified=certificate.certified + 1))
    explanation = certified_explanation(network, certificate)
    with pytest.raises(CertificateError, match="from 0 to 1"):
        replace(explanation.certificate, bound=1.0 + 1e-6)
