"""One step of an optimizer as a pure function of flat vectors, and its derivative backwards.

The trainer goes forward with `update`, replay goes backward with `pull_back`, so that both speak of the same step.
The step is that of `torch.optim.AdamW` and `torch.optim.SGD` after `torch.nn.utils.clip_grad_norm_`; the tests hold
it against them, and `pull_back` against finite differences. For AdamW, with g the clipped gradient,

    m' = b1 m + (1 - b1) g,  v' = b2 v + (1 - b2) g^2,
    p' = (1 - rate decay) p - rate (m' / c1) / (sqrt(v' / c2 + epsilon_root) + epsilon),  c = 1 - b^(step + 1).

Source: Kingma & Ba 2015, Loshchilov & Hutter 2019; `epsilon_root` as in optax; the adjoint is ours, by hand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aitia.errors import AitiaError
from aitia.training.settings import LoraSettings

if TYPE_CHECKING:
    import torch

_CLIP_EPSILON = 1e-6  # as in torch.nn.utils.clip_grad_norm_


@dataclass(frozen=True, kw_only=True)
class State:
    """What a step starts from, or its adjoint with a dimension of measurements before the last.

    Attributes:
        parameters: [P], all trained parameters end to end.
        first: [P], AdamW's mean of the gradients, or the momentum of SGD.
        second: [P], AdamW's mean of their squares; [0] for SGD, which has none.
    """

    parameters: torch.Tensor
    first: torch.Tensor
    second: torch.Tensor

    @property
    def bytes(self) -> int:
        """In memory, and on disk."""
        return sum(each.numel() * each.element_size() for each in (self.parameters, self.first, self.second))


def first_state(parameters: torch.Tensor, settings: LoraSettings) -> State:
    """The state before the first step: no moments yet."""
    import torch

    second = parameters if settings.optimizer == "adamw" else parameters[:0]
    return State(parameters=parameters, first=torch.zeros_like(parameters), second=torch.zeros_like(second))


def learning_rate(step: int, steps: int, settings: LoraSettings) -> float:
    """The learning rate of a step, from 0: a rise in a line, then the schedule's course."""
    warmup = settings.warmup_steps or max(1, round(settings.warmup_ratio * steps))
    rising, left = (step + 1) / warmup, (steps - step) / max(steps - warmup, 1)
    match settings.lr_scheduler_type:
        case "linear":
            course = left
        case "cosine":
            course = (1 + math.cos(math.pi * (1 - min(left, 1.0)))) / 2
        case _:
            course = 1.0
    return settings.learning_rate * min(rising, course)


def clipped_share(gradient: torch.Tensor, settings: LoraSettings) -> torch.Tensor:
    """What a gradient is multiplied with so that it is not too long: at most 1."""
    import torch

    if not settings.max_grad_norm:
        return torch.ones((), dtype=gradient.dtype, device=gradient.device)
    return (settings.max_grad_norm / (gradient.norm() + _CLIP_EPSILON)).clamp(max=1.0)


def update(
    state: State,
    gradient: torch.Tensor,
    step: int,
    rate: float,
    settings: LoraSettings,
    *,
    decay: float | torch.Tensor | None = None,
) -> State:
    """The state after a step.

    Args:
        state: before it.
        gradient: [P] of the loss, not yet clipped.
        step: its number, from 0.
        rate: learning rate.
        settings: of the optimizer.
        decay: weight decay, or [P] of them (`Trainable.decay`); none for that of the settings.

    Returns:
        The state after it.

    Raises:
        AitiaError: the settings leave some parameters undecayed, and no decay says which.
    """
    gradient = gradient * clipped_share(gradient, settings)
    decay = _decay(settings, decay)
    if settings.optimizer == "sgd":
        moved = state.first * settings.momentum + (gradient + _cast(decay, gradient) * state.parameters)
        return State(parameters=state.parameters - rate * moved, first=moved, second=state.second)
    first = state.first.lerp(gradient, 1 - settings.adam_beta1)
    second = (state.second * settings.adam_beta2).addcmul_(gradient, gradient, value=1 - settings.adam_beta2)
    correction, root = _corrections(step, settings)
    if settings.epsilon_root:
        below = (second / root + settings.epsilon_root).sqrt_().add_(settings.adam_epsilon)
    else:  # in the order of torch.optim.AdamW
        below = (second.sqrt() / math.sqrt(root)).add_(settings.adam_epsilon)
    kept = _kept(rate, decay, state.parameters)
    parameters = (state.parameters * kept).addcdiv_(first, below, value=-rate / correction)
    return State(parameters=parameters, first=first, second=second)


