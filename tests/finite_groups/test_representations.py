"""Real irreducible representations against published character tables and their defining equations."""

from itertools import permutations

import numpy as np
import pytest

from aitia.errors import GroupError
from aitia.finite_groups import (
    character_table,
    check_irrep,
    coset_action,
    named_group,
    real_irreps,
    subgroup_classes,
)
from aitia.finite_groups.characters import complex_structure

GOLD = (1 + 5**0.5) / 2
W = np.exp(2j * np.pi / 3)
B7 = (-1 + 7**0.5 * 1j) / 2

# Columns are named by (size, order of the elements); published tables.
TABLES = {
    "S3": ([(1, 1), (2, 3), (3, 2)], [[1, 1, 1], [1, 1, -1], [2, -1, 0]]),
    "A4": (
        [(1, 1), (3, 2), (4, 3), (4, 3)],
        [[1, 1, 1, 1], [1, 1, W, W**2], [1, 1, W**2, W], [3, -1, 0, 0]],
    ),
    "S4": (
        [(1, 1), (3, 2), (6, 2), (6, 4), (8, 3)],
        [[1, 1, 1, 1, 1], [1, 1, -1, -1, 1], [2, 2, 0, 0, -1], [3, -1, 1, -1, 0], [3, -1, -1, 1, 0]],
    ),
    "S5": (
        [(1, 1), (10, 2), (15, 2), (20, 3), (20, 6), (24, 5), (30, 4)],
        [
            [1, 1, 1, 1, 1, 1, 1],
            [1, -1, 1, 1, -1, 1, -1],
            [4, 2, 0, 1, -1, -1, 0],
            [4, -2, 0, 1, 1, -1, 0],
            [5, 1, 1, -1, 1, 0, -1],
            [5, -1, 1, -1, -1, 0, 1],
            [6, 0, -2, 0, 0, 1, 0],
        ],
    ),
    "A5": (
        [(1, 1), (12, 5), (12, 5), (15, 2), (20, 3)],
        [
            [1, 1, 1, 1, 1],
            [3, GOLD, 1 - GOLD, -1, 0],
            [3, 1 - GOLD, GOLD, -1, 0],
            [4, -1, -1, 0, 1],
            [5, 0, 0, 1, -1],
        ],
    ),
    "Q8": (
        [(1, 1), (1, 2), (2, 4), (2, 4), (2, 4)],
        [[1, 1, 1, 1, 1], [1, 1, 1, -1, -1], [1, 1, -1, 1, -1], [1, 1, -1, -1, 1], [2, -2, 0, 0, 0]],
    ),
    # Columns of order 10 and 6 are minus those of order 5 and 3; the four even rows are those of A5.
    "SL(2,5)": (
        [(1, 1), (1, 2), (12, 5), (12, 5), (12, 10), (12, 10), (20, 3), (20, 6), (30, 4)],
        [
            [1, 1, 1, 1, 1, 1, 1, 1, 1],
            [2, -2, GOLD - 1, -GOLD, 1 - GOLD, GOLD, -1, 1, 0],
            [2, -2, -GOLD, GOLD - 1, GOLD, 1 - GOLD, -1, 1, 0],
            [3, 3, 1 - GOLD, GOLD, 1 - GOLD, GOLD, 0, 0, -1],
            [3, 3, GOLD, 1 - GOLD, GOLD, 1 - GOLD, 0, 0, -1],
            [4, 4, -1, -1, -1, -1, 1, 1, 0],
            [4, -4, -1, -1, 1, 1, 1, -1, 0],
            [5, 5, 0, 0, 0, 0, -1, -1, 1],
            [6, -6, 1, 1, -1, -1, 0, 0, 0],
        ],
    ),
    "PSL(2,7)": (
        [(1, 1), (21, 2), (24, 7), (24, 7), (42, 4), (56, 3)],
        [
            [1, 1, 1, 1, 1, 1],
            [3, -1, B7, B7.conjugate(), 1, 0],
            [3, -1, B7.conjugate(), B7, 1, 0],
            [6, 2, -1, -1, 0, 0],
            [7, -1, 0, 0, -1, 1],
            [8, 0, 1, 1, 0, -1],
        ],
    ),
}


def columns_like(group, wanted):
    """The classes of the group as (size, order), in the order of the published table."""
    heads = [(len(members), int(group.element_orders[members[0]])) for members in group.conjugacy_classes]
    order = sorted(range(len(heads)), key=lambda k: (heads[k], k))
    assert [heads[k] for k in order] == wanted
    return order


def same_rows(found, wanted):
    """Equal as sets of rows, up to rounding."""
    return len(found) == len(wanted) and all(
        min(np.abs(row - other).max() for other in found) < 1e-9 for row in np.array(wanted)
    )


@pytest.mark.parametrize("name", TABLES)
def test_character_tables_are_the_published_ones(name):
    group = named_group(name)
    wanted_columns, wanted = TABLES[name]
    found = character_table(group).values[:, columns_like(group, wanted_columns)]
    # Classes of one size and order have no order among themselves: one way to list them must fit.
    ways = [
        order
        for order in permutations(range(len(wanted_columns)))
        if [wanted_columns[k] for k in order] == wanted_columns
    ]
    assert any(same_rows(found[:, list(order)], wanted) for order in ways)


