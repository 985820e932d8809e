"""The cross-entropy of a linear unembedding, without ever holding all logits.

A vocabulary of 50,000 and 4,000 tokens make 800 MB of logits, and autograd keeps several copies. Here the
logits of a chunk of tokens are made, turned into the loss and its gradient in place, and dropped.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

_CHUNK_NUMBERS = 4_000_000


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, targets: torch.Tensor
    ) -> torch.Tensor:
        wide = _wide(hidden)
        losses = torch.empty(len(targets), dtype=wide, device=hidden.device)
        needed = ctx.needs_input_grad[0]
        gradient = torch.empty_like(hidden) if needed else None
        size = max(_CHUNK_NUMBERS // weight.shape[0], 1)
        for start in range(0, len(targets), size):
            chunk = slice(start, start + size)
            log_probabilities = functional.log_softmax(
                functional.linear(hidden[chunk], weight, bias).to(wide), dim=-1
            )
            wanted = targets[chunk].unsqueeze(1)
            losses[chunk] = -log_probabilities.gather(1, wanted).squeeze(1)
            if gradient is not None:
                error = log_probabilities.exp_()
                error.scatter_add_(1, wanted, error.new_full(wanted.shape, -1.0))
                gradient[chunk] = error.to(weight.dtype) @ weight
        if gradient is not None:
            ctx.save_for_backward(gradient, hidden, weight, bias, targets)
        return losses

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> Any:
        gradient, hidden, weight, bias, targets = ctx.saved_tensors
        if (
            torch.is_grad_enabled()
        ):  # the gradient is to be differentiated in its turn: make it of what has a graph
            logits = functional.linear(hidden, weight, bias).to(_wide(hidden))
            error = logits.softmax(dim=-1) - functional.one_hot(targets, len(weight))
            gradient = error.to(weight.dtype) @ weight
        return gradient * outer[0].unsqueeze(1).to(gradient.dtype), None, None, None


def _wide(hidden: torch.Tensor) -> torch.dtype:
    """The precision of losses: at least float32."""
    return torch.promote_types(hidden.dtype, torch.float32)


def linear_cross_entropy(
    hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, targets: torch.Tensor
) -> torch.Tensor:
    """Cross-entropy of `hidden @ weight.T + bias` at each token, in nats, twice differentiable in `hidden` alone.

    All logits are held at once where the gradient itself is differentiated, and only there.

    Args:
        hidden: [n, d].
        weight: [vocabulary, d], frozen.
        bias: [vocabulary], frozen, or none.
        targets: [n] int64.

    Returns:
        [n], at least float32.
    """
    return _LinearCrossEntropy.apply(hidden, weight, bias, targets)  # type: ignore[return-value]


def sample_targets(
    hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, generator: torch.Generator
) -> torch.Tensor:
    """Draw a token from the model's own distribution at each position: [n] int64."""
    size = max(_CHUNK_NUMBERS // weight.shape[0], 1)
    drawn = [
        torch.multinomial(
            functional.linear(hidden[start : start + size].detach(), weight, bias).float().softmax(dim=-1),
            1,
            generator=generator,
        ).squeeze(1)
        for start in range(0, len(hidden), size)
    ]
    return torch.cat(drawn)
