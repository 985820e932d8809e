"""The checker attacked, in short; `make attack` is the long form. Nothing false, and no error but aitia's own."""

import json
import random
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aitia.cli import main
from aitia.errors import AitiaError, GroupError, NetworkError, ProofError, UnreadableError
from aitia.finite_groups import check_table, named_group
from aitia.group_networks import GroupNetwork
from aitia.proofs import (
    VERIFIERS,
    AccuracyCertificate,
    check_certificate,
    load_certificate,
    parse_certificate,
    read_weights,
    verify,
    weights_from_arrays,
    weights_of,
)
from aitia.proofs.bounds.shared_sums import SharedSums
from aitia.proofs.cost import Cost
from proofs.attack import Tally, attempt, cases, mutated_network, text_for
from proofs.mutations import (
    NETWORKS,
    arrays_of,
    mutated_certificate,
    nearly_tied,
    right_inputs,
    with_tied_answers,
)
from proofs.oversized import OVERSIZED, chain, cyclic, hollow_network_file, points, run_apart, votes
from proofs.proof_networks import certificate_for, planted_network, random_network

BRIEF = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def found():
    """Small networks, each with a certificate for every verifier."""
    return cases()


@pytest.fixture(scope="module")
def found_right(found):
    """The truth about each of them."""
    return [right_inputs(case.arrays) for case in found]


def assert_sound(tally):
    assert tally.total("tried")
    assert not tally.faults, tally.faults[0]


# Anything at all.


@pytest.mark.parametrize("verifier", VERIFIERS)
@BRIEF
@given(generator=st.randoms(use_true_random=True))
def test_mutated_certificates_are_never_false(found, verifier, generator):
    tally, case = Tally(), generator.choice(found)
    weights, truth = weights_from_arrays(**case.arrays), []
    plain = text_for(case.certificates[verifier], weights, generator)
    others = [other for each in found for other in each.certificates.values()]
    for _ in range(2):
        attempt(case.arrays, mutated_certificate(plain, others, generator), verifier, tally, truth)
    assert_sound(tally)


@pytest.mark.parametrize("change", NETWORKS, ids=lambda change: change.__name__)
@settings(BRIEF, max_examples=8)
@given(generator=st.randoms(use_true_random=True))
def test_certificates_of_mutated_networks_are_never_false(found, change, generator):
    tally, case = Tally(), generator.choice(found)
    try:
        with np.errstate(all="ignore"):
            arrays = change(mutated_network(case.arrays, generator), generator)
        weights = weights_from_arrays(**arrays)
    except (ValueError, IndexError, TypeError, OverflowError, AitiaError):
        arrays, weights = change(case.arrays, generator), None
    truth = []
    for verifier, plain in case.certificates.items():
        attempt(arrays, json.dumps(text_for(plain, weights, generator)), verifier, tally, truth)
    assert_sound(tally)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@BRIEF
@given(generator=st.randoms(use_true_random=True), value=ANYTHING, in_memory=st.booleans())
def test_any_value_in_any_place_is_refused_or_harmless(found, found_right, generator, value, in_memory):
    case = found[0]
    weights, right = weights_from_arrays(**case.arrays), found_right[0]
    for verifier, plain in case.certificates.items():
        entries = plain["explanation"] or {"none": 0}
        changed = plain | {"explanation": entries | {generator.choice(sorted(entries)): value}}
        try:
            certificate = (
                AccuracyCertificate(
                    **{
                        "network": weights.sha256,
                        "group": "Z5",
                        "order": weights.order,
                        "width": weights.width,
                        "verifier": verifier,
                        "certified": 0,
                        "cost": 0,
                        "explanation": changed["explanation"],
                    }
                )
                if in_memory
                else parse_certificate(json.dumps(changed))
            )
        except ProofError:
            continue
        verdict = check_certificate(weights, certificate).verdict
        assert verdict is None or not (verdict.certified & ~right).any()


# Ties and near ties.


@pytest.mark.parametrize("change", [nearly_tied, with_tied_answers])
@pytest.mark.parametrize("seed", range(6))
def test_brute_force_and_cascade_decide_ties_exactly(found, change, seed):
    generator = random.Random(seed)
    for case in found[:3]:
        arrays = change(case.arrays, generator)
        weights = weights_from_arrays(**arrays)
        for verifier in ("brute-force", "cascade"):
            plain = case.certificates[verifier]
            plain = plain | {"network": plain["network"] | {"sha256": weights.sha256}}
            verdict = verify(weights, parse_certificate(json.dumps(plain)))
            assert (verdict.certified == right_inputs(arrays)).all()


