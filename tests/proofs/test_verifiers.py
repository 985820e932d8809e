"""Verifiers against brute force, for explanations right, wrong and random: a wrong one only weakens a bound."""

from dataclasses import replace

import numpy as np
import pytest
from group_networks.planted_networks import joined, planted, random_neurons
from hypothesis import given, settings
from hypothesis import strategies as st

from aitia.errors import ProofError
from aitia.finite_groups import coset_action, named_group, subgroup_classes
from aitia.group_networks import interpret
from aitia.proofs import VERIFIERS, prove_accuracy, verify, weights_of
from aitia.proofs.bounds.margin_bounds import _Decision
from aitia.proofs.bounds.shared_sums import SharedSums
from aitia.proofs.cost import Cost
from aitia.proofs.finding import find_irreps, find_low_rank, find_rho_sets
from aitia.proofs.finding.numbers import action_entry
from aitia.proofs.finding.votes import VoteSettings, find_votes
from aitia.proofs.verifiers.g_sets import Votes
from proofs.proof_networks import certificate_for, planted_network, random_network

GROUPS = ("S3", "D4", "A4", "Z6", "Q8")


def random_votes(network, seed):
    """An explanation for `cascade` that has nothing to do with the network, but is of the right form."""
    generator, group = np.random.default_rng(seed), network.group
    classes = subgroup_classes(group)[:-1]
    sets = [coset_action(group, classes[k]) for k in generator.integers(0, len(classes), 2)]
    a = int(generator.integers(0, network.width + 1))
    cells = np.sort(generator.integers(0, max(a, 1), a))
    cells = np.unique(cells, return_inverse=True)[1]
    k = int(cells.max(initial=-1)) + 1

    def votes(voters, count):
        found = []
        for _ in range(count if voters else 0):
            s = int(generator.integers(0, len(sets)))
            row, column = generator.integers(0, sets[s].size, 2)
            found.append(
                [
                    int(generator.integers(0, voters)),
                    s,
                    int(row),
                    int(column),
                    int(generator.integers(-99, 99)),
                ]
            )
        return found

    rows, constants = votes(k, 5), votes(1, 2)
    columns = len({(row[1], row[3]) for row in rows + constants})
    left, merges = list(range(columns)), []
    while len(left) > 1:
        pair = [left.pop(int(generator.integers(0, len(left)))) for _ in range(2)]
        left.append(columns + len(merges))
        merges.append(pair)
    return {
        "surrogate": "votes",
        "neurons": generator.permutation(network.width)[:a].tolist(),
        "cells": cells.tolist(),
        "factors": generator.integers(1, 2**20, a).tolist(),
        "factor_unit": -17,
        "centre": generator.integers(-9, 99, k).tolist(),
        "centre_unit": -4,
        "sets": [action_entry(each) for each in sets],
        "votes": rows,
        "constants": constants,
        "unit": -6,
        "merges": merges,
        "pruned": int(generator.integers(0, 4)),
        "near": generator.permutation(group.order)[: int(generator.integers(0, group.order))].tolist(),
        "apart": generator.permutation(group.order)[: int(generator.integers(0, group.order))].tolist(),
        "quick": int(generator.integers(0, 2)),
    }


@given(
    name=st.sampled_from(GROUPS),
    width=st.integers(1, 7),
    seed=st.integers(0, 10**6),
    kind=st.sampled_from(["float32", "float64", "integers"]),
)
@settings(max_examples=150, deadline=None)
def test_a_random_explanation_decides_exactly_the_inputs_that_are_right(name, width, seed, kind):
    """Integer weights make ties and near ties common; the cascade must agree with brute force on every input."""
    network = random_network(name, width, seed, dtype=np.float32 if kind == "float32" else np.float64)
    if kind == "integers":
        network = replace(
            network,
            **{key: np.rint(2 * getattr(network, key)) for key in ("left", "right", "unembed", "bias")},
        )
    weights = weights_of(network)
    exact = verify(weights, certificate_for(network)).certified
    explanation = random_votes(network, seed)
    assert (verify(weights, certificate_for(network, "cascade", explanation)).certified == exact).all()
    bound = verify(weights, certificate_for(network, "g-sets", explanation)).certified
    assert not (bound & ~exact).any()


