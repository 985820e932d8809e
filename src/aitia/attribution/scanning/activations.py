"""Activations: the small vectors that a scan keeps of each training row, at each site.

- `response`: mean activation over the response tokens. Needs a forward pass up to the site.
- `response_end`: activation of the last response token. The same pass.
- `prompt_end`: activation of the last token before the response. The same pass.
- `on_policy_response`: mean activation over a response that the model itself samples to the prompt. Needs
  sampling, and a pass. Beside it lies `on_policy_response_end`, that of its last token.
- `backward`: sum over the response tokens of the gradient of the row's mean loss. Needs a whole forward
  pass, and a backward pass down to the site.

The loss is the cross-entropy of the response tokens in nats, averaged over them, as in supervised
fine-tuning; a conversation's responses count together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from aitia.models import (
    LanguageModel,
    batch_tensors,
    masked_mean,
    masked_sum,
    prompt_end_mask,
    require_finite,
    response_end_mask,
    site_gradients,
    trace,
)

if TYPE_CHECKING:
    import torch

    from aitia.records import Batch

Activation = Literal["response", "response_end", "prompt_end", "on_policy_response", "backward"]
FORWARD_ACTIVATIONS: tuple[Activation, ...] = ("response", "response_end", "prompt_end")
ENDS = {"response": "response_end", "on_policy_response": "on_policy_response_end"}
"""What stands in the place of a mean over tokens for a concept that is read at the last of them."""
ACTIVATIONS: tuple[Activation, ...] = (*FORWARD_ACTIVATIONS, "on_policy_response", "backward")
"""Every activation a store can hold."""
DEFAULT_ACTIVATIONS: tuple[Activation, ...] = (*FORWARD_ACTIVATIONS, "backward")
"""What a scan keeps by default: all that methods read which neither sample nor take gradients of weights."""


def with_ends(kept: Sequence[str]) -> tuple[str, ...]:
    """Activations that a store was asked for, and the ends that lie beside means; old stores have no ends at all."""
    ends = [end for mean, end in ENDS.items() if mean in kept and end not in kept]
    return (*kept, *(ends if ENDS["response"] in kept else ()))


def activation_key(activation: str, site: str) -> str:
    """The name under which an activation at a site is stored."""
    return f"{activation}.{site}"


def collect_activations(
    model: LanguageModel, batch: Batch, sites: Sequence[str], locations: Sequence[str], *, backward: bool
) -> dict[str, np.ndarray]:
    """The forward activations of a batch, and with `backward` the backward activation and the loss.

    Args:
        model: the model.
        batch: b rows.
        sites: where.
        locations: of the b rows, for error messages.
        backward: also run the upper layers, forward and backward.

    Returns:
        `activation.site` -> [b, d] float32, and `loss` -> [b] float32 (summed over response tokens).

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
            found[activation_key("backward", site)] = total / total.new_tensor(predicted).unsqueeze(1)
        found["loss"] = outputs.losses().detach()
    else:
        activations = trace(model, batch, sites)
    for site, hidden in activations.items():
        found[activation_key("response", site)] = masked_mean(hidden.detach(), response)
        found[activation_key("response_end", site)] = masked_mean(
            hidden.detach(), response_end_mask(response)
        )
        found[activation_key("prompt_end", site)] = masked_mean(hidden.detach(), prompt_end_mask(response))
    for name, values in found.items():
        require_finite(
            values.reshape(len(locations), -1), locations, f"the {name.replace('.', ' activation at ', 1)}"
        )
    return {name: values.cpu().numpy() for name, values in found.items()}


def on_policy_response_activation(
    model: LanguageModel, batch: Batch, sites: Sequence[str], locations: Sequence[str]
) -> dict[str, np.ndarray]:
    """`on_policy_response`, and its end, of rows whose response is the model's own: `activation.site` -> [b, d]."""
    forward = collect_activations(model, batch, sites, locations, backward=False)
    return {
        activation_key(f"on_policy_{name}", site): forward[activation_key(name, site)]
        for site in sites
        for name in ("response", "response_end")
    }


def predicted_tokens(batch: Batch) -> np.ndarray:
    """How many response tokens of each row are predicted: all but one at the very start of the row. [b]."""
    return np.maximum(batch.response[:, 1:].sum(axis=1), 1)
