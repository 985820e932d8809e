"""Sums over columns for every element of a group, sharing the partial sums that many elements have in common.

Columns are joined two by two, and what was joined again, until one is left. A sum over some columns is worked out once
for each tuple of places that occurs in them, which for points of a G-set is once for each coset of their common
stabiliser. (Ours; a fast Fourier transform on the group in the spirit of Diaconis and Rockmore 1990, for points in
place of matrix entries.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aitia.errors import ProofError
from aitia.proofs.cost import Cost, sorting_cost


@dataclass(frozen=True, kw_only=True, eq=False)
class Tuples:
    """The tuples of places that occur in some columns.

    Attributes:
        count: how many there are.
        of_element: [n] which of them each element has.
        first: the node of the first half and [count] which of its sums each adds up; None for one column.
        second: the same for the second half.
        places: [count] the places, for one column.
    """

    count: int
    of_element: np.ndarray
    first: tuple[int, np.ndarray] | None = None
    second: tuple[int, np.ndarray] | None = None
    places: np.ndarray | None = None


def column_tuples(places: np.ndarray) -> Tuples:
    """The tuples of one column of places [n]."""
    values, of_element = np.unique(places, return_inverse=True)
    return Tuples(count=len(values), of_element=of_element, places=values)


def joined_tuples(nodes: Sequence[Tuples], first: int, second: int) -> Tuples:
    """The tuples of two nodes together, in the order of the first."""
    a, b = nodes[first].of_element, nodes[second].of_element
    _, heads, of_element = np.unique(
        a * np.int64(nodes[second].count) + b, return_index=True, return_inverse=True
    )
    return Tuples(count=len(heads), of_element=of_element, first=(first, a[heads]), second=(second, b[heads]))


class SharedSums:
    """Which s[z] = sum over j of values[places[z, j]] reach a threshold.

    The last few joins may be pruned: a sum is carried on only while it could still reach its threshold, what is to come
    adding its largest.
    """

    def __init__(
        self, places: np.ndarray, merges: Sequence[tuple[int, int]], pruned: int, cost: Cost
    ) -> None:
        """Prepare the sums.

        Args:
            places: [n, j] of each element in each column.
            merges: j - 1 pairs of nodes to join: columns are the nodes from 0, what is joined follows.
            pruned: how many of the last joins are pruned, where their first half tells all elements apart that the
                whole does.
            cost: of preparing.

        Raises:
            ProofError: the merges do not join every column once.
        """
        n, columns = places.shape
        self._nodes = [column_tuples(column) for column in places.T]
        unused = set(range(columns))
        if len(merges) != max(columns - 1, 0):
            raise ProofError(f"{columns} columns take {max(columns - 1, 0)} merges, not {len(merges)}")
        for first, second in merges:
            if first == second or not {first, second} <= unused:
                raise ProofError(
                    f"the merge of {first} and {second} uses a node twice or one that is not there"
                )
            unused -= {first, second}
            unused.add(len(self._nodes))
            self._nodes.append(joined_tuples(self._nodes, first, second))
            cost.add("shared sums", 2 * n + sorting_cost(n))
        self._trunk, self._branches = len(self._nodes) - 1, []
        for _ in range(pruned):
            halves = self._halves(self._trunk)
            if halves is None or self._nodes[halves[0]].count < self._nodes[-1].count:
                break
            self._trunk = halves[0]
            self._branches.insert(0, halves[1])
        self._inner = self._joined()
        self._count = n

    def _halves(self, number: int) -> tuple[int, int] | None:
        if number < 0:
            return None
        node = self._nodes[number]
        return None if node.first is None or node.second is None else (node.first[0], node.second[0])

    def at_least(
        self, values: np.ndarray, thresholds: np.ndarray, cost: Cost
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The elements whose sum is at least a threshold.

        Args:
            values: [places, r].
            thresholds: [r].
            cost: counts here: an addition and a look-up for each sum of two (the sums of a node stand in the order of
                its first half, which is therefore read in order), and a comparison for each sum that is held against a
                threshold and each value among which the largest is sought.

        Returns:
            Columns of values, elements, and their sums, one entry each; ordered by column.
        """
        r = len(thresholds)
        if not self._nodes:
            found = np.flatnonzero(thresholds <= 0)
            owner = np.repeat(found, self._count)
            return owner, np.tile(np.arange(self._count), len(found)), np.zeros(len(owner))
        sums, *parts = self._sums([self._trunk, *self._branches], values)
        rest = np.zeros((len(parts) + 1, r))
        for k in reversed(range(len(parts))):
            rest[k] = rest[k + 1] + parts[k].max(axis=0)
        cost.add("logits from votes", r * sum(2 * self._nodes[k].count for k in self._inner))
        cost.add("comparisons", r * (len(sums) + sum(len(part) + 2 for part in parts)))
        near = sums >= thresholds - rest[0]
        # Few inputs have any: looking for those first is several times faster than listing all.
        some = np.flatnonzero(near.any(axis=0))
        owner, tuples = np.nonzero(near[:, some].T)
        owner = some[owner]
        value = sums[tuples, owner]
        heads = np.unique(self._nodes[self._trunk].of_element, return_index=True)[1]
        for k, part in enumerate(parts):
            places = self._nodes[self._branches[k]].of_element[heads]
            value = value + part[places[tuples], owner]
            cost.add("logits from votes", 3 * len(value))
            open_ = value >= (thresholds - rest[k + 1])[owner]
            owner, tuples, value = owner[open_], tuples[open_], value[open_]
        return self._spread(owner, tuples, value)

    def _joined(self) -> list[int]:
        """The joined nodes that are summed in full: the trunk, the branches, and all that is under them; in order."""
        found, waiting = [], [self._trunk, *self._branches]
        while waiting:
            halves = self._halves(number := waiting.pop())
            if halves is not None:
                found.append(number)
                waiting += halves
        return sorted(found)

    def _spread(
        self, owner: np.ndarray, tuples: np.ndarray, value: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One entry for each element of a tuple; mostly there is one."""
        of_element = self._nodes[self._trunk].of_element
        order = np.argsort(of_element, kind="stable")
        sizes = np.bincount(of_element)
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        counts = sizes[tuples]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return (
            np.repeat(owner, counts),
            order[np.repeat(starts[tuples], counts) + within],
            np.repeat(value, counts),
        )

    def _sums(self, wanted: Sequence[int], values: np.ndarray) -> list[np.ndarray]:
        """[count, r] the sums of some nodes, none within another."""
        # Node by node, not by recursion: a certificate may join its columns in a chain of any length.
        joined: dict[int, np.ndarray] = {}

        def sums(number: int) -> np.ndarray:
            return joined.pop(number) if number in joined else values[self._nodes[number].places]

        for number in self._inner:
            node = self._nodes[number]
            if node.first is not None and node.second is not None:
                joined[number] = sums(node.first[0])[node.first[1]] + sums(node.second[0])[node.second[1]]
        return [sums(number) for number in wanted]
