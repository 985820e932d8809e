"""Tail-Patch: what one more training step on a row that a method ranks highest does to the queries.

The trained model takes a single step on one row and is put back; the change of the queries' probability is averaged
over the rows. It needs no training from the start, and says what a row adds now, not what its absence would do.

Source: Chang et al. 2024 (Scalable Influence and Fact Tracing for LLM Pretraining), as quanda 0.5.0 computes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np

from aitia.attribution.gradients import LogProbability
from aitia.counterfactual.behaviours import measure
from aitia.engine import progress_bar
from aitia.errors import AitiaError
from aitia.models import LanguageModel, in_tokens
from aitia.models.losses import with_references
from aitia.records import Records, TokenizedRecords
from aitia.records.losses import PLAIN
from aitia.settings import Above, Count, check
from aitia.statistics import Estimate, bootstrap_estimate
from aitia.training import LoraSettings, Step, Trainable, TrainingLoop


@dataclass(frozen=True, kw_only=True)
class TailPatchSettings:
    """Settings of the Tail-Patch metric.

    Attributes:
        rows: highest-scored rows of each ranking, each of which makes one step.
        learning_rate: learning rate of the step; take the peak rate that the model was trained with.
        optimizer: `adamw`, whose first step from no moments has the same size for every weight, or `sgd`.
    """

    rows: Count = 10
    learning_rate: Annotated[float, Above(0)] = 1e-3
    optimizer: Literal["adamw", "sgd"] = "adamw"

    def __post_init__(self) -> None:
        check(self, "tail patch")


@dataclass(frozen=True, kw_only=True, eq=False)
class TailPatch:
    """What steps on the highest rows of a ranking do to queries, on average over the rows.

    Attributes:
        log_probability: change of the log-probability of a query's response in nats, with a 95 % interval over queries.
        probability: change of its probability, as published; near zero wherever responses are long.
        by_query: [q] change of the log-probability.
    """

    log_probability: Estimate
    probability: Estimate
    by_query: np.ndarray


def tail_patch(
    model: LanguageModel,
    data: Records | TokenizedRecords,
    queries: Records | TokenizedRecords,
    scores: Mapping[str, np.ndarray],
    settings: TailPatchSettings | None = None,
    *,
    seed: int = 0,
) -> dict[str, TailPatch]:
    """Measure Tail-Patch for several rankings of the same rows; a row that several of them choose makes one step.

    What the step moves is what training moves: the factors of the adapter where the model has one, else all weights.
    The loss is that of the rows, with their weights; for supervised fine-tuning it is the mean over the row's response
    tokens. There is no weight decay and no clipping. The model is as it was afterwards.

    Args:
        model: trained on the data.
        data: n rows; those in tokens have their loss, others are rows of supervised fine-tuning.
        queries: q rows, whose responses count.
        scores: name -> [n] for all queries together, or [q, n] with a ranking for each.
        settings: how many rows, and which step.
        seed: of the intervals.

    Returns:
        Name -> figures. Above zero: the rows teach what the queries say.

    Raises:
        AitiaError: scores that do not fit the rows and queries or are not finite, no weights to move, or weights of
            half precision.
        NumericalError: the step is not finite.
    """
    settings = settings or TailPatchSettings()
    rows = in_tokens(model, data, loss=data.loss if isinstance(data, TokenizedRecords) else PLAIN)
    asked = in_tokens(model, queries)
    chosen = {
        name: _highest(name, each, len(rows), len(asked), settings.rows) for name, each in scores.items()
    }
    every = np.unique(np.concatenate([each.ravel() for each in chosen.values()]))
    rows = _with_references(model, rows, every)
    before, after = _stepped(model, rows, asked, every, settings)
    found = {}
    for name, each in chosen.items():
        places = np.searchsorted(every, each)  # [q, k]
        reached = after[places, np.arange(len(asked))[:, None]]  # [q, k]
        logs = (reached - before[:, None]).mean(axis=1)
        shares = (np.exp(reached) - np.exp(before)[:, None]).mean(axis=1)
        found[name] = TailPatch(
            log_probability=_over_queries(logs, seed), probability=_over_queries(shares, seed), by_query=logs
        )
    return found


def _with_references(model: LanguageModel, rows: TokenizedRecords, chosen: np.ndarray) -> TokenizedRecords:
    """The rows with the reference's log-probabilities of those that make a step, where their loss reads these."""
    filled = with_references(model, [rows[int(place)] for place in chosen], rows.loss)
    found = dict(zip(chosen.tolist(), filled, strict=True))
    return replace(rows, records=[found.get(place, row) for place, row in enumerate(rows)])


def _over_queries(values: np.ndarray, seed: int) -> Estimate:
    return bootstrap_estimate(len(values), lambda rows: float(values[rows].mean()), seed=seed)


def _highest(name: str, scores: np.ndarray, rows: int, queries: int, count: int) -> np.ndarray:
    """The places of the highest rows for each query: [q, k]."""
    scores = np.asarray(scores, dtype=np.float64)
    if scores.shape not in ((rows,), (queries, rows)) or not np.isfinite(scores).all():
        raise AitiaError(
            f"{name}: scores of shape {scores.shape}, or some that are not finite; give [{rows}] or [{queries}, {rows}]"
        )
    best = np.argsort(-np.atleast_2d(scores), axis=1, kind="stable")[:, :count]
    return np.broadcast_to(best, (queries, best.shape[1]))


def _stepped(
    model: LanguageModel,
    rows: TokenizedRecords,
    queries: TokenizedRecords,
    chosen: np.ndarray,
    settings: TailPatchSettings,
) -> tuple[np.ndarray, np.ndarray]:
    """The queries' log-probabilities as they are, [q], and after a step on each of the chosen rows, [c, q]."""
    asked = LogProbability(aggregate="sum")
    training = LoraSettings(
        learning_rate=settings.learning_rate, optimizer=settings.optimizer, max_grad_norm=0.0
    )
    before = measure(model, queries, asked)
    after = np.empty((len(chosen), len(queries)))
    with _movable(model) as trainable, progress_bar("Tail-Patch", len(chosen), unit="steps") as advance:
        for number, row in enumerate(map(int, chosen)):
            step = Step(
                rows=(row,),
                learning_rate=settings.learning_rate,
                predicted_tokens=sum(int(side.response[1:].sum()) for side in rows[row].sides),
            )
            loop = TrainingLoop(trainable=trainable, data=rows, settings=training, steps=(step,))
            start = loop.start()
            trainable.write(loop.after(start, 0).parameters)
            after[number] = measure(model, queries, asked)
            trainable.write(start.parameters)
            advance(1)
    return before, after


@contextmanager
def _movable(model: LanguageModel) -> Iterator[Trainable]:
    """The model with what training moves; it is as it was when the block ends."""
    wanted = "lora_" if model.adapter is not None else ""
    parameters = {name: value for name, value in model.network.named_parameters() if wanted in name}
    if not parameters:
        raise AitiaError(f"{model.name}: its adapter has no low-rank factors that a step could move")
    half = next((name for name, value in parameters.items() if value.dtype.itemsize < 4), None)
    if half is not None:
        raise AitiaError(
            f"tail patch: {half} of {model.name} is {parameters[half].dtype}, too coarse for one step; load the model "
            "with dtype=float32"
        )
    trainable = Trainable(model=model, parameters=parameters)
    before, needed = trainable.read(), [value.requires_grad for value in parameters.values()]
    try:
        for value in parameters.values():
            value.requires_grad_()
        yield trainable
    finally:
        trainable.write(before)
        for value, need in zip(parameters.values(), needed, strict=True):
            value.requires_grad_(need)
