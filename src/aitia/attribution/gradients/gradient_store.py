"""The gradient store: every training row's gradient, compressed, for influence on any later measurement.

In the eigenbasis of the curvature a layer's gradient U^T G V [out, in] has most of its square in the truncated
of the leading left and right eigenvectors. Each layer keeps such a truncated eigenbasis, in half precision; how large
each is follows from a budget in bytes per row, spent where it holds most. A new concept then costs a
backward pass over the queries and one matrix product.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aitia.attribution.gradients.curvature import Curvature, Damping
from aitia.attribution.gradients.curvature_fitting import curvature_layers
from aitia.attribution.gradients.layer_algebra import iter_row_gradients, product_dtype
from aitia.attribution.gradients.measurements import Measurement, highest_site
from aitia.attribution.gradients.training_gradients import (
    GRADIENT_BATCH_TOKENS,
    FactorCache,
    pass_batches,
    passes_over_rows,
    query_gradients,
)
from aitia.engine import LOCAL, Advance, Engine, progress_bar, run_tasks
from aitia.errors import AitiaError, StoreError
from aitia.files import LOCK, digest, only_here, read_json, remove_parts, write_json
from aitia.models import LanguageModel, in_tokens, layers_named, site_layer
from aitia.records import Records, RowShard, TokenizedRecords, row_shards
from aitia.tensor_files import open_tensors, save_tensors

if TYPE_CHECKING:
    import torch

FORMAT = "aitia-gradient-store-v1"
_BYTES = 2


@dataclass(frozen=True, kw_only=True)
class GradientStore:
    """A folder of compressed gradients.

    Attributes:
        path: the folder: `manifest.json` and `shards/`, each shard there whole or not at all.
        manifest: model, data, curvature and the ranks of the truncated eigenbases.
    """

    path: Path
    manifest: Mapping[str, Any]

    @property
    def truncated_eigenbases(self) -> dict[str, tuple[int, int]]:
        """Layer -> the number of left and right eigenvectors kept; layers with none are absent."""
        return {name: (left, right) for name, (left, right) in self.manifest["truncated_eigenbases"].items()}

    @property
    def bytes_per_row(self) -> int:
        """What a row takes."""
        return _BYTES * sum(left * right for left, right in self.truncated_eigenbases.values())

    def __len__(self) -> int:
        return int(self.manifest["rows"])

    def shard_path(self, number: int) -> Path:
        """The file of a shard."""
        return self.path / "shards" / f"{number:05d}.safetensors"


def choose_ranks(curvature: Curvature, bytes_per_row: int) -> dict[str, tuple[int, int]]:
    """Spend a budget on truncated eigenbases of the layers, where each byte holds most.

    What a coordinate is worth is its share of the whitened gradient's square, (L / (L + mean L / 10))^2:
    near one where curvature is high, near zero where a row has hardly any gradient. Corners grow by an
    eighth of a side at a time, at whichever layer and side the growth is worth most per byte.

    Args:
        curvature: with eigenvalues.
        bytes_per_row: the budget.

    Returns:
        layer -> (left, right) eigenvectors kept.

    Raises:
        AitiaError: the curvature has no eigenbasis, or the budget is too small for anything.
    """
    worth: dict[str, np.ndarray] = {}
    for name, layer in curvature.layers.items():
        if layer.eigenvalues is None or layer.left is None:
            raise AitiaError(
                f"a gradient store needs an eigenbasis, which curvature {curvature.settings.kind} has not; fit ekfac"
            )
        values = layer.eigenvalues.cpu().numpy().astype(np.float64)
        whitened = (values / (values + values.mean() / 10 + 1e-300)) ** 2
        worth[name] = np.pad(whitened.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    truncated_eigenbases: dict[str, tuple[int, int]] = dict.fromkeys(worth, (0, 0))
    spent, heap = 0, []

    def offer(name: str) -> None:
        table, (left, right) = worth[name], truncated_eigenbases[name]
        high, wide = (size - 1 for size in table.shape)
        grown = [
            (min(left + max(left // 8, 1), high), max(right, 1)),
            (max(left, 1), min(right + max(right // 8, 1), wide)),
        ]
        options = [option for option in grown if option != (left, right)]
        if options:
            rate = [(table[a, b] - table[left, right]) / (a * b - left * right) for a, b in options]
            best = int(np.argmax(rate))
            heapq.heappush(heap, (-rate[best], name, options[best]))

    for name in worth:
        offer(name)
    while heap:
        _, name, (left, right) = heapq.heappop(heap)
        cost = _BYTES * (left * right - truncated_eigenbases[name][0] * truncated_eigenbases[name][1])
        if spent + cost > bytes_per_row:
            continue
        spent += cost
        truncated_eigenbases[name] = (left, right)
        offer(name)
    kept = {name: truncated for name, truncated in truncated_eigenbases.items() if truncated[0]}
    if not kept:
        raise AitiaError(f"{bytes_per_row} bytes a row hold nothing; give at least some hundred")
    return kept


def build_gradient_store(
    model: LanguageModel,
    data: Records | TokenizedRecords,
    curvature: Curvature,
    out: Path | str,
    *,
    bytes_per_row: int = 65_536,
    cache: FactorCache | None = None,
    max_batch_tokens: int = GRADIENT_BATCH_TOKENS,
    engine: Engine = LOCAL,
) -> GradientStore:
    """Compress and keep every training row's gradient. Stopped and run again, it goes on where it was.

    Args:
        model: the model that the curvature was fitted on.
        data: n training rows.
        curvature: of a kind with an eigenbasis, as `kfac` or `ekfac`.
        out: the store's folder.
        bytes_per_row: the budget.
        cache: of the rows' factors, if there is one with the same batches.
        max_batch_tokens: tokens run at once.
        engine: where the shards are made; workers load the model by its name and write into `out` themselves.

    Returns:
        The finished store, for `stored_influence`.

    Raises:
        StoreError: `out` holds a store of other parts.
        AitiaError: see `choose_ranks`.
    """
    truncated_eigenbases = choose_ranks(curvature, bytes_per_row)
    tokenized = in_tokens(model, data)
    manifest = {
        "format": FORMAT,
        "rows": len(tokenized),
        "truncated_eigenbases": {name: list(truncated) for name, truncated in truncated_eigenbases.items()},
        "model_fingerprint": model.fingerprint,
        "dtype": model.dtype,
        "data_fingerprint": tokenized.fingerprint,
        "curvature": _identity(curvature),
        "max_batch_tokens": max_batch_tokens,
    }
    with only_here(Path(out) / LOCK):
        store = _create_or_resume(Path(out), manifest)
        shards = pass_batches(tokenized, max_batch_tokens)
        todo = [number for number in range(len(shards)) if not store.shard_path(number).is_file()]
        remaining = sum(len(index) for number in todo for index in shards[number])
        place = "cpu" if engine.name == "ray" else None
        dtype = product_dtype(curvature.settings.precision, model.device)
        bases = {}
        for name, (high, wide) in truncated_eigenbases.items():
            left, right = curvature.layers[name].basis(dtype)
            assert left is not None
            assert right is not None
            bases[name] = left[:, :high].contiguous().to(place), right[:, :wide].contiguous().to(place)
        work = partial(_store_shard, model, bases, curvature.settings.loss, cache, store)
        with progress_bar("Storing gradients", len(tokenized), done=len(tokenized) - remaining) as advance:
            for _ in run_tasks(work, row_shards(tokenized, shards, todo), engine=engine, advance=advance):
                pass
    return store


def _identity(curvature: Curvature) -> dict[str, Any]:
    """What a curvature is, wherever its model lay when it was fitted."""
    made_of = {name: value for name, value in curvature.provenance.items() if name != "model"}
    return made_of | {"kind": curvature.settings.kind}


def _create_or_resume(folder: Path, manifest: dict[str, Any]) -> GradientStore:
    if (folder / "manifest.json").exists():
        store = open_gradient_store(folder)
        if dict(store.manifest) != json.loads(json.dumps(manifest)):
            raise StoreError(
                f"{folder}: a gradient store of other parts is there; give another place, or delete it"
            )
        remove_parts(folder)
        remove_parts(folder / "shards")
        return store
    remove_parts(folder)  # a writer may have been killed while it wrote the manifest
    (folder / "shards").mkdir(parents=True, exist_ok=True)
    manifest = json.loads(json.dumps(manifest))
    write_json(folder / "manifest.json", manifest | {"sha256": digest(manifest)})
    return GradientStore(path=folder, manifest=manifest)


def _store_shard(
    model: LanguageModel,
    bases: Mapping[str, tuple[torch.Tensor, torch.Tensor]],
    loss: str,
    cache: FactorCache | None,
    store: GradientStore,
    shard: RowShard,
    advance: Advance,
) -> None:
    """Compress the gradients of a shard, which is one batch, and write it; its products are in the bases' type."""
    import torch

    layers = layers_named(model, tuple(bases))
    dtype = next(iter(bases.values()))[0].dtype
    for _, index, factors in passes_over_rows(
        model, shard, layers, loss=loss, cache=cache, dtype=dtype, on_batch=advance
    ):
        tensors = {"position": _tensor(index)}
        for name, (left, right) in bases.items():
            part = factors[name]
            left, right = left.to(part.outputs.device), right.to(part.inputs.device)
            parts = [
                rows for _, rows in iter_row_gradients(part.inputs, part.outputs, left=left, right=right)
            ]
            truncated = torch.cat(parts).float()
            scale = truncated.abs().amax(dim=(1, 2), keepdim=True).clamp(min=1e-30)
            tensors[f"{name}.truncated"] = (truncated / scale).half().flatten(1).contiguous()
            tensors[f"{name}.scale"] = scale.flatten()
        save_tensors(store.shard_path(shard.number), tensors)


