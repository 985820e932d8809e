"""All real irreducible representations of a finite group, by splitting its regular representation.

A symmetric matrix that commutes with left translation, and is otherwise random, has one real irreducible
representation as each of its eigenspaces. Real dimensions d and <chi, chi> = 1 (real type), 2 (complex)
or 4 (quaternionic) satisfy sum d^2 / <chi, chi> = n exactly when none is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from string import ascii_lowercase

import numpy as np

from aitia.errors import GroupError
from aitia.finite_groups.group import Group

TYPES = {1: "real", 2: "complex", 4: "quaternionic"}
"""<chi, chi> of a real irreducible representation -> its type."""

_TOLERANCE = 1e-8
_ATTEMPTS = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class RealIrrep:
    """A real irreducible representation by orthogonal matrices.

    Attributes:
        group: the group.
        name: dimension and a letter, as in `4a`; `1a` is the trivial one.
        matrices: [n, d, d] float64 orthogonal; exact to about 1e-10.
        norm: <chi, chi> = 1, 2 or 4: the dimension of what commutes with it.
    """

    group: Group
    name: str
    matrices: np.ndarray
    norm: int

    @property
    def dimension(self) -> int:
        """The real dimension d."""
        return self.matrices.shape[1]

    @property
    def type(self) -> str:
        """`real`, `complex` or `quaternionic`."""
        return TYPES[self.norm]

    @property
    def multiplicity(self) -> int:
        """How often it stands in the regular representation: d / <chi, chi>."""
        return self.dimension // self.norm

    @cached_property
    def character(self) -> np.ndarray:
        """[n] the trace at each element; integers are exact."""
        return _rounded(np.trace(self.matrices, axis1=1, axis2=2))

    @cached_property
    def frobenius_schur(self) -> int:
        """Mean of chi(g^2), over the complex constituents: 1 real, 0 complex, -1 quaternionic type."""
        squares = self.group.table.diagonal()
        constituents = 1 if self.norm == 1 else 2
        return round(float(self.character[squares].mean()) / constituents)

    @cached_property
    def kernel(self) -> np.ndarray:
        """The elements that act as the identity: a normal subgroup, sorted."""
        return np.flatnonzero(np.abs(self.character - self.dimension) < 1e-6)

    @property
    def is_faithful(self) -> bool:
        """Whether only the identity acts as the identity."""
        return len(self.kernel) == 1

    @cached_property
    def projection(self) -> np.ndarray:
        """[n, n] the projection of functions on the group onto the span of this representation's matrix entries."""
        scale = self.dimension / (self.norm * self.group.order)
        return scale * self.character[self.group.table[:, self.group.inverses]]

    def __repr__(self) -> str:
        return f"RealIrrep({self.group.name} {self.name}, {self.type} type)"


def real_irreps(group: Group, *, seed: int = 0) -> list[RealIrrep]:
    """Every real irreducible representation once: the trivial one first, then by dimension and character.

    Takes n^3 steps: about ten seconds for a thousand elements.

    Args:
        group: the group.
        seed: of the random matrix; a change rotates the matrices, and nothing else.

    Returns:
        One orthogonal representation [n, d, d] for each real irrep.

    Raises:
        GroupError: the eigenspaces could not be told apart, or the count is not complete.
    """
    for attempt in range(_ATTEMPTS):
        spaces = _eigenspaces(group, np.random.default_rng([seed, attempt]))
        characters = [_character_on_classes(group, space) for space in spaces]
        norms = [_norm(group, character) for character in characters]
        if any(abs(norm - round(norm)) > 1e-6 or round(norm) not in TYPES for norm in norms):
            continue
        different: dict[tuple[float, ...], int] = {}
        for number, character in enumerate(characters):
            different.setdefault(_key(character), number)
        chosen = sorted(different.values(), key=lambda number: _order(characters[number]))
        total = sum(spaces[number].shape[1] ** 2 // round(norms[number]) for number in chosen)
        if total == group.order:
            break
    else:
        raise GroupError(f"{group.name}: the regular representation could not be split; try another seed")
    names = _names([spaces[number].shape[1] for number in chosen])
    return [
        RealIrrep(
            group=group, name=name, matrices=_matrices(group, spaces[number]), norm=round(norms[number])
        )
        for name, number in zip(names, chosen, strict=True)
    ]


def check_irrep(irrep: RealIrrep) -> float:
    """The largest error of orthogonality and of rho(g) rho(h) = rho(gh), g from a generating set."""
    matrices, table = irrep.matrices, irrep.group.table
    worst = np.abs(matrices @ matrices.transpose(0, 2, 1) - np.eye(irrep.dimension)).max()
    for g in irrep.group.generators:
        worst = max(worst, np.abs(matrices[g] @ matrices - matrices[table[g]]).max())
    return float(worst)


def _eigenspaces(group: Group, generator: np.random.Generator) -> list[np.ndarray]:
    """Orthonormal bases [n, d] of the eigenspaces of a random symmetric matrix that commutes with left translation."""
    weights = generator.standard_normal(group.order)
    weights = weights + weights[group.inverses]
    # Entry (x, y) depends on x^-1 y alone, which left translation does not change.
    values, vectors = np.linalg.eigh(weights[group.table[group.inverses]])
    cuts = np.flatnonzero(np.diff(values) > _TOLERANCE * max(np.abs(values).max(), 1.0)) + 1
    return np.split(vectors, cuts, axis=1)


def _character_on_classes(group: Group, space: np.ndarray) -> np.ndarray:
    """[classes] the trace of left translation in a subspace with orthonormal basis [n, d]."""
    heads = np.array([members[0] for members in group.conjugacy_classes])
    return np.array([np.vdot(space, space[group.table[group.inverses[g]]]) for g in heads])


def _norm(group: Group, character: np.ndarray) -> float:
    sizes = np.array([len(members) for members in group.conjugacy_classes])
    return float((sizes * character**2).sum() / group.order)


def _matrices(group: Group, space: np.ndarray) -> np.ndarray:
    """[n, d, d] left translation in the basis [n, d]: (g f)(x) = f(g^-1 x)."""
    found = np.empty((group.order, space.shape[1], space.shape[1]))
    for g in range(group.order):
        found[g] = space.T @ space[group.table[group.inverses[g]]]
    return found


def _key(character: np.ndarray) -> tuple[float, ...]:
    return tuple(np.round(character, 5) + 0.0)


def _order(character: np.ndarray) -> tuple[object, ...]:
    """The trivial one first, then by dimension, then larger values first."""
    trivial = bool(np.abs(character - 1).max() < 1e-6)
    return (not trivial, round(character[0]), *(-value for value in _key(character)))


def _names(dimensions: list[int]) -> list[str]:
    """Dimension and letter; after z come aa, ab, ..."""
    counts: dict[int, int] = {}
    names = []
    for dimension in dimensions:
        number = counts[dimension] = counts.get(dimension, -1) + 1
        high, low = divmod(number, 26)
        names.append(f"{dimension}{_letters(high - 1) if high else ''}{ascii_lowercase[low]}")
    return names


def _letters(number: int) -> str:
    high, low = divmod(number, 26)
    return (_letters(high - 1) if high else "") + ascii_lowercase[low]


def _rounded(values: np.ndarray) -> np.ndarray:
    """Values with those that are integers but for rounding made exact."""
    whole = np.round(values)
    return np.where(np.abs(values - whole) < 1e-7, whole, values) + 0.0
