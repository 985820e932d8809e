import pytest
import torch
from torch.nn import functional

from aitia.models import unembedding


@pytest.mark.parametrize("chunk", [1, 50, 10_000])
@pytest.mark.parametrize("with_bias", [True, False])
def test_loss_and_gradient_equal_plain_cross_entropy(monkeypatch, chunk, with_bias):
    monkeypatch.setattr(unembedding, "_CHUNK_NUMBERS", chunk)
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(13, 6, generator=generator, requires_grad=True)
    weight = torch.randn(11, 6, generator=generator) * 3
    bias = torch.randn(11, generator=generator) if with_bias else None
    targets = torch.randint(11, (13,), generator=generator)
    scale = torch.randn(13, generator=generator)
    found = unembedding.linear_cross_entropy(hidden, weight, bias, targets)
    expected = functional.cross_entropy(functional.linear(hidden, weight, bias), targets, reduction="none")
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad(found @ scale, hidden)[0], torch.autograd.grad(expected @ scale, hidden)[0]
    )


def test_sampled_targets_follow_the_distribution():
    hidden = torch.zeros(20_000, 2)
    bias = torch.tensor([0.1, 0.6, 0.3]).log()
    drawn = unembedding.sample_targets(hidden, torch.zeros(3, 2), bias, torch.Generator().manual_seed(0))
    shares = torch.bincount(drawn, minlength=3) / 20_000
    torch.testing.assert_close(shares, torch.tensor([0.1, 0.6, 0.3]), atol=0.015, rtol=0)


def test_capped_logits_are_noticed(make_model):
    assert make_model("gemma2").plain_unembedding is None
    assert make_model("llama").plain_unembedding is not None
    assert make_model("gpt2").plain_unembedding is not None


def test_the_gradient_has_a_gradient():
    import torch

    generator = torch.Generator().manual_seed(0)
    hidden, weight, bias = (
        torch.randn(s, generator=generator, dtype=torch.float64) for s in ((4, 3), (7, 3), (7,))
    )
    targets = torch.tensor([0, 6, 2, 2])
    hidden.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda h: unembedding.linear_cross_entropy(h, weight, bias, targets), (hidden,)
    )
    assert torch.autograd.gradgradcheck(
        lambda h: unembedding.linear_cross_entropy(h, weight, bias, targets), (hidden,)
    )