def open_gradient_store(path: Path | str) -> GradientStore:
    """Open a gradient store.

    Returns:
        The store, whole and of the same parts.

    Raises:
        StoreError: there is none, or it is damaged.
    """
    file = Path(path) / "manifest.json"
    try:
        manifest = read_json(file)
    except FileNotFoundError:
        raise StoreError(f"{path}: no gradient store there") from None
    except ValueError as error:
        raise StoreError(f"{file}: damaged manifest: {error}; build the gradient store again") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise StoreError(f"{file}: not a gradient store of format {FORMAT}")
    if manifest.pop("sha256", digest(manifest)) != digest(manifest):
        raise StoreError(f"{file}: damaged manifest: not as it was written; build the gradient store again")
    return GradientStore(path=Path(path), manifest=manifest)


def stored_influence(
    store: GradientStore,
    model: LanguageModel,
    queries: Records | TokenizedRecords,
    measurement: Measurement,
    curvature: Curvature,
    *,
    damping: Damping | None = None,
    average: bool = True,
) -> np.ndarray:
    """Score every row of a store: what `influence` computes, up to the compression.

    Args:
        store: of the same model and curvature.
        model: the model.
        queries: rows to measure.
        measurement: what is measured.
        curvature: the one the store was built with.
        damping: default: a tenth of each layer's mean eigenvalue.
        average: measure the mean over the queries.

    Returns:
        [n] float32, or [q, n] where not averaged.

    Raises:
        StoreError: the store is of another model, or a shard is missing or damaged.
        AitiaError: none of the stored layers can move the measurement.
    """
    if store.manifest["model_fingerprint"] != model.fingerprint:
        raise StoreError(
            f"{store.path}: built with another model, or in another precision ({store.manifest.get('dtype')}), than "
            f"{model.name} ({model.dtype}); use that one, or build it again"
        )
    site = highest_site(measurement)
    top = model.layers - 1 if site is None else site_layer(site, model.layers)
    truncated_eigenbases = store.truncated_eigenbases
    layers = [
        layer
        for layer in curvature_layers(model, curvature.settings)
        if layer.name in truncated_eigenbases and layer.block <= top
    ]
    if not layers:
        raise AitiaError(
            f"no stored layer at or below {site}; build the store with lower blocks among its layers"
        )
    asked = in_tokens(model, queries)
    gradients = query_gradients(model, asked, measurement, layers, average=average)
    weights: dict[str, torch.Tensor] = {}
    damping = curvature.in_its_units(damping or Damping())
    for name, values in gradients.items():
        left, right = truncated_eigenbases[name]
        layer = curvature.layers[name]
        whitened = layer.rotate(values) * layer.damped_inverse(damping)
        weights[name] = -whitened[:, :left, :right].flatten(1)
    scores = _multiply(store, weights)
    return scores[0] if average else scores


