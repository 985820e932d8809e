"""Cayley tables, subgroups, cosets and actions against brute force and published counts."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aitia.errors import GroupError
from aitia.finite_groups import (
    Group,
    GSet,
    all_subgroups,
    alternating,
    check_action,
    check_table,
    conjugate_subgroups,
    coset_action,
    cyclic,
    dicyclic,
    dihedral,
    direct_product,
    group_from_table,
    identity_of,
    is_normal,
    left_cosets,
    metacyclic,
    named_group,
    orbitals,
    permutation_group,
    projective_special_linear,
    quaternion,
    regular_action,
    require_subgroup,
    right_cosets,
    semidirect_product,
    special_linear,
    subgroup,
    subgroup_classes,
)

SMALL = [
    "Z1",
    "Z2",
    "Z6",
    "D3",
    "D4",
    "Q8",
    "Dic3",
    "A4",
    "S3",
    "S4",
    "Z7:Z3",
    "S3xZ2",
    "SL(2,3)",
    "PSL(2,3)",
]
# The smallest loop that is no group: an identity, each element once in every row and column, not associative.
LOOP = [[0, 1, 2, 3, 4], [1, 0, 3, 4, 2], [2, 4, 0, 1, 3], [3, 2, 4, 0, 1], [4, 3, 1, 2, 0]]


@pytest.mark.parametrize("name", SMALL)
def test_tables_are_groups_by_brute_force(name):
    group = named_group(name)
    table, n = group.table, group.order
    assert all(table[table[x, y], z] == table[x, table[y, z]] for x, y, z in product(range(n), repeat=3))
    assert all(table[x, group.inverses[x]] == table[group.inverses[x], x] == group.identity for x in range(n))
    assert len(group.labels) == n
    for x in range(n):
        powers = [x]
        while powers[-1] != group.identity:
            powers.append(table[powers[-1], x])
        assert group.element_orders[x] == len(powers)


@pytest.mark.parametrize(
    "name, order, classes",
    [
        ("S5", 120, 7),
        ("A5", 60, 5),
        ("D5", 10, 4),
        ("D6", 12, 6),
        ("Q16", 16, 7),
        ("Dic5", 20, 8),
        ("PSL(2,7)", 168, 6),
        ("SL(2,5)", 120, 9),
        ("PSL(2,5)", 60, 5),
        ("Z7:Z3", 21, 5),
        ("Z11:Z10", 110, 11),
        ("A5xZ2", 120, 10),
        ("C97", 97, 97),
    ],
)
def test_orders_and_class_numbers_are_the_published_ones(name, order, classes):
    group = named_group(name)
    assert (group.order, len(group.conjugacy_classes)) == (order, classes)
    assert list(group.conjugacy_classes[0]) == [group.identity]


def test_permutations_multiply_right_to_left():
    group = named_group("S4")
    rows = [tuple(map(int, label.split())) for label in group.labels]
    for x, y in product(range(24), repeat=2):
        assert rows[group.table[x, y]] == tuple(rows[x][i] for i in rows[y])


def test_a_generated_permutation_group_is_the_whole_one():
    group = permutation_group([(1, 2, 3, 4, 0), (1, 0, 2, 3, 4)], name="S5")
    assert group.fingerprint == named_group("S5").fingerprint


def test_dihedral_six_is_a_product_and_its_own_semidirect_product():
    """D6 and S3 x Z2 are the same group: equal numbers of elements of each order, and of subgroups."""
    inversion = np.array([np.arange(6), -np.arange(6) % 6])
    groups = [
        named_group("D6"),
        direct_product(named_group("S3"), cyclic(2)),
        semidirect_product(cyclic(6), cyclic(2), inversion),
    ]
    assert len({tuple(np.bincount(group.element_orders)) for group in groups}) == 1
    assert len({len(all_subgroups(group)) for group in groups}) == 1
    assert (groups[0].table == groups[2].table).all()


@pytest.mark.parametrize(
    "table, message",
    [
        ([[0, 1], [1, 1]], "row 1 holds 1 twice: 1\\*0 = 1\\*1 = 1"),
        ([[0, 1, 2], [1, 2, 0], [2, 1, 0]], "column 1 holds 1 twice: 0\\*1 = 2\\*1 = 1"),
        ([[1, 0], [1, 0]], "no identity"),
        ([[0, 1], [1, 2]], "1\\*1 is 2, which is no element"),
        ([[0, 1]], "square"),
        ([[0.0]], "integers"),
        (np.zeros((0, 0), dtype=int), "square and not empty"),
        (LOOP, "not associative at the triple"),
    ],
)
def test_a_table_that_is_no_group_is_refused(table, message):
    with pytest.raises(GroupError, match=message):
        group_from_table(table)


def test_the_failing_triple_does_fail():
    with pytest.raises(GroupError) as caught:
        check_table(LOOP)
    x, g, y = (int(i) for i in str(caught.value).split("(")[1].split(")")[0].split(","))
    assert LOOP[LOOP[x][g]][y] != LOOP[x][LOOP[g][y]]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["S3", "Z6", "Q8", "A4"]), st.integers(0, 10**6))
def test_one_changed_entry_is_always_found(name, seed):
    generator = np.random.default_rng(seed)
    table = named_group(name).table.copy()
    x, y = generator.integers(len(table), size=2)
    table[x, y] = (table[x, y] + generator.integers(1, len(table))) % len(table)
    with pytest.raises(GroupError):
        check_table(table)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["S4", "Z12", "Q8"]), st.integers(0, 10**6))
def test_an_intercalate_that_is_turned_is_found(name, seed):
    """Latin squares that differ from a group's in four entries: only associativity can tell."""
    table = named_group(name).table.copy()
    n, generator = len(table), np.random.default_rng(seed)
    x, y = generator.integers(1, n, size=2)
    for z, w in product(range(1, n), repeat=2):
        if z != x and w != y and table[x, y] == table[z, w] and table[x, w] == table[z, y]:
            table[x, [y, w]], table[z, [y, w]] = table[x, [w, y]], table[z, [w, y]]
            with pytest.raises(GroupError, match="not associative"):
                check_table(table)
            return


