"""Fine-tuning a low-rank adapter on records, with the same masks that attribution uses."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from aitia.engine import note, progress_bar
from aitia.errors import AitiaError, NumericalError
from aitia.files import atomic_path
from aitia.models import LanguageModel, blocks_prefix, in_tokens, observed_layers, run
from aitia.records import Records, pad_batch
from aitia.settings import Above, AtLeast, AtMost, Count, CountOrAll, Seed, check

_ALWAYS = object()
# Layers whose outputs choose experts, by their names: a small change of theirs is no small change of the model.
_ROUTER = re.compile(r"(^|[._])(router|gate|gating|wg)(\.|$)|router|shared_expert_gate$")
# Families whose fused kernels pass a layer of this name by; PEFT refuses it there.
_STATE_SPACE = frozenset({"mamba", "mamba2", "falcon_mamba", "falcon_h1", "nemotron_h"})


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """Settings for training an adapter.

    Attributes:
        rank: rank of the low-rank factors.
        alpha: scale of the adapter; its output is multiplied by alpha / rank.
        use_rslora: multiply by alpha / sqrt(rank) instead (rsLoRA, Kalajdzievski 2023).
        target_modules: names of the linear layers that get factors. Empty for the architecture's usual ones, as PEFT
            lists them; where it lists none, for every linear layer of the blocks but the routers and gates that choose
            experts, and a note says which these are.
        layers_to_transform: blocks that get factors; empty for all.
        learning_rate: peak learning rate, reached after the warm-up, then falling linearly to zero.
        warmup_ratio: share of the steps that warm up.
        warmup_steps: number of steps that warm up, instead of their share; 0 to go by the share.
        weight_decay: weight decay of the factors, decoupled from the gradient (AdamW).
        epochs: passes over the data.
        per_device_train_batch_size: rows run at once.
        gradient_accumulation_steps: batches whose gradients make one step.
        max_length: longest row in tokens; longer ones are cut. 0 for the model's context.
        truncate: cut rows longer than the model's context too, instead of refusing them.
        seed: seed of the factors' start and of the order of rows.

    There is no dropout.
    """

    rank: Count = 8
    alpha: Count = 16
    target_modules: tuple[str, ...] = ()
    layers_to_transform: Annotated[tuple[int, ...], AtLeast(0)] = ()
    learning_rate: Annotated[float, Above(0)] = 1e-3
    warmup_ratio: Annotated[float, AtLeast(0), AtMost(1)] = 0.1
    epochs: Count = 2
    per_device_train_batch_size: Count = 8
    max_length: CountOrAll = 0
    seed: Seed = 0
    use_rslora: bool = False
    warmup_steps: CountOrAll = 0
    weight_decay: Annotated[float, AtLeast(0)] = 0.0
    gradient_accumulation_steps: Count = 1
    truncate: bool = False

    def __post_init__(self) -> None:
        check(self, "training")

    @property
    def cuts(self) -> bool:
        """Whether rows that are too long are cut."""
        return self.truncate or self.max_length > 0

    def identity(self) -> dict[str, Any]:
        """What a training depends on, for naming results.

        Settings that came later are left out where they change nothing, so that results made before keep
        their names.
        """
        later = ("use_rslora", "warmup_steps", "weight_decay", "gradient_accumulation_steps", "truncate")
        defaults = {each.name: each.default for each in fields(self) if each.name in later}
        values = asdict(self)
        return {name: value for name, value in values.items() if value != defaults.get(name, _ALWAYS)}


def finetune_lora(
    model: LanguageModel,
    records: Records,
    settings: LoraSettings,
    out: Path | str | None = None,
    *,
    progress: bool = True,
) -> LanguageModel:
    """Train an adapter on the responses of `records` and save it.

    The loss of a step is the mean cross-entropy over all response tokens of its rows.

    Args:
        model: the model to start from, without an adapter. Its network is wrapped in place: use the
            returned model afterwards.
        records: the training data.
        settings: how.
        out: folder for the adapter, in PEFT's format; none to keep it in memory only.
        progress: show a bar.

    Returns:
        The fine-tuned model, frozen, `adapter` set to `out` (or to `memory`).

    Raises:
        AitiaError: the model has an adapter already, lacks a module or block that is to get factors, or
            has modules there that cannot get any.
        NumericalError: the loss is not finite.
    """
    import torch
    from peft import LoraConfig, TaskType, get_peft_model

    if model.adapter is not None:
        raise AitiaError(f"{model.name} has an adapter ({model.adapter}) already; start from the base model")
    tokenized = in_tokens(model, records, max_length=settings.max_length, truncate=settings.cuts)
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
    tuned = LanguageModel(
        network=network, tokenizer=model.tokenizer, name=model.name, adapter=str(out or "memory")
    )
    parameters = [value for name, value in network.named_parameters() if "lora_" in name]
    for parameter in parameters:
        parameter.requires_grad_()
    steps = _steps(len(tokenized), settings)
    optimiser = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    warmup = settings.warmup_steps or max(1, round(settings.warmup_ratio * len(steps)))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / warmup, (len(steps) - step) / max(len(steps) - warmup, 1))
    )
    bar = progress_bar("Fine-tuning", len(steps), unit="steps") if progress else nullcontext(_no_progress)
    with bar as advance:
        for number, index in enumerate(steps):
            optimiser.zero_grad()
            predicted = sum(int(tokenized[int(i)].response[1:].sum()) for i in index)
            for rows in np.split(
                index,
                range(settings.per_device_train_batch_size, len(index), settings.per_device_train_batch_size),
            ):
                outputs = run(tuned, pad_batch(tokenized, rows, tuned.pad_id), gradients=True)
                loss = outputs.losses().sum() / predicted
                if not bool(loss.isfinite()):
                    raise NumericalError(
                        f"fine-tuning: the loss is not finite at step {number}; lower the learning rate"
                    )
                loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            schedule.step()
            advance(1)
    network.requires_grad_(False)
    if out is not None:
        with atomic_path(out) as temporary:
            network.save_pretrained(str(temporary))
    return tuned


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


def _no_progress(_steps: int) -> None:
    pass


def _steps(rows: int, settings: LoraSettings) -> Sequence[np.ndarray]:
    """Row numbers of each step: every epoch in an order of its own; a short last step is kept."""
    generator = np.random.default_rng(settings.seed)
    size = settings.per_device_train_batch_size * settings.gradient_accumulation_steps
    return [
        chosen
        for _ in range(settings.epochs)
        for chosen in np.split(generator.permutation(rows), range(size, rows, size))
    ]