def _multiply(store: GradientStore, weights: Mapping[str, torch.Tensor]) -> np.ndarray:
    count = len(next(iter(weights.values())))
    scores = np.full((count, len(store)), np.nan, dtype=np.float32)
    seen = np.zeros(len(store), dtype=bool)
    number = 0
    while not seen.all():
        path = store.shard_path(number)
        try:
            with open_tensors(path, "pt") as file:
                position = file["position"].numpy()
                if (
                    not len(position)
                    or position.min() < 0
                    or position.max() >= len(seen)
                    or seen[position].any()
                ):
                    raise ValueError("holds rows that are not its own")
                seen[position] = True
                total: Any = 0
                for name, weight in weights.items():
                    truncated = file[f"{name}.truncated"].float().to(weight.device)
                    total = total + (weight @ truncated.T) * file[f"{name}.scale"].to(weight.device)
                scores[:, position] = total.cpu().numpy()
        except FileNotFoundError:
            raise StoreError(f"{path}: missing; build the gradient store again to finish it") from None
        except ValueError as error:
            raise StoreError(
                f"{path}: damaged ({error}); delete it and build the gradient store again"
            ) from error
        number += 1
    return scores


def _tensor(index: Sequence[int] | np.ndarray) -> torch.Tensor:
    import torch

    return torch.as_tensor(np.asarray(index, dtype=np.int64))
