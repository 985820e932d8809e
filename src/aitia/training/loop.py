"""The steps of a training run, one by one: which rows, which learning rate, and what a step does to the state.

A step depends on nothing but the state before it, its number and what the loop was made from. So a run can go on from
any state, or be walked through again from a kept one, and gives the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from aitia.errors import AitiaError, NumericalError
from aitia.models import Outputs, run
from aitia.models.losses import row_losses, side_batch
from aitia.records import Batch, TokenizedRecords
from aitia.records.losses import WEIGHT, RowLoss, loss_of
from aitia.training.settings import LoraSettings
from aitia.training.trainable import Trainable
from aitia.training.updates import State, first_state, learning_rate, update

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one step of a run is made from.

    Attributes:
        rows: places of its rows among the data, in the order of its batches.
        learning_rate: of the step.
        predicted_tokens: of its rows together; a loss of tokens is divided by it (`TrainingLoop.divisor`).
    """

    rows: tuple[int, ...]
    learning_rate: float
    predicted_tokens: int


def plan_steps(
    tokenized: TokenizedRecords, settings: LoraSettings, rates: Sequence[float] = ()
) -> tuple[Step, ...]:
    """The steps of a run: every epoch in an order of its own; a short last step is kept.

    Args:
        tokenized: the rows.
        settings: how they are trained on.
        rates: learning rates of the steps, instead of the settings' schedule; there are no more steps than rates.

    Returns:
        The steps, in order.
    """
    generator = np.random.default_rng(settings.seed)
    count, size = len(tokenized), settings.per_device_train_batch_size * settings.gradient_accumulation_steps
    chosen = [
        rows
        for _ in range(settings.epochs)
        for rows in np.split(generator.permutation(count), range(size, count, size))
    ]
    return tuple(
        Step(
            rows=tuple(rows.tolist()),
            learning_rate=rates[number] if rates else learning_rate(number, len(chosen), settings),
            predicted_tokens=sum(
                int(side.response[1:].sum()) for i in rows for side in tokenized[int(i)].sides
            ),
        )
        for number, rows in enumerate(chosen[: len(rates) or None])
    )