@pytest.mark.parametrize("n", [1, 2, 7, 12])
def test_cyclic_characters_are_powers_of_a_root_of_unity(n):
    group = named_group(f"Z{n}")
    heads = [int(members[0]) for members in group.conjugacy_classes]
    wanted = np.exp(2j * np.pi * np.outer(np.arange(n), heads) / n)
    assert same_rows(character_table(group).values, wanted)


@pytest.mark.parametrize("n", [3, 5, 6, 8])
def test_dihedral_characters_are_cosines(n):
    """Of r^k: 2 cos(2 pi j k / n) for 1 <= j < n / 2; of a reflection: 0."""
    group = named_group(f"D{n}")
    found = np.array([irrep.character for irrep in real_irreps(group) if irrep.dimension == 2])
    k = np.arange(n)
    wanted = [
        np.concatenate([2 * np.cos(2 * np.pi * j * k / n), np.zeros(n)]) for j in range(1, (n + 1) // 2)
    ]
    assert same_rows(found, wanted)


@pytest.mark.parametrize(
    "name, types",
    [
        ("S4", {"real": 5, "complex": 0, "quaternionic": 0}),
        ("A4", {"real": 2, "complex": 1, "quaternionic": 0}),
        ("Z9", {"real": 1, "complex": 4, "quaternionic": 0}),
        ("Q8", {"real": 4, "complex": 0, "quaternionic": 1}),
        ("SL(2,3)", {"real": 2, "complex": 2, "quaternionic": 1}),
        ("SL(2,5)", {"real": 5, "complex": 0, "quaternionic": 4}),
        ("PSL(2,7)", {"real": 4, "complex": 1, "quaternionic": 0}),
        ("Z7:Z3", {"real": 1, "complex": 2, "quaternionic": 0}),
    ],
)
def test_types_agree_with_the_frobenius_schur_indicator(name, types):
    irreps = real_irreps(named_group(name))
    assert {kind: sum(irrep.type == kind for irrep in irreps) for kind in types} == types
    for irrep in irreps:
        assert irrep.frobenius_schur == {"real": 1, "complex": 0, "quaternionic": -1}[irrep.type]
        assert irrep.multiplicity * irrep.norm == irrep.dimension


@pytest.mark.parametrize("name", ["S4", "Q8", "A4", "Z9", "SL(2,3)", "S3xZ3"])
def test_irreps_are_orthogonal_homomorphisms_and_split_functions(name):
    group = named_group(name)
    irreps = real_irreps(group)
    for irrep in irreps:
        assert check_irrep(irrep) < 1e-10
        for g, h in np.ndindex(group.order, group.order):
            error = irrep.matrices[g] @ irrep.matrices[h] - irrep.matrices[group.table[g, h]]
            assert np.abs(error).max() < 1e-10
        assert (irrep.is_faithful) == (len({row.round(6).tobytes() for row in irrep.matrices}) == group.order)
    total = sum(irrep.projection for irrep in irreps)
    assert np.abs(total - np.eye(group.order)).max() < 1e-9
    for irrep in irreps:
        assert np.abs(irrep.projection @ irrep.projection - irrep.projection).max() < 1e-9
        assert round(np.trace(irrep.projection)) == irrep.dimension**2 // irrep.norm
        # Matrix entries lie in the irrep's own part.
        entries = irrep.matrices.reshape(group.order, -1)
        assert np.abs(irrep.projection @ entries - entries).max() < 1e-9
        assert np.linalg.matrix_rank(entries, tol=1e-6) == irrep.dimension**2 // irrep.norm


def test_another_seed_gives_the_same_characters():
    first, second = (real_irreps(named_group("SL(2,3)"), seed=seed) for seed in (0, 7))
    for one, other in zip(first, second, strict=True):
        assert one.name == other.name
        assert np.abs(one.character - other.character).max() < 1e-9


def test_permutation_characters_split_into_irreps_with_whole_multiplicities():
    group = named_group("S5")
    irreps = real_irreps(group)
    for members in subgroup_classes(group):
        action = coset_action(group, members)
        parts = [action.character @ irrep.character / group.order for irrep in irreps]
        assert np.abs(np.array(parts) - np.round(parts)).max() < 1e-9
        assert (
            sum(round(part) * irrep.dimension for part, irrep in zip(parts, irreps, strict=True))
            == action.size
        )


def test_integer_characters_are_exact_and_names_follow_dimension():
    irreps = real_irreps(named_group("S5"))
    assert [irrep.name for irrep in irreps] == ["1a", "1b", "4a", "4b", "5a", "5b", "6a"]
    for irrep in irreps:
        assert (irrep.character == irrep.character.round()).all()


def test_complex_structure_squares_to_minus_one_and_commutes():
    irrep = real_irreps(named_group("Z5"))[1]
    structure = complex_structure(irrep)
    assert np.abs(structure @ structure + np.eye(2)).max() < 1e-12
    assert np.abs(structure @ irrep.matrices - irrep.matrices @ structure).max() < 1e-12
    with pytest.raises(GroupError, match="no complex structure"):
        complex_structure(real_irreps(named_group("S3"))[2])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["PSL(2,11)", "Z1000", "D500", "S6"])
def test_about_a_thousand_elements(name):
    irreps = real_irreps(named_group(name))
    assert max(check_irrep(irrep) for irrep in irreps) < 1e-9
