"""Training on records, with the same masks that attribution uses, recorded so that it can be walked through again."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from aitia.engine import Advance, progress_bar
from aitia.errors import StoreError
from aitia.files import LOCK, atomic_path, digest, only_here, remove_parts, require_only
from aitia.models import LanguageModel, in_tokens
from aitia.models.losses import known_references, with_references
from aitia.records import Records, TokenizedRecords
from aitia.records.losses import PLAIN, LossSettings, loss_of
from aitia.training.loop import Step, TrainingLoop, plan_steps, require_weights, settled_weights
from aitia.training.recording import (
    ADAPTER,
    CONTROL,
    MODEL,
    PARTS,
    RUN,
    SMOOTH,
    RecordedRun,
    describe,
    differences,
    open_run,
    read_run,
    write_run,
)
from aitia.training.settings import LoraSettings
from aitia.training.states import STATES, read_state, spacing, write_state
from aitia.training.trainable import Trainable, make_trainable, temporarily_trainable

STATE_GIGABYTES = 4.0
"""What the states of a recorded run may take on disk by default."""


def train(
    model: LanguageModel,
    data: Records | TokenizedRecords,
    settings: LoraSettings,
    out: Path | str | None = None,
    *,
    loss: LossSettings = PLAIN,
    weights: np.ndarray | None = None,
    state_gigabytes: float = STATE_GIGABYTES,
    progress: bool = True,
) -> LanguageModel:
    """Train a model on the responses of `data`, and record the run.

    The loss of a step is the sum of its rows' losses, each times the row's weight. It is divided by the number of
    response tokens for `sft` and `policy-gradient`, and by the number of rows for `dpo` and `kto`, whatever the weights
    are. The reference model of these two is the model before training; its log-probabilities are computed once.

    Args:
        model: the model to start from, without an adapter. It is changed in place: use the returned model afterwards.
        data: n rows; those in tokens already have their loss.
        settings: how.
        out: folder of the recorded run (`aitia.training.read_run`); none to record nothing. A run that was stopped
            goes on there from its last kept state, and ends with the same bits.
        loss: what training does with a row.
        weights: [n] loss weight of each row; default: those of the column that the loss names, or one each.
        state_gigabytes: what the kept states may take on disk. Where all do not fit, every k-th is kept, and a replay
            computes the others again.
        progress: show a bar.

    Returns:
        The trained model, frozen; with `lora`, `adapter` is the folder of its adapter (or `memory`).

    Raises:
        AitiaError: the model has an adapter already, lacks a module or block that is to get factors, or
            has modules there that cannot get any; or weights are not one finite number a row.
        StoreError: the folder holds another run, or something else, or a damaged state.
        NumericalError: a loss or a gradient is not finite; the step is named.
    """
    tokenized = _in_tokens(model, data, settings, out, loss)
    if out is None:
        tokenized = _with_references(model, tokenized)  # before the model is changed
        return _train(make_trainable(model, settings), tokenized, settings, weights, progress)
    source = str(data.source) if isinstance(data, Records) and data.source else None
    recording = _Recording.plan(model, tokenized, source, settings, Path(out), weights)
    trainable = make_trainable(model, settings, adapter=str(recording.trained))
    recording.record(trainable, state_gigabytes, progress)
    trainable.model.network.requires_grad_(False)
    return trainable.model


def finetune_lora(
    model: LanguageModel,
    records: Records,
    settings: LoraSettings,
    out: Path | str | None = None,
    *,
    loss: LossSettings = PLAIN,
    progress: bool = True,
) -> LanguageModel:
    """Train without recording, and save what was trained.

    Args:
        model: the model to start from, without an adapter. It is changed in place: use the returned model afterwards.
        records: the training data.
        settings: how.
        out: folder for the adapter, in PEFT's format (or for the whole model, with `full`); none to keep it in
            memory only.
        loss: what training does with a row.
        progress: show a bar.

    Returns:
        The fine-tuned model, frozen; with `lora`, `adapter` is `out` (or `memory`).

    Raises:
        AitiaError, NumericalError: see `train`.
    """
    tokenized = _with_references(model, _in_tokens(model, records, settings, None, loss))
    trainable = make_trainable(model, settings, adapter=str(out or "memory"))
    tuned = _train(trainable, tokenized, settings, None, progress)
    if out is not None:
        save_trained(trainable, settings, Path(out))
    return tuned


def train_smooth(
    model: LanguageModel,
    data: Records | TokenizedRecords,
    run: RecordedRun,
    *,
    runs: int,
    epsilon_root: float,
) -> list[Path]:
    """Train the smooth surrogates of a run into its folder: the same in all but AdamW's root and the seed.

    Args:
        model: the base model; it is given back as it was.
        data: the rows.
        run: the recorded run.
        runs: how many, with seeds from the run's own on.
        epsilon_root: see `LoraSettings`.

    Returns:
        The folders of the recorded surrogates; those that are finished are not trained again.
    """
    run.require_steps()
    tokenized = run.rows_of(model, data)
    found = []
    for seed in range(run.settings.seed, run.settings.seed + runs):
        folder = run.path / SMOOTH / f"root-{epsilon_root:g}-seed-{seed}"
        settings = replace(run.settings, epsilon_root=epsilon_root, seed=seed)
        recording = _Recording.plan(
            model, tokenized, run.said["data"]["source"], settings, folder, run.weights, like=run
        )
        with temporarily_trainable(model, settings) as trainable:
            recording.record(trainable, STATE_GIGABYTES, progress=True)
        found.append(folder)
    return found


def train_weighted(
    model: LanguageModel, data: Records | TokenizedRecords, run: RecordedRun, weights: np.ndarray
) -> RecordedRun:
    """Train as a run was trained, with other row weights, into its folder.

    Steps and learning rates are those of the run, so a row of weight 0 shortens nothing. A training that was stopped
    goes on, and one that is finished is read.

    Args:
        model: the base model; it is given back as it was.
        data: the n rows.
        run: the recorded run.
        weights: [n] loss weight of each row.

    Returns:
        The recorded run with these weights.

    Raises:
        StoreError: model or data are not the run's.
        AitiaError: weights are not one finite number a row.
    """
    run.require_steps()
    run.require_model(model)
    tokenized = run.rows_of(model, data)
    weights = require_weights(weights, tokenized)
    folder = run.path / CONTROL / "weighted" / digest(weights.tolist())[:16]
    recording = _Recording.plan(
        model, tokenized, run.said["data"]["source"], run.settings, folder, weights, like=run
    )
    with temporarily_trainable(model, run.settings) as trainable:
        # A run that is not smooth is never reversed itself, so its first and last state are enough.
        recording.record(trainable, STATE_GIGABYTES if run.settings.smooth else 0.0, progress=True)
    return read_run(folder)


def _in_tokens(
    model: LanguageModel,
    data: Records | TokenizedRecords,
    settings: LoraSettings,
    out: Path | str | None,
    loss: LossSettings,
) -> TokenizedRecords:
    """The rows, with the date of a run that goes on."""
    if isinstance(data, TokenizedRecords) and loss.plain:
        loss = data.loss
    going_on = out is not None and (Path(out) / RUN).is_file()
    today = open_run(Path(out)).today if going_on and out is not None else None
    return in_tokens(
        model, data, max_length=settings.max_length, truncate=settings.cuts, today=today, loss=loss
    )


def _with_references(model: LanguageModel, data: TokenizedRecords) -> TokenizedRecords:
    """The rows with the log-probabilities by the model before it is trained, where their loss reads these."""
    if not loss_of(data.loss).relative:
        return data
    return replace(data, records=with_references(model, data.records, data.loss, untrained=True))


def _train(
    trainable: Trainable,
    tokenized: TokenizedRecords,
    settings: LoraSettings,
    weights: np.ndarray | None,
    progress: bool,
) -> LanguageModel:
    loop = TrainingLoop(trainable=trainable, data=tokenized, settings=settings, weights=weights)
    state = loop.start()
    with _bar(len(loop.steps), 0, progress) as advance:
        for number in range(len(loop.steps)):
            state = loop.after(state, number)
            advance(1)
    trainable.write(state.parameters)
    trainable.model.network.requires_grad_(False)
    return trainable.model


@dataclass(frozen=True, kw_only=True)
class _Recording:
    """A run that is to be recorded, or to go on, in a folder; checked before the model is changed."""

    out: Path
    data: TokenizedRecords
    settings: LoraSettings
    weights: np.ndarray | None
    said: dict[str, Any]
    steps: tuple[Step, ...]

    @classmethod
    def plan(
        cls,
        model: LanguageModel,
        tokenized: TokenizedRecords,
        source: str | None,
        settings: LoraSettings,
        out: Path,
        weights: np.ndarray | None,
        like: RecordedRun | None = None,
    ) -> _Recording:
        require_only(out, PARTS)
        # A surrogate has the rates of its run, which may be those of another trainer's schedule, and its masks.
        steps = plan_steps(tokenized, settings, [each.learning_rate for each in like.steps] if like else ())
        masks = like.said["data"]["masks"] if like else None
        weights = settled_weights(weights, tokenized)
        there = open_run(out) if (out / RUN).is_file() else None
        # A run that goes on keeps the references that it began with, to the bit.
        tokenized = _with_references(model, known_references(tokenized, there.references if there else []))
        said = describe(model, tokenized, settings, steps, source, weights, masks)
        if there is not None:
            wrong = differences(said, there.said)
            if wrong:
                raise StoreError(
                    f"{out}: another run is recorded there ({', '.join(wrong[:3])} differ); give another folder"
                )
        return cls(out=out, data=tokenized, settings=settings, weights=weights, said=said, steps=steps)

    @property
    def trained(self) -> Path:
        """Where the trained weights go."""
        return self.out / (ADAPTER if self.settings.method == "lora" else MODEL)

    def record(self, trainable: Trainable, gigabytes: float, progress: bool) -> None:
        """Take the steps that are missing, keep as many states as fit, and save what was trained."""
        self.said["parameters"] = [[name, shape] for name, shape in trainable.shapes.items()]
        loop = TrainingLoop(
            trainable=trainable,
            data=self.data,
            settings=self.settings,
            weights=self.weights,
            steps=self.steps,
        )
        every = spacing(len(self.steps), loop.start().bytes, gigabytes * 1e9)
        with only_here(self.out / LOCK):
            remove_parts(self.out)
            remove_parts(self.out / STATES)
            if not (self.out / RUN).is_file():
                write_run(self.out, self.said)
            self._take_steps(loop, open_run(self.out).kept, every, progress)
            if not self.trained.is_dir():
                save_trained(trainable, self.settings, self.trained)

    def _take_steps(self, loop: TrainingLoop, kept: list[int], every: int, progress: bool) -> None:
        count, start = len(self.steps), kept[-1] if kept else 0
        state, losses = read_state(self.out, start) if kept else (loop.start(), [])
        if not kept:
            write_state(self.out, 0, state, losses)
        with _bar(count, start, progress) as advance:
            for number in range(start, count):
                state = loop.after(state, number)
                losses.append(loop.losses[number])
                if (number + 1) % every == 0 or number + 1 == count:
                    write_state(self.out, number + 1, state, losses)
                advance(1)
        loop.trainable.write(state.parameters)


def save_trained(trainable: Trainable, settings: LoraSettings, folder: Path) -> None:
    """Save the trained adapter, or the whole model, as PEFT or transformers read it."""
    with atomic_path(folder) as temporary:
        trainable.model.network.save_pretrained(str(temporary))
        if settings.method == "full":
            trainable.model.tokenizer.save_pretrained(str(temporary))


def _bar(count: int, done: int, progress: bool) -> AbstractContextManager[Advance]:
    if not progress:
        return nullcontext(_no_progress)
    return progress_bar("Fine-tuning", count, done=done, unit="steps")


def _no_progress(_steps: int) -> None:
    pass
