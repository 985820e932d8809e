"""Gradients of training rows and of queries, layer by layer, from one forward and backward pass."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aitia.attribution.gradients.layer_algebra import row_gradients
from aitia.attribution.gradients.measurements import ConceptMeasurement, Measurement, highest_site
from aitia.attribution.scanning.activations import predicted_tokens
from aitia.errors import AitiaError, NumericalError
from aitia.files import digest
from aitia.models import Factors, LanguageModel, LinearLayer, capturing, run
from aitia.records import (
    Batch,
    RowShard,
    TokenizedRecord,
    TokenizedRecords,
    length_batches,
    pad_batch,
)
from aitia.tensor_files import open_tensors, save_tensors

if TYPE_CHECKING:
    import torch

GRADIENT_BATCH_TOKENS = 2048
"""Tokens that a model runs over at once by default where gradients of weights are taken."""


def training_factors(
    model: LanguageModel,
    batch: Batch,
    layers: Sequence[LinearLayer],
    locations: Sequence[str],
    *,
    loss: str = "mean",
    sample_seed: int | None = None,
    dtype: torch.dtype | None = None,
) -> dict[str, Factors]:
    """The factors of the gradient of each row's training loss, for each layer.

    Args:
        model: the model.
        batch: b rows.
        layers: whose gradients.
        locations: of the b rows, for messages.
        loss: a row's cross-entropy as the `mean` over its response tokens, or their `sum`.
        sample_seed: draw the labels from the model's own distribution (true Fisher) with this seed.
        dtype: of the factors; default: float32.

    Raises:
        NumericalError: a gradient is not finite; the row is named.
    """
    import torch

    with capturing(layers, model, torch.from_numpy(batch.attention), dtype=dtype) as factors:
        outputs = run(model, batch, gradients=True, detach=False)
        targets = None
        if sample_seed is not None:
            generator = torch.Generator(device=outputs.hidden.device).manual_seed(sample_seed)
            targets = outputs.sample_targets(generator)
        losses = outputs.token_losses(targets)
        if loss == "mean":
            counts = losses.new_tensor(predicted_tokens(batch))
            losses = losses / counts[outputs.rows]
        losses.sum().backward()
    for name, found in factors.items():
        # A sum is finite unless a term is not (or it overflows, and then the closer look finds nothing).
        if not bool((found.outputs.sum() + found.inputs.sum()).isfinite()):
            _require_finite_rows(name, found, locations)
    return dict(factors)


def query_gradients(
    model: LanguageModel,
    tokenized: TokenizedRecords,
    measurement: Measurement,
    layers: Sequence[LinearLayer],
    *,
    average: bool = True,
    max_batch_tokens: int = GRADIENT_BATCH_TOKENS,
) -> dict[str, torch.Tensor]:
    """Gradients of a measurement with respect to each layer's weight (its bias as a last column).

    For a concept, the layers above its site are not even run.

    Args:
        model: the model.
        tokenized: q query rows.
        measurement: what is asked.
        layers: whose gradients.
        average: over the queries, to one; otherwise one each.
        max_batch_tokens: tokens run at once.

    Returns:
        name -> [1 or q, out, in].

    Raises:
        AitiaError: no query, or the measurement does not depend on any of the layers.
        NumericalError: a gradient is not finite.
    """
    import torch

    if not len(tokenized):
        raise AitiaError("no query rows: give texts on which the concept or the loss is to be measured")
    count = 1 if average else len(tokenized)
    found = {
        layer.name: torch.zeros(count, layer.outputs, layer.inputs, device=_device(layer)) for layer in layers
    }
    touched: set[str] = set()
    for index in length_batches([len(row.tokens) for row in tokenized], max_tokens=max_batch_tokens):
        batch = pad_batch(tokenized, index, model.pad_id)
        with capturing(layers, model, torch.from_numpy(batch.attention)) as factors:
            outputs = run(
                model,
                batch,
                measurement.sites,
                gradients=True,
                detach=False,
                stop=highest_site(measurement) is not None,
            )
            value = measurement.values(outputs, batch).sum()
            if not value.requires_grad:
                raise AitiaError(_no_gradient(measurement))
            value.backward()
        for name, part in factors.items():
            gradients = row_gradients(part.inputs, part.outputs)
            if average:
                found[name][0] += gradients.sum(dim=0) / len(tokenized)
            else:
                found[name][index] = gradients
            touched.add(name)
    if not any(bool(found[name].any()) for name in touched):
        raise AitiaError(_no_gradient(measurement))
    for name, values in found.items():
        if not bool(values.isfinite().all()):
            raise NumericalError(f"the gradient of the measurement at layer {name} is not finite")
    return found


@dataclass(frozen=True, kw_only=True)
class FactorCache:
    """Factors of training rows on disk, so that a later pass need not run the model again.

    Kept as bfloat16, which has the range of float32: the relative error of an entry is at most 2^-9, and
    the errors are independent, so that scores, which are sums of very many, hardly move. Files are named by what
    they are made of (`batch_key`), so that no pass takes another's for its own.

    Attributes:
        folder: one file a batch.
    """

    folder: Path

    def read(self, key: str, dtype: torch.dtype) -> dict[str, Factors] | None:
        """The factors of a batch in a type, or none if they are not there, or damaged."""
        path = self._path(key)
        try:
            with open_tensors(path, "pt") as file:
                held = {name: file[name] for name in file.names}
                shared: dict[str, str] = json.loads(file.metadata["inputs"])
        except (FileNotFoundError, ValueError):  # what is damaged is made again
            return None
        inputs = {source: held[f"{source}.inputs"].to(dtype) for source in set(shared.values())}
        return {
            name: Factors(inputs=inputs[source], outputs=held[f"{name}.outputs"].to(dtype))
            for name, source in shared.items()
        }

    def write(self, key: str, factors: dict[str, Factors]) -> None:
        """Keep the factors of a batch; inputs that layers share are kept once."""
        held: dict[str, Any] = {}
        first: dict[int, str] = {}
        shared: dict[str, str] = {}
        for name, part in factors.items():
            shared[name] = first.setdefault(id(part.inputs), name)
            if shared[name] == name:
                held[f"{name}.inputs"] = part.inputs.bfloat16()
            held[f"{name}.outputs"] = part.outputs.bfloat16()
        # Not forced to the disk: a cache that a power cut spoils is made again.
        save_tensors(self._path(key), held, {"inputs": json.dumps(shared)}, flush=False)

    def clear(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"


def batch_key(
    model: LanguageModel, rows: Sequence[TokenizedRecord], loss: str, sample_seed: int | None
) -> str:
    """What a batch's factors are made of: the model, the rows' tokens, the loss, and whose labels."""
    tokens = hashlib.sha256()
    for row in rows:
        tokens.update(
            np.ascontiguousarray(row.tokens).tobytes() + np.ascontiguousarray(row.response).tobytes()
        )
    lengths = [len(row.tokens) for row in rows]
    return digest([model.fingerprint, lengths, tokens.hexdigest(), loss, sample_seed])[:32]


def passes_over_rows(
    model: LanguageModel,
    shard: RowShard,
    layers: Sequence[LinearLayer],
    *,
    loss: str,
    sample_seed: int | None = None,
    cache: FactorCache | None = None,
    dtype: torch.dtype | None = None,
    on_batch: Callable[[int], None] | None = None,
) -> Iterator[tuple[int, np.ndarray, dict[str, Factors]]]:
    """Go through a shard's factors, batch by batch, from the cache where they are there.

    Yields:
        the batch's number, its rows' places, and its factors in a type, by default float32.
    """
    import torch

    dtype = dtype or torch.float32
    for number, index, rows in shard.parts():
        seed = None if sample_seed is None else sample_seed * 1_000_003 + number
        key = "" if cache is None else batch_key(model, rows, loss, seed)
        factors = cache.read(key, dtype) if cache is not None else None
        if factors is None or any(layer.name not in factors for layer in layers):
            batch = pad_batch(rows, np.arange(len(rows)), model.pad_id)
            locations = [row.location for row in rows]
            factors = training_factors(
                model, batch, layers, locations, loss=loss, sample_seed=seed, dtype=dtype
            )
            if cache is not None:
                cache.write(key, factors)
        yield number, index, factors
        if on_batch is not None:
            on_batch(len(index))


def pass_batches(
    tokenized: TokenizedRecords, max_batch_tokens: int, *, batches: int = 1, shards: int = 0
) -> list[list[np.ndarray]]:
    """The shards of a pass over the rows: positions of each batch's rows.

    Args:
        tokenized: the rows.
        max_batch_tokens: tokens run at once.
        batches: of a shard.
        shards: cut the pass into so many shards of like size instead, or fewer where there are fewer batches.
    """
    every = length_batches([len(row.tokens) for row in tokenized], max_tokens=max_batch_tokens)
    if not shards:
        return [every[start : start + batches] for start in range(0, len(every), batches)]
    ends = np.linspace(0, len(every), min(shards, len(every)) + 1).round().astype(int)
    return [every[start:stop] for start, stop in pairwise(ends)]


def factor_bytes(tokenized: TokenizedRecords, layers: Sequence[LinearLayer]) -> int:
    """What a cache of all factors takes on disk."""
    tokens = sum(len(row.tokens) for row in tokenized)
    return 2 * tokens * sum(layer.inputs + layer.outputs for layer in layers)


def _require_finite_rows(name: str, found: Factors, locations: Sequence[str]) -> None:
    finite = (found.outputs.sum(dim=(1, 2)) + found.inputs.sum(dim=(1, 2))).isfinite()
    for place in (~finite).nonzero().flatten().tolist():
        if not bool(found.outputs[place].isfinite().all() and found.inputs[place].isfinite().all()):
            raise NumericalError(f"{locations[place]}: the gradient of layer {name} is not finite")


def _device(layer: LinearLayer) -> Any:
    return layer.module.weight.device


def _no_gradient(measurement: Measurement) -> str:
    where = f" at {measurement.concept.site}" if isinstance(measurement, ConceptMeasurement) else ""
    return (
        f"the measurement{where} does not depend on any of the chosen layers, so no row can have influence on it; "
        "choose a higher site, another layer_stride, or parameters=full"
    )
