"""What the gradients of linear layers are made of, collected in one forward and backward pass.

The gradient of a loss with respect to the weight of y = W x + b, for one row, is the sum over its tokens of
g a^T, with a the layer's input (a one appended where there is a bias) and g the gradient of the loss
with respect to its output. Only a [b, t, in] and g [b, t, out] are kept here; parameters stay frozen, so
a backward pass makes activation gradients only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from aitia.errors import ModelError
from aitia.models.language_model import LanguageModel
from aitia.models.linear_layers import LinearLayer, watching_layers

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True, slots=True)
class Factors:
    """What the gradients of one layer are made of, for a batch; both are of one type and zero at pads.

    A layer that is used k times for each token, by heads or by calls, has k stretches of t.

    Attributes:
        inputs: a, [b, k t, in].
        outputs: g, [b, k t, out].
    """

    inputs: torch.Tensor
    outputs: torch.Tensor


@dataclass(kw_only=True, slots=True)
class _Input:
    """What layers were given, by rows, and what became of it: with a one for the bias, or without."""

    given: torch.Tensor
    layout: str
    made: dict[bool, torch.Tensor] = field(default_factory=dict)


@contextmanager
def capturing(
    layers: Sequence[LinearLayer],
    model: LanguageModel,
    real: torch.Tensor,
    *,
    dtype: torch.dtype | None = None,
) -> Iterator[dict[str, Factors]]:
    """Collect the factors of each layer while a forward and a backward pass are made inside the block.

    The computation graph starts at the input of the lowest block that holds one of the layers.

    Args:
        layers: whose factors.
        model: the model.
        real: [b, t] bool, false at pads.
        dtype: of the factors; default: float32.

    Yields:
        A mapping that is filled by the backward pass: name -> factors. A layer that the loss does not
        depend on stays out of it. Layers that are given the same tensor, as q, k and v are, share their inputs.

    Raises:
        ModelError: a layer is given something of another shape than when the model was tried.
    """
    import torch

    dtype = dtype or torch.float32
    held: dict[tuple[str, int], _Input] = {}
    found: dict[str, Factors] = {}
    count = 0
    pads = None if bool(real.all()) else ~real

    def without_pads(values: torch.Tensor) -> torch.Tensor:
        if pads is None:
            return values
        hidden = pads.to(values.device).repeat(1, values.shape[1] // pads.shape[1])
        return values.masked_fill(hidden.unsqueeze(-1), 0)

    def use(layer: LinearLayer, given: Any, result: Any) -> None:
        nonlocal count
        if not result.requires_grad:
            return
        _require_layout(layer, given, real.shape)
        key = layer.name, (count := count + 1)
        same = (each for each in held.values() if each.given is given and each.layout == layer.layout)
        held[key] = next(same, None) or _Input(given=given, layout=layer.layout)
        result.register_hook(lambda gradient: collect(layer, key, gradient))

    def called(layer: LinearLayer, given: Any, output: Any) -> None:
        if layer.layout != "product":
            use(layer, given, output if layer.element is None else output[layer.element])

    def collect(layer: LinearLayer, key: tuple[str, int], gradient: torch.Tensor) -> None:
        entry = held.pop(key)
        if layer.bias not in entry.made:
            made = _by_rows(entry.given.detach().to(dtype), layer.layout, real.shape)
            if layer.bias:
                made = torch.cat([made, made.new_ones(*made.shape[:-1], 1)], dim=-1)
            entry.made[layer.bias] = without_pads(made)
        inputs = entry.made[layer.bias]
        outputs = without_pads(_by_rows(gradient.detach().to(dtype), layer.layout, real.shape))
        if (before := found.get(layer.name)) is not None:
            inputs = torch.cat([before.inputs, inputs], dim=1)
            outputs = torch.cat([before.outputs, outputs], dim=1)
        found[layer.name] = Factors(inputs=inputs, outputs=outputs)

    products = {
        id(module.weight): partial(use, layer)
        for layer in layers
        if layer.layout == "product"
        for module in (layer.module, *layer.others)
    }
    with watching_layers(layers, model.blocks[min(layer.block for layer in layers)], called, products):
        yield found


def _by_rows(values: torch.Tensor, layout: str, size: Sequence[int]) -> torch.Tensor:
    """What lies in a layout, with one row of the batch a row: [b, k t, n]."""
    rows, time = size
    if layout == "product":
        return values.transpose(1, 2)
    if layout == "flat":
        return values.reshape(rows, time, values.shape[-1])
    if values.dim() == 3:
        return values
    if layout == "rows":
        values = values.reshape(rows, time, -1, values.shape[-1]).transpose(1, 2)
    return values.reshape(rows, -1, values.shape[-1])


def _require_layout(layer: LinearLayer, given: torch.Tensor, size: Sequence[int]) -> None:
    rows, time = size
    shape = tuple(given.shape)
    fits = {
        "rows": shape[:2] == (rows, time),
        "heads": len(shape) == 4 and (shape[0], shape[2]) == (rows, time),
        "flat": shape[:-1] == (rows * time,),
        "product": len(shape) == 3 and (shape[0], shape[2]) == (rows, time),
    }
    if not fits[layer.layout]:
        raise ModelError(
            f"layer {layer.name} is given {list(shape)} for {rows} rows of {time} tokens, which cannot be split "
            "by rows; that is not supported"
        )
