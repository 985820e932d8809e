"""How a model is trained: what is trained, for how long, and by which optimizer."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any, Literal

from aitia.settings import Above, AtLeast, AtMost, Below, Count, CountOrAll, Seed, check

_ALWAYS = object()


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """Settings for training an adapter, or all weights.

    Attributes:
        rank: rank of the low-rank factors.
        alpha: scale of the adapter; its output is multiplied by alpha / rank.
        use_rslora: multiply by alpha / sqrt(rank) instead (rsLoRA, Kalajdzievski 2023).
        target_modules: names of the linear layers that get factors. Empty for the architecture's usual ones, as PEFT
            lists them; where it lists none, for every linear layer of the blocks but the routers and gates that choose
            experts, and a note says which these are.
        layers_to_transform: blocks that get factors; empty for all.
        learning_rate: peak learning rate, reached after the warm-up, then falling to zero.
        lr_scheduler_type: course of the learning rate after the warm-up. It falls to zero in a line or in half a
            cosine, or stays constant.
        warmup_ratio: share of the steps that warm up.
        warmup_steps: number of steps that warm up, instead of their share; 0 to go by the share.
        weight_decay: weight decay of the trained parameters; decoupled from the gradient with `adamw`, added to the
            gradient with `sgd`, as PyTorch does.
        undecayed: parts of the names of parameters without weight decay, as `bias` and `norm`; empty for none.
        epochs: passes over the data.
        per_device_train_batch_size: rows run at once.
        gradient_accumulation_steps: batches whose gradients make one step.
        max_length: longest row in tokens; longer ones are cut. 0 for the model's context.
        truncate: cut rows longer than the model's context too, instead of refusing them.
        seed: seed of the factors' start and of the order of rows.
        method: `lora` trains low-rank factors, `full` trains every weight of the model.
        optimizer: `adamw` (Loshchilov & Hutter 2019) or `sgd` with momentum.
        adam_beta1: decay of the mean of the gradients, for `adamw`.
        adam_beta2: decay of the mean of their squares, for `adamw`.
        adam_epsilon: added to the root of the mean square, for `adamw`.
        epsilon_root: added to the mean square inside the root, for `adamw`. 0 is the usual optimizer; 1e-6 makes
            training smooth enough to be differentiated (see `aitia.attribution.replay`).
        momentum: momentum of `sgd`.
        max_grad_norm: longer gradients are scaled down to this norm; 0 for no limit.

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
    method: Literal["lora", "full"] = "lora"
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr_scheduler_type: Literal["linear", "cosine", "constant"] = "linear"
    adam_beta1: Annotated[float, AtLeast(0), Below(1)] = 0.9
    adam_beta2: Annotated[float, AtLeast(0), Below(1)] = 0.999
    adam_epsilon: Annotated[float, AtLeast(0)] = 1e-8
    epsilon_root: Annotated[float, AtLeast(0)] = 0.0
    momentum: Annotated[float, AtLeast(0), Below(1)] = 0.0
    max_grad_norm: Annotated[float, AtLeast(0)] = 1.0
    undecayed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check(self, "training")

    @property
    def cuts(self) -> bool:
        """Whether rows that are too long are cut."""
        return self.truncate or self.max_length > 0

    @property
    def smooth(self) -> bool:
        """Whether a step is a smooth function of the gradient; that of `adamw` without `epsilon_root` is not."""
        return self.optimizer == "sgd" or self.epsilon_root > 0

    def identity(self) -> dict[str, Any]:
        """What a training depends on, for naming results.

        Settings that came later are left out where they change nothing, so that results made before keep
        their names.

        Returns:
            Names -> plain values, for a digest.
        """
        first = (
            "rank", "alpha", "target_modules", "layers_to_transform", "learning_rate", "warmup_ratio", "epochs",
            "per_device_train_batch_size", "max_length", "seed",
        )  # fmt: skip
        defaults = {each.name: each.default for each in fields(self) if each.name not in first}
        values = asdict(self)
        return {name: value for name, value in values.items() if value != defaults.get(name, _ALWAYS)}
