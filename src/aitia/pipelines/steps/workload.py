"""What the costs of steps are counted from: a model's shape and the rows, without a weight; and plans of whole jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from time import process_time
from typing import Any

from aitia.attribution.gradients import Cost, Data, Machine, ModelShape, RunPlan, through_blocks
from aitia.models import LanguageModel, in_tokens
from aitia.pipelines.steps.step import Step, require_order, wanted
from aitia.records import Records, TokenizedRecords
from aitia.training import LoraSettings

_PROBE = 768
_FLOAT = 4
# An adapter's weights, their gradients, and the two moments of AdamW.
_TRAINED = 4
_WITH_GRAPH = 24


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A model and the rows that a job goes over.

    Attributes:
        outline: the model without its weights, the adapter on it if it has one.
        rows: in tokens, as many as there are.
        max_batch_tokens: tokens run at once.
        planned_rows: plan for this many rows like these; 0 for as many as there are.
    """

    outline: LanguageModel
    rows: TokenizedRecords
    max_batch_tokens: int
    planned_rows: int = 0

    @cached_property
    def shape(self) -> ModelShape:
        """The shape of the model."""
        return shape_of(self.outline)

    @cached_property
    def here(self) -> Data:
        """The rows that there are."""
        return data_of(self.rows, self.max_batch_tokens)

    @cached_property
    def grown(self) -> float:
        """How many times the rows that there are will be gone over."""
        return self.planned_rows / self.here.rows if self.planned_rows else 1.0

    @cached_property
    def data(self) -> Data:
        """The rows that are planned for."""
        if not self.planned_rows:
            return self.here
        return replace(
            self.here,
            rows=self.planned_rows,
            tokens=round(self.here.tokens * self.grown),
            response_tokens=round(self.here.response_tokens * self.grown),
        )

    def texts(self, texts: Records, **cutting: Any) -> Data:
        """Other texts, which do not grow with the rows, cut as they will be."""
        return data_of(in_tokens(self.outline, texts, **cutting), self.max_batch_tokens)


def data_of(rows: TokenizedRecords, max_batch_tokens: int) -> Data:
    """What counts about rows in tokens."""
    return Data(
        rows=len(rows),
        tokens=sum(len(row.tokens) for row in rows),
        response_tokens=sum(int(row.response.sum()) for row in rows),
        max_batch_tokens=max_batch_tokens,
    )


def forward_cost(shape: ModelShape, data: Data, name: str, *, blocks: int, logits: bool = False) -> Cost:
    """The cost of a forward pass through the lowest blocks.

    Args:
        shape: of the model.
        data: the texts.
        name: of the step.
        blocks: how many.
        logits: whether the response tokens' logits are computed too.

    Returns:
        The cost.
    """
    upward = blocks / shape.layers
    unembedded = data.response_tokens * shape.vocabulary * shape.width * logits
    return Cost(
        name=name,
        multiply_adds=through_blocks(shape, data) * upward + unembedded,
        calls=data.batches * blocks,
        rows=data.rows,
    )


def training_cost(work: Workload, name: str, settings: LoraSettings, *, share: float = 1.0) -> Cost:
    """The cost of training an adapter on a share of the rows; the outline has the adapter on it.

    A token goes up through all blocks, and down to the lowest block that has factors, of which half is counted: where
    in it the lowest factors are decides. The factors' own gradients cost as much as the factors.

    Args:
        work: the model and the rows.
        name: of the step.
        settings: of the training.
        share: of the rows, which are taken to be of average length.

    Returns:
        The cost.
    """
    shape, data = work.shape, work.data
    factors = [
        sum(weight.numel() for each, weight in block.named_parameters() if "lora_" in each)
        for block in work.outline.blocks
    ]
    lowest = next((number for number, size in enumerate(factors) if size), 0)
    directions = 1 + (shape.layers - lowest - 0.5) / shape.layers
    logits = 2 * data.response_tokens * shape.vocabulary * shape.width
    once = through_blocks(shape, data) * directions + logits + data.tokens * sum(factors)
    batches = data.rows / settings.per_device_train_batch_size
    held = settings.per_device_train_batch_size * data.length * shape.width * _WITH_GRAPH * shape.layers
    return Cost(
        name=name,
        multiply_adds=once * settings.epochs * share,
        calls=batches * shape.layers * directions * settings.epochs * share,
        rows=round(data.rows * settings.epochs * share),
        memory_bytes=_FLOAT * (held + _TRAINED * sum(factors)),
        disk_bytes=_FLOAT * sum(factors),
        spread=False,
    )


def plan_steps(
    steps: Sequence[Step[Any]],
    work: Workload,
    *,
    machine: Machine | None = None,
    workers: int = 1,
    resume: bool = True,
) -> RunPlan:
    """Add up the costs of the very steps that would run.

    A step whose result is there costs nothing, nor do those that only it takes; the plan lists it.

    Args:
        steps: the job.
        work: what costs are counted from.
        machine: of each worker; default: this one, by multiplying matrices for a moment.
        workers: how many.
        resume: look for results that are there; else count every step.

    Returns:
        The plan.

    Raises:
        AitiaError: see `require_order`.
    """
    require_order(steps)
    found = wanted(steps) if resume else [(step, False) for step in steps]
    return RunPlan(
        shape=work.shape,
        data=work.data,
        steps=[cost for step, there in found if not there for cost in step.cost(work)],
        machine=machine or measure_machine(),
        workers=workers,
        there=[step.name for step, there in found if there],
    )


def shape_of(model: LanguageModel) -> ModelShape:
    """What counts about a model, with its weights or without."""
    inside = sum(parameter.numel() for parameter in model.blocks.parameters())
    every = sum(parameter.numel() for parameter in model.network.parameters())
    return ModelShape(
        parameters=inside,
        outside=every - inside,
        layers=model.layers,
        width=model.width,
        vocabulary=int(model.config.vocab_size),
        bytes_per_parameter=next(iter(model.blocks.parameters())).element_size(),
    )


def measure_machine(price: float | None = None) -> Machine:
    """This machine's speed, from a product of matrices; a model reaches about half of it on a processor.

    Processor time counts, over all threads, so that other programs do not disturb the figure.

    Returns:
        The machine.
    """
    import torch

    cuda = torch.cuda.is_available()
    size = 8 * _PROBE if cuda else _PROBE
    place = torch.device("cuda" if cuda else "cpu")
    matrix = torch.randn(size, size, device=place)
    _ = matrix @ matrix
    seconds = float("inf")
    for _ in range(3):
        start = process_time()
        if cuda:
            torch.cuda.synchronize()
        _ = matrix @ matrix
        if cuda:
            torch.cuda.synchronize()
        seconds = min(seconds, max(process_time() - start, 1e-6))
    threads = 1 if cuda else torch.get_num_threads()
    return Machine(
        multiply_adds=0.5 * size**3 / seconds * threads, call_seconds=1e-4, row_seconds=1e-4, price=price
    )