def test_a_network_of_one_value_is_right_nowhere(found):
    for case in found[:3]:
        for value in (0.0, 1.0, -1.0, 5e-324, 2.0**100):
            arrays = {k: v if k == "cayley" else np.full_like(v, value) for k, v in case.arrays.items()}
            sha256 = weights_from_arrays(**arrays).sha256
            for verifier, plain in case.certificates.items():
                plain = plain | {"network": plain["network"] | {"sha256": sha256}}
                certificate = parse_certificate(json.dumps(plain))
                assert verify(weights_from_arrays(**arrays), certificate).count == 0, verifier


def test_the_smallest_neurons_count():
    """The neuron named moves logits by 2^-460, that left out by 2^-440, from weights whose squares underflow."""
    network = GroupNetwork(
        group=named_group("Z2"),
        left=np.array([[2.0**-461, 2.0**100]] * 2),
        right=np.array([[2.0**-461, 0.0]] * 2),
        unembed=np.array([[1.0, 0.0], [0.0, 2.0**-540]]),
        bias=np.zeros(2),
    )
    right = right_inputs(arrays_of(network))
    assert right.tolist() == [[False, True], [True, False]]
    explanation = {
        **{"neurons": [0], "cells": [0], "factors": [1], "factor_unit": 0, "centre": [0], "centre_unit": 0},
        **{"basis": [[1, 0]], "basis_unit": 0, "coordinates": [[1]], "coordinates_unit": 0},
    }
    for verifier in ("low-rank", "cascade"):
        certificate = certificate_for(network, verifier, explanation | {"surrogate": "low-rank"})
        assert not (verify(weights_of(network), certificate).certified & ~right).any()


# Claims.


@pytest.mark.parametrize("verifier", VERIFIERS)
def test_claims_above_the_truth_and_costs_below_it_do_not_hold(found, verifier):
    for case in found:
        weights = weights_from_arrays(**case.arrays)
        certificate = parse_certificate(json.dumps(case.certificates[verifier]))
        assert check_certificate(weights, certificate)
        assert certificate.certified <= right_inputs(case.arrays).sum()
        assert not check_certificate(weights, replace(certificate, cost=certificate.cost - 1))
        if certificate.certified < certificate.inputs:
            assert not check_certificate(weights, replace(certificate, certified=certificate.certified + 1))


@pytest.mark.parametrize(
    "claim",
    [
        {"certified": float("nan")},
        {"certified": True},
        {"certified": 26},
        {"certified": -1},
        {"cost": float("nan")},
        {"cost": float("inf")},
        {"order": 5.0},
        {"network": "no digest"},
        {"network": "\ud800" * 64},
        {"verifier": "\x1b[2J"},
        {"group": "a\nb"},
        {"explanation": [1]},
    ],
)
def test_claims_without_sense_cannot_be_made(found, claim):
    certificate = parse_certificate(json.dumps(found[0].certificates["brute-force"]))
    with pytest.raises(ProofError):
        replace(certificate, **claim)


def test_numbers_too_long_to_print_are_refused(found):
    certificate = parse_certificate(json.dumps(found[0].certificates["cascade"]))
    for explanation in ({"neurons": [10**5_000]}, {"unit": 10**5_000}, {"factor_unit": -(10**5_000)}):
        changed = replace(certificate, explanation={**certificate.explanation, **explanation})
        assert not check_certificate(weights_from_arrays(**found[0].arrays), changed)


# What is named twice, and what is no action.


def test_a_neuron_named_twice_is_refused(found):
    case = next(each for each in found if each.name == "A4")
    weights = weights_from_arrays(**case.arrays)
    for verifier, plain in case.certificates.items():
        neurons = plain["explanation"].get("neurons")
        if not neurons or verifier == "cosets":
            continue
        text = json.loads(json.dumps(plain))
        text["explanation"]["neurons"][1] = neurons[0]
        assert "twice" in check_certificate(weights, parse_certificate(json.dumps(text))).reason, verifier


def test_images_that_are_no_action_are_refused(found):
    case = next(each for each in found if each.name == "A4")
    weights = weights_from_arrays(**case.arrays)
    text = json.loads(json.dumps(case.certificates["g-sets"]))
    images = text["explanation"]["sets"][0]["images"]
    images[0][0], images[0][1] = images[0][1], images[0][0]
    assert "no action" in check_certificate(weights, parse_certificate(json.dumps(text))).reason
    images[0] = [0] * len(images[0])
    assert "permute" in check_certificate(weights, parse_certificate(json.dumps(text))).reason


def test_a_chain_of_merges_of_any_length():
    places = np.tile(np.arange(3)[:, None], 1_500)
    for pruned in (0, 1_499):
        sums = SharedSums(places, chain(1_500), pruned, Cost())
        found = sums.at_least(np.array([[1.0], [2.0], [4.0]]), np.array([2_999.0]), Cost())
        assert [part.tolist() for part in found] == [[0, 0], [1, 2], [3_000.0, 6_000.0]]


