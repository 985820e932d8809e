"""Batches of rows of similar length, so that little padding is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aitia.records.masking import TokenizedRecord


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Rows padded on the right to the length of the longest.

    Attributes:
        index: [b] int64, the rows' places in the tokenised sequence.
        tokens: [b, t] int64.
        attention: [b, t] bool, false at pads.
        response: [b, t] bool, never true at pads.
    """

    index: np.ndarray
    tokens: np.ndarray
    attention: np.ndarray
    response: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """[b] tokens of each row, without pads."""
        return self.attention.sum(axis=1)


def length_batches(lengths: Sequence[int], *, max_tokens: int = 4096, max_rows: int = 64) -> list[np.ndarray]:
    """Group rows of similar length, the longest first, so that memory runs out at once or never.

    Args:
        lengths: [n] tokens of each row.
        max_tokens: of a batch, pads included; a longer row gets a batch of its own.
        max_rows: of a batch.

    Returns:
        Batches of places, each place in exactly one. The same lengths always give the same batches.
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    order = np.lexsort((np.arange(len(sizes)), -sizes))
    batches, start = [], 0
    while start < len(order):
        count = int(np.clip(max_tokens // max(sizes[order[start]], 1), 1, max_rows))
        batches.append(order[start : start + count])
        start += count
    return batches


def padding_share(lengths: Sequence[int], batches: Sequence[np.ndarray]) -> float:
    """Share of the computed tokens that are pads, 0 to 1."""
    sizes = np.asarray(lengths)
    computed = sum(len(batch) * int(sizes[batch].max()) for batch in batches)
    return 1 - int(sum(int(sizes[batch].sum()) for batch in batches)) / max(computed, 1)


def pad_batch(rows: Sequence[TokenizedRecord], index: np.ndarray, pad_id: int) -> Batch:
    """Put the rows at `index` into one batch, padded on the right with `pad_id`."""
    chosen = [rows[int(i)] for i in index]
    shape = (len(chosen), max(len(row.tokens) for row in chosen))
    tokens = np.full(shape, pad_id, dtype=np.int64)
    attention, response = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    for place, row in enumerate(chosen):
        tokens[place, : len(row.tokens)] = row.tokens
        attention[place, : len(row.tokens)] = True
        response[place, : len(row.tokens)] = row.response
    return Batch(
        index=np.asarray(index, dtype=np.int64), tokens=tokens, attention=attention, response=response
    )
