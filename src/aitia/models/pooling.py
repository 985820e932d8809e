"""From activations per token to one vector per row: pure functions on tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def masked_sum(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Sum over the marked tokens of each row, in float32: [b, t, d], [b, t] -> [b, d].

    Unmarked values, pads among them, are not even multiplied by zero, so they may be anything.

    Returns:
        [b, d] float32.
    """
    mask = mask.to(values.device)
    return values.masked_fill(~mask.unsqueeze(-1), 0).float().sum(dim=1)


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean over the marked tokens of each row, in float32; zero where none is marked: [b, d]."""
    count = mask.sum(dim=1, keepdim=True).clamp(min=1).to(values.device)
    return masked_sum(values, mask) / count


def response_end_mask(response: torch.Tensor) -> torch.Tensor:
    """Mark the last token of each response: [b, t] -> [b, t].

    A conversation with several responses has several.

    Returns:
        [b, t] bool.
    """
    ends = response.clone()
    ends[:, :-1] &= ~response[:, 1:]
    return ends


def prompt_end_mask(response: torch.Tensor) -> torch.Tensor:
    """Mark the token before each response: [b, t] -> [b, t].

    A conversation with several responses has several; a row that starts with its response has none.

    Returns:
        [b, t] bool.
    """
    ends = response.new_zeros(response.shape)
    ends[:, :-1] = response[:, 1:] & ~response[:, :-1]
    return ends
