"""What of another trainer's run can be replayed: its settings in ours, or a refusal with the reason."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from aitia.errors import AitiaError
from aitia.records.losses import PLAIN, LossSettings
from aitia.training.settings import LoraSettings

if TYPE_CHECKING:
    import torch

_NOT_REPLAYED: tuple[tuple[str, object, str], ...] = (
    ("bf16", True, "mixed precision rounds each product; train with bf16=False and the model in float32"),
    ("fp16", True, "mixed precision rounds each product; train with fp16=False and the model in float32"),
    ("deepspeed", ..., "one process without DeepSpeed is recorded"),
    ("fsdp", ..., "one process without FSDP is recorded"),
    ("torch_compile", True, "train without torch_compile"),
    ("label_smoothing_factor", ..., "the loss is not plain cross-entropy; set it to 0"),
    ("neftune_noise_alpha", ..., "noise is added to the embeddings; set it to None"),
    ("use_liger_kernel", True, "its kernels have a loss of their own; set it to False"),
    ("auto_find_batch_size", True, "a run that starts over cannot be recorded; give the batch size that fits"),
    ("load_best_model_at_end", True, "the model that is kept would not be the one at the run's end; set it to False"),
    ("packing", True, "rows that are packed together are not told apart; set it to False"),
    ("padding_free", True, "rows that are packed together are not told apart; set it to False"),
    ("activation_offloading", True, "set it to False"),
)  # fmt: skip

# What TRL's DPOConfig may not say beside the loss that `aitia.records.losses` knows: name, its value there, the mend.
_NOT_PLAIN_DPO: tuple[tuple[str, tuple[object, ...], str], ...] = (
    ("loss_type", (["sigmoid"], "sigmoid"), "one loss, 'sigmoid', is replayed; set it to ['sigmoid']"),
    ("loss_weights", (None, [1.0]), "the loss is multiplied by it; set it to None"),
    ("f_divergence_type", ("reverse_kl", None), "set it to 'reverse_kl'"),
    ("ld_alpha", (None,), "it weighs the tokens of an answer; set it to None"),
    ("use_weighting", (False, None), "each pair's weight changes with the model; set it to False"),
    ("sync_ref_model", (False, None), "the reference moves with the model, and is recorded once; set it to False"),
    ("truncation_mode", ("keep_start", None), "rows are cut at their end; set it to 'keep_start'"),
)  # fmt: skip

# What an adapter's configuration may say, since the factors' places, ranks and scale are read from it.
_KNOWN_OF_LORA = {
    "task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode",
    "r", "target_modules", "exclude_modules", "lora_alpha", "fan_in_fan_out", "use_rslora", "layers_to_transform",
    "layers_pattern", "init_lora_weights", "runtime_config",
}  # fmt: skip
_STARTS = (True, False, "gaussian", "orthogonal")
"""Ways of drawing the factors that leave the base's weights alone."""


def require_plain(args: Any) -> None:
    """Refuse a trainer whose arguments make its run one that cannot be replayed.

    Args:
        args: `transformers.TrainingArguments`, or TRL's.

    Raises:
        AitiaError: naming the argument and the mend.
    """
    kind = type(args).__name__
    if args.world_size > 1 or args.n_gpu > 1:
        raise AitiaError(
            f"recording: the training runs on {max(args.world_size, args.n_gpu)} devices at once; one process on one "
            "device is recorded (set CUDA_VISIBLE_DEVICES)"
        )
    for name, refused, why in _NOT_REPLAYED:
        value = getattr(args, name, None)
        if value and (refused is ... or value == refused):
            raise AitiaError(f"recording: {kind} has {name}={value}: {why}")


def trainer_loss(args: Any) -> LossSettings:
    """The loss of a trainer's rows, by its arguments; the gradients of steps are compared besides.

    Args:
        args: `transformers.TrainingArguments`, or TRL's.

    Returns:
        The loss: `dpo` of TRL's `DPOConfig`, else that of supervised fine-tuning.

    Raises:
        AitiaError: it is another loss, which cannot be replayed; naming the argument and the mend.
    """
    kind = type(args).__name__
    if not any(each.__name__ == "DPOConfig" for each in type(args).__mro__):
        loss = getattr(args, "loss_type", "nll")
        if loss == "nll":
            return PLAIN
        raise AitiaError(
            f"recording: {kind} has loss_type={loss!r}; supervised fine-tuning with plain cross-entropy ('nll') and "
            "DPO (DPOTrainer) can be recorded"
        )
    for name, plain, why in _NOT_PLAIN_DPO:
        value = getattr(args, name, plain[0])
        if value not in plain:
            raise AitiaError(f"recording: {kind} has {name}={value!r}: {why}")
    return LossSettings(loss="dpo", beta=float(args.beta))


