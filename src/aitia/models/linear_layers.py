"""Linear layers: which of them count, and what their gradients are made of.

The gradient of a loss with respect to the weight of y = W x + b, for one row, is the sum over its tokens of
g a^T, with a the layer's input (a one appended where there is a bias) and g the gradient of the loss
with respect to its output. Only a [b, t, in] and g [b, t, out] are kept here; parameters stay frozen, so
a backward pass makes activation gradients only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aitia.errors import ModelError
from aitia.models.language_model import LanguageModel
from aitia.models.sites import site_layer

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearLayer:
    """A linear layer of a block.

    Attributes:
        name: its place in the network, from the block on, as in `3.mlp.down_proj`.
        block: the block's number.
        module: an `nn.Linear`, or GPT-2's `Conv1D`.
        outputs: size of g.
        inputs: size of a, the one of the bias included.
        bias: whether it has one.
    """

    name: str
    block: int
    module: nn.Module = field(repr=False)
    outputs: int
    inputs: int
    bias: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Factors:
    """What the gradients of one layer are made of, for a batch; both are of one type and zero at pads.

    Attributes:
        inputs: a, [b, t, in].
        outputs: g, [b, t, out].
    """

    inputs: torch.Tensor
    outputs: torch.Tensor


@dataclass(kw_only=True, slots=True)
class _Input:
    """What layers were given, and what became of it: with a one for the bias, or without."""

    given: torch.Tensor
    made: dict[bool, torch.Tensor] = field(default_factory=dict)


def find_linear_layers(
    model: LanguageModel, *, parameters: str = "full", stride: int = 1, site: str | None = None
) -> tuple[LinearLayer, ...]:
    """The linear layers of the blocks that can move a site.

    Args:
        model: the model.
        parameters: `full` for the weights of the blocks' linear layers (under an adapter, those of the base),
            `lora` for the factors of the adapter alone.
        stride: take every so manieth block, counted down from the highest.
        site: leave out the blocks above it; default: none.

    Raises:
        ModelError: nothing to take, or two layers share a weight, whose gradients would have to be added.
    """
    if parameters not in ("full", "lora"):
        raise ModelError(f"parameters {parameters!r}: choose full or lora")
    if stride < 1:
        raise ModelError(f"stride {stride}: must be at least 1")
    top = model.layers - 1 if site is None else site_layer(site, model.layers)
    found = _layers_of_blocks(model, parameters, range(top % stride, top + 1, stride))
    if not found:
        hint = (
            "the model has no LoRA adapter; use full"
            if parameters == "lora"
            else "their kind is not supported"
        )
        raise ModelError(f"{model.name}: no linear layers to take gradients of ({hint})")
    _refuse_shared_weights(found)
    return tuple(found)


def _layers_of_blocks(model: LanguageModel, parameters: str, blocks: Iterable[int]) -> list[LinearLayer]:
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    found: list[LinearLayer] = []
    for block in blocks:
        for name, module in model.blocks[block].named_modules():
            is_factor = "lora_A." in f"{name}." or "lora_B." in f"{name}."
            if not isinstance(module, nn.Linear | Conv1D) or is_factor != (parameters == "lora"):
                continue
            weight: Any = module.weight
            outputs, inputs = reversed(weight.shape) if isinstance(module, Conv1D) else weight.shape
            bias = module.bias is not None
            found.append(
                LinearLayer(
                    name=f"{block}.{name}",
                    block=block,
                    module=module,
                    outputs=int(outputs),
                    inputs=int(inputs) + bias,
                    bias=bias,
                )
            )
    return found


def layers_named(model: LanguageModel, names: Sequence[str]) -> tuple[LinearLayer, ...]:
    """Linear layers by their names, as another process found them in the same model."""
    kind = "lora" if any("lora_" in name for name in names) else "full"
    wanted, blocks = set(names), sorted({int(name.split(".")[0]) for name in names})
    return tuple(layer for layer in _layers_of_blocks(model, kind, blocks) if layer.name in wanted)


def weights_left_out(model: LanguageModel, layers: Sequence[LinearLayer], *, parameters: str = "full") -> int:
    """How many weights of the layers' blocks no layer holds, norms and biases aside.

    They are of kinds that are not supported: convolutions, or a mixture's experts held in one tensor. Their
    gradients count for nothing.

    Args:
        model: the model.
        layers: as `find_linear_layers` found them.
        parameters: as given to it.
    """
    weights = {id(layer.module.weight) for layer in layers}
    blocks = sorted({layer.block for layer in layers})
    return sum(
        part.numel()
        for block in blocks
        for name, part in model.blocks[block].named_parameters()
        if part.dim() > 1 and id(part) not in weights and ("lora_" in name) == (parameters == "lora")
    )


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
    """
    import torch

    dtype = dtype or torch.float32
    held: dict[str, _Input] = {}
    found: dict[str, Factors] = {}
    handles = []
    pads = None if bool(real.all()) else ~real.unsqueeze(-1)

    def without_pads(values: torch.Tensor) -> torch.Tensor:
        return values if pads is None else values.masked_fill(pads.to(values.device), 0)

    def start_graph(_module: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        if args:
            return (args[0].detach().requires_grad_(), *args[1:]), kwargs
        hidden = kwargs["hidden_states"].detach().requires_grad_()
        return args, kwargs | {"hidden_states": hidden}

    def hook_for(layer: LinearLayer) -> Any:
        def hook(_module: object, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            if not output.requires_grad:
                return
            same = (other for other in held.values() if other.given is args[0])
            held[layer.name] = next(same, None) or _Input(given=args[0])
            output.register_hook(lambda gradient: collect(layer, gradient))

        return hook

    def collect(layer: LinearLayer, gradient: torch.Tensor) -> None:
        entry = held.pop(layer.name)
        if layer.bias not in entry.made:
            made = entry.given.detach().to(dtype)
            if layer.bias:
                made = torch.cat([made, made.new_ones(*made.shape[:-1], 1)], dim=-1)
            entry.made[layer.bias] = without_pads(made)
        found[layer.name] = Factors(
            inputs=entry.made[layer.bias], outputs=without_pads(gradient.detach().to(dtype))
        )

    lowest = model.blocks[min(layer.block for layer in layers)]
    handles.append(lowest.register_forward_pre_hook(start_graph, with_kwargs=True))
    handles += [layer.module.register_forward_hook(hook_for(layer)) for layer in layers]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _refuse_shared_weights(layers: Sequence[LinearLayer]) -> None:
    seen: dict[int, str] = {}
    for layer in layers:
        if layer.module.weight.is_meta:  # type: ignore[union-attr]
            continue
        pointer = layer.module.weight.data_ptr()  # type: ignore[union-attr]
        if pointer in seen:
            raise ModelError(
                f"layers {seen[pointer]} and {layer.name} share one weight, whose gradient is the sum of both; "
                "that is not supported: choose a stride that takes only one of them"
            )
        seen[pointer] = layer.name
