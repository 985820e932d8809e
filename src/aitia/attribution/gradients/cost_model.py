"""What a run will take: multiply-adds, bytes, hours and money, counted from shapes before anything runs.

Ours. Work is counted, not guessed: a token costs a multiply-add a weight in each direction that it is sent, and
attention besides. What a machine makes of it is three numbers (`Machine`), fitted to timings
(`benchmarks/scale.py` does so here) or given. All counts are of this project's own way of working: no gradients
with respect to weights where a scan needs none, layers above the highest site left out, and so on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from aitia.attribution.gradients.layer_algebra import contracts
from aitia.attribution.gradients.planning import CurvaturePlan, in_words
from aitia.errors import AitiaError
from aitia.records import BATCH_TOKENS

FLOAT_BYTES = 4
# Of a row of data beside its tokens: id, place, positions, and the columns of a ranking (measured: `make bench-scale`).
_ROW_BYTES = 600
_TOKEN_BYTES = 5
# Activations of a token that are alive at once in a block, in widths, with a graph and without.
WITH_GRAPH, _WITHOUT_GRAPH = 24, 12


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """What counts about a model.

    Attributes:
        parameters: of the blocks, which every token meets.
        outside: of embedding and unembedding.
        layers: blocks.
        width: of the residual stream.
        vocabulary: tokens.
        bytes_per_parameter: as it is held in memory.
    """

    parameters: int
    outside: int
    layers: int
    width: int
    vocabulary: int
    bytes_per_parameter: int = 4

    @property
    def bytes(self) -> int:
        """Of the model in memory, and on disk."""
        return (self.parameters + self.outside) * self.bytes_per_parameter


@dataclass(frozen=True, kw_only=True)
class Data:
    """What counts about training data.

    Attributes:
        rows: how many.
        tokens: of all rows together.
        response_tokens: of these, those that are trained on.
        max_batch_tokens: tokens run at once.
        max_rows: rows run at once.
    """

    rows: int
    tokens: int
    response_tokens: int
    max_batch_tokens: int = BATCH_TOKENS
    max_rows: int = 64

    def __post_init__(self) -> None:
        if self.rows < 1 or self.tokens < self.rows:
            raise AitiaError(
                f"a plan for {self.rows} rows of {self.tokens} tokens: give at least a token a row"
            )

    @property
    def length(self) -> float:
        """Tokens of a row, on average."""
        return self.tokens / self.rows

    @property
    def batches(self) -> float:
        """How many batches the rows make, about."""
        rows_at_once = max(min(self.max_batch_tokens // max(int(self.length), 1), self.max_rows), 1)
        return self.rows / rows_at_once


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What a worker makes of the work.

    Attributes:
        multiply_adds: a second, in the products that a model consists of.
        call_seconds: that a block takes for a batch however small it is.
        row_seconds: that a row takes to be read, cut and written.
        load_bytes: a second, of the model's weights from the disk.
        price: of an hour, in whatever money.
    """

    multiply_adds: float
    call_seconds: float = 0.0
    row_seconds: float = 0.0
    load_bytes: float = 1e9
    price: float | None = None


