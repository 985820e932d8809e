"""Cheap relatives of replay: products of gradients at some checkpoints of a run, with the optimizer's own scaling.

Replay without the double backward: what a row does at a step is taken to reach the end unchanged. At a checkpoint with
parameters p, the row moves the parameters by -rate P^-1 grad L_i(p), P what AdamW divides by, and a measurement m by
the product of that with grad m(p); summed over checkpoints, each standing for the steps around it. Without P it is
TracIn (Pruthi et al. 2020); with it the rows are weighed as the optimizer weighed them (ours, after Xia et al. 2024).

Gradients of rows are taken once a checkpoint, whatever the number of targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from aitia.attribution.replay.lower_blocks import LowerBlocks
from aitia.attribution.replay.orders import equal_stretches, expected_divisors
from aitia.attribution.replay.row_products import RowProducts
from aitia.attribution.replay.targets import Target, require_targets, target_gradients, target_texts
from aitia.engine import LOCAL, Engine
from aitia.errors import AitiaError
from aitia.models import LanguageModel
from aitia.records import Records, TokenizedRecords
from aitia.records.losses import loss_of
from aitia.training import RecordedRun, preconditioner, temporarily_trainable

CHECKPOINTS = 4
"""Checkpoints that are summed over by default."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A kept state that stands for a stretch of steps.

    Attributes:
        step: the state before which step.
        weight: sum over its steps of the learning rate times a row's chance to be among the step's.
    """

    step: int
    weight: float


def choose_checkpoints(recorded: RecordedRun, count: int) -> tuple[Checkpoint, ...]:
    """Checkpoints in the middle of as many equal stretches of a run, among the kept states after the first step.

    Returns:
        The checkpoints, in order.

    Raises:
        AitiaError: fewer than one.
    """
    if count < 1:
        raise AitiaError(f"{count} checkpoints: give at least 1")
    steps, rows = recorded.steps, len(recorded.ids)
    kept = np.array([each for each in recorded.kept if each > 0])
    found: dict[int, float] = {}
    for start, stop in equal_stretches(recorded, count):
        nearest = int(kept[np.abs(kept - (start + stop) / 2).argmin()])
        weight = sum(each.learning_rate * len(each.rows) / rows for each in steps[start:stop])
        found[nearest] = found.get(nearest, 0.0) + weight
    return tuple(Checkpoint(step=step, weight=weight) for step, weight in sorted(found.items()))


def last_checkpoint(recorded: RecordedRun) -> tuple[Checkpoint, ...]:
    """The trained model alone, standing for the whole run: influence by the last step."""
    weight = sum(each.weight for each in choose_checkpoints(recorded, 1))
    return (Checkpoint(step=len(recorded.steps), weight=weight),)


def checkpoint_influence(
    recorded: RecordedRun,
    model: LanguageModel,
    data: Records | TokenizedRecords,
    targets: Sequence[Target],
    *,
    checkpoints: Sequence[Checkpoint] | int = CHECKPOINTS,
    preconditioned: bool = True,
    precision: str = "auto",
    engine: Engine = LOCAL,
) -> np.ndarray:
    """Products of the rows' gradients with those of targets, summed over checkpoints of a run.

    `checkpoint_sides` gives the parts of the answers that the rows' loss compares.

    Args:
        recorded: the run; any optimizer.
        model: the base model that it started from; given back as it was.
        data: the n rows.
        targets: c of them; their texts' gradients are taken at each checkpoint.
        checkpoints: which, or how many.
        preconditioned: divide by what AdamW divides by; without, and for SGD, plain TracIn.
        precision: of the products, as `CurvatureSettings` has it.
        engine: where the rows' gradients are made.

    Returns:
        [c, n] float64. Positive: training on the row raises the target.

    Raises:
        StoreError: model or data are not the run's.
        AitiaError: a target does not depend on what was trained.
    """
    found = checkpoint_sides(
        recorded,
        model,
        data,
        targets,
        checkpoints=checkpoints,
        preconditioned=preconditioned,
        precision=precision,
        engine=engine,
    )
    return found.sum(axis=-1)


def checkpoint_sides(
    recorded: RecordedRun,
    model: LanguageModel,
    data: Records | TokenizedRecords,
    targets: Sequence[Target],
    *,
    checkpoints: Sequence[Checkpoint] | int = CHECKPOINTS,
    preconditioned: bool = True,
    precision: str = "auto",
    engine: Engine = LOCAL,
) -> np.ndarray:
    """The scores of `checkpoint_influence` by the answers that the rows' loss compares: [c, n, s] float64.

    Returns:
        [c, n, s], whose sum over s is the row's score; s is 1 where the loss takes single answers.
    """
    require_targets(targets)
    recorded.require_model(model)
    rows = recorded.rows_of(model, data)
    chosen = choose_checkpoints(recorded, checkpoints) if isinstance(checkpoints, int) else tuple(checkpoints)
    total = np.zeros((len(targets), len(rows), len(loss_of(rows.loss).sides)))
    settings = recorded.settings
    with ExitStack() as stack:
        found = stack.enter_context(temporarily_trainable(model, settings))
        recorded.loop(found, rows)
        products = RowProducts(found, rows, method=settings.method, precision=precision, engine=engine)
        asked = [target.in_tokens(model) for target in targets]
        if engine.name == "local":  # workers get the model as it is
            stack.enter_context(LowerBlocks(found, [rows.answers, *target_texts(asked)]).kept())
        for each in chosen:
            state = recorded.state(each.step)
            found.write(state.parameters)
            _, gradients = target_gradients(found, asked)
            divided = preconditioner(state.second, each.step, settings) if preconditioned else None
            gradients = -each.weight * (gradients if divided is None else gradients / divided.double())
            total += products.of(gradients.to(state.parameters.dtype))
    return total / expected_divisors(recorded, rows)[:, None]
