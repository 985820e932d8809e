"""Linear layers: which of them count, how they are used, and which weights no layer holds.

Families differ in how they use a layer: it may be given all tokens of a batch in one line, or a tensor with heads,
return a tuple, be run twice, or share its weight with a layer of another block. What each layer does is seen on a
few tokens (`observed_layers`); one whose inputs cannot be distinguished by rows, as those of an expert that sees
only the tokens routed to it, is left out, and counted by `weights_left_out`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from aitia.errors import ModelError
from aitia.models.language_model import LanguageModel
from aitia.models.probing import ROWS, SHARED, TIME, is_outline, probe_tokens
from aitia.models.sites import site_layer

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearLayer:
    """A linear layer of a block.

    Attributes:
        name: its place in the network, from the block on, as in `3.mlp.down_proj`.
        block: the block's number; the lowest, where blocks share the layer.
        module: an `nn.Linear`, or GPT-2's `Conv1D`.
        outputs: size of g.
        inputs: size of a, the one of the bias included.
        bias: whether it has one.
        layout: how its inputs lie: `rows` [b, t, ..., in], `heads` [b, h, t, in], `flat` [b * t, in], or `product`,
            where the weight is multiplied with [b, in, t] without the module being called.
        element: the place of its output in the tuple that it returns; none where it returns a tensor.
        others: further modules that hold the same weight and bias. The gradient is the sum over all of them.
    """

    name: str
    block: int
    module: nn.Module = field(repr=False)
    outputs: int
    inputs: int
    bias: bool
    layout: str = "rows"
    element: int | None = None
    others: tuple[nn.Module, ...] = field(default=(), repr=False)


def find_linear_layers(
    model: LanguageModel,
    *,
    parameters: str = "full",
    layer_stride: int = 1,
    blocks_from: str = "top",
    site: str | None = None,
) -> tuple[LinearLayer, ...]:
    """The linear layers of the blocks that can move a site.

    Args:
        model: the model.
        parameters: `full` for the weights of the blocks' linear layers (under an adapter, those of the base),
            `lora` for what the adapter trained: its factors, and the linear layers that were trained whole beside
            them.
        layer_stride: take one block of so many.
        blocks_from: count the blocks from the `top` down, so that the highest is taken, or from the `bottom` up, so
            that block 0 is.
        site: leave out the blocks above it; default: none.

    Returns:
        The layers, from the lowest block up.

    Raises:
        ModelError: nothing to take, or two layers share a part of a weight, whose gradients would have to be added.
    """
    if parameters not in ("full", "lora"):
        raise ModelError(f"parameters {parameters!r}: choose full or lora")
    if layer_stride < 1:
        raise ModelError(f"layer_stride {layer_stride}: must be at least 1")
    if blocks_from not in ("top", "bottom"):
        raise ModelError(f"blocks_from {blocks_from!r}: choose top or bottom")
    top = model.layers - 1 if site is None else site_layer(site, model.layers)
    blocks = range(top % layer_stride if blocks_from == "top" else 0, top + 1, layer_stride)
    found = tuple(
        layer for layer in observed_layers(model) if layer.block in blocks and _is_of(layer.name, parameters)
    )
    if not found:
        hint = (
            "the model has no LoRA adapter; use full"
            if parameters == "lora"
            else "their kind is not supported"
        )
        raise ModelError(f"{model.name}: no linear layers to take gradients of ({hint})")
    _refuse_shared_weights(found)
    return found


def layers_named(model: LanguageModel, names: Sequence[str]) -> tuple[LinearLayer, ...]:
    """Linear layers by their names, as another process found them in the same model."""
    wanted = set(names)
    return tuple(layer for layer in observed_layers(model) if layer.name in wanted)


def _is_of(name: str, parameters: str) -> bool:
    """Whether a layer or a parameter of this name counts among the `full` weights or those of the `lora` adapter."""
    factor = any(part.startswith("lora_") for part in name.split("."))
    return factor or "modules_to_save." in name if parameters == "lora" else not factor


def observed_layers(model: LanguageModel) -> tuple[LinearLayer, ...]:
    """Every linear layer of the blocks, adapters included, that is used in a way that is understood.

    Seen by running a few tokens, once for a model. Without weights, where a network cannot always be run, every layer
    is taken to be used in the usual way.

    Returns:
        The layers, in the order of the model.
    """
    if model.observed is None:
        model.observed = _observe(model)
    return model.observed


def _observe(model: LanguageModel) -> tuple[LinearLayer, ...]:
    import torch

    layers = _layers_of_blocks(model)
    outline = is_outline(model.network)
    seen: dict[str, set[tuple[str, int | None] | None]] = {layer.name: set() for layer in layers}

    def see(layer: LinearLayer, given: Any, output: Any) -> None:
        element, result = _linear_output(layer.module, given, output)
        if result is None or result.requires_grad:
            layout = None if result is None else _layout(given)
            seen[layer.name].add(None if layout is None else (layout, element))

    def see_product(layer: LinearLayer, given: Any, output: Any) -> None:
        if output.requires_grad:
            usual = given.dim() == 3 and (given.shape[0], given.shape[2]) == (ROWS, TIME)
            seen[layer.name].add(("product", None) if usual else None)

    products = {
        id(module.weight): partial(see_product, layer)
        for layer in layers
        for module in (layer.module, *layer.others)
    }
    try:
        with torch.enable_grad(), watching_layers(layers, model.blocks[0], see, products):
            model.network(input_ids=probe_tokens(model.network), use_cache=False)
    except (RuntimeError, NotImplementedError):
        if not outline:
            raise
        return tuple(layer for layer in layers if "original_module." not in layer.name)
    found = []
    for layer in layers:
        uses = seen[layer.name]
        if len(uses) == 1 and (use := uses.pop()) is not None:
            # One of several alike may see tokens in an order of its own, though not those that were tried.
            if use[0] == "flat" and _is_listed(model.blocks[layer.block], layer.name.partition(".")[2]):
                continue
            found.append(replace(layer, layout=use[0], element=use[1]))
    return tuple(found)


def _is_listed(block: nn.Module, name: str) -> bool:
    """Whether a module lies in a list or a dictionary of a block, as experts do; PEFT's own do not count."""
    from torch import nn

    parts = name.split(".")
    for end in range(1, len(parts)):
        holder = block.get_submodule(".".join(parts[:end]))
        adapter = parts[end - 1].startswith("lora_") or parts[end - 1] == "modules_to_save"
        if isinstance(holder, nn.ModuleList | nn.ModuleDict) and not adapter:
            return True
    return False