@dataclass(frozen=True, kw_only=True)
class InfluencePass:
    """What a pass of an influence method over the rows multiplies.

    Attributes:
        weights: of the layers whose gradients count; for a concept none lies above its site.
        lowest: block of the lowest of these layers, from 0.
        directions: that every gradient is multiplied with.
    """

    weights: int
    lowest: int = 0
    directions: int = 1

    def products(self, length: float) -> float:
        """Multiply-adds of the products for a row of so many tokens."""
        return products(self.weights, self.directions, length)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a part of a run takes.

    Attributes:
        name: what is done.
        multiply_adds: of all rows.
        calls: blocks times batches, counted once for each direction.
        rows: that are read, cut or written.
        memory_bytes: beside model and data.
        disk_bytes: that it leaves.
        spread: whether workers share it.
    """

    name: str
    multiply_adds: float
    calls: float = 0.0
    rows: int = 0
    memory_bytes: float = 0.0
    disk_bytes: float = 0.0
    spread: bool = True

    def seconds(self, machine: Machine, workers: int = 1) -> float:
        """How long it takes."""
        alone = (
            self.multiply_adds / machine.multiply_adds
            + self.calls * machine.call_seconds
            + self.rows * machine.row_seconds
        )
        return alone / workers if self.spread else alone


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """What a whole run takes.

    Attributes:
        shape: of the model.
        data: that is attributed.
        steps: costs of the steps that would run, in their order.
        machine: of each worker.
        workers: how many.
        there: names of the steps whose results are there, and cost nothing.
    """

    shape: ModelShape
    data: Data
    steps: Sequence[Cost]
    machine: Machine
    workers: int = 1
    there: Sequence[str] = ()

    @property
    def seconds(self) -> float:
        """From start to end, loading the model included."""
        loading = self.shape.bytes / self.machine.load_bytes
        return loading + sum(step.seconds(self.machine, self.workers) for step in self.steps)

    @property
    def memory_bytes(self) -> float:
        """Of a worker: model, and the most that a step needs beside it; data count where they are read."""
        held = self.data.rows * _ROW_BYTES + self.data.tokens * _TOKEN_BYTES
        return self.shape.bytes + held + max((step.memory_bytes for step in self.steps), default=0.0)

    @property
    def disk_bytes(self) -> float:
        """That is left when all is done."""
        return sum(step.disk_bytes for step in self.steps)

    @property
    def money(self) -> float | None:
        """Hours of all workers times the price; none without a price."""
        if self.machine.price is None:
            return None
        return self.seconds / 3600 * self.workers * self.machine.price

    def numbers(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "model": asdict(self.shape),
            "data": asdict(self.data),
            "machine": asdict(self.machine),
            "workers": self.workers,
            "steps": [
                asdict(step) | {"seconds": step.seconds(self.machine, self.workers)} for step in self.steps
            ],
            "there": list(self.there),
            "seconds": self.seconds,
            "memory_bytes": self.memory_bytes,
            "disk_bytes": self.disk_bytes,
            "money": self.money,
        }

    def text(self) -> str:
        """A few lines for a person."""
        shape, data = self.shape, self.data
        lines = [
            f"{data.rows:,} rows, {data.tokens:,} tokens; a model of {shape.parameters + shape.outside:,} "
            f"parameters in {shape.layers} blocks; {self.workers} worker{'s' * (self.workers != 1)}"
        ]
        for step in self.steps:
            seconds = step.seconds(self.machine, self.workers)
            lines.append(
                f"  {step.name:<12} {in_words(seconds):>12}  {step.multiply_adds:.2g} multiply-adds  "
                f"{in_bytes(step.memory_bytes)} of memory  {in_bytes(step.disk_bytes)} on disk"
            )
        lines += [f"  {name:<12} {'0 seconds':>12}  its result is there" for name in self.there]
        money = "" if self.money is None else f", {self.money:,.2f} at {self.machine.price:g} an hour"
        lines.append(
            f"in all about {in_words(self.seconds)}{money}; {in_bytes(self.memory_bytes)} of memory a worker, "
            f"{in_bytes(self.disk_bytes)} on disk"
        )
        return "\n".join(lines)


def scan_cost(
    shape: ModelShape, data: Data, *, lowest: int, highest: int, sites: int, activations: Sequence[str]
) -> Cost:
    """The cost of a scan.

    Args:
        shape: of the model.
        data: scanned.
        lowest: block of the lowest site, from 0.
        highest: of the highest.
        sites: how many.
        activations: which; sampling is not counted, because nobody knows how long a response will be.

    Returns:
        The step, for all rows together.
    """
    backward = "backward" in activations
    upward = 1.0 if backward else (highest + 1) / shape.layers
    downward = (shape.layers - lowest - 1) / shape.layers if backward else 0.0
    logits = data.response_tokens * shape.vocabulary * shape.width * (2 if backward else 0)
    alive = WITH_GRAPH * shape.layers * downward + _WITHOUT_GRAPH
    memory = data.max_batch_tokens * shape.width * alive * FLOAT_BYTES
    return Cost(
        name="scan",
        multiply_adds=through_blocks(shape, data) * (upward + downward) + logits,
        calls=data.batches * shape.layers * (upward + downward),
        rows=data.rows,
        memory_bytes=memory,
        disk_bytes=data.rows
        * (sites * len(activations) * shape.width * FLOAT_BYTES + 8 + 4 * backward + _ROW_BYTES / 8),
    )


def curvature_cost(shape: ModelShape, data: Data, plan: CurvaturePlan) -> Cost:
    """The cost of fitting curvature, from its own plan."""
    return Cost(
        name="curvature",
        multiply_adds=plan.operations,
        calls=data.batches * plan.rows / data.rows * shape.layers * 2 * plan.runs,
        rows=plan.rows,
        memory_bytes=plan.memory_bytes
        + data.max_batch_tokens * shape.width * WITH_GRAPH * shape.layers * FLOAT_BYTES,
        disk_bytes=plan.file_bytes,
    )


def influence_cost(
    shape: ModelShape, data: Data, passes: Sequence[InfluencePass], *, cached: bool = False
) -> Cost:
    """The cost of influence of every row: the rows' gradients, and their products with the directions.

    The training loss stands above all blocks, so that a row goes up through every one of them, wherever the
    concept's site is; down it goes as far as the lowest layer whose gradients count.

    Args:
        shape: of the model.
        data: whose influence.
        passes: over the rows: one a method, and one for the controls.
        cached: whether the fit of the curvature left the rows' factors, so that the model need not run.

    Returns:
        The step, for all rows together.
    """
    through, logits = through_blocks(shape, data), data.response_tokens * shape.vocabulary * shape.width
    directions = [1 + (shape.layers - each.lowest) / shape.layers for each in passes] * (not cached)
    graph = 0 if cached else data.max_batch_tokens * shape.width * WITH_GRAPH * shape.layers
    return Cost(
        name="influence",
        multiply_adds=sum(through * each + 2 * logits for each in directions)
        + data.rows * sum(each.products(data.length) for each in passes),
        calls=data.batches * shape.layers * sum(directions),
        rows=data.rows,
        memory_bytes=FLOAT_BYTES * (max(each.directions * each.weights for each in passes) + graph),
        disk_bytes=0,
    )


def rank_cost(shape: ModelShape, data: Data, *, methods: int, controls: int) -> Cost:
    """The cost of reading the store and multiplying, here and not by the workers."""
    return Cost(
        name="rank",
        multiply_adds=data.rows * shape.width * (methods + controls),
        memory_bytes=data.rows * (methods + controls) * FLOAT_BYTES,
        disk_bytes=data.rows * (methods * FLOAT_BYTES + _ROW_BYTES / 6),
        spread=False,
    )


def fit_machine(steps: Sequence[Cost], seconds: Sequence[float]) -> Machine:
    """The machine that explains timings best: least squares of the relative error, no number negative.

    Args:
        steps: s >= 3 steps.
        seconds: [s] what each took.

    Returns:
        The machine: multiply-adds a second, and seconds for each call and each row.
    """
    import numpy as np
    from scipy.optimize import nnls

    took = np.asarray(seconds, dtype=float)
    counts = np.array([[step.multiply_adds, step.calls, step.rows] for step in steps], dtype=float)
    scale = counts.max(axis=0).clip(min=1)
    found, _ = nnls(counts / scale / took[:, None], np.ones(len(took)))
    per_unit = found / scale
    return Machine(
        multiply_adds=1 / max(float(per_unit[0]), 1e-18),
        call_seconds=float(per_unit[1]),
        row_seconds=float(per_unit[2]),
    )


def in_bytes(count: float) -> str:
    """A size as a person says it: `3.1 GB`."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:.3g} {unit}"
        count /= 1000
    raise AssertionError


def products(weights: int, directions: int, length: float) -> float:
    """Multiply-adds of the products of a row's gradient, of so many tokens, with directions."""
    return weights * (directions * length if contracts(directions, length) else directions + length)


def through_blocks(shape: ModelShape, data: Data) -> float:
    """Multiply-adds of all tokens through all blocks, once: the weights, and attention over a row's length."""
    return data.tokens * (shape.parameters + 2 * shape.layers * shape.width * data.length)
