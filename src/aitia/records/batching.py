"""Batches of rows of like length, padded on the right."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from aitia.errors import AitiaError
from aitia.records.tokenized import TokenizedRecord, TokenizedRecords

BATCH_TOKENS = 4096
"""Tokens that a model runs over at once by default, padding included."""


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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowShard:
    """Consecutive batches with their rows: a unit of work that another process can be sent.

    Attributes:
        number: of the shard.
        first: number of its first batch among all batches.
        batches: positions [b] int64 of each batch's rows among all rows.
        rows: the rows, in the order of the batches.
    """

    number: int
    first: int
    batches: Sequence[np.ndarray]
    rows: Sequence[TokenizedRecord]

    def parts(self) -> Iterator[tuple[int, np.ndarray, Sequence[TokenizedRecord]]]:
        """Each batch: its number among all, its rows' positions, and the rows."""
        start = 0
        for number, index in enumerate(self.batches, start=self.first):
            yield number, index, self.rows[start : start + len(index)]
            start += len(index)


def row_shards(
    tokenized: TokenizedRecords | Sequence[TokenizedRecord],
    shards: Sequence[Sequence[np.ndarray]],
    wanted: Iterable[int] | None = None,
) -> Iterator[RowShard]:
    """Put rows to the batches of shards, one shard after the other as they are asked for.

    Args:
        tokenized: the rows.
        shards: the batches of each shard.
        wanted: the numbers of the shards wanted; default: all.

    Yields:
        One shard after the other, with its rows.
    """
    firsts = np.cumsum([0, *(len(batches) for batches in shards)])
    for number in range(len(shards)) if wanted is None else wanted:
        rows = [tokenized[int(i)] for index in shards[number] for i in index]
        yield RowShard(number=number, first=int(firsts[number]), batches=shards[number], rows=rows)


def length_batches(
    lengths: Sequence[int] | np.ndarray, *, max_tokens: int = BATCH_TOKENS, max_rows: int = 64
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


def pad_batch(
    tokenized: TokenizedRecords | Sequence[TokenizedRecord], index: np.ndarray, pad_id: int
) -> Batch:
    """Put rows beside one another, padded on the right to the longest of them.

    Args:
        tokenized: the rows to choose from.
        index: [b] positions among them.
        pad_id: the token to pad with.

    Returns:
        [b, t] tokens and masks, and the positions of the rows.
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
