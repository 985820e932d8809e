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
    """s[z] = sum over j of values[places[z, j]].

    Attributes:
        price: operations for one input: an addition and a look-up for each sum of two. The sums of a node stand in the
            order of its first half, which is therefore read in order.
    """

    def __init__(self, places: np.ndarray, merges: Sequence[tuple[int, int]], cost: Cost) -> None:
        """Prepare the sums.

        Args:
            places: [n, j] of each element in each column.
            merges: j - 1 pairs of nodes to join: columns are the nodes from 0, what is joined follows.
            cost: of preparing.

        Raises:
            ProofError: the merges do not join every column once.
        """
        n, columns = places.shape
        self._nodes = [column_tuples(column) for column in places.T]
        unused = set(range(columns))
        if len(merges) != max(columns - 1, 0):
            raise ProofError(f"{columns} columns take {max(columns - 1, 0)} merges, not {len(merges)}")
        self.price = 0
        for first, second in merges:
            if first == second or not {first, second} <= unused:
                raise ProofError(
                    f"the merge of {first} and {second} uses a node twice or one that is not there"
                )
            unused -= {first, second}
            unused.add(len(self._nodes))
            self._nodes.append(joined_tuples(self._nodes, first, second))
            self.price += 2 * self._nodes[-1].count
            cost.add("shared sums", 2 * n + sorting_cost(n))
        self._count = n

    def of(self, values: np.ndarray) -> np.ndarray:
        """[n, r] the sums for values [places, r]."""
        if not self._nodes:
            return np.zeros((self._count, values.shape[1]))
        # Node by node, not by recursion: a certificate may join its columns in a chain of any length.
        joined: dict[int, np.ndarray] = {}
        for number, node in enumerate(self._nodes):
            if node.first is not None and node.second is not None:
                halves = [
                    (joined.pop(k) if k in joined else values[self._nodes[k].places])[places]
                    for k, places in (node.first, node.second)
                ]
                joined[number] = halves[0] + halves[1]
        last = self._nodes[-1]
        sums = values[last.places] if last.places is not None else joined[len(self._nodes) - 1]
        return sums[last.of_element]