def weights_left_out(model: LanguageModel, layers: Sequence[LinearLayer], *, parameters: str = "full") -> int:
    """How many weights no layer holds, so that their gradients count for nothing; see `kinds_left_out`."""
    return sum(kinds_left_out(model, layers, parameters=parameters).values())


def kinds_left_out(
    model: LanguageModel, layers: Sequence[LinearLayer], *, parameters: str = "full"
) -> dict[str, int]:
    """The weights that no layer holds, and whose gradients count for nothing: kind -> how many.

    With `full`, those of the layers' blocks, norms and biases aside: convolutions, a mixture's experts held in one
    tensor, or layers used in a way that is not understood. With `lora`, all that the adapter trained, in
    the layers' blocks and outside of all blocks: magnitudes, embeddings, tokens, biases, and modules trained whole.

    Args:
        model: the model.
        layers: as `find_linear_layers` found them.
        parameters: as given to it.

    Returns:
        Kinds by their places in the network without the numbers of blocks, the largest first.
    """
    held = {
        id(part) for layer in layers for part in (layer.module.weight, layer.module.bias) if part is not None
    }
    prefix = blocks_prefix(model)
    blocks = tuple({f"{prefix}{layer.block}." for layer in layers})
    trained = _trained(model.network, parameters)
    counts: dict[str, int] = {}
    for name, part in model.network.named_parameters():
        inside = name.startswith(prefix)
        if id(part) in held or not trained(name) or (inside and not name.startswith(blocks)):
            continue
        if parameters == "full" and (not inside or part.dim() < 2):
            continue
        kind = re.sub(r"\.\d+(?=\.|$)", "", name.removeprefix(prefix).lstrip("0123456789."))
        counts[kind] = counts.get(kind, 0) + part.numel()
    return dict(sorted(counts.items(), key=lambda each: -each[1]))


def blocks_prefix(model: LanguageModel) -> str:
    """What the names of the blocks' parameters begin with, the block's number left out."""
    return next(f"{name}." for name, module in model.network.named_modules() if module is model.blocks)


def _trained(network: Any, parameters: str) -> Callable[[str], bool]:
    """Which parameters training moved, by their names: all but the adapter's, or what an adapter trained."""
    if parameters == "full":
        return lambda name: _is_of(name, "full") and "original_module." not in name
    biases = {getattr(settings, "bias", "none") for settings in getattr(network, "peft_config", {}).values()}

    def trained(name: str) -> bool:
        if _is_of(name, "lora") or "trainable_tokens_delta" in name:
            return True
        plain_bias = name.endswith(".bias")
        return plain_bias and ("all" in biases or ("lora_only" in biases and ".base_layer." in name))

    return trained