@pytest.mark.parametrize(
    "name, subgroups, classes",
    [  # published counts
        ("S4", 30, 11),
        ("A5", 59, 9),
        ("S5", 156, 19),
        ("A6", 501, 22),
        ("PSL(2,7)", 179, 15),
        ("Q8", 6, 6),
        ("Z12", 6, 6),
        ("Z2xZ2xZ2", 16, 16),
    ],
)
def test_subgroup_counts_are_the_published_ones(name, subgroups, classes):
    group = named_group(name)
    assert len(subgroup_classes(group)) == classes
    assert len(all_subgroups(group)) == subgroups


def test_all_subgroups_of_a_small_group_by_brute_force():
    group = named_group("D4")
    closed = set()
    for mask in range(1, 2**8):
        members = [x for x in range(8) if mask >> x & 1]
        if set(group.table[np.ix_(members, members)].ravel()) == set(members):
            closed.add(tuple(members))
    assert {tuple(members) for members in all_subgroups(group)} == closed


def test_too_many_subgroups_are_refused():
    with pytest.raises(GroupError, match="more than 10 subgroups"):
        subgroup_classes(named_group("Z2xZ2xZ2"), limit=10)


@pytest.mark.parametrize("name", ["S4", "Q8", "Z7:Z3"])
def test_cosets_by_their_definition(name):
    group = named_group(name)
    for members in subgroup_classes(group):
        left, right = left_cosets(group, members), right_cosets(group, members)
        assert (left[members] == 0).all()
        assert (right[members] == 0).all()
        for x, y in product(range(group.order), repeat=2):
            assert (left[x] == left[y]) == (group.table[group.inverses[x], y] in members)
            assert (right[x] == right[y]) == (group.table[y, group.inverses[x]] in members)
        assert is_normal(group, members) == (len(conjugate_subgroups(group, members)) == 1)
        assert is_normal(group, members) == bool((left == right).all())


def test_a_subset_that_is_no_subgroup_is_refused():
    group = named_group("Z6")
    assert list(require_subgroup(group, [4, 0, 2])) == [0, 2, 4]
    with pytest.raises(GroupError, match="1\\*1 = 2 is not among"):
        require_subgroup(group, [0, 1])
    with pytest.raises(GroupError, match="numbers from 0 to 5"):
        require_subgroup(group, [7])


@pytest.mark.parametrize("name", ["S4", "Dic3"])
def test_coset_actions_are_actions_with_the_right_stabilisers(name):
    group = named_group(name)
    for members in subgroup_classes(group):
        action = coset_action(group, members)
        assert action.is_transitive
        assert action.size * len(members) == group.order
        assert (action.stabiliser(0) == members).all()
        assert action.character.sum() == group.order  # one orbit, by Burnside's lemma
        for g, h in product(range(group.order), repeat=2):
            composed = action.permutations[g][action.permutations[h]]
            assert (action.permutations[group.table[g, h]] == composed).all()


