"""Influence of every training row on a measurement: -grad m^T (H + damping)^-1 grad L, exact, in a stream.

Source: Koh & Liang 2017 for the formula, Kowal et al. 2026 for the concept as measurement.

The query side is preconditioned once, (H + damping)^-1 grad m, and rotated back, so that a training row
costs one scalar product of that matrix with its gradient, which is never made where contracting its
factors is cheaper. A positive score says that training on the row raises the measurement: the sign
follows from d theta / d epsilon = -H^-1 grad L, so the score is d m / d epsilon.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from aitia.attribution.gradients.curvature import Curvature, CurvatureSettings, Damping
from aitia.attribution.gradients.curvature_fitting import curvature_layers, fit_curvature
from aitia.attribution.gradients.layer_algebra import (
    LowRankQueries,
    low_rank,
    product_dtype,
    products_with_queries,
    token_products,
)
from aitia.attribution.gradients.measurements import Measurement, highest_site
from aitia.attribution.gradients.training_gradients import (
    GRADIENT_BATCH_TOKENS,
    FactorCache,
    pass_batches,
    passes_over_rows,
    query_gradients,
    training_factors,
)
from aitia.engine import LOCAL, Advance, Engine, progress_bar, run_tasks
from aitia.errors import AitiaError
from aitia.models import LanguageModel, in_tokens, layers_named, site_layer
from aitia.records import Records, RowShard, TokenizedRecord, TokenizedRecords, pad_batch, row_shards

_BATCHES_OF_A_SHARD = 8

if TYPE_CHECKING:
    import torch

    from aitia.models import LinearLayer


def influence(
    model: LanguageModel,
    data: Records | TokenizedRecords,
    queries: Records | TokenizedRecords,
    measurement: Measurement,
    *,
    curvature: Curvature | None = None,
    damping: Damping | None = None,
    average: bool = True,
    query_rank: int = 0,
    cache: FactorCache | None = None,
    max_batch_tokens: int = GRADIENT_BATCH_TOKENS,
    engine: Engine = LOCAL,
) -> np.ndarray:
    """Score every training row by its influence on a measurement of the queries.

    Args:
        model: the model, as a rule the fine-tuned one.
        data: n training rows.
        queries: q rows to measure.
        measurement: what is measured; each query's number, or their mean.
        curvature: from `fit_curvature`; default: identity (over the adapter's factors where there is one).
        damping: default: a tenth of each layer's mean eigenvalue.
        average: measure the mean over the queries; otherwise score for each.
        query_rank: keep each preconditioned query gradient at this rank only, which for many queries saves
            memory, in * out / (rank * (in + out)) times, and work where that is more than the row's number of
            tokens; 0 keeps it whole.
        cache: of the rows' factors; `fit_curvature` leaves the same ones with the empirical Fisher, the same loss and
            batches, and others with the true Fisher.
        max_batch_tokens: tokens run at once.
        engine: where the training rows' gradients are made.

    Returns:
        [n] float32, or [q, n] where not averaged. Positive: training on the row raises the measurement.

    Raises:
        AitiaError: the measurement does not depend on the chosen layers, or they differ from the curvature's.
        RecordError, NumericalError: rows that cannot be used; they are named.
    """
    curvature = curvature or fit_curvature(model, data, CurvatureSettings(kind="identity"))
    tokenized = in_tokens(model, data)
    asked = in_tokens(model, queries)
    layers = influencing_layers(model, measurement, curvature)
    directions = influence_directions(
        model, asked, measurement, layers, curvature, damping or Damping(), average=average
    )
    if query_rank < 0:
        raise AitiaError(f"query rank {query_rank}: give a rank of at least 1, or 0 for the whole gradient")
    thin = {name: low_rank(values, query_rank) for name, values in directions.items()} if query_rank else None
    return stream_scores(
        model,
        tokenized,
        thin or directions,
        layers,
        loss=curvature.settings.loss,
        precision=curvature.settings.precision,
        cache=cache,
        max_batch_tokens=max_batch_tokens,
        engine=engine,
    )[0 if average else slice(None)]


def influencing_layers(
    model: LanguageModel, measurement: Measurement, curvature: Curvature
) -> tuple[LinearLayer, ...]:
    """The curvature's layers that can move the measurement: none above its highest site.

    Returns:
        The layers, in the order of the model.

    Raises:
        AitiaError: the curvature has none, or lacks one that its settings speak of.
    """
    layers = layers_up_to(model, highest_site(measurement), curvature.settings)
    missing = [layer.name for layer in layers if layer.name not in curvature.layers]
    if missing:
        raise AitiaError(
            f"the curvature has no layer {missing[0]} ({len(missing)} such); fit it again on this model"
        )
    return layers


def layers_up_to(
    model: LanguageModel, site: str | None, settings: CurvatureSettings
) -> tuple[LinearLayer, ...]:
    """The layers that a curvature's settings speak of and that can move a site; all without one.

    Returns:
        The layers, in the order of the model.

    Raises:
        AitiaError: there are none.
    """
    top = model.layers - 1 if site is None else site_layer(site, model.layers)
    layers = tuple(layer for layer in curvature_layers(model, settings) if layer.block <= top)
    if not layers:
        raise AitiaError(
            f"the measurement is at {site}, below every layer that the curvature has gradients of; "
            "choose a higher site, another layer_stride, or parameters=full"
        )
    return layers


def influence_directions(
    model: LanguageModel,
    queries: TokenizedRecords,
    measurement: Measurement,
    layers: Sequence[LinearLayer],
    curvature: Curvature,
    damping: Damping,
    *,
    average: bool = True,
) -> dict[str, torch.Tensor]:
    """-(H + damping)^-1 grad m for each layer: what a training gradient is multiplied with.

    Returns:
        name -> [1 or q, out, in].
    """
    damping = curvature.in_its_units(damping)
    gradients = query_gradients(model, queries, measurement, layers, average=average)
    return {name: -curvature.layers[name].precondition(values, damping) for name, values in gradients.items()}


def stream_scores(
    model: LanguageModel,
    tokenized: TokenizedRecords,
    directions: Mapping[str, torch.Tensor | LowRankQueries],
    layers: Sequence[LinearLayer],
    *,
    loss: str,
    precision: str = "auto",
    cache: FactorCache | None = None,
    max_batch_tokens: int = GRADIENT_BATCH_TOKENS,
    engine: Engine = LOCAL,
) -> np.ndarray:
    """Multiply every training row's gradient with every direction: [q, n] float32."""
    import torch

    scores = np.zeros((len(next(iter(directions.values()))), len(tokenized)), dtype=np.float32)
    shards = pass_batches(tokenized, max_batch_tokens, batches=_BATCHES_OF_A_SHARD)
    if engine.name != "local":
        # Workers may have other devices, or none.
        directions = {name: direction.to("cpu", torch.float32) for name, direction in directions.items()}
    names = tuple(layer.name for layer in layers)
    work = partial(_shard_scores, model, directions, names, loss, precision, cache)
    with progress_bar("Influence", len(tokenized)) as advance:
        parts = run_tasks(work, row_shards(tokenized, shards), engine=engine, advance=advance)
        for batches, part in zip(shards, parts, strict=True):
            scores[:, np.concatenate(batches)] = part
    return scores


def _shard_scores(
    model: LanguageModel,
    directions: Mapping[str, torch.Tensor | LowRankQueries],
    names: Sequence[str],
    loss: str,
    precision: str,
    cache: FactorCache | None,
    shard: RowShard,
    advance: Advance,
) -> np.ndarray:
    """The products of a shard's rows, [q, m] float32."""
    layers = layers_named(model, names)
    found = []
    dtype = product_dtype(precision, model.device)
    directions = {name: direction.to(model.device, dtype) for name, direction in directions.items()}
    for _, index, factors in passes_over_rows(
        model, shard, layers, loss=loss, cache=cache, dtype=dtype, on_batch=advance
    ):
        scores = np.zeros((len(next(iter(directions.values()))), len(index)), dtype=np.float32)
        for name, direction in directions.items():
            if name in factors:
                part = products_with_queries(direction, factors[name].inputs, factors[name].outputs)
                scores += part.cpu().numpy()
        found.append(scores)
    return np.concatenate(found, axis=1)


def influence_by_token(
    model: LanguageModel,
    row: TokenizedRecord,
    directions: Mapping[str, torch.Tensor],
    layers: Sequence[LinearLayer],
    *,
    loss: str,
) -> np.ndarray:
    """Each token's part of a row's score: where its gradient enters the weights. Sums to the score; [t]."""
    batch = pad_batch([row], np.array([0]), model.pad_id)
    factors = training_factors(model, batch, layers, [row.location], loss=loss)
    tokens = len(row.tokens)
    parts = [
        token_products(direction[0], factors[name].inputs, factors[name].outputs, tokens)[0].cpu().numpy()
        for name, direction in directions.items()
        if name in factors
    ]
    return np.sum(parts, axis=0)