def _layers_of_blocks(model: LanguageModel) -> list[LinearLayer]:
    """The linear layers of all blocks, those that share weight and bias as one."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    found: dict[tuple[int, int], LinearLayer] = {}
    for block, module in enumerate(model.blocks):
        for name, part in module.named_modules():
            if not isinstance(part, nn.Linear | Conv1D):
                continue
            key = id(part.weight), id(part.bias)
            if key in found:
                held = found[key]
                if all(part is not other for other in (held.module, *held.others)):
                    found[key] = replace(held, others=(*held.others, part))
                continue
            outputs, inputs = reversed(part.weight.shape) if isinstance(part, Conv1D) else part.weight.shape
            bias = part.bias is not None
            found[key] = LinearLayer(
                name=f"{block}.{name}",
                block=block,
                module=part,
                outputs=int(outputs),
                inputs=int(inputs) + bias,
                bias=bias,
            )
    return list(found.values())


def _linear_output(module: Any, given: Any, output: Any) -> tuple[int | None, Any]:
    """Which part of what a module returns is W x + b, and that part; none if no part is."""
    from torch import nn
    from torch.nn import functional
    from transformers.pytorch_utils import Conv1D

    if type(module).forward in (nn.Linear.forward, Conv1D.forward):
        return None, output
    try:
        wanted = functional.linear(given, module.weight, module.bias)
    except RuntimeError:  # a packed weight
        return None, None
    parts = enumerate(output) if isinstance(output, tuple) else [(None, output)]
    for place, part in parts:
        if getattr(part, "shape", None) == wanted.shape and (
            part.is_meta or bool(((part - wanted).abs() <= 1e-2 * wanted.abs().max()).all())
        ):
            return place, part
    return None, None


def _layout(given: Any) -> str | None:
    """How the inputs of the probe's [3, 11] tokens lie, or none if they cannot be distinguished by rows."""
    shape = tuple(given.shape)
    if len(shape) > 2 and shape[:2] == (ROWS, TIME):
        return "rows"
    if len(shape) == 4 and shape[0] == ROWS and shape[2] == TIME:
        return "heads"
    if shape[:-1] == (ROWS * TIME,):
        if given.is_meta:
            return "flat"
        # Rows 0 and 1 begin with the same tokens: in the order of the batch, their inputs are the same there.
        lines = given.detach().float().reshape(ROWS, TIME, -1)
        apart = (lines[0, :SHARED] - lines[1, :SHARED]).abs().amax(dim=-1)
        return "flat" if bool((apart <= 1e-2 * lines[0, :SHARED].abs().amax(dim=-1)).all()) else None
    return None


@contextmanager
def watching_layers(
    layers: Sequence[LinearLayer],
    lowest: nn.Module,
    called: Callable[[LinearLayer, Any, Any], None],
    multiplied: Mapping[int, Callable[[Any, Any], None]],
) -> Iterator[None]:
    """Hear of every use of the layers while the network is run, with a computation graph from a block on.

    Args:
        layers: of the blocks from the lowest on.
        lowest: the block whose input the graph starts at.
        called: layer, input, and what it returned.
        multiplied: id of a weight -> what hears of the matrices [b, in, t] that it is multiplied with, and of the
            products. State-space models do this, and pass the layer itself by.
    """
    from torch.overrides import TorchFunctionMode

    class Products(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            if len(args) == 2 and id(args[0]) in multiplied and "matmul" in getattr(func, "__name__", ""):
                multiplied[id(args[0])](args[1], result)
            return result

    def start_graph(_module: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        # A copy, since some blocks add to their input in place, which a leaf does not allow.
        if args:
            return (args[0].detach().requires_grad_().clone(), *args[1:]), kwargs
        hidden = kwargs["hidden_states"].detach().requires_grad_().clone()
        return args, kwargs | {"hidden_states": hidden}

    def hook_for(layer: LinearLayer) -> Any:
        def hook(_module: object, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            called(layer, args[0] if args else next(iter(kwargs.values())), output)

        return hook

    handles = [lowest.register_forward_pre_hook(start_graph, with_kwargs=True)]
    handles += [
        module.register_forward_hook(hook_for(layer), with_kwargs=True)
        for layer in layers
        for module in (layer.module, *layer.others)
    ]
    try:
        with Products() if multiplied else nullcontext():
            yield
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
                "that is not supported: choose a layer stride that takes only one of them"
            )
        seen[pointer] = layer.name
