"""Fine-tuning a low-rank adapter on records, with the same masks that attribution uses."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from aitia.engine import progress_bar
from aitia.errors import AitiaError, NumericalError
from aitia.files import atomic_path
from aitia.models import LanguageModel, in_tokens, run
from aitia.records import Records, pad_batch

_ALWAYS = object()


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """How an adapter is trained.

    Attributes:
        rank: of the low-rank factors.
        alpha: scale of the adapter; its output is multiplied by alpha / rank.
        rank_stabilised: multiply by alpha / sqrt(rank) instead (rsLoRA, Kalajdzievski 2023).
        modules: names of the linear layers that get factors; empty for the architecture's usual ones.
        layers: blocks that get factors; empty for all.
        learning_rate: peak, reached after the warm-up, then falling linearly to zero.
        warmup: share of the steps.
        warmup_steps: their number instead; 0 to go by the share.
        weight_decay: of the factors, decoupled from the gradient (AdamW).
        epochs: passes over the data.
        batch_rows: rows run at once.
        accumulation: batches whose gradients make one step, which so has batch_rows x accumulation rows.
        max_length: longest row in tokens; longer ones are cut. 0 for the model's context.
        truncate: cut rows longer than the model's context too, instead of refusing them.
        seed: of the factors' start and of the order of rows.

    There is no dropout.
    """

    rank: int = 8
    alpha: int = 16
    modules: tuple[str, ...] = ()
    layers: tuple[int, ...] = ()
    learning_rate: float = 1e-3
    warmup: float = 0.1
    epochs: int = 2
    batch_rows: int = 8
    max_length: int = 0
    seed: int = 0
    rank_stabilised: bool = False
    warmup_steps: int = 0
    weight_decay: float = 0.0
    accumulation: int = 1
    truncate: bool = False

    def __post_init__(self) -> None:
        for name in ("rank", "epochs", "batch_rows", "accumulation"):
            if getattr(self, name) < 1:
                raise AitiaError(f"training: {name} {getattr(self, name)}: must be at least 1")

    @property
    def cuts(self) -> bool:
        """Whether rows that are too long are cut."""
        return self.truncate or self.max_length > 0

    def identity(self) -> dict[str, Any]:
        """What a training depends on, for naming results.

        Settings that came later are left out where they change nothing, so that results made before keep
        their names.
        """
        later = ("rank_stabilised", "warmup_steps", "weight_decay", "accumulation", "truncate")
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
        AitiaError: the model has an adapter already, or lacks a module or block that is to get factors.
        NumericalError: the loss is not finite.
    """
    import torch
    from peft import LoraConfig, TaskType, get_peft_model

    if model.adapter is not None:
        raise AitiaError(f"{model.name} has an adapter ({model.adapter}) already; start from the base model")
    tokenized = in_tokens(model, records, max_length=settings.max_length, truncate=settings.cuts)
    _require_places(model, settings)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        use_rslora=settings.rank_stabilised,
        target_modules=list(settings.modules) or None,
        layers_to_transform=list(settings.layers) or None,
        task_type=TaskType.CAUSAL_LM,
    )
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        network = get_peft_model(model.network, config)
    tuned = LanguageModel(
        network=network, tokenizer=model.tokenizer, name=model.name, adapter=str(out or "memory")
    )
    parameters = [value for name, value in network.named_parameters() if "lora_" in name]
    for parameter in parameters:
        parameter.requires_grad_()
    steps = _steps(len(tokenized), settings)
    optimiser = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    warmup = settings.warmup_steps or max(1, round(settings.warmup * len(steps)))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / warmup, (len(steps) - step) / max(len(steps) - warmup, 1))
    )
    bar = progress_bar("Fine-tuning", len(steps), unit="steps") if progress else nullcontext(_no_progress)
    with bar as advance:
        for number, index in enumerate(steps):
            optimiser.zero_grad()
            predicted = sum(int(tokenized[int(i)].response[1:].sum()) for i in index)
            for rows in np.split(index, range(settings.batch_rows, len(index), settings.batch_rows)):
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


def _require_places(model: LanguageModel, settings: LoraSettings) -> None:
    """Refuse modules and blocks that the model does not have; PEFT passes over some of them in silence."""
    # By the weight, not the class: the linear maps of GPT-2 have one of their own.
    weights = [name.split(".") for name, weight in model.blocks.named_parameters() if weight.dim() == 2]
    maps = sorted({path[-2] for path in weights if path[-1] == "weight"})
    whole = {name for name, _ in model.network.named_modules()}
    for module in settings.modules:
        if not any(name == module or name.endswith(f".{module}") for name in whole):
            raise AitiaError(
                f"training: modules: {model.name} has no {module!r}; its linear maps are {', '.join(maps)}"
            )
    count = len(model.blocks)
    wrong = [layer for layer in settings.layers if not 0 <= layer < count]
    if wrong:
        raise AitiaError(f"training: layers: {model.name} has blocks 0 to {count - 1}, not {wrong[0]}")


def _no_progress(_steps: int) -> None:
    pass


def _steps(rows: int, settings: LoraSettings) -> Sequence[np.ndarray]:
    """Row numbers of each step: every epoch in an order of its own; a short last step is kept."""
    generator = np.random.default_rng(settings.seed)
    size = settings.batch_rows * settings.accumulation
    return [
        chosen
        for _ in range(settings.epochs)
        for chosen in np.split(generator.permutation(rows), range(size, rows, size))
    ]
