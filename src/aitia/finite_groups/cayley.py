"""Is a table the multiplication table of a group? Decided in integers, with the failing elements named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from aitia.errors import GroupError


def check_table(table: np.ndarray | Sequence[Sequence[int]]) -> np.ndarray:
    """Check that a table is a group's: `table[x, y]` is the number of the element xy.

    Checked are shape and range, an identity, that every row and column holds each element once, and
    associativity by Light's test: (x g) y = x (g y) for all x and y and every g of a generating set, which
    is enough since the g that pass are closed under products. That costs n^2 steps a generator.

    Args:
        table: [n, n] integers from 0 to n - 1.

    Returns:
        [n, n] int64, a copy that cannot be written to.

    Raises:
        GroupError: it is no group; the message names the elements where it fails.
    """
    array = np.asarray(table)
    if array.ndim != 2 or array.shape[0] != array.shape[1] or array.shape[0] == 0:
        raise GroupError(f"a Cayley table is square and not empty; this one has shape {array.shape}")
    if not np.issubdtype(array.dtype, np.integer):
        raise GroupError(f"a Cayley table holds integers; this one holds {array.dtype}")
    n = len(array)
    outside = np.argwhere((array < 0) | (array >= n))
    if len(outside):
        x, y = outside[0]
        raise GroupError(f"the product {x}*{y} is {array[x, y]}, which is no element: they are 0 to {n - 1}")
    array = array.astype(np.int64)
    identity_of(array)
    _require_each_once(array, "row {0} holds {1} twice: {0}*{2} = {0}*{3} = {1}")
    _require_each_once(array.T, "column {0} holds {1} twice: {2}*{0} = {3}*{0} = {1}")
    # One by one: what passes so far generates a group, so that the next at least doubles it.
    for g in _growing_generators(array):
        wrong = np.argwhere(array[array[:, g]] != array[:, array[g]])
        if len(wrong):
            x, y = wrong[0]
            raise GroupError(
                f"not associative at the triple ({x}, {g}, {y}): "
                f"({x}*{g})*{y} = {array[array[x, g], y]}, {x}*({g}*{y}) = {array[x, array[g, y]]}"
            )
    array.flags.writeable = False
    return array


def identity_of(table: np.ndarray) -> int:
    """The identity of a table [n, n].

    Returns:
        Its number.

    Raises:
        GroupError: no element leaves every other as it is from both sides.
    """
    elements = np.arange(len(table))
    both = (table == elements).all(axis=1) & (table == elements[:, None]).all(axis=0)
    if not both.any():
        raise GroupError("the table has no identity: no e with e*x = x*e = x for every x")
    return int(both.argmax())


def generated_by(
    table: np.ndarray, generators: Iterable[int], *, start: np.ndarray | None = None
) -> np.ndarray:
    """What generators reach by multiplication from the right, starting at the identity.

    Args:
        table: [n, n], a group's.
        generators: elements.
        start: [n] bool, a subgroup known to be inside; the identity alone if not given.

    Returns:
        [n] bool, the members of the subgroup.
    """
    steps = np.array(sorted(set(generators)), dtype=np.int64)
    if start is None:
        members = np.zeros(len(table), dtype=bool)
        members[identity_of(table)] = True
    else:
        members = start.copy()
    frontier = np.flatnonzero(members)
    while len(frontier) and len(steps):
        reached = np.zeros(len(table), dtype=bool)
        reached[table[np.ix_(frontier, steps)]] = True
        frontier = np.flatnonzero(reached & ~members)
        members[frontier] = True
    return members


def small_generating_set(table: np.ndarray) -> list[int]:
    """A generating set, found greedily: at most log2 n elements if the table is a group's."""
    return list(_growing_generators(table))


def _growing_generators(table: np.ndarray) -> Iterator[int]:
    """Each generator in turn; what they generate is worked out when the next is asked for."""
    generators: list[int] = []
    while not (members := generated_by(table, generators)).all():
        generators.append(int(np.flatnonzero(~members)[0]))
        yield generators[-1]


def _require_each_once(rows: np.ndarray, message: str) -> None:
    wrong = np.flatnonzero((np.sort(rows, axis=1) != np.arange(len(rows))).any(axis=1))
    if len(wrong):
        row = rows[wrong[0]]
        values, counts = np.unique(row, return_counts=True)
        value = values[counts > 1][0]
        first, second = np.flatnonzero(row == value)[:2]
        raise GroupError(message.format(wrong[0], value, first, second))
