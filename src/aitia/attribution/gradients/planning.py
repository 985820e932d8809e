"""What a long run will take, said before it starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from time import perf_counter

import numpy as np

from aitia.attribution.gradients.curvature import CurvatureSettings
from aitia.attribution.gradients.curvature_fitting import curvature_layers
from aitia.attribution.gradients.layer_algebra import (
    product_dtype,
)
from aitia.attribution.gradients.training_gradients import factor_bytes, training_factors
from aitia.engine import note
from aitia.models import LanguageModel, in_tokens, weights_left_out
from aitia.records import Records, TokenizedRecords, pad_batch

_FLOAT = 4
_PROBE_TOKENS = 512
_PROBE_WIDTH = 384


@dataclass(frozen=True, kw_only=True)
class CurvaturePlan:
    """Sizes of a curvature fit.

    Attributes:
        rows: fitted to.
        tokens: of these rows.
        layers: whose curvature.
        weights: of these layers.
        weights_left_out: trained ones that no layer holds, since their kind is not supported.
        passes: over the rows.
        runs: of these, those with a forward and a backward pass of the model.
        memory_bytes: of the sums and the eigenbases, beside the model and a batch.
        file_bytes: of the file.
        cache_bytes: what keeping the rows' factors would take on disk, to save all passes but the first.
        operations: multiply-adds of all passes and of the curvature, beside attention.
    """

    rows: int
    tokens: int
    layers: int
    weights: int
    weights_left_out: int
    passes: int
    runs: int
    memory_bytes: int
    file_bytes: int
    cache_bytes: int
    operations: int

    def numbers(self) -> dict[str, int]:
        """The fields, for JSON."""
        return asdict(self)

    def text(self) -> str:
        """One line for a person."""
        share = self.weights_left_out / max(self.weights + self.weights_left_out, 1)
        missing = f" ({self.weights_left_out:,} others, {_percent(share)}, left out)" * bool(
            self.weights_left_out
        )
        return (
            f"{self.rows:,} rows, {self.tokens:,} tokens, {self.layers} layers with {self.weights:,} weights"
            f"{missing}; "
            f"{self.passes} passes, {self.operations:.2g} multiply-adds; "
            f"{self.memory_bytes / 1e9:.2f} GB of memory beside the model, {self.file_bytes / 1e9:.2f} GB on disk"
        )


def plan_curvature(
    model: LanguageModel,
    data: Records | TokenizedRecords,
    settings: CurvatureSettings,
    *,
    cached: bool = False,
    on_error: str = "stop",
) -> CurvaturePlan:
    """Count what `fit_curvature` will do.

    Args:
        model: the model, with its weights or without.
        data: the training data.
        settings: what is to be fitted.
        cached: whether the rows' factors are kept, so that the model runs in the first pass alone.
        on_error: `stop` at rows that cannot be used, or `skip` them.

    Returns:
        The plan: layers, passes, memory and disk.

    Raises:
        RecordError: rows that cannot be used.
    """
    tokenized = _in_tokens(model, data, settings, on_error)
    layers = curvature_layers(model, settings)
    rows = len(tokenized) if settings.rows == 0 else min(settings.rows, len(tokenized))
    tokens = sum(len(row.tokens) for row in tokenized) * rows // max(len(tokenized), 1)
    weights = sum(layer.inputs * layer.outputs for layer in layers)
    squares = sum(layer.inputs**2 + layer.outputs**2 for layer in layers)
    kept = (squares if settings.based else 0) + (weights if settings.passes else 0)
    # Forward, and backward to the activations of the lowest layer: gradients of weights are never made.
    blocks = [sum(parameter.numel() for parameter in block.parameters()) for block in model.blocks]
    run = sum(blocks) + sum(blocks[min(layer.block for layer in layers) :])
    passes = len(settings.passes)
    runs = min(passes, 1) if cached else passes
    sums = sum(
        each.operations(layers, rows=rows, tokens=tokens, based=settings.based) for each in settings.passes
    )
    return CurvaturePlan(
        rows=rows,
        tokens=tokens,
        layers=len(layers),
        weights=weights,
        weights_left_out=weights_left_out(model, layers, parameters=settings.for_model(model).parameters),
        passes=passes,
        runs=runs,
        memory_bytes=_FLOAT * kept * 2,
        file_bytes=_FLOAT * kept,
        cache_bytes=factor_bytes(tokenized, layers),
        operations=tokens * runs * run + sums,
    )


def estimate_seconds(
    model: LanguageModel,
    data: Records | TokenizedRecords,
    settings: CurvatureSettings,
    plan: CurvaturePlan | None = None,
    *,
    on_error: str = "stop",
) -> float:
    """How long `fit_curvature` will take here, from doing a small part of it.

    A few typical rows go through the model and the sums once to warm up and once with a clock; a small
    eigendecomposition is timed and scaled by the cube of its size.

    Args:
        model: the model.
        data: the training data.
        settings: what is to be fitted.
        plan: what `plan_curvature` gives for the same; default: made here.
        on_error: `stop` at rows that cannot be used, or `skip` them.

    Returns:
        Seconds; 0 where there is nothing to fit.

    Raises:
        RecordError, NumericalError: rows that cannot be used.
    """
    import torch

    if not settings.passes:
        return 0.0
    tokenized = _in_tokens(model, data, settings, on_error)
    plan, layers = plan or plan_curvature(model, tokenized, settings), curvature_layers(model, settings)
    lengths = np.array([len(row.tokens) for row in tokenized])
    typical = np.argsort(np.abs(lengths - lengths.mean()), kind="stable")
    chosen = typical[: max(min(_PROBE_TOKENS, settings.max_batch_tokens) // int(lengths[typical[0]]), 1)]
    batch = pad_batch(tokenized, chosen, model.pad_id)
    dtype = product_dtype(settings.precision, model.device)

    def work() -> None:
        seed = 0 if not settings.use_empirical_fisher else None
        for each in settings.passes:
            factors = training_factors(
                model,
                batch,
                layers,
                [tokenized[int(row)].location for row in chosen],
                loss=settings.loss,
                sample_seed=seed,
                dtype=torch.float32 if each.exact else dtype,
            )
            for layer in layers:
                found = factors.get(layer.name)
                if found is None:
                    continue
                left, right = (
                    values.new_zeros(values.shape[-1], values.shape[-1], dtype=dtype)
                    for values in (found.outputs, found.inputs)
                )
                basis = (left, right) if settings.based else (None, None)
                each.add({layer.name: found}, {} if each.exact else {layer.name: basis}, {})

    work()
    seconds = _timed(work) * plan.tokens / max(int(lengths[chosen].sum()), 1)
    if settings.based:
        matrix = torch.randn(_PROBE_WIDTH, _PROBE_WIDTH, generator=torch.Generator().manual_seed(0))
        one = _timed(lambda: torch.linalg.eigh(matrix + matrix.T))
        cubes = sum(layer.inputs**3 + layer.outputs**3 for layer in layers)
        seconds += one * cubes / _PROBE_WIDTH**3
    return seconds


def announce_curvature(
    model: LanguageModel,
    data: Records | TokenizedRecords,
    settings: CurvatureSettings,
    plan: CurvaturePlan | None = None,
    *,
    on_error: str = "stop",
) -> tuple[CurvaturePlan, float]:
    """Say on standard error what `fit_curvature` will take, before it starts: the plan, and seconds.

    Args:
        model: the model.
        data: the training data.
        settings: what is to be fitted.
        plan: what `plan_curvature` gives for the same; default: made here.
        on_error: `stop` at rows that cannot be used, or `skip` them.

    Returns:
        The plan, and the seconds that it is estimated to take here.

    Raises:
        RecordError, NumericalError: rows that cannot be used.
    """
    rows = _in_tokens(model, data, settings, on_error)
    plan = plan or plan_curvature(model, rows, settings)
    seconds = estimate_seconds(model, rows, settings, plan)
    note(f"Curvature: {plan.text()}; about {in_words(seconds)} here")
    return plan, seconds


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.005 else "under 1%"


def in_words(seconds: float) -> str:
    """A length of time as a person says it: `40 seconds`, `12 minutes`, `3.5 hours`."""
    if seconds < 1.5:
        return "1 second"
    if seconds < 90:
        return f"{round(seconds)} seconds"
    if seconds < 5400:
        return f"{round(seconds / 60)} minutes"
    return f"{seconds / 3600:.1f} hours"


def _in_tokens(
    model: LanguageModel, data: Records | TokenizedRecords, settings: CurvatureSettings, on_error: str
) -> TokenizedRecords:
    return in_tokens(
        model, data, max_length=settings.max_length, truncate=settings.truncate, on_error=on_error
    )


def _timed(work: Callable[[], object]) -> float:
    start = perf_counter()
    work()
    return perf_counter() - start
