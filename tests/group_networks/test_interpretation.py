"""Interpretation: planted circuits are found again, noise is reported as unexplained, nothing is found in nothing."""

from dataclasses import replace

import numpy as np
import pytest
from group_networks.planted_networks import joined, planted, random_neurons

from aitia.errors import NetworkError
from aitia.finite_groups import (
    group_from_table,
    named_group,
    subgroup_classes,
)
from aitia.group_networks import (
    GroupNetwork,
    InterpretationSettings,
    TrainingSettings,
    interpret,
    load_network,
    summarise,
    train_networks,
)
from aitia.group_networks.figures import right_logits
from aitia.group_networks.matching import level_subgroup
from aitia.group_networks.measures import deviation, equivariance, every_logit


@pytest.mark.parametrize(
    "name, order, irrep, points",
    [("S4", 6, "3a", 4), ("S5", 24, "4a", 5), ("S5", 12, "4b", 10), ("A5", 12, "4a", 5), ("S3", 2, "2a", 3)],
)
def test_a_planted_rho_set_is_found(name, order, irrep, points):
    rho_set = planted(name, order, irrep)
    network = joined([rho_set.network()], noise=1e-3)
    found = interpret(network)
    (circuit,) = found.circuits
    assert circuit.irrep == irrep
    assert circuit.left_set.size == circuit.right_set.size == points
    assert len(found.unexplained) == 0
    summary = summarise(found)
    assert summary.explained_by_rho_sets
    assert summary.ideal_explains > 0.999
    assert summary.circuits[0].pairs == points**2
    assert summary.circuits[0].constancy > 0.999
    assert summary.circuits[0].rank_one > 0.999
    assert summary.circuits[0].silence > 0.99
    assert summary.irrep_sparsity > 0.999
    wanted = rho_set.logits() - rho_set.logits().mean()
    assert np.abs(found.ideal_logits - found.ideal_logits.mean() - wanted).max() < 0.02 * np.abs(wanted).max()


def test_every_found_rho_set_is_bi_equivariant_to_rounding():
    network = joined([planted("S4", 6, "3a").network(), planted("S4", 8, "2a").network()], noise=0.02)
    found = interpret(network)
    assert len(found.circuits) == 2
    for rho_set in found.rho_sets:
        ideal = rho_set.network()
        assert abs(equivariance(ideal).both - 1) < 1e-12
        assert deviation(ideal) < 1e-12
        right = ideal.logits(np.array(5), np.array(7))[ideal.group.table[5, 7]]
        assert abs(right - rho_set.logits()[ideal.group.identity]) < 1e-12
    assert deviation(network) > 1e-3


def test_an_exact_network_whose_right_logits_are_all_one_can_be_drawn():
    found = interpret(joined([planted("S4", 6, "3a").network()]))
    for bars in right_logits(found)["data"]:
        assert sum(bars["y"]) == 24**2
        assert all(width > 0 for width in bars["width"])


def test_the_coset_network_of_exact_circuits_is_the_network():
    network = joined([planted("S4", 6, "3a").network(), planted("S4", 8, "2a").network()])
    summary = summarise(interpret(network, InterpretationSettings(negligible=0)))
    assert summary.coset_explains > 1 - 1e-12
    assert summary.numbers_share < 0.2


def test_several_shared_vectors_are_told_from_one():
    """The same orbit read with other shared vectors: one circuit, several profiles, and constancy below one."""
    parts = [planted("S5", 24, "4a", seed=seed).network() for seed in range(3)]
    found = interpret(joined(parts))
    (circuit,) = found.circuits
    assert circuit.profiles.max() + 1 == 3
    assert summarise(found).circuits[0].constancy < 0.9
    assert all(rho_set.filled > 0.9 and len(rho_set.neurons) > 22 for rho_set in found.rho_sets)


def test_the_verdict_says_what_is_lacking():
    """The share of the logits, or right answers that the network gives and its hypothesis does not."""
    summary = summarise(interpret(joined([planted("S4", 6, "3a").network()], noise=1e-3)))
    short = replace(summary, rho_set_weight=0.0, ideal_margin=-1.0, coset_accuracy=summary.accuracy / 2)
    assert not short.explained
    assert "but not every right answer" in short.verdict
    assert (
        "explain 80.0% of the logits' variance only"
        in replace(short, coset_explains=0.8, ideal_explains=0.7).verdict
    )


def test_missing_pairs_are_reported():
    network = planted("S5", 24, "4a").network()
    kept = np.arange(25) % 6 > 0
    partial = GroupNetwork(
        group=network.group,
        left=network.left[:, kept],
        right=network.right[:, kept],
        unembed=network.unembed[kept],
        bias=network.bias,
    )
    found = interpret(partial)
    summary = summarise(found)
    assert summary.circuits[0].pairs == kept.sum() == 20
    assert abs(summary.circuits[0].filled[0] - kept.mean()) < 1e-12
    assert summary.coset_explains > 0.999
    assert summary.ideal_explains < summary.coset_explains - 0.05
    # The ideal is the mean of the network's logits over the group acting from both sides.
    logits, (x, w, y) = every_logit(partial), np.ogrid[:120, :120, :120]
    table = partial.group.table
    mean = logits[x, y, table[table[x, w], y]].mean(axis=(0, 2))
    assert np.abs(found.ideal_logits - found.ideal_logits.mean() - mean).max() < 1e-10