@dataclass(kw_only=True)
class TrainingLoop:
    """A training run that can be at any of its states.

    Attributes:
        trainable: the model, moved by every call.
        data: n rows in tokens, with their loss; references that it reads are filled in.
        settings: how it is trained.
        weights: [n] loss weight of each row; none for those of the rows' own column, or one each. The denominators stay
            those of whole rows.
        steps: of the run.
        losses: step -> its loss, of the steps that were taken by this object or before it.
    """

    trainable: Trainable
    data: TokenizedRecords
    settings: LoraSettings
    weights: np.ndarray | None = None
    steps: tuple[Step, ...] = ()
    losses: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.steps = self.steps or plan_steps(self.data, self.settings)
        self.weights = settled_weights(self.weights, self.data)

    @cached_property
    def decay(self) -> float | torch.Tensor:
        """The weight decay of the trained parameters, for `update` and `pull_back`."""
        return self.trainable.decay(self.settings)

    @property
    def row_loss(self) -> RowLoss:
        """The loss of a row."""
        return loss_of(self.data.loss)

    def divisor(self, number: int) -> int:
        """What a step's summed loss is divided by: its predicted tokens, or its rows."""
        step = self.steps[number]
        return step.predicted_tokens if self.row_loss.per_token else len(step.rows)

    def places(self, batch: Batch) -> np.ndarray:
        """The places among the data of a batch's rows, [b]; a batch may hold several sides of each."""
        return batch.index[:: len(self.row_loss.sides)]

    def start(self) -> State:
        """The state of the model as it is, before any step."""
        return first_state(self.trainable.read(), self.settings)

    def batches(self, number: int) -> list[Batch]:
        """The batches of a step; of a loss that compares answers, the sides of each row are beside one another."""
        size, rows = self.settings.per_device_train_batch_size, np.array(self.steps[number].rows)
        pad = self.trainable.model.pad_id
        return [side_batch(self.data, part, pad) for part in np.split(rows, range(size, len(rows), size))]

    def gradient(self, number: int) -> tuple[float, torch.Tensor]:
        """The loss of a step and its gradient, [P], at the parameters that the model has.

        Returns:
            The loss, and its gradient [P].

        Raises:
            NumericalError: one of them is not finite; the step is named.
        """
        import torch

        parameters = list(self.trainable.parameters.values())
        whole, total = None, 0.0
        for batch in self.batches(number):
            outputs = run(self.trainable.model, batch, gradients=True, detach=False)
            loss = self._summed(outputs, batch) / self.divisor(number)
            if not bool(loss.isfinite()):
                raise NumericalError(
                    f"fine-tuning: the loss is not finite at step {number}; lower the learning rate"
                )
            found = torch.autograd.grad(loss, parameters, allow_unused=True)
            flat = flatten(found, parameters)
            whole = flat if whole is None else whole + flat
            total += float(loss.detach())
        assert whole is not None
        if not bool(whole.isfinite().all()):
            raise NumericalError(
                f"fine-tuning: the gradient is not finite at step {number}; lower the learning rate"
            )
        return total, whole

    def after(self, state: State, number: int) -> State:
        """The state after a step, from the one before it."""
        self.trainable.write(state.parameters)
        loss, gradient = self.gradient(number)
        self.losses[number] = loss
        rate = self.steps[number].learning_rate
        return update(state, gradient, number, rate, self.settings, decay=self.decay)

    def states(self, state: State, start: int, stop: int) -> Iterator[State]:
        """The states before steps `start` to `stop`, both included, from the first of them."""
        yield state
        for number in range(start, stop):
            state = self.after(state, number)
            yield state

    def _summed(self, outputs: Outputs, batch: Batch) -> torch.Tensor:
        losses, places = self.losses_of(outputs, batch), self.places(batch)
        if self.weights is None:
            return losses.sum()
        return (losses * losses.new_tensor(self.weights[places])).sum()

    def losses_of(self, outputs: Outputs, batch: Batch) -> torch.Tensor:
        """The loss of each row of a batch, with its graph: [b]. The row's weight is not in it."""
        if self.data.loss.loss == "sft":
            return outputs.losses()
        return row_losses(outputs, [self.data[int(i)] for i in self.places(batch)], self.data.loss)


def flatten(parts: Sequence[torch.Tensor | None], parameters: Sequence[torch.Tensor]) -> torch.Tensor:
    """Gradients of parameters end to end, zeros where a parameter has none: [P]."""
    import torch

    pairs = zip(parts, parameters, strict=True)
    return torch.cat([(torch.zeros_like(value) if part is None else part).flatten() for part, value in pairs])


def settled_weights(weights: np.ndarray | None, data: TokenizedRecords) -> np.ndarray | None:
    """Row weights as given, or those of the column that the rows' loss names: [n] float64; none for one each."""
    if weights is None and data.loss.weight:
        weights = np.array([row.numbers[WEIGHT] for row in data])
    return None if weights is None else require_weights(weights, data)


def require_weights(weights: np.ndarray, data: TokenizedRecords) -> np.ndarray:
    """Row weights as [n] float64.

    Returns:
        [n].

    Raises:
        AitiaError: they are not one finite number a row; the row is named.
    """
    found = np.asarray(weights, dtype=np.float64)
    if found.shape != (len(data),):
        raise AitiaError(
            f"training: weights of shape {found.shape}; give one for each of the {len(data)} rows"
        )
    if not np.isfinite(found).all():
        wrong = data[int(np.flatnonzero(~np.isfinite(found))[0])]
        raise AitiaError(f"{wrong.location}: its weight is not finite")
    return found