def test_orbitals_are_orbits_of_pairs():
    group = named_group("S4")
    first = coset_action(group, subgroup_classes(group)[3])
    second = coset_action(group, subgroup_classes(group)[5])
    found = orbitals(first, second)
    for p, q in product(range(first.size), range(second.size)):
        orbit = {(first.permutations[g, p], second.permutations[g, q]) for g in range(group.order)}
        assert {tuple(pair) for pair in np.argwhere(found == found[p, q])} == orbit


def test_what_is_no_action_is_refused():
    group = named_group("Z3")
    with pytest.raises(GroupError, match="not an action: the product"):
        GSet(group=group, permutations=np.array([[0, 1], [1, 0], [0, 1]]))
    with pytest.raises(GroupError, match="does not permute"):
        GSet(group=group, permutations=np.array([[0, 1], [1, 1], [0, 1]]))
    with pytest.raises(GroupError, match="identity moves"):
        GSet(group=group, permutations=np.array([[1, 0], [1, 0], [1, 0]]))
    with pytest.raises(GroupError, match="3 rows"):
        GSet(group=group, permutations=np.array([[0, 1]]))
    with pytest.raises(GroupError, match="same group"):
        orbitals(regular_action(group), regular_action(named_group("Z4")))


@pytest.mark.parametrize("name", ["X5", "S", "S5x", "SL(2,4)", "Q12", "Q4", "S9", "Z0", "Z7:Z4", "S6xS6"])
def test_names_that_are_no_group(name):
    with pytest.raises(GroupError):
        named_group(name)


def test_actions_that_are_no_automorphisms_are_refused():
    z4, z2 = cyclic(4), cyclic(2)
    with pytest.raises(GroupError, match="no automorphism"):
        semidirect_product(z4, z2, np.array([[0, 1, 2, 3], [0, 2, 1, 3]]))
    with pytest.raises(GroupError, match="not an action"):
        semidirect_product(cyclic(5), z2, np.array([[0, 1, 2, 3, 4], [0, 2, 4, 1, 3]]))
    with pytest.raises(GroupError, match="shape"):
        semidirect_product(z4, z2, np.array([[0, 1, 2, 3]]))
    with pytest.raises(GroupError, match="does not permute"):
        semidirect_product(z4, z2, np.array([[0, 1, 2, 3], [0, 0, 0, 0]]))


def test_a_group_cannot_be_changed_afterwards():
    group = named_group("S3")
    with pytest.raises(ValueError, match="read-only"):
        group.table[0, 0] = 1
    with pytest.raises(GroupError, match="2 labels"):
        Group(name="Z3", table=cyclic(3).table, labels=("a", "b"))


def test_subgroup_is_the_smallest_closed_set():
    group = named_group("S4")
    for x in range(24):
        members = subgroup(group, [x])
        assert len(members) == group.element_orders[x]
        assert (require_subgroup(group, members) == members).all()


@pytest.mark.parametrize(
    "group, order, involutions, classes",
    [
        (alternating(5), 60, 15, 5),
        (dicyclic(3), 12, 1, 6),
        (dihedral(5), 10, 5, 4),
        (metacyclic(7, 3), 21, 0, 5),
        (quaternion(8), 8, 1, 5),
        (special_linear(3), 24, 1, 7),
        (projective_special_linear(7), 168, 21, 6),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_families_have_the_published_counts(group, order, involutions, classes):
    """Orders, elements of order two and conjugacy classes, counted by brute force from the table."""
    table, elements = group.table, range(group.order)
    assert group.order == order
    assert sum(table[x, x] == group.identity != x for x in elements) == involutions
    conjugates = {frozenset(int(table[table[g, x], group.inverses[g]]) for g in elements) for x in elements}
    assert len(conjugates) == classes


def test_the_identity_is_found_wherever_it_stands():
    table = cyclic(5).table
    moved = np.array([3, 0, 4, 1, 2])  # new name of each element
    renamed = np.empty_like(table)
    renamed[np.ix_(moved, moved)] = moved[table]
    assert identity_of(renamed) == 3
    with pytest.raises(GroupError, match="no e with"):
        identity_of(np.zeros((5, 5), dtype=int))


def test_an_action_is_checked_product_by_product():
    group = cyclic(3)
    turns = (np.arange(3)[None] + np.arange(3)[:, None]) % 3
    assert (check_action(group, turns) == turns).all()
    with pytest.raises(GroupError, match="does not act as"):
        check_action(group, turns[[0, 1, 1]])
    with pytest.raises(GroupError, match="element 1 does not permute"):
        check_action(group, [[0, 1, 2], [0, 0, 2], [0, 1, 2]])
    with pytest.raises(GroupError, match="the identity moves"):
        check_action(group, turns[[1, 2, 0]])
