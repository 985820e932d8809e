"""A finite group as its Cayley table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from aitia.errors import GroupError
from aitia.files import digest
from aitia.finite_groups.cayley import check_table, identity_of, small_generating_set


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """A finite group; its elements are the numbers 0 to n - 1. The table is checked when one is made.

    Attributes:
        name: for people, as in `S5`.
        table: [n, n] int64; `table[x, y]` is xy. Not writeable.
        labels: [n] what each element is called, for people.
    """

    name: str
    table: np.ndarray
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "table", check_table(self.table))
        labels = self.labels or tuple(str(x) for x in range(self.order))
        if len(labels) != self.order:
            raise GroupError(f"group {self.name!r} has {self.order} elements and {len(labels)} labels")
        object.__setattr__(self, "labels", tuple(labels))

    @property
    def order(self) -> int:
        """The number of elements, n."""
        return len(self.table)

    @cached_property
    def identity(self) -> int:
        """The element e with ex = xe = x."""
        return identity_of(self.table)

    @cached_property
    def inverses(self) -> np.ndarray:
        """[n] the inverse of each element."""
        return np.argmax(self.table == self.identity, axis=1)

    @cached_property
    def generators(self) -> list[int]:
        """A small generating set."""
        return small_generating_set(self.table)

    @cached_property
    def element_orders(self) -> np.ndarray:
        """[n] the order of each element."""
        orders = np.ones(self.order, dtype=np.int64)
        powers = np.arange(self.order)
        while (left := powers != self.identity).any():
            orders[left] += 1
            powers = np.where(left, self.table[powers, np.arange(self.order)], self.identity)
        return orders

    @cached_property
    def conjugates(self) -> np.ndarray:
        """[n, n] `conjugates[g, x]` is g x g^-1."""
        return self.table[self.table, self.inverses[:, None]]

    @cached_property
    def class_of(self) -> np.ndarray:
        """[n] the number of each element's conjugacy class: by size, order of the elements, and first element."""
        first = self.conjugates.min(axis=0)
        heads, sizes = np.unique(first, return_counts=True)
        orders = self.element_orders[heads]
        order = sorted(range(len(heads)), key=lambda i: (orders[i] > 1, sizes[i], orders[i], heads[i]))
        rank = {int(heads[i]): number for number, i in enumerate(order)}
        return np.array([rank[int(head)] for head in first])

    @cached_property
    def conjugacy_classes(self) -> list[np.ndarray]:
        """The conjugacy classes, each sorted, in the order of `class_of`."""
        return [np.flatnonzero(self.class_of == k) for k in range(self.class_of.max() + 1)]

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the table, whatever the group is called."""
        return digest(self.table.tolist())

    def __repr__(self) -> str:
        return f"Group({self.name!r}, order {self.order})"


def group_from_table(
    table: np.ndarray | Sequence[Sequence[int]], *, name: str = "group", labels: Sequence[str] = ()
) -> Group:
    """A group from any Cayley table, checked.

    Returns:
        The group.

    Raises:
        GroupError: it is no group; the message names the elements where it fails.
    """
    return Group(name=name, table=np.asarray(table), labels=tuple(labels))