# Networks and their files.


def test_a_loop_that_is_no_group_is_refused():
    """Each element once in every row and column, an identity, and five elements: but it is not associative."""
    loop = np.array([[0, 1, 2, 3, 4], [1, 0, 3, 4, 2], [2, 4, 0, 1, 3], [3, 2, 4, 0, 1], [4, 3, 1, 2, 0]])
    with pytest.raises(GroupError, match="not associative"):
        check_table(loop)
    with pytest.raises(GroupError):
        weights_from_arrays(**(cyclic(5, 2, 1.0) | {"cayley": loop}))


@pytest.mark.parametrize("kind", ["BF16", "F16", "F8_E4M3", "U64", "BOOL", "F32"])
def test_tensors_of_other_types_are_refused(tmp_path, kind):
    sizes = {"BF16": 2, "F16": 2, "F8_E4M3": 1, "U64": 8, "BOOL": 1, "F32": 4}
    shapes = {"left": [1, 1], "right": [1, 1], "unembed": [1, 1], "bias": [1], "cayley": [1, 1]}
    size = sizes[kind]
    header = {
        name: {"dtype": kind, "shape": shape, "data_offsets": [k * size, (k + 1) * size]}
        for k, (name, shape) in enumerate(shapes.items())
    }
    text = json.dumps(header | {"__metadata__": {"format": "aitia-group-network-v1"}}).encode()
    path = tmp_path / "n.network.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(5 * size))
    with pytest.raises(NetworkError, match="n.network.safetensors"):
        read_weights(path)


def test_files_of_another_format_and_damaged_ones_are_refused(tmp_path):
    network = random_network()
    path = network.save(tmp_path / "n.network.safetensors")
    whole = path.read_bytes()
    for content in (b"", whole[:100], whole[:-1], whole + b"0", whole.replace(b"network-v1", b"network-v2")):
        path.write_bytes(content)
        with pytest.raises(NetworkError):
            read_weights(path)
    for read in (read_weights, load_certificate):
        with pytest.raises(UnreadableError, match="it is a folder, not a file"):
            read(tmp_path)


def test_sizes_are_refused_from_the_header_alone(tmp_path):
    path = hollow_network_file(tmp_path / "n.network.safetensors", order=5_040, width=16_384)
    with pytest.raises(NetworkError, match="operations"):
        read_weights(path)


@pytest.mark.parametrize("name", ["25 million pairs of points", "a certificate without end"])
def test_oversized_ones_are_refused_in_bounded_memory(tmp_path, name):
    assert run_apart(name, tmp_path)[0] == OVERSIZED[name][0] == "refused"


def test_images_of_too_many_points_are_refused():
    arrays = cyclic(600, 1)
    certificate = certificate_for(
        GroupNetwork(group=named_group("Z600"), **{k: v for k, v in arrays.items() if k != "cayley"}),
        "g-sets",
        votes(sets=[points(600, 5_040)]),
    )
    assert "too many" in check_certificate(weights_from_arrays(**arrays), certificate).reason


# The command.


def status(monkeypatch, *arguments):
    """The exit status of a command, run as from a shell."""
    monkeypatch.setattr(sys, "argv", ["aitia", *map(str, arguments)])
    with pytest.raises(SystemExit) as done:
        main()
    return done.value.code or 0


def test_exit_status_of_check(found, tmp_path, monkeypatch, capsys):
    network = planted_network()
    case = found[0]
    path = network.save(tmp_path / "n.network.safetensors")
    honest = certificate_for(network, certified=1)
    saved = tmp_path / "c.certificate.json"

    def answer(text):
        saved.write_text(text, encoding="utf-8")
        return status(monkeypatch, "check", path, saved, "--json")

    assert answer(json.dumps(honest.plain())) == 0
    assert json.loads(capsys.readouterr().out)["holds"] is True
    for false in (
        replace(honest, certified=honest.inputs),
        replace(honest, cost=1),
        replace(honest, network="0" * 64),
        replace(honest, verifier="none"),
        replace(honest, verifier="cascade"),
    ):
        assert answer(json.dumps(false.plain())) == 1
        assert json.loads(capsys.readouterr().out)["holds"] is False
    assert answer(json.dumps(case.certificates["cascade"])) == 1
    for text in ("", "{", "[]", json.dumps(honest.plain()).replace(": 1", ": NaN"), "[" * 100_000):
        assert answer(text) == 2
        assert "aitia: " in capsys.readouterr().err
    path.write_bytes(b"no network")
    assert answer(json.dumps(honest.plain())) == 2
    path.unlink()
    assert answer(json.dumps(honest.plain())) == 2
