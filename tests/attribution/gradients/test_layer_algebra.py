"""The arithmetic of per-row gradients against the same sums written out."""

import numpy as np
import pytest
import torch

from aitia.attribution.gradients.layer_algebra import (
    add_second_moment,
    add_squared_gradients,
    iter_row_gradients,
    low_rank,
    products_with_queries,
    row_gradients,
    symmetric,
)


def test_low_rank_queries_are_the_nearest():
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(3, 7, 5, generator=generator)
    found = low_rank(queries, 2)
    left, values, right = np.linalg.svd(queries.numpy())
    for i in range(3):
        best = left[i][:, :2] * values[i][:2] @ right[i][:2]
        np.testing.assert_allclose((found.left[i] @ found.right[i]).numpy(), best, atol=1e-5)


@pytest.mark.parametrize("tokens", [3, 9, 40])
@pytest.mark.parametrize(("high", "wide"), [(5, 30), (30, 5), (20, 20)])
def test_gradients_in_a_basis_are_the_same_by_every_order_of_products(tokens, high, wide):
    """Few tokens turn the factors first, many the gradient; both are U^T G V."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    inputs, outputs, left, right = (
        draw(7, tokens, wide),
        draw(7, tokens, high),
        draw(high, high),
        draw(wide, wide),
    )
    expected = torch.einsum("ok,bto,bti,il->bkl", left, outputs, inputs, right)
    found = torch.cat([part for _, part in iter_row_gradients(inputs, outputs, left=left, right=right)])
    torch.testing.assert_close(found, expected)
    total = torch.ones(high, wide)
    add_squared_gradients(total, inputs.float(), outputs.float(), left=left.float(), right=right.float())
    torch.testing.assert_close(total, 1 + expected.square().sum(0).float(), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("size", [1, 5, 64, 150])
def test_second_moment_by_blocks(size):
    vectors = torch.randn(3, 11, size, generator=torch.Generator().manual_seed(0))
    total = torch.zeros(size, size)
    for _ in range(2):
        add_second_moment(total, vectors)
    flat = vectors.flatten(0, 1).double()
    torch.testing.assert_close(symmetric(total).double(), 2 * flat.T @ flat, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("count", "tokens"), [(1, 3), (40, 30)])
def test_products_with_queries_contracted_or_not(count, tokens, dtype):
    """One query is contracted with the factors, forty with the gradient; both are sums over its entries."""
    generator = torch.Generator().manual_seed(0)
    inputs, outputs, queries = (
        torch.randn(*shape, generator=generator).to(dtype)
        for shape in ((6, tokens, 9), (6, tokens, 7), (count, 7, 9))
    )
    expected = torch.einsum("qoi,boi->qb", queries.double(), row_gradients(inputs.double(), outputs.double()))
    found = products_with_queries(queries, inputs, outputs)
    assert found.dtype == torch.float32
    tolerance = 1e-5 if dtype == torch.float32 else 2**-7
    torch.testing.assert_close(
        found.double(), expected, rtol=tolerance, atol=tolerance * float(expected.abs().max())
    )
