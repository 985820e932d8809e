"""Signals: the small vectors that a scan keeps of each training row, at each site.

- `response`: mean activation over the response tokens. Needs a forward pass up to the site.
- `prompt_end`: activation of the last token before the response. The same pass.
- `own_response`: mean activation over a response that the model itself samples to the prompt. Needs
  sampling, and a pass.
- `backward`: sum over the response tokens of the gradient of the row's mean loss. Needs a whole forward
  pass, and a backward pass down to the site.

The loss is the cross-entropy of the response tokens in nats, averaged over them, as in supervised
fine-tuning; a conversation's responses count together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from aitia.models import LanguageModel, require_finite, site_gradients, trace
from aitia.models.pooling import masked_mean, masked_sum, prompt_end_mask
from aitia.models.tracing import batch_tensors

if TYPE_CHECKING:
    import torch

    from aitia.records import Batch

Signal = Literal["response", "prompt_end", "own_response", "backward"]
FORWARD_SIGNALS: tuple[Signal, ...] = ("response", "prompt_end")
SIGNALS: tuple[Signal, ...] = (*FORWARD_SIGNALS, "own_response", "backward")
"""Every signal a store can hold."""
DEFAULT_SIGNALS: tuple[Signal, ...] = (*FORWARD_SIGNALS, "backward")
"""What a scan keeps by default: all that methods read which neither sample nor take gradients of weights."""


def signal_key(signal: str, site: str) -> str:
    """The name under which a signal at a site is stored."""
    return f"{signal}.{site}"


def collect_signals(
    model: LanguageModel, batch: Batch, sites: Sequence[str], locations: Sequence[str], *, backward: bool
) -> dict[str, np.ndarray]:
    """The forward signals of a batch, and with `backward` the backward signal and the loss.

    Args:
        model: the model.
        batch: b rows.
        sites: where.
        locations: of the b rows, for error messages.
        backward: also run the upper layers, forward and backward.

    Returns:
        `signal.site` -> [b, d] float32, and `loss` -> [b] float32 (summed over response tokens).

    Raises:
        NumericalError: a value is not finite; the row is named.
    """
    tokens, response = batch_tensors(model, batch)
    del tokens
    found: dict[str, torch.Tensor] = {}
    if backward:
        outputs, gradients = site_gradients(model, batch, sites)
        activations = outputs.activations
        predicted = predicted_tokens(batch)
        for site, gradient in gradients.items():
            total = masked_sum(gradient, response)
            found[signal_key("backward", site)] = total / total.new_tensor(predicted).unsqueeze(1)
        found["loss"] = outputs.losses().detach()
    else:
        activations = trace(model, batch, sites)
    for site, hidden in activations.items():
        found[signal_key("response", site)] = masked_mean(hidden.detach(), response)
        found[signal_key("prompt_end", site)] = masked_mean(hidden.detach(), prompt_end_mask(response))
    for name, values in found.items():
        require_finite(
            values.reshape(len(locations), -1), locations, f"the {name.replace('.', ' signal at ', 1)}"
        )
    return {name: values.cpu().numpy() for name, values in found.items()}


def own_response_signal(
    model: LanguageModel, batch: Batch, sites: Sequence[str], locations: Sequence[str]
) -> dict[str, np.ndarray]:
    """The `own_response` signal of rows whose response is the model's own: `signal.site` -> [b, d] float32."""
    forward = collect_signals(model, batch, sites, locations, backward=False)
    return {signal_key("own_response", site): forward[signal_key("response", site)] for site in sites}


def predicted_tokens(batch: Batch) -> np.ndarray:
    """How many response tokens of each row are predicted: all but one at the very start of the row. [b]."""
    return np.maximum(batch.response[:, 1:].sum(axis=1), 1)