def test_cyclic_groups_are_covered():
    """Z_7 has complex type: the orbit is the whole group, and one profile serves all neurons."""
    rho_set = planted("Z7", 1, "2b")
    summary = summarise(interpret(joined([rho_set.network()], noise=1e-3)))
    assert summary.circuits[0].type == "complex"
    assert summary.circuits[0].left_points == 7
    assert summary.explained_by_rho_sets


def test_quaternionic_type_is_covered():
    rho_set = planted("Q8", 1, "4a")
    summary = summarise(interpret(joined([rho_set.network()], noise=1e-3)))
    assert [circuit.type for circuit in summary.circuits] == ["quaternionic"]
    assert summary.explained_by_rho_sets


def test_random_neurons_are_reported_as_unexplained():
    rho_set = planted("S4", 6, "3a").network()
    size = np.abs(rho_set.left).mean()
    network = joined([rho_set, random_neurons(rho_set.group, 5, size=size)], noise=1e-3)
    found = interpret(network)
    assert len(found.unexplained) == 5
    assert len(found.circuits[0].neurons) == 16
    assert 0.01 < found.weights[found.unexplained].sum() < 0.9


@pytest.mark.parametrize("name", ["S4", "Z13", "A5"])
def test_nothing_is_found_in_an_untrained_network(name):
    summary = summarise(interpret(random_neurons(named_group(name), 40)))
    assert summary.circuits == ()
    assert not summary.explained
    assert "nothing found" in summary.verdict
    assert summary.accuracy < 0.3


def test_nothing_is_found_in_a_network_of_zeros():
    group = named_group("S3")
    network = GroupNetwork(
        group=group, left=np.zeros((6, 2)), right=np.zeros((6, 2)), unembed=np.zeros((2, 6)), bias=np.zeros(6)
    )
    summary = summarise(interpret(network))
    assert not summary.explained
    assert summary.negligible == 2


def test_the_same_answer_twice_and_for_any_order_of_neurons():
    parts = [planted("S4", 6, "3a").network(), planted("S4", 8, "2a").network()]
    first, again = (summarise(interpret(joined(parts, noise=0.01))) for _ in range(2))
    assert first == again
    network = joined(parts, noise=0.01)
    order = np.random.default_rng(3).permutation(network.width)
    shuffled = GroupNetwork(
        group=network.group,
        left=network.left[:, order],
        right=network.right[:, order],
        unembed=network.unembed[order],
        bias=network.bias,
    )
    other = summarise(interpret(shuffled))
    for name in ("irrep", "pairs", "neurons", "filled"):
        assert [getattr(c, name) for c in other.circuits] == [getattr(c, name) for c in first.circuits]


def test_the_same_answer_for_renamed_elements():
    """Numbering the group's elements otherwise changes nothing that is found."""
    network = joined([planted("S4", 6, "3a").network(), planted("S4", 8, "2a").network()], noise=0.01)
    new = np.random.default_rng(5).permutation(24)
    old = np.argsort(new)
    table = new[network.group.table[np.ix_(old, old)]]
    renamed = GroupNetwork(
        group=group_from_table(table, name="S4"),
        left=network.left[old],
        right=network.right[old],
        unembed=network.unembed[:, old],
        bias=network.bias[old],
    )
    first, second = (summarise(interpret(each)) for each in (network, renamed))
    assert second.accuracy == first.accuracy
    assert abs(second.ideal_explains - first.ideal_explains) < 1e-9
    for name in ("irrep", "left_points", "pairs", "neurons", "profiles"):
        assert [getattr(c, name) for c in second.circuits] == [getattr(c, name) for c in first.circuits]


def test_a_network_on_a_group_it_was_not_trained_on_is_not_explained():
    network = joined([planted("S4", 6, "3a").network()], noise=1e-3)
    wrong = GroupNetwork(
        group=named_group("Z24"),
        left=network.left,
        right=network.right,
        unembed=network.unembed,
        bias=network.bias,
    )
    summary = summarise(interpret(wrong))
    assert summary.accuracy < 0.3
    assert not summary.explained


def test_level_subgroup_is_a_subgroup_or_trivial():
    group = named_group("S4")
    members = next(m for m in subgroup_classes(group) if len(m) == 6)
    correlation = np.full(24, 0.1)
    correlation[members] = 0.97
    assert (level_subgroup(group, correlation, 0.9) == members).all()
    correlation[members[1]] = 0.5  # no longer closed: what is left is no subgroup
    found = level_subgroup(group, correlation, 0.9)
    assert list(found) == [group.identity]


def test_settings_that_make_no_sense():
    with pytest.raises(NetworkError, match="similarity"):
        InterpretationSettings(similarity=2)


def test_trained_networks_are_explained(tmp_path):
    """S4 from scratch: two tetrahedra, a triangle and the sign, and no neuron of weight left over."""
    settings = TrainingSettings(steps=800, train_fraction=0.8)
    path = train_networks(named_group("S4"), [0], tmp_path, settings)[0]
    found = interpret(load_network(path))
    summary = summarise(found)
    assert summary.accuracy == 1
    assert summary.explained
    assert summary.ideal_margin > 0
    assert summary.unexplained_weight < 0.02
    assert {circuit.irrep for circuit in found.circuits} >= {"3a"}
    assert summary.deviation < 0.2