def require_equal_batches(args: Any, rows: int) -> None:
    """Refuse steps whose batches have different numbers of rows, where a trainer's loss is the mean of their means.

    Args:
        args: of the trainer.
        rows: of its data set.

    Raises:
        AitiaError: the last step of an epoch is made of batches of different sizes.
    """
    size, batches = args.per_device_train_batch_size, args.gradient_accumulation_steps
    rest = rows % (size * batches)
    if rest > size and rest % size and not args.dataloader_drop_last:
        raise AitiaError(
            f"recording: the last step of an epoch has {rest} of {rows} pairs, in batches of {size} and a last one of "
            f"{rest % size}, and the trainer weighs batches alike, so pairs count differently there; choose "
            "per_device_train_batch_size and gradient_accumulation_steps so that batches are full, or set "
            "dataloader_drop_last=True"
        )


def require_exact(network: Any) -> None:
    """Refuse a network that computes at random or in less than float32.

    Raises:
        AitiaError: naming the module or weight.
    """
    import torch

    for name, module in network.named_modules():
        random = isinstance(module, torch.nn.modules.dropout._DropoutNd)
        drops = [
            value
            for key, value in vars(module).items()
            if ("drop" in key or (random and key == "p")) and isinstance(value, float) and value > 0
        ]
        if drops:
            raise AitiaError(
                f"recording: {name} drops out {drops[0]:g} of its inputs at random, which no replay can know; set the "
                "model's (or lora_dropout, the adapter's) dropout to 0"
            )
    for name, weight in network.named_parameters():
        if weight.dtype not in (torch.float32, torch.float64):
            raise AitiaError(
                f"recording: {name} is {str(weight.dtype).removeprefix('torch.')}; a run is replayed in float32: load "
                "the model with dtype=float32, and set bf16=False"
            )


def trained_parameters(network: Any) -> dict[str, torch.nn.Parameter]:
    """Name -> trained parameter: all of an adapter's factors, or all of the network.

    Returns:
        Name -> parameter.

    Raises:
        AitiaError: others are trained, or not all of these.
    """
    found = {name: value for name, value in network.named_parameters() if value.requires_grad}
    adapted = hasattr(network, "peft_config")
    expected = {n: v for n, v in network.named_parameters() if not adapted or "lora_" in n}
    if found.keys() != expected.keys():
        name = next(iter(found.keys() ^ expected.keys()))
        what = "is trained besides low-rank factors" if name in found else "is frozen"
        raise AitiaError(
            f"recording: {name} {what}; a recorded run trains all low-rank factors of an adapter, or all weights"
        )
    return found


def settings_of(
    args: Any,
    epochs: int,
    steps: int,
    network: Any,
    parameters: Mapping[str, Any],
    optimizer: Any,
    context: int,
) -> LoraSettings:
    """A trainer's run in the settings of ours.

    The learning rates are not all in them: those of a recorded run stand at its steps.

    Args:
        args: of the trainer.
        epochs: that it takes.
        steps: that it takes.
        network: with its adapter, if it has one.
        parameters: name -> trained parameter.
        optimizer: of the trainer.
        context: tokens that the model takes.

    Returns:
        The settings.

    Raises:
        AitiaError: something cannot be said in them; it is named.
    """
    warmup, schedule = (
        int(args.get_warmup_steps(steps)),
        str(getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type)),
    )
    longest = getattr(args, "max_length", None) or 0
    return LoraSettings(
        **(_of_adapter(network) if hasattr(network, "peft_config") else {"method": "full"}),
        **optimizer_settings(optimizer, parameters, args.learning_rate),
        lr_scheduler_type=schedule if schedule in ("linear", "cosine") else "constant",
        warmup_ratio=0.0,
        warmup_steps=warmup,
        epochs=epochs,
        per_device_train_batch_size=args.per_device_train_batch_size,
        gradient_accumulation_steps=args.gradient_accumulation_steps,
        max_length=longest if longest < context else 0,
        max_grad_norm=float(args.max_grad_norm or 0),
        seed=args.seed,
    )  # fmt: skip


def optimizer_settings(optimizer: Any, parameters: Mapping[str, Any], rate: float) -> dict[str, Any]:
    """The fields of our settings that say what an optimizer does.

    Args:
        optimizer: of torch, or accelerate's around one.
        parameters: name -> trained parameter.
        rate: peak learning rate, where the optimizer does not know it.

    Returns:
        Field -> value.

    Raises:
        AitiaError: it is no AdamW or SGD, or its groups differ in more than having weight decay or none.
    """
    import torch

    plain = getattr(optimizer, "optimizer", optimizer)
    kind, groups = type(plain), [each for each in plain.param_groups if each["params"]]
    if kind not in (torch.optim.AdamW, torch.optim.Adam, torch.optim.SGD):
        raise AitiaError(
            f"recording: the optimizer is {kind.__module__}.{kind.__name__}; the steps of torch.optim.AdamW, Adam and "
            "SGD can be replayed (optim='adamw_torch')"
        )
    if kind is torch.optim.Adam and any(
        each["weight_decay"] and not each.get("decoupled_weight_decay") for each in groups
    ):
        raise AitiaError(
            "recording: the weight decay of torch.optim.Adam goes through its moments; use AdamW"
        )
    names = {id(value): name for name, value in parameters.items()}
    held = [[names.get(id(value)) for value in each["params"]] for each in groups]
    if {name for each in held for name in each} != set(parameters):
        raise AitiaError("recording: the optimizer moves other parameters than those that are trained")
    return group_settings(groups, held, rate)


