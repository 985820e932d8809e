"""What is trained of a model: low-rank factors put on its linear layers, or all of its weights."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aitia.engine import note
from aitia.errors import AitiaError
from aitia.models import LanguageModel, blocks_prefix, observed_layers
from aitia.training.settings import LoraSettings

if TYPE_CHECKING:
    import torch
    from torch import nn

# Layers whose outputs choose experts, by their names: a small change of theirs is no small change of the model.
_ROUTER = re.compile(r"(^|[._])(router|gate|gating|wg)(\.|$)|router|shared_expert_gate$")
# Families whose fused kernels pass a layer of this name by; PEFT refuses it there.
_STATE_SPACE = frozenset({"mamba", "mamba2", "falcon_mamba", "falcon_h1", "nemotron_h"})


@dataclass(frozen=True, kw_only=True)
class Trainable:
    """A model with the parameters that training moves, as one flat vector to those who train.

    Attributes:
        model: with its factors, if it has any.
        parameters: name -> parameter, in the order of the flat vector.
    """

    model: LanguageModel
    parameters: dict[str, nn.Parameter]

    @property
    def shapes(self) -> dict[str, list[int]]:
        """Name -> shape, in the order of the flat vector."""
        return {name: list(value.shape) for name, value in self.parameters.items()}

    def read(self) -> torch.Tensor:
        """All trained parameters end to end: [P], a copy."""
        import torch

        return torch.cat([value.detach().flatten() for value in self.parameters.values()])

    def decay(self, settings: LoraSettings) -> float | torch.Tensor:
        """The weight decay: one number, or [P] float64 where some parameters have none."""
        import torch

        if not (settings.weight_decay and settings.undecayed):
            return settings.weight_decay
        rates = [
            0.0 if any(part in name for part in settings.undecayed) else settings.weight_decay
            for name in self.parameters
        ]
        sizes = torch.tensor([value.numel() for value in self.parameters.values()])
        device = next(iter(self.parameters.values())).device
        return torch.tensor(rates, dtype=torch.float64).repeat_interleave(sizes).to(device)

    def write(self, flat: torch.Tensor) -> None:
        """Give the model the parameters of a flat vector, [P]."""
        import torch

        parts = flat.split([value.numel() for value in self.parameters.values()])
        with torch.no_grad():
            for value, part in zip(self.parameters.values(), parts, strict=True):
                value.copy_(part.view_as(value))


def make_trainable(model: LanguageModel, settings: LoraSettings, *, adapter: str = "memory") -> Trainable:
    """Put factors on a model, drawn by the settings' seed, or take all of its weights; in place.

    Args:
        model: without an adapter; with `lora`, use the returned model afterwards.
        settings: what is trained.
        adapter: what the model is to say of its adapter.

    Returns:
        The model with its trained parameters.

    Raises:
        AitiaError: the model has an adapter already, lacks a module or block that is to get factors, has modules
            there that cannot get any, has weights of half precision that are all to be trained, or has dropout switched
            on.
    """
    import torch

    if model.adapter is not None:
        raise AitiaError(f"{model.name} has an adapter ({model.adapter}) already; start from the base model")
    for name, module in model.network.named_modules():
        if isinstance(module, torch.nn.modules.dropout._DropoutNd) and module.training and module.p > 0:
            raise AitiaError(
                f"training: {name} of {model.name} drops out {module.p:g} of its inputs at random; call "
                "`network.eval()`: training here has no dropout, so that it can be replayed"
            )
    if settings.method == "full":
        half = next((n for n, v in model.network.named_parameters() if v.dtype.itemsize < 4), None)
        if half is not None:
            raise AitiaError(
                f"training: {half} of {model.name} is {model.dtype}, too coarse for small steps; load the model with "
                "dtype=float32 to train all of its weights"
            )
        # Another object, since the fingerprints of the one before are those of its weights then.
        tuned, wanted = LanguageModel(network=model.network, tokenizer=model.tokenizer, name=model.name), ""
    else:
        tuned, wanted = _with_factors(model, settings, adapter), "lora_"
    parameters = {name: value for name, value in tuned.network.named_parameters() if wanted in name}
    for parameter in parameters.values():
        parameter.requires_grad_()
    return Trainable(model=tuned, parameters=parameters)


@contextmanager
def temporarily_trainable(model: LanguageModel, settings: LoraSettings) -> Iterator[Trainable]:
    """The same for a while: the model is as it was when the block ends.

    Yields:
        The model with its trained parameters.

    Raises:
        AitiaError: see `make_trainable`.
    """
    found = make_trainable(model, settings)
    before = found.read() if settings.method == "full" else None
    try:
        yield found
    finally:
        if before is not None:
            found.write(before)
        else:
            found.model.network.unload()
            if hasattr(model.network, "peft_config"):  # or PEFT would speak of a second adapter
                del model.network.peft_config
        model.network.requires_grad_(False)


def _with_factors(model: LanguageModel, settings: LoraSettings, adapter: str) -> LanguageModel:
    import torch
    from peft import LoraConfig, TaskType, get_peft_model

    _require_places(model, settings)
    modules, layers = (
        list(settings.target_modules) or usual_modules(model),
        list(settings.layers_to_transform) or None,
    )
    known = modules is not None
    if not known:
        modules, layers = linear_maps(model, settings.layers_to_transform), None
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        use_rslora=settings.use_rslora,
        target_modules=modules,
        layers_to_transform=layers,
        task_type=TaskType.CAUSAL_LM,
    )
    try:
        with torch.random.fork_rng():
            torch.manual_seed(settings.seed)
            network = get_peft_model(model.network, config)
    except (ValueError, TypeError, NotImplementedError) as error:
        names = sorted({_leaf(name) for name in ([modules] if isinstance(modules, str) else modules)})
        raise AitiaError(
            f"training: target_modules: low-rank factors cannot be put on {', '.join(names)} of {model.name} "
            f"({type(model.network).__name__}); name other linear layers under target_modules"
        ) from error
    if not known:
        note(
            f"Fine-tuning: no usual places for factors are known in {model.config.model_type}; all linear layers of "
            f"its blocks but routers get them: {', '.join(_adapted(network))}"
        )
    return LanguageModel(network=network, tokenizer=model.tokenizer, name=model.name, adapter=adapter)


def usual_modules(model: LanguageModel) -> list[str] | str | None:
    """Where adapters of the architecture usually are: names of modules, or a pattern; none if that is not known."""
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as USUAL

    kinds = (model.network.config.model_type, model.config.model_type)
    names = next((USUAL[kind] for kind in kinds if kind in USUAL), None)
    if names is None or isinstance(names, str):
        return names
    inside = {id(module) for module in model.blocks.modules()}
    places = [
        (name, id(module) in inside) for name, module in model.network.named_modules() if _leaf(name) in names
    ]
    if all(in_a_block for _, in_a_block in places):
        return list(names) if places else None
    return [name for name, in_a_block in places if in_a_block] or None


def linear_maps(model: LanguageModel, blocks: Sequence[int] = ()) -> list[str]:
    """The whole names of the blocks' linear layers, or of some blocks', that can get factors: routers cannot.

    Returns:
        Names, in the order of the model.

    Raises:
        AitiaError: there are none.
    """
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    prefix = blocks_prefix(model)
    whole = {id(module): name for name, module in model.network.named_modules(remove_duplicate=False)}
    found = [
        whole[id(module)]
        for layer in observed_layers(model)
        for module in (layer.module, *layer.others)
        if type(module) in (nn.Linear, Conv1D)
        and layer.layout != "product"
        and not _ROUTER.search(layer.name)
        and (not blocks or int(whole[id(module)].removeprefix(prefix).split(".")[0]) in blocks)
        and not (getattr(model.config, "model_type", "") in _STATE_SPACE and _leaf(layer.name) == "out_proj")
    ]
    if not found:
        raise AitiaError(
            f"training: {model.name} has no linear layer in its blocks that can get low-rank factors; it cannot be "
            "fine-tuned here"
        )
    return found


def _adapted(network: Any) -> list[str]:
    """The names, without their paths, of the modules that got factors."""
    owners = (name.partition(".lora_A.")[0] for name, _ in network.named_parameters() if ".lora_A." in name)
    return sorted({_leaf(owner.replace(".base_layer", "")) for owner in owners})


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]


def _require_places(model: LanguageModel, settings: LoraSettings) -> None:
    """Refuse modules and blocks that the model does not have; PEFT passes over some of them in silence."""
    # By the weight, not the class: the linear maps of GPT-2 have one of their own.
    weights = [name.split(".") for name, weight in model.blocks.named_parameters() if weight.dim() == 2]
    maps = sorted({path[-2] for path in weights if path[-1] == "weight"})
    whole = {name for name, _ in model.network.named_modules()}
    for module in settings.target_modules:
        if not any(name == module or name.endswith(f".{module}") for name in whole):
            raise AitiaError(
                f"training: target_modules: {model.name} has no {module!r}; its linear maps are {', '.join(maps)}"
            )
    count = len(model.blocks)
    wrong = [layer for layer in settings.layers_to_transform if not 0 <= layer < count]
    if wrong:
        raise AitiaError(
            f"training: layers_to_transform: {model.name} has blocks 0 to {count - 1}, not {wrong[0]}"
        )


@contextmanager
def as_language_model(
    network: Any, tokenizer: Any, *, base_fingerprint: str | None = None
) -> Iterator[LanguageModel]:
    """Look at a network that another trainer is training, and leave it as it was, the state of chance too.

    A `LanguageModel` freezes its parameters, and puts faster modules of the same function in the place of some.

    Args:
        network: a causal language model, with or without an adapter of PEFT.
        tokenizer: its own.
        base_fingerprint: of the model that the training started from, where that is known.

    Yields:
        The network as a model, in evaluation mode.
    """
    import torch

    modes = [(module, module.training) for module in network.modules()]
    children = [(module, dict(module.named_children())) for module in network.modules()]
    trained = [value for value in network.parameters() if value.requires_grad]
    name = str(getattr(network.config, "_name_or_path", "") or type(network).__name__)
    try:
        with torch.random.fork_rng():
            yield LanguageModel(
                network=network,
                tokenizer=tokenizer,
                name=name,
                adapter="memory" if hasattr(network, "peft_config") else None,
                known_base_fingerprint=base_fingerprint,
            )
    finally:
        for module, kept in children:
            for each, child in kept.items():
                if getattr(module, each) is not child:
                    setattr(module, each, child)
        for module, mode in modes:
            module.training = mode
        for value in trained:
            value.requires_grad_()
