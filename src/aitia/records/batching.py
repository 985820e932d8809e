"""Batches of rows of like length, padded on the right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aitia.errors import AitiaError
from aitia.records.masking import TokenizedRecord, TokenizedRecords


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Rows padded to the same length, b rows of t tokens.

    Attributes:
        index: [b] int64, each row's position among the tokenised records.
        tokens: [b, t] int64 token ids.
        attention: [b, t] bool, False at padding.
        response: [b, t] bool, True at response tokens, never at padding.
    """

    index: np.ndarray
    tokens: np.ndarray
    attention: np.ndarray
    response: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, padding excluded. [b] int64."""
        return self.attention.sum(axis=1)


def length_batches(
    lengths: Sequence[int] | np.ndarray, *, max_tokens: int = 4096, max_rows: int = 64
) -> list[np.ndarray]:
    """Group rows of like length into batches, the longest first.

    The batches depend on the arguments alone. A row longer than `max_tokens` has a batch of its own.

    Args:
        lengths: [n] tokens of each row.
        max_tokens: rows x longest row of a batch, at most.
        max_rows: rows of a batch, at most.

    Returns:
        Positions [b] int64 of each batch's rows; every position is in one batch.

    Raises:
        AitiaError: a limit is below 1.
    """
    if max_tokens < 1 or max_rows < 1:
        raise AitiaError(f"batches of {max_tokens} tokens and {max_rows} rows: both must be at least 1")
    batches: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: (lengths[i], i), reverse=True):
        # Lengths fall, so the first row of a batch is its longest.
        rows = len(batches[-1]) + 1 if batches else 0
        if rows and rows <= max_rows and rows * lengths[batches[-1][0]] <= max_tokens:
            batches[-1].append(i)
        else:
            batches.append([i])
    return [np.array(batch, dtype=np.int64) for batch in batches]


def padding_share(lengths: Sequence[int] | np.ndarray, batches: Sequence[np.ndarray]) -> float:
    """Which share of the tokens that the batches hold is padding: 0 to 1.

    Args:
        lengths: [n] tokens of each row.
        batches: positions of each batch's rows.
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    held = sum(len(batch) * int(sizes[batch].max()) for batch in batches if len(batch))
    real = sum(int(sizes[batch].sum()) for batch in batches)
    return 1 - real / held if held else 0.0


def pad_batch(
    tokenized: TokenizedRecords | Sequence[TokenizedRecord], index: np.ndarray, pad_id: int
) -> Batch:
    """Put rows beside one another, padded on the right to the longest of them.

    Args:
        tokenized: the rows to choose from.
        index: [b] positions among them.
        pad_id: the token to pad with.
    """
    rows = [tokenized[int(i)] for i in index]
    shape = (len(rows), max((len(row.tokens) for row in rows), default=0))
    tokens = np.full(shape, pad_id, dtype=np.int64)
    attention, response = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    for number, row in enumerate(rows):
        length = len(row.tokens)
        tokens[number, :length] = row.tokens
        attention[number, :length] = True
        response[number, :length] = row.response
    index = np.asarray(index, dtype=np.int64)
    return Batch(index=index, tokens=tokens, attention=attention, response=response)
