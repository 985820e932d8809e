"""Finite G-sets: a group acting on points by permutations, held and checked in integers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from aitia.errors import GroupError
from aitia.finite_groups.group import Group
from aitia.finite_groups.subgroups import left_cosets, require_subgroup


@dataclass(frozen=True, kw_only=True, eq=False)
class GSet:
    """A group acting on k points from the left; checked when it is made.

    Attributes:
        group: the group that acts.
        permutations: [n, k] int64; `permutations[g, p]` is the point gp. Not writeable.
    """

    group: Group
    permutations: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "permutations", check_action(self.group, self.permutations))

    @property
    def size(self) -> int:
        """The number of points, k."""
        return self.permutations.shape[1]

    @cached_property
    def orbits(self) -> list[np.ndarray]:
        """The orbits, each sorted, by first point."""
        first = self.permutations.min(axis=0)
        return [np.flatnonzero(first == head) for head in np.unique(first)]

    @property
    def is_transitive(self) -> bool:
        """Whether there is one orbit."""
        return len(self.orbits) == 1

    def stabiliser(self, point: int) -> np.ndarray:
        """The elements that leave a point where it is: a subgroup, sorted."""
        return np.flatnonzero(self.permutations[:, point] == point)

    @cached_property
    def character(self) -> np.ndarray:
        """[n] int64, how many points each element leaves where they are."""
        return (self.permutations == np.arange(self.size)).sum(axis=1)


def check_action(group: Group, permutations: np.ndarray) -> np.ndarray:
    """Check that permutations are an action: (gh)p = g(hp).

    Checked for every h with g from a generating set, which is enough.

    Args:
        group: the group that should act.
        permutations: [n, k] integers.

    Returns:
        [n, k] int64, a copy that cannot be written to.

    Raises:
        GroupError: it is no action; the message names the element or the product.
    """
    array = np.asarray(permutations)
    if array.ndim != 2 or len(array) != group.order or not np.issubdtype(array.dtype, np.integer):
        raise GroupError(f"an action of {group.name} is {group.order} rows of integers, not {array.shape}")
    array = array.astype(np.int64)
    wrong = np.flatnonzero((np.sort(array, axis=1) != np.arange(array.shape[1])).any(axis=1))
    if len(wrong):
        raise GroupError(f"element {wrong[0]} does not permute the points")
    if (array[group.identity] != np.arange(array.shape[1])).any():
        raise GroupError("the identity moves a point")
    for g in group.generators:
        wrong = np.flatnonzero((array[group.table[g]] != array[g][array]).any(axis=1))
        if len(wrong):
            raise GroupError(
                f"not an action: the product {g}*{wrong[0]} does not act as {g} after {wrong[0]}"
            )
    array.flags.writeable = False
    return array


def coset_action(group: Group, members: np.ndarray) -> GSet:
    """The action on the left cosets of a subgroup; point 0 is the subgroup itself, numbered as by `left_cosets`.

    Returns:
        The action of the group on |G| / |H| points.

    Raises:
        GroupError: the members are no subgroup.
    """
    cosets = left_cosets(group, require_subgroup(group, members))
    heads = np.array([np.flatnonzero(cosets == k)[0] for k in range(cosets.max() + 1)])
    return GSet(group=group, permutations=cosets[group.table[:, heads]])


def regular_action(group: Group) -> GSet:
    """The group acting on itself from the left."""
    return GSet(group=group, permutations=group.table)


def orbitals(first: GSet, second: GSet) -> np.ndarray:
    """[k, l] the number of each pair's orbit under the group; what is constant on these is invariant.

    Returns:
        [k, l] int64, numbered by first occurrence.

    Raises:
        GroupError: the two sets belong to different groups.
    """
    if (first.group.table.shape != second.group.table.shape) or (
        first.group.table != second.group.table
    ).any():
        raise GroupError("orbitals need two sets that the same group acts on")
    codes = first.permutations[:, :, None] * second.size + second.permutations[:, None, :]
    return np.unique(codes.min(axis=0), return_inverse=True)[1].reshape(first.size, second.size)
