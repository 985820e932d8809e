"""The network before it is folded: its parameters, and its loss with gradients, for many seeds at once.

The gradients are written out, because then a step goes through the inputs in pieces that stay in the
processor's cache: one S5 network takes about 7 ms a step on one core.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    Parameters = dict[str, torch.Tensor]

# Rows times seeds that are worked on at once: about a megabyte for 128 neurons.
_CHUNK_ROWS = 2_048


def initial_parameters(seed: int, *, order: int, embedding: int, width: int) -> Parameters:
    """Random parameters of one network: tables normal, linear maps uniform within 1 / sqrt(inputs).

    The two maps into the hidden layer act as one on the concatenated embeddings, whence their 1 / sqrt(2 d).

    Returns:
        left_table, right_table [n, d]; left_map, right_map [d, m]; unembed [m, n]; bias [n].
    """
    import torch

    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    def uniform(inputs: int, *shape: int) -> torch.Tensor:
        return (torch.rand(*shape, generator=generator) * 2 - 1) / math.sqrt(inputs)

    return {
        "left_table": normal(order, embedding),
        "right_table": normal(order, embedding),
        "left_map": uniform(2 * embedding, embedding, width),
        "right_map": uniform(2 * embedding, embedding, width),
        "unembed": uniform(width, width, order),
        "bias": torch.zeros(order),
    }


def fold(parameters: Parameters) -> Parameters:
    """Multiply tables and maps out: left, right [..., n, m], unembed [..., m, n], bias [..., n]."""
    return {
        "left": parameters["left_table"] @ parameters["left_map"],
        "right": parameters["right_table"] @ parameters["right_map"],
        "unembed": parameters["unembed"],
        "bias": parameters["bias"],
    }


def gradients(parameters: Parameters, x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> Parameters:
    """Gradient of each network's mean cross entropy on its own inputs.

    Args:
        parameters: batched over b networks.
        x: [b, r] left factors.
        y: [b, r] right factors.
        z: [b, r] right answers.

    Returns:
        As `parameters`.
    """
    folded = fold(parameters)
    slopes = folded_gradients(folded, x, y, z)
    return {
        "left_table": slopes["left"] @ parameters["left_map"].mT,
        "right_table": slopes["right"] @ parameters["right_map"].mT,
        "left_map": parameters["left_table"].mT @ slopes["left"],
        "right_map": parameters["right_table"].mT @ slopes["right"],
        "unembed": slopes["unembed"],
        "bias": slopes["bias"],
    }


def folded_gradients(folded: Parameters, x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> Parameters:
    """The same with respect to the folded form."""
    import torch

    networks, order, width = folded["left"].shape
    offset = order * torch.arange(networks)[:, None]
    left, right = folded["left"].reshape(-1, width), folded["right"].reshape(-1, width)
    slopes = {name: torch.zeros_like(value) for name, value in folded.items()}
    left_slope, right_slope = slopes["left"].view(-1, width), slopes["right"].view(-1, width)
    minus = left.new_full((1, 1, 1), -1.0)
    step = max(_CHUNK_ROWS // networks, 1)
    for start in range(0, x.shape[1], step):
        rows = slice(start, start + step)
        at_left, at_right = (x[:, rows] + offset).flatten(), (y[:, rows] + offset).flatten()
        hidden = left[at_left].add_(right[at_right]).relu_().view(networks, -1, width)
        error = torch.baddbmm(folded["bias"][:, None], hidden, folded["unembed"]).softmax(dim=2)
        answers = z[:, rows, None]
        error.scatter_add_(2, answers, minus.expand(answers.shape))
        slopes["unembed"].baddbmm_(hidden.mT, error)
        slopes["bias"] += error.sum(dim=1)
        back = torch.ops.aten.threshold_backward(error @ folded["unembed"].mT, hidden, 0).view(-1, width)
        left_slope.index_add_(0, at_left, back)
        right_slope.index_add_(0, at_right, back)
    return {name: value / x.shape[1] for name, value in slopes.items()}


def evaluate(
    folded: Parameters, x: torch.Tensor, y: torch.Tensor, z: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross entropy and whether the right logit is the largest, for each input: [b, r] and [b, r] bool."""
    import torch

    networks, order, width = folded["left"].shape
    offset = order * torch.arange(networks)[:, None]
    left, right = folded["left"].reshape(-1, width), folded["right"].reshape(-1, width)
    losses, hits = [], []
    step = max(_CHUNK_ROWS // networks, 1)
    for start in range(0, x.shape[1], step):
        rows = slice(start, start + step)
        hidden = left[(x[:, rows] + offset).flatten()].add_(right[(y[:, rows] + offset).flatten()]).relu_()
        logits = torch.baddbmm(folded["bias"][:, None], hidden.view(networks, -1, width), folded["unembed"])
        right_logit = logits.gather(2, z[:, rows, None])[..., 0]
        losses.append(logits.logsumexp(dim=2) - right_logit)
        hits.append((logits >= right_logit[..., None]).sum(dim=2) == 1)
    return torch.cat(losses, dim=1), torch.cat(hits, dim=1)
