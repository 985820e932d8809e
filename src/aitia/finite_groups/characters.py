"""Complex irreducible characters, from the real irreducible representations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aitia.errors import GroupError
from aitia.finite_groups.group import Group
from aitia.finite_groups.representations import RealIrrep, real_irreps


@dataclass(frozen=True, kw_only=True, eq=False)
class CharacterTable:
    """The complex irreducible characters of a group.

    Attributes:
        group: the group; the columns are its `conjugacy_classes`.
        values: [c, c] complex128, a row for each character; integers are exact.
        indicators: [c] Frobenius-Schur indicators, 1, 0 or -1: the mean of chi(g^2).
    """

    group: Group
    values: np.ndarray
    indicators: np.ndarray


def character_table(group: Group, irreps: list[RealIrrep] | None = None) -> CharacterTable:
    """The character table, rows in the order of the real representations, checked for orthogonality.

    Args:
        group: the group.
        irreps: its real irreducible representations, if they are at hand.

    Returns:
        One row a complex irreducible character, one column a conjugacy class.

    Raises:
        GroupError: the table is not square and orthogonal.
    """
    heads = [int(members[0]) for members in group.conjugacy_classes]
    sizes = np.array([len(members) for members in group.conjugacy_classes])
    rows: list[np.ndarray] = []
    for irrep in irreps or real_irreps(group):
        rows += [character[heads] for character in complex_constituents(irrep)]
    values = np.array([_rounded(row) for row in rows])
    gram = (values * sizes) @ values.conj().T / group.order
    if values.shape[0] != values.shape[1] or np.abs(gram - np.eye(len(values))).max() > 1e-6:
        raise GroupError(f"{group.name}: the characters found are not complete")
    squares = group.class_of[group.table.diagonal()]
    indicators = np.real(values[:, squares].mean(axis=1)).round().astype(np.int64)
    return CharacterTable(group=group, values=values, indicators=indicators)


def complex_constituents(irrep: RealIrrep) -> list[np.ndarray]:
    """The different complex irreducible characters [n] within a real irreducible representation.

    Of real type: the character itself. Of quaternionic type: its half. Of complex type: two that are conjugate,
    told apart by a complex structure J, an antisymmetric matrix of square -1 that commutes with the group.

    Returns:
        One [n] complex128 a constituent.
    """
    if irrep.norm == 1:
        return [irrep.character.astype(complex)]
    if irrep.norm == 4:
        return [irrep.character.astype(complex) / 2]
    structure = complex_structure(irrep)
    imaginary = np.einsum("ij,gji->g", structure, irrep.matrices)
    return [(irrep.character + sign * 1j * imaginary) / 2 for sign in (-1, 1)]


def complex_structure(irrep: RealIrrep) -> np.ndarray:
    """[d, d] an antisymmetric J with J^2 = -1 that commutes with a representation of complex type.

    Returns:
        [d, d] float64.

    Raises:
        GroupError: the representation is of real type, which has none.
    """
    if irrep.norm == 1:
        raise GroupError(f"{irrep!r} has no complex structure")
    generator = np.random.default_rng(0)
    random = generator.standard_normal((irrep.dimension, irrep.dimension))
    mean = np.einsum("gij,jk,glk->il", irrep.matrices, random - random.T, irrep.matrices, optimize=True)
    return mean / np.sqrt(np.vdot(mean, mean) / irrep.dimension)


def _rounded(values: np.ndarray) -> np.ndarray:
    parts = [
        np.where(np.abs(part - part.round()) < 1e-7, part.round(), part)
        for part in (np.real(values), np.imag(values))
    ]
    return parts[0] + 1j * parts[1] + 0.0