def preconditioner(second: torch.Tensor, steps: int, settings: LoraSettings) -> torch.Tensor | None:
    """What AdamW divides by after so many steps, [P]; none for SGD, and before the first step."""
    if settings.optimizer == "sgd" or steps < 1:
        return None
    _, root = _corrections(steps - 1, settings)
    return (second / root + settings.epsilon_root).sqrt() + settings.adam_epsilon


def pull_back(
    state: State,
    gradient: torch.Tensor,
    step: int,
    rate: float,
    settings: LoraSettings,
    after: State,
    *,
    decay: float | torch.Tensor | None = None,
) -> tuple[State, torch.Tensor]:
    """The derivative of a step backwards, for c measurements at once.

    Args:
        state: before the step, [P] float64.
        gradient: [P] float64 of the loss, not yet clipped.
        step: as in `update`.
        rate: as in `update`.
        settings: as in `update`.
        after: derivatives with respect to the state after the step, [c, P] float64.
        decay: as in `update`.

    Returns:
        Derivatives with respect to the state before it, the gradient held fixed, [c, P]; and with respect to the
        gradient, [c, P]. The gradient depends on the parameters too, which is the caller's part.
    """
    share = clipped_share(gradient, settings)
    clipped = gradient * share
    decay = _decay(settings, decay)
    if settings.optimizer == "sgd":
        moved = after.first - rate * after.parameters
        before = State(
            parameters=after.parameters + _cast(decay, gradient) * moved,
            first=settings.momentum * moved,
            second=after.second,
        )
        return before, _through_clipping(moved, gradient, share, settings)
    b1, b2 = settings.adam_beta1, settings.adam_beta2
    first = b1 * state.first + (1 - b1) * clipped
    second = b2 * state.second + (1 - b2) * clipped * clipped
    correction, root = _corrections(step, settings)
    middle = (second / root + settings.epsilon_root).sqrt()
    below = middle + settings.adam_epsilon
    # Where no gradient ever was, the root has no derivative, and the mean that it divides is zero.
    slope = (first / correction / below.square() / (2 * middle) / root).where(
        middle > 0, middle.new_zeros(())
    )
    by_first = after.first - rate / correction / below * after.parameters
    by_second = after.second + rate * slope * after.parameters
    by_clipped = (1 - b1) * by_first + 2 * (1 - b2) * clipped * by_second
    before = State(
        parameters=_kept(rate, decay, state.parameters) * after.parameters,
        first=b1 * by_first,
        second=b2 * by_second,
    )
    return before, _through_clipping(by_clipped, gradient, share, settings)


def _decay(settings: LoraSettings, decay: float | torch.Tensor | None) -> float | torch.Tensor:
    if decay is None:
        if settings.weight_decay and settings.undecayed:
            raise AitiaError(
                "some parameters have no weight decay: say which, by the decay of the training loop"
            )
        return settings.weight_decay
    return decay


def _kept(rate: float, decay: float | torch.Tensor, parameters: torch.Tensor) -> float | torch.Tensor:
    """What weight decay leaves of a parameter; rounded once, as in `torch.optim.AdamW`."""
    return _cast(1 - rate * decay, parameters)


def _cast(value: float | torch.Tensor, like: torch.Tensor) -> float | torch.Tensor:
    return value if isinstance(value, float | int) else value.to(like.dtype)


def _corrections(step: int, settings: LoraSettings) -> tuple[float, float]:
    return 1 - settings.adam_beta1 ** (step + 1), 1 - settings.adam_beta2 ** (step + 1)


def _through_clipping(
    by_clipped: torch.Tensor, gradient: torch.Tensor, share: torch.Tensor, settings: LoraSettings
) -> torch.Tensor:
    """From derivatives with respect to the clipped gradient to those with respect to the gradient, [c, P]."""
    if float(share) >= 1:
        return by_clipped
    norm = gradient.norm()
    fall = settings.max_grad_norm / (norm * (norm + _CLIP_EPSILON) ** 2)
    return share * by_clipped - (by_clipped @ gradient)[:, None] * gradient * fall
