"""The arithmetic of per-row gradients of linear layers, from their factors: pure functions on tensors.

A row's gradient is G = g^T a, [out, in], with a [t, in] and g [t, out]. It is never kept: it is made for
a few rows at a time, in a buffer of ten megabytes, used, and dropped; or not
made at all, where a contraction of the factors costs fewer operations.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

_BUFFER_NUMBERS = 2_500_000
_BLOCK = 192
# Writing a number of a gradient and reading it again costs about as much as this many multiply-adds.
_TRAFFIC = 64


@contextmanager
def precision_of_products(name: str) -> Iterator[None]:
    """How the entries of matrix products are rounded inside the block; sums are always float32.

    With `bfloat16` the factors of each product are rounded to 8 bits, relative error 2^-9, where the
    processor multiplies such numbers faster; elsewhere it changes nothing. The model itself never runs so.

    Args:
        name: `float32` or `bfloat16`.
    """
    before = torch.get_float32_matmul_precision()
    if name == "bfloat16" and _multiplies_bfloat16():
        torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _multiplies_bfloat16() -> bool:
    """Whether the hardware has instructions for products of bfloat16 numbers; without, they are slower."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(probe is not None and probe())


def add_second_moment(total: torch.Tensor, vectors: torch.Tensor) -> None:
    """Add the sum of v v^T to the upper block triangle of `total`; `symmetric` fills the rest in the end.

    Args:
        total: [d, d], changed in place.
        vectors: [..., d].
    """
    flat = vectors.reshape(-1, vectors.shape[-1])
    for start in range(0, total.shape[0], _BLOCK):
        stop = start + _BLOCK
        total[start:stop, start:].addmm_(flat[:, start:stop].T, flat[:, start:])


def symmetric(total: torch.Tensor) -> torch.Tensor:
    """The whole of a symmetric matrix of which the upper triangle is right: [d, d]."""
    upper = total.triu()
    return upper + upper.triu(1).T


def row_gradients(inputs: torch.Tensor, outputs: torch.Tensor) -> torch.Tensor:
    """Each row's gradient: [b, t, in], [b, t, out] -> [b, out, in]."""
    return torch.bmm(outputs.transpose(1, 2), inputs)


def few_rows(inputs: torch.Tensor, outputs: torch.Tensor) -> Iterator[tuple[slice, torch.Tensor]]:
    """Go through the rows' gradients, a few at a time: rows, and [m, out, in]."""
    size = max(_BUFFER_NUMBERS // (inputs.shape[2] * outputs.shape[2]), 1)
    for start in range(0, len(inputs), size):
        rows = slice(start, start + size)
        yield rows, row_gradients(inputs[rows], outputs[rows])


def add_squared_gradients(total: torch.Tensor, inputs: torch.Tensor, outputs: torch.Tensor) -> None:
    """Add the sum over rows of the squared entries of their gradients to `total`, [out, in], in place."""
    for _, gradients in few_rows(inputs, outputs):
        total += gradients.square_().sum(dim=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class LowRankQueries:
    """Queries as products of thin matrices, left @ right: q k (out + in) numbers instead of q out in.

    Attributes:
        left: [q, out, k].
        right: [q, k, in].
    """

    left: torch.Tensor
    right: torch.Tensor


def low_rank(queries: torch.Tensor, rank: int) -> LowRankQueries:
    """The nearest matrices of at most the given rank, by singular values (Eckart & Young 1936).

    Args:
        queries: [q, out, in].
        rank: at least 1; the whole is kept where it is no less than min(out, in).
    """
    left, values, right = torch.linalg.svd(queries, full_matrices=False)
    return LowRankQueries(left=left[..., :rank] * values[:, None, :rank], right=right[:, :rank].contiguous())


def products_with_queries(
    queries: torch.Tensor | LowRankQueries, inputs: torch.Tensor, outputs: torch.Tensor
) -> torch.Tensor:
    """Scalar products of each query with each row's gradient.

    Either the query is contracted with the factors, at q t in out multiply-adds a row, or the gradient is
    made first, at (t + q) in out and the traffic of a buffer: whichever is less. Queries of low rank k are
    contracted with both factors, at q t k (in + out).

    Args:
        queries: [q, out, in].
        inputs: [b, t, in].
        outputs: [b, t, out].

    Returns:
        [q, b].
    """
    if isinstance(queries, LowRankQueries):
        pairs = zip(queries.left, queries.right, strict=True)
        return torch.stack([((inputs @ right.T) * (outputs @ left)).sum(dim=(1, 2)) for left, right in pairs])
    count, tokens = len(queries), inputs.shape[1]
    if count * tokens <= tokens + count + _TRAFFIC:
        return torch.stack([((inputs @ query.T) * outputs).sum(dim=(1, 2)) for query in queries])
    flat = queries.flatten(1)
    found = queries.new_empty((count, len(inputs)))
    for rows, gradients in few_rows(inputs, outputs):
        found[:, rows] = flat @ gradients.flatten(1).T
    return found


def token_products(query: torch.Tensor, inputs: torch.Tensor, outputs: torch.Tensor) -> torch.Tensor:
    """Each token's part of the scalar product of one query with each row's gradient: [b, t]."""
    return ((inputs @ query.T) * outputs).sum(dim=2)
