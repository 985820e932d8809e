"""Subgroups and cosets, in integers. A subgroup is the sorted array of its elements."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from aitia.errors import GroupError
from aitia.finite_groups.cayley import generated_by
from aitia.finite_groups.group import Group

SUBGROUP_LIMIT = 100_000
"""Most subgroups that are listed; elementary abelian groups have very many."""


def subgroup(group: Group, generators: Iterable[int]) -> np.ndarray:
    """The subgroup that elements generate: sorted elements."""
    return np.flatnonzero(generated_by(group.table, generators))


def require_subgroup(group: Group, members: Iterable[int]) -> np.ndarray:
    """Check that elements are a subgroup; give them sorted.

    Returns:
        [|H|] int64, rising.

    Raises:
        GroupError: they are not; the message names a product that falls outside.
    """
    found = np.unique(np.fromiter(members, dtype=np.int64))
    if not len(found) or found.min() < 0 or found.max() >= group.order:
        raise GroupError(
            f"a subgroup of {group.name} is a non-empty set of numbers from 0 to {group.order - 1}"
        )
    products = group.table[np.ix_(found, found)]
    outside = np.argwhere(~np.isin(products, found))
    if len(outside):
        x, y = (found[i] for i in outside[0])
        raise GroupError(f"not a subgroup: {x}*{y} = {group.table[x, y]} is not among its elements")
    return found


def left_cosets(group: Group, members: np.ndarray) -> np.ndarray:
    """[n] the number of each element's left coset gH; the subgroup itself is 0, then by first element."""
    return _numbered(group.table[:, members].min(axis=1), members)


def right_cosets(group: Group, members: np.ndarray) -> np.ndarray:
    """[n] the number of each element's right coset Hg; the subgroup itself is 0, then by first element."""
    return _numbered(group.table[members].min(axis=0), members)


def is_normal(group: Group, members: np.ndarray) -> bool:
    """Whether the subgroup is its own conjugate by every element."""
    return bool(np.isin(group.conjugates[:, members], members).all())


def conjugate_subgroups(group: Group, members: np.ndarray) -> np.ndarray:
    """[k, |H|] the distinct conjugates of a subgroup, each sorted."""
    return np.unique(np.sort(group.conjugates[:, members], axis=1), axis=0)


def subgroup_classes(group: Group, *, limit: int = SUBGROUP_LIMIT) -> list[np.ndarray]:
    """One subgroup of every conjugacy class of subgroups, from the trivial one up, by order and elements.

    Each subgroup is reached from a smaller one by one more element of prime-power order, so it is enough to
    extend one subgroup H of each class by cyclic subgroups of prime-power order, one of each orbit under the
    normaliser of H.

    Returns:
        One [|H|] int64 a class.

    Raises:
        GroupError: there are more than `limit` subgroups.
    """
    cyclic_of = _prime_power_cyclic(group)
    trivial = np.array([group.identity])
    seen = {trivial.tobytes()}
    classes, frontier = [trivial], [trivial]
    while frontier:
        reached = []
        for members in frontier:
            generators = _thin(group, members)
            for step in _steps(group, members, cyclic_of):
                larger = subgroup(group, [step, *generators])
                if larger.tobytes() in seen:
                    continue
                conjugates = conjugate_subgroups(group, larger)
                seen.update(row.tobytes() for row in conjugates)
                if len(seen) > limit:
                    raise GroupError(f"{group.name} has more than {limit:,} subgroups")
                reached.append(conjugates[0])
        classes += reached
        frontier = reached
    return sorted(classes, key=lambda members: (len(members), members.tolist()))


def all_subgroups(group: Group, *, limit: int = SUBGROUP_LIMIT) -> list[np.ndarray]:
    """Every subgroup, by order and elements.

    Returns:
        One [|H|] int64 a subgroup.

    Raises:
        GroupError: there are more than `limit`.
    """
    found = [
        row for members in subgroup_classes(group, limit=limit) for row in conjugate_subgroups(group, members)
    ]
    return sorted(found, key=lambda members: (len(members), members.tolist()))


def _thin(group: Group, members: np.ndarray) -> list[int]:
    """A few generators of a subgroup, found greedily."""
    generators: list[int] = []
    inside = generated_by(group.table, generators)
    while inside.sum() < len(members):
        generators.append(int(members[~inside[members]][0]))
        inside = generated_by(group.table, generators)
    return generators


def _steps(group: Group, members: np.ndarray, cyclic_of: np.ndarray) -> list[int]:
    """Generators of cyclic subgroups outside a subgroup, one of each orbit under its normaliser."""
    inside = np.zeros(group.order, dtype=bool)
    inside[members] = True
    normaliser = np.flatnonzero(inside[group.conjugates[:, members]].all(axis=1))
    images = np.where(cyclic_of >= 0, cyclic_of[group.conjugates[normaliser]].min(axis=0), -1)
    return [int(x) for x in np.unique(images[~inside]) if x >= 0]


def _prime_power_cyclic(group: Group) -> np.ndarray:
    """[n] the first generator of each element's cyclic subgroup; -1 where its order is no prime power above one."""
    found = np.full(group.order, -1)
    for x in np.flatnonzero([_is_prime_power(int(order)) for order in group.element_orders]):
        if found[x] < 0:
            members = subgroup(group, [int(x)])
            found[members[group.element_orders[members] == group.element_orders[x]]] = x
    return found


def _is_prime_power(number: int) -> bool:
    prime = next((q for q in range(2, int(number**0.5) + 1) if number % q == 0), number)
    while number % prime == 0 and number > 1:
        number //= prime
    return number == 1 and prime > 1


def _numbered(first: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Number cosets, known by their first element: the subgroup's own 0, the others in order."""
    heads = np.unique(first)
    order = np.argsort(heads != members.min(), kind="stable")
    rank = np.empty(len(heads), dtype=np.int64)
    rank[order] = np.arange(len(heads))
    return rank[np.searchsorted(heads, first)]
