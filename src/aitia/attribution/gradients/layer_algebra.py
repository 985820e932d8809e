"""The arithmetic of per-row gradients of linear layers, from their factors: pure functions on tensors.

A row's gradient is G = g^T a, [out, in], with a [t, in] and g [t, out]. It is never kept: it is made for
a few rows at a time, in a buffer of ten megabytes, used, and dropped; or not
made at all, where a contraction of the factors costs fewer operations.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_BUFFER_BYTES = 10_000_000
_BLOCK = 64
# Writing a number of a gradient and reading it again costs about as much as this many multiply-adds.
_TRAFFIC = 64


def product_dtype(precision: str, device: torch.device | None = None) -> torch.dtype:
    """The type of the factors of matrix products, where these make eigenvalues and scores.

    A processor's products of bfloat16 numbers are summed in float32. Their entries are rounded to 8 bits,
    relative error 2^-9, each on its own, and a score is a sum of very many.

    Args:
        precision: `float32`, `bfloat16`, or `auto` for bfloat16 where the hardware multiplies such numbers
            faster and float32 elsewhere.
        device: where they are; default: the CPU.

    Returns:
        float32 or bfloat16.
    """
    import torch

    if precision == "auto":
        precision = "bfloat16" if _multiplies_bfloat16(device) else "float32"
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]


def _multiplies_bfloat16(device: torch.device | None) -> bool:
    """Whether the hardware has instructions for products of bfloat16 numbers; without, they are slower."""
    import torch

    if device is not None and device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return (device is None or device.type == "cpu") and probe is not None and bool(probe())


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
    import torch

    return torch.bmm(outputs.transpose(1, 2), inputs)


def iter_row_gradients(
    inputs: torch.Tensor,
    outputs: torch.Tensor,
    *,
    left: torch.Tensor | None = None,
    right: torch.Tensor | None = None,
) -> Iterator[tuple[slice, torch.Tensor]]:
    """Go through the rows' gradients, a few at a time, in another basis if one is given: U^T G V.

    Each side is turned before the product or after it, whichever is less: t * in * k multiply-adds a row
    for the inputs, or out * in * k for the gradient's right side. A factor of a LoRA has few outputs or few
    inputs, and then the gradient is the smaller of the two.

    Args:
        inputs: [b, t, in].
        outputs: [b, t, out].
        left: U, [out, k]; default: the identity.
        right: V, [in, l]; default: the identity.

    Yields:
        rows, and [m, k, l].
    """
    tokens, wide, high = inputs.shape[1], inputs.shape[2], outputs.shape[2]
    left_first, right_first = tokens <= wide, tokens <= high
    if right is not None and right_first:
        inputs = inputs @ right
    if left is not None and left_first:
        outputs = outputs @ left
    size = max(_BUFFER_BYTES // (inputs.shape[2] * outputs.shape[2] * inputs.element_size()), 1)
    for start in range(0, len(inputs), size):
        rows = slice(start, start + size)
        gradients = row_gradients(inputs[rows], outputs[rows])
        if right is not None and not right_first:
            gradients = gradients @ right
        if left is not None and not left_first:
            gradients = left.T @ gradients
        yield rows, gradients


def add_squared_gradients(
    total: torch.Tensor,
    inputs: torch.Tensor,
    outputs: torch.Tensor,
    *,
    left: torch.Tensor | None = None,
    right: torch.Tensor | None = None,
) -> None:
    """Add the sum over rows of the squared entries of U^T G V to `total`, [out, in] float32, in place."""
    for _, gradients in iter_row_gradients(inputs, outputs, left=left, right=right):
        for gradient in gradients:  # one at a time stays in the processor's cache
            entries = gradient.float()
            total.addcmul_(entries, entries)


@dataclass(frozen=True, kw_only=True, slots=True)
class LowRankQueries:
    """Queries as products of thin matrices, left @ right: q k (out + in) numbers instead of q out in.

    Attributes:
        left: [q, out, k].
        right: [q, k, in].
    """

    left: torch.Tensor
    right: torch.Tensor

    def to(self, device: torch.device | str, dtype: torch.dtype) -> LowRankQueries:
        """The same on another device, in another type."""
        return LowRankQueries(left=self.left.to(device, dtype), right=self.right.to(device, dtype))

    def __len__(self) -> int:
        return len(self.left)


def low_rank(queries: torch.Tensor, rank: int) -> LowRankQueries:
    """The nearest matrices of at most the given rank, by singular values (Eckart & Young 1936).

    Args:
        queries: [q, out, in].
        rank: at least 1; the whole is kept where it is no less than min(out, in).

    Returns:
        The factors of each query's matrix, at that rank.
    """
    import torch

    left, values, right = torch.linalg.svd(queries, full_matrices=False)
    return LowRankQueries(left=left[..., :rank] * values[:, None, :rank], right=right[:, :rank].contiguous())


def contracts(queries: int, tokens: float) -> bool:
    """Whether so many queries are contracted with the factors of a row of so many tokens, its gradient never made."""
    return queries * tokens <= tokens + queries + _TRAFFIC


def products_with_queries(
    queries: torch.Tensor | LowRankQueries, inputs: torch.Tensor, outputs: torch.Tensor
) -> torch.Tensor:
    """Scalar products of each query with each row's gradient.

    Either the query is contracted with the factors, at q t in out multiply-adds a row, or the gradient is
    made first, at (t + q) in out and the traffic of a buffer: whichever is less. Queries of low rank k are
    contracted with both factors, at q t k (in + out).

    Args:
        queries: [q, out, in], of the type of the factors.
        inputs: [b, t, in].
        outputs: [b, t, out].

    Returns:
        [q, b] float32.
    """
    import torch

    if isinstance(queries, LowRankQueries):
        pairs = zip(queries.left, queries.right, strict=True)
        return torch.stack([_sums((inputs @ right.T) * (outputs @ left)) for left, right in pairs])
    if contracts(len(queries), inputs.shape[1]):
        return torch.stack([_sums((inputs @ query.T) * outputs) for query in queries])
    flat = queries.flatten(1)
    found = flat.new_empty((len(queries), len(inputs)), dtype=torch.float32)
    for rows, gradients in iter_row_gradients(inputs, outputs):
        found[:, rows] = flat @ gradients.flatten(1).T
    return found


def token_products(
    query: torch.Tensor, inputs: torch.Tensor, outputs: torch.Tensor, tokens: int
) -> torch.Tensor:
    """Each token's part of the scalar product of one query with each row's gradient: [b, t].

    A layer that is used k times for each token has k stretches of t, which are added.

    Returns:
        [b, t], in the type of the factors; their sum over t is the row's product.
    """
    parts = ((inputs @ query.T) * outputs).sum(dim=2)
    return parts.reshape(len(parts), -1, tokens).sum(dim=1)


def _sums(parts: torch.Tensor) -> torch.Tensor:
    """The sum of each row's parts, [b, ...] -> [b] float32."""
    import torch

    return parts.flatten(1).sum(dim=1, dtype=torch.float32)
