"""Sums over columns for every element of a group, sharing the partial sums that many elements have in common.

The columns are halved again and again. A half is summed once for each tuple of places that occurs in it, which for
points of a G-set is once for each coset of their common stabiliser. (Ours; a fast Fourier transform on the group in
the spirit of Diaconis and Rockmore 1990, for sums over points.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aitia.proofs.cost import Cost, sorting_cost


@dataclass(frozen=True, kw_only=True, eq=False)
class _Node:
    """Sums over some columns: one column's places, or which sums of the two halves each adds up."""

    places: np.ndarray | None = None
    halves: tuple[_Node, np.ndarray, _Node, np.ndarray] | None = None


class SharedSums:
    """s[z] = sum over j of values[places[z, j]].

    Attributes:
        price: operations for one input: an addition and a look-up a sum. The sums of a node stand in the order of
            its first half, which is therefore read in order.
    """

    def __init__(self, places: np.ndarray, cost: Cost) -> None:
        self._count, self.price = len(places), 0
        self._root, self._of_element = self._branch(places, cost) if places.shape[1] else (None, None)

    def of(self, values: np.ndarray) -> np.ndarray:
        """[r, n] the sums for values [r, places]."""
        if self._root is None:
            return np.zeros((len(values), self._count))
        return _evaluate(self._root, values)[:, self._of_element]

    def _branch(self, places: np.ndarray, cost: Cost) -> tuple[_Node, np.ndarray]:
        """The node of some columns [n, j], and [n] which of its sums each element has."""
        n, j = places.shape
        if j == 1:
            values, of_element = np.unique(places[:, 0], return_inverse=True)
            return _Node(places=values), of_element
        first, of_first = self._branch(places[:, : j // 2], cost)
        second, of_second = self._branch(places[:, j // 2 :], cost)
        _, heads, of_element = np.unique(
            of_first.astype(np.int64) * n + of_second, return_index=True, return_inverse=True
        )
        self.price += 2 * len(heads)
        cost.add("shared sums", 2 * n + sorting_cost(n))
        return _Node(halves=(first, of_first[heads], second, of_second[heads])), of_element


def _evaluate(node: _Node, values: np.ndarray) -> np.ndarray:
    if node.halves is None:
        return values[:, node.places]
    first, in_first, second, in_second = node.halves
    return _evaluate(first, values)[:, in_first] + _evaluate(second, values)[:, in_second]