@given(seed=st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_every_bound_of_a_random_explanation_holds(seed):
    """Each answer's true logit stays below its bound; quick margins and near logits agree with all logits."""
    network = random_network("A4", 6, seed)
    weights, cost = weights_of(network), Cost()
    votes = Votes(weights, random_votes(network, seed) | {"quick": 1}, cost)
    tables = _Decision(weights, votes, True, cost).tables
    x, y = np.divmod(np.arange(144), 12)
    answers = weights.table[x, y]
    hidden = np.maximum(tables.left[x] + tables.right[y], 0)
    sums = votes.cells.sums(hidden)
    prepared = votes.prepare(sums, cost)
    logits = votes.some_logits(prepared, np.arange(12), cost).T
    assert np.allclose(logits, sums @ votes.matrix + votes.constant, atol=1e-9)
    away = np.linalg.norm(sums - votes.cells.centre, axis=1)
    bounds = logits + tables.bias_rest + tables.lifts[0] + away[:, None] * tables.tails[0]
    target = np.einsum("ra,ra->r", hidden, tables.unembed[answers]) + weights.bias[answers]
    dropped = tables.drop_left[x] + tables.drop_right[y]
    true = network.logits(x, y)
    ahead = true - true[np.arange(144), answers][:, None]
    assert (ahead <= bounds - target[:, None] + dropped[:, None] + 1e-9).all()
    quick = votes.quick(prepared, answers, cost)
    assert np.allclose(quick.own, logits[np.arange(144), answers])
    assert np.allclose(quick.near_logits, np.take_along_axis(logits.T, quick.near, axis=0))
    others = logits.copy()
    others[np.arange(144), answers] = -np.inf
    np.put_along_axis(others, quick.near.T, -np.inf, axis=1)
    assert (quick.own - others.max(axis=1) >= quick.margins - 1e-9).all()


def test_quick_margins_are_exact_where_one_thing_decides():
    """Votes of one column: the least loss is the loss to the next best row."""
    network = planted_network(noise=0.0)
    weights, cost = weights_of(network), Cost()
    points = coset_action(network.group, next(m for m in subgroup_classes(network.group) if len(m) == 6))
    explanation = random_votes(network, 0) | {
        "neurons": [0],
        "cells": [0],
        "factors": [1],
        "centre": [0],
        "sets": [action_entry(points)],
        "votes": [[0, 0, row, 0, 10 * row] for row in range(4)],
        "constants": [],
        "merges": [],
        "pruned": 0,
        "near": [],
        "quick": 1,
    }
    votes = Votes(weights, explanation, cost)
    answers = np.arange(24)
    quick = votes.quick(votes.prepare(np.ones((24, 1)), cost), answers, cost)
    rows = 10 * points.permutations[answers, 0] / 64
    assert np.allclose(quick.own, rows)
    # An answer that takes the column to the same row loses nothing; so the margin is at most 0.
    assert np.allclose(quick.margins, np.minimum(np.where(rows == 30 / 64, 10 / 64, rows - 30 / 64), 0))


@given(seed=st.integers(0, 10**6))
@settings(max_examples=50, deadline=None)
def test_shared_sums_are_plain_sums(seed):
    generator = np.random.default_rng(seed)
    places = generator.integers(0, 4, (30, 5)) + 4 * np.arange(5)
    values = generator.standard_normal((20, 3))
    plain, thresholds = values[places].sum(axis=1), 2 * generator.standard_normal(3)
    counts = [len(np.unique(places[:, columns], axis=0)) for columns in ([0, 3], [1, 4], [2, 0, 3], range(5))]
    for pruned in range(4):
        sums = SharedSums(places, [(0, 3), (1, 4), (2, 5), (6, 7)], pruned, Cost())
        owner, z, found = sums.at_least(values, thresholds, cost := Cost())
        assert np.allclose(found, plain[z, owner])
        assert sorted(zip(owner, z, strict=True)) == sorted(
            zip(*np.nonzero((plain >= thresholds).T), strict=True)
        )
        assert (np.diff(owner) >= 0).all()
        if pruned == 0:
            assert cost.total == 3 * (2 * sum(counts) + counts[-1])
    for wrong in ([(0, 0)] * 4, [(0, 1), (0, 2), (3, 4), (5, 6)], [(0, 1)], [(0, 9), (1, 2), (3, 4), (5, 6)]):
        with pytest.raises(ProofError):
            SharedSums(places, wrong, 0, Cost())


@pytest.mark.parametrize(
    "settings_", [{}, {"merge": False, "centred": False}, {"near": 30, "apart": 0}, {"quick": False}]
)
def test_votes_of_a_complete_rho_set_certify_everything(settings_):
    network = joined([planted("S5", 24, "4a").network()], noise=1e-3)
    network = replace(network, unembed=network.unembed * 5)
    explanation = find_votes(interpret(network), weights_of(network), VoteSettings(**settings_))
    found = verify(weights_of(network), certificate_for(network, "g-sets", explanation))
    assert found.bound == 1.0
    assert (network.margins > 0).all()


def test_low_rank_and_irreps_decide_a_network_of_low_rank():
    network = joined([planted("S5", 24, "4a").network()], noise=1e-4)
    weights = weights_of(network)
    for explanation in (find_low_rank(weights, 16), find_irreps(interpret(network), weights, share=0.99)):
        assert len(explanation["basis"]) == 16
        for verifier in ("low-rank", "irreps", "cascade"):
            found = verify(weights, certificate_for(network, verifier, explanation))
            assert found.bound == pytest.approx(network.accuracy)
        poor = explanation | {
            "basis": explanation["basis"][:3],
            "coordinates": [r[:3] for r in explanation["coordinates"]],
        }
        assert verify(weights, certificate_for(network, "low-rank", poor)).bound < 0.5
        assert verify(weights, certificate_for(network, "cascade", poor)).bound == pytest.approx(
            network.accuracy
        )


def test_rho_sets_certify_their_own_network_and_bound_its_cross_entropy():
    network = joined([planted("S5", 24, "4a").network()], noise=0.0)
    network = replace(network, unembed=network.unembed * 5)
    weights = weights_of(network)
    explanation = find_rho_sets(interpret(network), fill=True)
    logits = np.concatenate([each for _, each in network.every_logit()])
    right = np.take_along_axis(logits, network.group.table[:, :, None], axis=2)[..., 0]
    entropy = (np.logaddexp.reduce(logits, axis=2) - right).mean()
    for verifier in ("rho-sets-global", "rho-sets", "rho-sets-blocks"):
        found = verify(weights, certificate_for(network, verifier, explanation))
        assert found.bound == 1.0
        assert found.cross_entropy >= entropy
    assert found.cross_entropy < np.log(120)
    shares = [list(row) for row in explanation["neurons"]]
    shares[0][5] += 1
    with pytest.raises(ProofError, match="do not sum to one"):
        verify(weights, certificate_for(network, "rho-sets", explanation | {"neurons": shares}))


def test_rho_sets_with_wrong_tables_certify_nothing_wrong():
    network = planted_network(noise=0.02)
    weights, explanation = weights_of(network), find_rho_sets(interpret(network), fill=True)
    for key in ("alpha", "gamma", "kappa"):
        sets = [dict(each) for each in explanation["rho_sets"]]
        sets[0][key] = [7 * value + 3 for value in reversed(sets[0][key])]
        for verifier in ("rho-sets-global", "rho-sets", "rho-sets-blocks"):
            found = verify(weights, certificate_for(network, verifier, explanation | {"rho_sets": sets}))
            assert not (found.certified & (network.margins <= 0)).any()


def test_cosets_certify_an_answer_that_is_always_given_and_no_trained_form():
    network = planted_network()
    assert prove_accuracy(network, verifier="cosets").bound == 0.0
    stubborn = replace(network, bias=np.where(np.arange(24) == 5, 1e4, 0.0))
    found = verify(weights_of(stubborn), prove_accuracy(stubborn, verifier="cosets"))
    assert (found.certified == (network.group.table == 5)).all()


@pytest.mark.parametrize("noise", [0.0, 1e-4, 0.05])
def test_equivariance_carries_margins_as_far_as_neurons_match(noise):
    """A complete rho-set without noise is equivariant: at most half of the inputs are run, all are certified.

    How few depends on which symmetries the rounding of the neurons leaves exact, and that on the processor.
    """
    network = joined([planted("S4", 6, "3a").network()], noise=0.0)
    noisy = noise * np.random.default_rng(0).standard_normal(network.unembed.shape)
    network = replace(network, unembed=network.unembed + noisy)
    # Neurons are rescaled at random in `joined`; undo it, so that they match.
    scales = np.linalg.norm(network.left, axis=0)
    scales[scales == 0] = 1
    network = replace(
        network,
        left=network.left / scales,
        right=network.right / scales,
        unembed=network.unembed * scales[:, None],
    )
    found = verify(weights_of(network), prove_accuracy(network, verifier="equivariance"))
    assert not (found.certified & (network.margins <= 0)).any()
    assert found.bound >= 0.3
    if noise < 1e-3:
        assert found.bound == 1.0
        every = verify(weights_of(network), certificate_for(network)).cost.steps["logits"]
        assert found.cost.steps["logits"] <= every / 2
        assert every % found.cost.steps["logits"] == 0


def test_every_verifier_says_what_it_rests_on():
    assert next(iter(VERIFIERS)) == "brute-force"
    for name, each in VERIFIERS.items():
        assert each.name == name
        assert each.theorem
        assert each.source


def test_one_element_is_always_right():
    network = random_neurons(named_group("Z1"), 2)
    for verifier in VERIFIERS:
        assert prove_accuracy(network, verifier=verifier).bound == 1.0