def group_settings(
    groups: Sequence[Mapping[str, Any]], held: Sequence[Sequence[Any]], rate: float
) -> dict[str, Any]:
    """The fields of our settings that an optimizer's groups say.

    Args:
        groups: with parameters, of AdamW (they have `betas`) or SGD.
        held: names of each group's parameters.
        rate: as in `optimizer_settings`.

    Returns:
        Field -> value.

    Raises:
        AitiaError: see `optimizer_settings`.
    """
    first = groups[0]
    for name in ("amsgrad", "nesterov", "maximize", "dampening"):
        if any(each.get(name) for each in groups):
            raise AitiaError(f"recording: the optimizer has {name}={first.get(name)}, which is not replayed")
    for name in ("lr", "initial_lr", "betas", "eps", "momentum"):
        if len({str(each.get(name)) for each in groups}) > 1:
            raise AitiaError(
                f"recording: the optimizer's groups of parameters differ in {name}; give all the same"
            )
    decays = sorted({float(each["weight_decay"]) for each in groups} - {0.0})
    if len(decays) > 1:
        raise AitiaError(
            f"recording: the optimizer's groups have weight decays {decays}; one for all, or none, can be replayed"
        )
    pairs = list(zip(groups, held, strict=True))
    bare = [name for group, names in pairs for name in names if decays and not group["weight_decay"]]
    found: dict[str, Any] = {
        "learning_rate": float(first.get("initial_lr", rate)),
        "weight_decay": decays[0] if decays else 0.0,
        "undecayed": _undecayed(bare, [name for _, names in pairs for name in names]),
    }
    if not found["learning_rate"] > 0:
        raise AitiaError("recording: the learning rate is 0")
    if "betas" not in first and "momentum" not in first:
        raise AitiaError(
            "recording: the optimizer is no AdamW and no SGD by its groups, so it is not replayed"
        )
    if "betas" not in first:
        return found | {"optimizer": "sgd", "momentum": float(first["momentum"])}
    b1, b2 = (float(each) for each in first["betas"])
    return found | {"adam_beta1": b1, "adam_beta2": b2, "adam_epsilon": float(first["eps"])}


def _undecayed(names: list[str], every: list[str]) -> tuple[str, ...]:
    """Parts of names that these parameters have and no others: short ones, as the blocks share them, if they tell."""
    short = sorted({re.sub(r"^.*\.\d+\.", "", name) for name in names})
    chosen = {name for name in every if any(part in name for part in short)}
    return tuple(short if chosen == set(names) else names)


def _of_adapter(network: Any) -> dict[str, Any]:
    configs = dict(network.peft_config)
    if set(configs) != {"default"}:
        raise AitiaError(
            f"recording: the adapters are {', '.join(configs)}; one, named `default`, can be replayed"
        )
    strip = "base_model.model."
    names = [name.removeprefix(strip) for name, _ in network.named_parameters()]
    modules = [name.removeprefix(strip) for name, _ in network.named_modules()]
    return adapter_settings(configs["default"], names, modules)


def adapter_settings(config: Any, names: Iterable[str], modules: Iterable[str]) -> dict[str, Any]:
    """The fields of our settings that say what an adapter is.

    Args:
        config: PEFT's configuration of it.
        names: of the factors.
        modules: names of the network's modules.

    Returns:
        Field -> value.

    Raises:
        AitiaError: it is no plain LoRA.
    """
    from peft import LoraConfig

    if type(config) is not LoraConfig:
        raise AitiaError(f"recording: the adapter is of {type(config).__name__}; LoRA can be replayed")
    usual = LoraConfig()
    for each in fields(LoraConfig):
        value = getattr(config, each.name)
        if each.name not in _KNOWN_OF_LORA and value and value != getattr(usual, each.name):
            raise AitiaError(f"recording: the adapter has {each.name}={value!r}, which is not replayed")
    if config.init_lora_weights not in _STARTS:
        raise AitiaError(
            f"recording: the adapter has init_lora_weights={config.init_lora_weights!r}, which changes the base model; "
            "one of True, 'gaussian' and 'orthogonal' does not"
        )
    if int(config.lora_alpha) != config.lora_alpha:
        raise AitiaError(f"recording: the adapter has lora_alpha={config.lora_alpha}; give a whole number")
    return {
        "rank": config.r,
        "alpha": int(config.lora_alpha),
        "use_rslora": bool(config.use_rslora),
        "target_modules": _places(names, modules),
    }


def _places(names: Iterable[str], modules: Iterable[str]) -> tuple[str, ...]:
    """The modules that have factors: by the last part of their names where this says it all, else by whole names."""
    places = dict.fromkeys(name.partition(".lora_A.")[0] for name in names if ".lora_A." in name)
    leaves = dict.fromkeys(name.rpartition(".")[2] for name in places)
    same = {name for name in modules if name.rpartition(".")[2] in leaves}
    return tuple(sorted(leaves)) if same == set(places) else tuple(places)
