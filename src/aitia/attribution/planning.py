"""What a long run will take, said before it starts."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from aitia.attribution.curvature import CurvatureSettings
from aitia.attribution.curvature_fitting import curvature_layers
from aitia.attribution.gradients import factor_bytes, in_tokens
from aitia.models import LanguageModel
from aitia.records import Records, TokenizedRecords

_FLOAT = 4


@dataclass(frozen=True, kw_only=True)
class CurvaturePlan:
    """Sizes of a curvature fit.

    Attributes:
        rows: fitted to.
        tokens: of these rows.
        layers: whose curvature.
        weights: of these layers.
        passes: over the rows, each a forward and a backward pass of the model.
        memory_bytes: of the sums and the eigenbases, beside the model and a batch.
        file_bytes: of the file.
        cache_bytes: what keeping the rows' factors would take on disk, to save all passes but the first.
        operations: multiply-adds of all passes and of the curvature, beside attention.
    """

    rows: int
    tokens: int
    layers: int
    weights: int
    passes: int
    memory_bytes: int
    file_bytes: int
    cache_bytes: int
    operations: int

    def numbers(self) -> dict[str, int]:
        """The fields, for JSON."""
        return asdict(self)

    def text(self) -> str:
        """One line for a person."""
        return (
            f"{self.rows:,} rows, {self.tokens:,} tokens, {self.layers} layers with {self.weights:,} weights; "
            f"{self.passes} passes, {self.operations:.2g} multiply-adds; "
            f"{self.memory_bytes / 1e9:.2f} GB of memory beside the model, {self.file_bytes / 1e9:.2f} GB on disk"
        )


def plan_curvature(
    model: LanguageModel, data: Records | TokenizedRecords, settings: CurvatureSettings
) -> CurvaturePlan:
    """Count what `fit_curvature` will do.

    Raises:
        RecordError: rows that cannot be used.
    """
    tokenized = in_tokens(model, data)
    layers = curvature_layers(model, settings)
    rows = len(tokenized) if settings.rows == 0 else min(settings.rows, len(tokenized))
    tokens = sum(len(row.tokens) for row in tokenized) * rows // max(len(tokenized), 1)
    weights = sum(layer.inputs * layer.outputs for layer in layers)
    squares = sum(layer.inputs**2 + layer.outputs**2 for layer in layers)
    based = settings.kind in ("kfac", "ekfac")
    measured = settings.kind in ("diagonal", "ekfac")
    kept = (squares if based else 0) + (0 if settings.kind == "identity" else weights)
    run = 3 * sum(parameter.numel() for parameter in model.blocks.parameters())
    passes = based + measured
    extra = (squares * 5 // 8 if based else 0) + (weights + (squares if based else 0) if measured else 0)
    return CurvaturePlan(
        rows=rows,
        tokens=tokens,
        layers=len(layers),
        weights=weights,
        passes=passes,
        memory_bytes=_FLOAT * kept * 2,
        file_bytes=_FLOAT * kept,
        cache_bytes=factor_bytes(tokenized, layers),
        operations=tokens * (passes * run + extra),
    )
