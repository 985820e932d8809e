"""The recorder behind `RecordingCallback`: what a trainer's steps were made of, checked and kept as they happen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aitia.errors import AitiaError, StoreError
from aitia.files import remove_parts
from aitia.models.losses import loss_values
from aitia.records import TokenizedRecords
from aitia.records.losses import loss_of
from aitia.training.loop import Step, TrainingLoop, flatten
from aitia.training.recording import (
    ADAPTER,
    MODEL,
    differences,
    open_run,
    write_run,
)
from aitia.training.settings import LoraSettings
from aitia.training.states import STATES, read_state, remove_states_after, spacing, write_state
from aitia.training.trainable import Trainable
from aitia.training.trainer import save_trained
from aitia.training.trainer_rows import GivenRow, RowBook, given_rows
from aitia.training.updates import State, clipped_share, update

if TYPE_CHECKING:
    import torch

TOLERANCE = 1e-3
"""By which share of its norm a gradient may differ when it is computed again in float32; ours. Kernels differ by less
than 1e-4, dropout and mixed precision by more than 1e-2."""
STEP_TOLERANCE = 1e-5
"""The same for the optimizer's step from one and the same gradient; ours."""


@dataclass(kw_only=True)
class Recorder:
    """A training that is being recorded.

    Attributes:
        out: folder of the run.
        trainable: the trainer's own model.
        optimizer: the trainer's.
        data: the rows, with the masks that are trained on.
        settings: of the run.
        said: what `run.json` says.
        length: steps of the whole run.
        steps: those that were taken.
        losses: of those, in nats a token, or a pair.
    """

    out: Path
    trainable: Trainable
    optimizer: Any
    data: TokenizedRecords
    settings: LoraSettings
    said: dict[str, Any]
    length: int
    steps: list[Step] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    _every: int = 1
    _kept: int = -1
    _batches: list[tuple[list[GivenRow], Any]] = field(default_factory=list)
    _open: bool = False
    _expected: State | None = None

    def __post_init__(self) -> None:
        self._book = RowBook(self.data)
        self._plain = getattr(self.optimizer, "optimizer", self.optimizer)
        self._handle: Any = None

    def close(self) -> None:
        """Watch no more."""
        if self._handle is not None:
            self._handle.remove()

    def start(self, number: int, gigabytes: float) -> None:
        """Write what is known before the first step, or take up the steps before the next.

        Raises:
            StoreError: the folder's run is another, or its steps or states up to here are not there.
        """
        state = self._state()
        self._every = spacing(self.length, state.bytes, gigabytes * 1e9)
        if number:
            self._take_up(number, state)
        else:
            remove_parts(self.out)
            remove_parts(self.out / STATES)
            self.keep()
        network = self.trainable.model.network
        self._handle = network.register_forward_hook(self._watch, with_kwargs=True)

    def _take_up(self, number: int, state: State) -> None:
        import torch

        known = open_run(self.out)
        said = self.said | {"steps": known.said["steps"]}
        wrong = differences(said, known.said)
        if wrong:
            raise StoreError(
                f"{self.out}: another run is recorded there ({', '.join(wrong[:3])} differ); give another folder"
            )
        if number not in known.kept or len(known.steps) < number:
            raise StoreError(
                f"{self.out}: the training goes on at step {number}, whose state is not there; there are those of "
                f"{', '.join(map(str, known.kept)) or 'none'}"
            )
        kept, self.losses = read_state(self.out, number)
        if not torch.equal(kept.parameters, state.parameters.cpu()):
            raise StoreError(
                f"{self.out}: the checkpoint that is resumed has other parameters at step {number} than were recorded"
            )
        self.steps, self._kept = list(known.steps[:number]), number
        self._book.count(row for step in self.steps for row in step.rows)
        remove_states_after(self.out, number)
        write_run(self.out, self.said | {"steps": self._said_steps()})

    def open_step(self) -> None:
        """Begin a step."""
        self._batches, self._open = [], True

    def _watch(self, module: Any, _args: Any, given: Mapping[str, Any], outputs: Any) -> None:
        import torch

        # A reference model that is this one without its adapter runs without gradients.
        if not (self._open and module.training and torch.is_grad_enabled()):
            return
        rows = given_rows(given, self.data.loss)
        if not self.data.loss.plain:
            log_probs = getattr(outputs, "log_probs", None)
            if log_probs is None:
                raise AitiaError(
                    "recording: the model gives no log-probabilities of its answers; use the DPOTrainer of TRL 1.16 or "
                    "newer"
                )
            self._batches.append(
                (rows, log_probs.detach().double().sum(dim=1).reshape(-1, len(rows)).T.cpu())
            )
            return
        loss = getattr(outputs, "loss", None)
        if loss is None:
            raise AitiaError("recording: the model gives no loss; only its own cross-entropy can be replayed")
        tokens = sum(int(row.predicted.sum()) for row in rows)
        said = given.get("num_items_in_batch")
        self._batches.append((rows, float(loss.detach()) * (tokens if said is None else float(said))))

    def settle_step(self) -> None:
        """What the step is made of; before the optimizer moves.

        Raises:
            AitiaError: see `RecordingCallback.on_pre_optimizer_step`.
        """
        self._open = False
        number = len(self.steps)
        rows = [self._book.place(row) for batch, _ in self._batches for row in batch]
        tokens = sum(int(side.response[1:].sum()) for row in rows for side in self.data[row].sides)
        rates = {float(group["lr"]) for group in self._plain.param_groups if group["params"]}
        if not rows or len(rates) > 1:
            why = (
                "the model was not called by keywords"
                if not rows
                else f"groups have learning rates {sorted(rates)}"
            )
            raise AitiaError(f"recording: step {number + 1}: {why}")
        self.steps.append(Step(rows=tuple(rows), learning_rate=rates.pop(), predicted_tokens=tokens))
        self.losses.append(self._loss(rows, tokens))
        # The numbers of steps that are powers of two.
        self._expected = self._after() if (number + 1) & number == 0 else None

    def _loss(self, rows: list[int], tokens: int) -> float:
        """The loss of a step, as the trainer computed it."""
        import torch

        if self.data.loss.plain:
            return sum(loss for _, loss in self._batches) / tokens
        sizes = [len(batch) for batch, _ in self._batches]
        if len(set(sizes)) > 1:
            raise AitiaError(
                f"recording: step {len(self.steps)} is made of batches of {', '.join(map(str, sizes))} pairs, "
                "which the trainer weighs alike, so pairs count differently; see that batches are full"
            )
        log_probs = torch.cat([found for _, found in self._batches])
        return float(loss_values(log_probs, [self.data[row] for row in rows], self.data.loss).mean())

    def end_step(self) -> None:
        """Compare a step with what was expected, and keep the state if it is one of those that are kept.

        Raises:
            AitiaError: see `RecordingCallback.on_step_end`.
        """
        number = len(self.steps)
        if self._expected is not None:
            self._compare(self._expected, self._state())
            self._expected = None
        if number % self._every == 0 or number == self.length:
            self.keep()

    def keep(self) -> None:
        """Keep the state as it is now, if it is not kept yet."""
        number = len(self.steps)
        if self._kept == number:
            return
        if number == self.length:
            trained = self.out / (ADAPTER if self.settings.method == "lora" else MODEL)
            save_trained(self.trainable, self.settings, trained)
        write_run(self.out, self.said | {"steps": self._said_steps()})
        state = self._state()
        parts = {name: getattr(state, name).cpu() for name in ("parameters", "first", "second")}
        write_state(self.out, number, State(**parts), self.losses)
        self._kept = number

    def _said_steps(self) -> list[dict[str, Any]]:
        return [asdict(step) for step in self.steps]

    def _state(self) -> State:
        """The state that the trainer has now.

        Returns:
            The state.

        Raises:
            AitiaError: the optimizer took other steps than these.
        """
        import torch

        adamw = self.settings.optimizer == "adamw"
        parts: dict[str, list[torch.Tensor]] = {"first": [], "second": []}
        names = {"first": "exp_avg", "second": "exp_avg_sq"} if adamw else {"first": "momentum_buffer"}
        for value in self.trainable.parameters.values():
            kept = self._plain.state.get(value, {})
            taken = int(kept["step"]) if "step" in kept else None
            if taken is not None and taken != len(self.steps) and self._kept >= 0:
                raise AitiaError(
                    f"recording: the optimizer took {taken} steps where the trainer took {len(self.steps)}; make a new "
                    "trainer for a new training"
                )
            for part, name in names.items():
                moment = kept.get(name)
                parts[part].append((torch.zeros_like(value) if moment is None else moment).detach().flatten())
        parameters = self.trainable.read()
        return State(
            parameters=parameters,
            first=torch.cat(parts["first"]),
            second=torch.cat(parts["second"]) if adamw else parameters[:0],
        )

    def _after(self) -> State:
        """The state that the optimizer's step should lead to, once the trainer's gradient is found to be ours."""
        import torch

        number = len(self.steps) - 1
        parameters = list(self.trainable.parameters.values())
        given = flatten([value.grad for value in parameters], parameters)
        network = self.trainable.model.network
        loop = TrainingLoop(
            trainable=self.trainable, data=self.data, settings=self.settings, steps=tuple(self.steps)
        )
        network.eval()
        try:
            with torch.enable_grad():
                _, ours = loop.gradient(number)
        finally:
            network.train()
        ours = ours * clipped_share(ours, self.settings)
        off = float((given - ours).norm() / ours.norm().clamp(min=1e-30))
        if off > TOLERANCE:
            raise AitiaError(
                f"recording: at step {number + 1} the trainer's gradient lies {off:.2%} off that of "
                f"{self._named_loss()}, so it cannot be replayed. Its loss is another (a `compute_loss`, a mean over "
                "batches, an auxiliary "
                f"loss{self._named_reference()}), dropout, or mixed precision"
            )
        unclipped, step = replace(self.settings, max_grad_norm=0.0), self.steps[number]
        return update(self._state_before(), given, number, step.learning_rate, unclipped, decay=loop.decay)

    def _named_loss(self) -> str:
        if self.data.loss.plain:
            return "the mean cross-entropy of the step's predicted tokens"
        return f"the mean of {loss_of(self.data.loss).formula} over the step's pairs"

    def _named_reference(self) -> str:
        """What else may be another, where a loss reads a reference model."""
        if not loss_of(self.data.loss).relative:
            return ""
        return (
            ", a `ref_model` that is not the model before training; with precompute_ref_log_probs=True its "
            "log-probabilities are recorded"
        )

    def _state_before(self) -> State:
        step = self.steps.pop()
        try:
            return self._state()
        finally:
            self.steps.append(step)

    def _compare(self, expected: State, found: State) -> None:
        for name in ("parameters", "first", "second"):
            if name == "first" and self.settings.optimizer == "sgd" and not self.settings.momentum:
                continue  # torch keeps none
            one, other = getattr(expected, name), getattr(found, name)
            off = float((one - other).norm() / one.norm().clamp(min=1e-30)) if len(one) else 0.0
            if off > STEP_TOLERANCE:
                raise AitiaError(
                    f"recording: at step {len(self.steps)} the optimizer leads to other {name} than its settings say "
                    f"({off:.2%} off), so the run cannot be replayed"
                )
