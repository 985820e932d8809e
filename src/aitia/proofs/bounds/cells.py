"""Cells: neurons that a certificate takes together, each times a positive factor.

Since relu(f a) = f relu(a) for f > 0, the factor is put into the neuron's left and right tables, and out of its row of
the unembedding, once for all inputs. The sum over a cell then costs additions alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from aitia.errors import ProofError
from aitia.proofs.bounds.arithmetic import dyadic
from aitia.proofs.certificate import MAX_INTEGER, integer_of, integers_of, list_of

UNITS = {"low": -100, "high": 60}
"""Exponents that a certificate's units may have."""

MAX_MEMBERS = 1_000_000
"""Up to this size, sums over cells are a product with a table of neurons and cells."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Cells:
    """k cells of a neurons.

    Attributes:
        neurons: [a] numbers of the neurons, cell by cell.
        starts: [k] where each cell begins.
        of_neuron: [a] the cell of each.
        factors: [a] positive.
        centre: [k] what each cell's sum is near to; any numbers will do.
    """

    neurons: np.ndarray
    starts: np.ndarray
    of_neuron: np.ndarray
    factors: np.ndarray
    centre: np.ndarray

    @property
    def count(self) -> int:
        """The number of cells, k."""
        return len(self.starts)

    def sums(self, hidden: np.ndarray) -> np.ndarray:
        """[..., k] the sum over each cell of activations [..., a]."""
        if self.count == len(self.neurons):
            return hidden
        if self.count * len(self.neurons) > MAX_MEMBERS:
            return np.add.reduceat(hidden, self.starts, axis=-1)
        return hidden @ self._members

    @cached_property
    def _members(self) -> np.ndarray:
        """[a, k] 1 where a neuron belongs to a cell: a product with it is faster than sums over slices."""
        return (self.of_neuron[:, None] == np.arange(self.count)).astype(np.float64)

    def largest(self, values: np.ndarray) -> np.ndarray:
        """[k, ...] the largest of each cell's values [a, ...]."""
        if self.count == len(self.neurons):
            return values
        return np.maximum.reduceat(values, self.starts, axis=0)


def cells_of(explanation: Mapping[str, Any], width: int) -> Cells:
    """Read and check the cells of an explanation.

    Entries: `neurons`, `cells` (the cell of each, from 0, not falling, none left out), `factors` with `factor_unit`,
    `centre` (one for each cell) with `centre_unit`.

    Returns:
        The cells, checked.

    Raises:
        ProofError: the entries do not fit together, or a neuron stands there twice.
    """
    neurons = integers_of(list_of(explanation, "neurons", longest=width), "neurons", low=0, high=width - 1)
    a = len(neurons)
    if len(np.unique(neurons)) != a:
        raise ProofError("neurons names a neuron twice")
    cells = integers_of(list_of(explanation, "cells", longest=width), "cells", low=0, high=width, length=a)
    if a and (cells[0] != 0 or not np.isin(np.diff(cells), (0, 1)).all()):
        raise ProofError("cells must count up from 0, one cell after the other")
    starts = np.flatnonzero(np.diff(cells, prepend=-1))
    factors = integers_of(
        list_of(explanation, "factors", longest=width), "factors", low=1, high=MAX_INTEGER, length=a
    )
    centre = integers_of(
        list_of(explanation, "centre", longest=width),
        "centre",
        low=-MAX_INTEGER,
        high=MAX_INTEGER,
        length=len(starts),
    )
    return Cells(
        neurons=neurons,
        starts=starts,
        of_neuron=cells,
        factors=dyadic(factors, integer_of(explanation, "factor_unit", **UNITS)),
        centre=dyadic(centre, integer_of(explanation, "centre_unit", **UNITS)),
    )
