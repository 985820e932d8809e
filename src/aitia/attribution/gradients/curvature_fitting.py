"""Fitting curvature: passes over the rows, with sums that survive being stopped."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aitia.attribution.gradients.curvature import Curvature, CurvatureSettings, LayerCurvature, load_curvature
from aitia.attribution.gradients.kinds import Pass
from aitia.attribution.gradients.layer_algebra import product_dtype
from aitia.attribution.gradients.training_gradients import FactorCache, pass_batches, passes_over_rows
from aitia.engine import LOCAL, Advance, Engine, keeping_workers, note, progress_bar, run_tasks
from aitia.errors import StoreError
from aitia.files import lock_beside, only_here, remove_parts
from aitia.models import LanguageModel, LinearLayer, find_linear_layers, in_tokens, kinds_left_out
from aitia.records import Records, RowShard, TokenizedRecords, row_shards
from aitia.tensor_files import open_tensors, save_tensors

if TYPE_CHECKING:
    import torch

# Into how many shards a pass is cut, whoever does them: sums are added shard by shard, so another number would
# give other last bits.
_SHARDS = 32
# Above this share of weights that no layer holds there is a warning.
_SMALL_SHARE = 0.02


def curvature_layers(model: LanguageModel, settings: CurvatureSettings) -> tuple[LinearLayer, ...]:
    """The layers that settings speak of."""
    settings = settings.for_model(model)
    return find_linear_layers(
        model,
        parameters=settings.parameters,
        layer_stride=settings.layer_stride,
        blocks_from=settings.blocks_from,
        site=settings.site or None,
    )


def fit_curvature(
    model: LanguageModel,
    data: Records | TokenizedRecords,
    settings: CurvatureSettings,
    *,
    out: Path | str | None = None,
    cache: FactorCache | None = None,
    engine: Engine = LOCAL,
    on_error: str = "stop",
) -> Curvature:
    """Fit the curvature of the training loss.

    The kind says which passes over the rows there are. With a cache the model runs in the first pass only. With
    `out`, each pass saves its sums as it goes, and a fit that was stopped goes on there; one that was
    finished is read again.

    Args:
        model: the model.
        data: the training data.
        settings: what to fit.
        out: file to save to; sums are kept beside it until it is written.
        cache: keep the rows' factors here between the passes.
        engine: where the rows' sums are made; workers load the model by its name. The result has the same
            bits whatever the number of workers.
        on_error: `stop` at rows that cannot be used, or `skip` them; the provenance lists those left out.

    Returns:
        The curvature of every chosen layer, with its provenance.

    Raises:
        RecordError, NumericalError: rows that cannot be used; they are named.
        StoreError: `out` holds another curvature.
    """
    settings = settings.for_model(model)
    if out is not None:
        with only_here(lock_beside(out)):
            remove_parts(Path(out).parent, Path(out).name)
            return _fit_and_save(model, data, settings, out, cache, engine, on_error)
    return _fit_and_save(model, data, settings, out, cache, engine, on_error)


def _fit_and_save(
    model: LanguageModel,
    data: Records | TokenizedRecords,
    settings: CurvatureSettings,
    out: Path | str | None,
    cache: FactorCache | None,
    engine: Engine,
    on_error: str,
) -> Curvature:
    layers = curvature_layers(model, settings)
    if out is not None and Path(out).is_file():
        return _fitted_before(out, model, data, settings)
    _warn_of_weights_left_out(model, layers, settings)
    if not settings.passes:
        tokenized, found = TokenizedRecords(records=()), {layer.name: LayerCurvature() for layer in layers}
    else:
        tokenized = _fitting_rows(model, data, settings, on_error)
        with keeping_workers(engine):
            found = _fit(model, tokenized, layers, settings, out, cache, engine)
    curvature = Curvature(
        settings=settings,
        layers=found,
        provenance={
            "model": model.name,
            "model_fingerprint": model.fingerprint,
            "dtype": model.dtype,
            "data_fingerprint": data.fingerprint,
            "rows": len(tokenized),
            "mean_response_tokens": _mean_response_tokens(tokenized),
            "skipped": [[row.location, row.reason] for row in tokenized.skipped],
            "products": str(product_dtype(settings.precision, model.device)).removeprefix("torch."),
        },
    )
    if out is not None:
        curvature.save(out)
        _sums_path(out).unlink(missing_ok=True)
    return curvature


def _warn_of_weights_left_out(
    model: LanguageModel, layers: Sequence[LinearLayer], settings: CurvatureSettings
) -> None:
    """Say it where more than a small share of what training moved counts for nothing."""
    kinds = kinds_left_out(model, layers, parameters=settings.parameters)
    left_out, held = sum(kinds.values()), sum(layer.inputs * layer.outputs for layer in layers)
    if left_out > _SMALL_SHARE * (left_out + held):
        places = ", ".join(list(kinds)[:3]) + ", ..." * (len(kinds) > 3)
        note(
            f"Warning: {left_out:,} weights, {left_out / (left_out + held):.0%} of those that training moves in these "
            f"blocks, count for nothing, since they are of no supported linear layer: {places}"
        )


def _fitted_before(
    out: Path | str, model: LanguageModel, data: Records | TokenizedRecords, settings: CurvatureSettings
) -> Curvature:
    """The curvature that `out` holds, if it is the one that is wanted."""
    found = load_curvature(out, model)
    if found.settings != settings or found.provenance["data_fingerprint"] != data.fingerprint:
        raise StoreError(
            f"{out}: holds a curvature of other data or settings; give another place, or delete the file"
        )
    return found


def _fit(
    model: LanguageModel,
    tokenized: TokenizedRecords,
    layers: Sequence[LinearLayer],
    settings: CurvatureSettings,
    out: Path | str | None,
    cache: FactorCache | None,
    engine: Engine,
) -> dict[str, LayerCurvature]:

    tokens = sum(len(row.tokens) for row in tokenized)
    shards = pass_batches(tokenized, settings.max_batch_tokens, shards=_SHARDS)
    made_of = {"settings": asdict(settings), "model": model.fingerprint, "data": tokenized.fingerprint}
    sums = _Sums(out, made_of | {"shards": len(shards)})
    found = {layer.name: LayerCurvature() for layer in layers}

    def go(each: Pass) -> dict[str, torch.Tensor]:
        done, totals = sums.resume(each.name)
        todo = range(min(done, len(shards)), len(shards))
        left = sum(len(index) for number in todo for index in shards[number])
        here = engine.name == "local"
        basis = found if here else {name: layer.to("cpu") for name, layer in found.items()}
        work = partial(_shard_sums, model, settings, each.name, basis, cache, None if here else "cpu")
        with progress_bar(each.title, len(tokenized), done=len(tokenized) - left) as advance:
            parts = run_tasks(work, row_shards(tokenized, shards, todo), engine=engine, advance=advance)
            for number, part in zip(todo, parts, strict=True):
                for key, value in part.items():
                    value = value.to(model.device)
                    totals[key] = value if key not in totals else totals[key].add_(value)
                sums.keep(each.name, number + 1, totals)
        sums.keep(each.name, -1, totals)
        return totals

    for each in settings.passes:
        totals = go(each)
        for name, layer in found.items():
            found[name] = each.fitted(name, layer, totals, rows=len(tokenized), tokens=tokens)
    return found


def _shard_sums(
    model: LanguageModel,
    settings: CurvatureSettings,
    phase: str,
    basis: Mapping[str, LayerCurvature],
    cache: FactorCache | None,
    device: str | None,
    shard: RowShard,
    advance: Advance,
) -> dict[str, torch.Tensor]:
    """The sums of a shard's rows, by the pass of that name."""
    layers = curvature_layers(model, settings)
    each = next(one for one in settings.passes if one.name == phase)
    dtype = None if each.exact else product_dtype(settings.precision, model.device)
    bases = {} if dtype is None else {name: basis[name].to(model.device).basis(dtype) for name in basis}
    totals: dict[str, torch.Tensor] = {}
    for _, _, factors in passes_over_rows(
        model,
        shard,
        layers,
        loss=settings.loss,
        sample_seed=settings.seed if not settings.use_empirical_fisher else None,
        cache=cache,
        dtype=dtype,
        on_batch=advance,
    ):
        wanted = {layer.name: factors[layer.name] for layer in layers if layer.name in factors}
        each.add(wanted, bases, totals)
    return {key: total if device is None else total.to(device) for key, total in totals.items()}


def _fitting_rows(
    model: LanguageModel, data: Records | TokenizedRecords, settings: CurvatureSettings, on_error: str
) -> TokenizedRecords:
    cut = partial(
        in_tokens, model, max_length=settings.max_length, truncate=settings.truncate, on_error=on_error
    )
    if not 0 < settings.rows < len(data):
        return cut(data)
    if settings.row_choice == "first":
        drawn = np.arange(settings.rows)
    else:
        drawn = np.sort(np.random.default_rng(settings.seed).choice(len(data), settings.rows, replace=False))
    if isinstance(data, TokenizedRecords):
        return cut(TokenizedRecords(records=tuple(data[i] for i in drawn), loss=data.loss))
    return cut(data.only([data.ids[i] for i in drawn]))


def _mean_response_tokens(tokenized: TokenizedRecords) -> float:
    """Tokens of a row that its loss is over, on average over the rows."""
    counts = [int(row.response[1:].sum()) for row in tokenized]
    return float(np.mean(counts)) if counts else 0.0


def _sums_path(out: Path | str) -> Path:
    return Path(f"{out}.sums.safetensors")


class _Sums:
    """Running sums of each phase, saved now and then, so that a fit that was stopped goes on."""

    def __init__(self, out: Path | str | None, made_of: dict[str, Any], every_seconds: float = 60.0):
        from time import monotonic

        self._path = None if out is None else _sums_path(out)
        self._key = json.dumps(made_of, sort_keys=True)
        self._held: dict[str, tuple[int, dict[str, torch.Tensor]]] = {}
        self._clock, self._every, self._last = monotonic, every_seconds, monotonic()
        if self._path is not None and self._path.is_file():
            self._read()

    def resume(self, phase: str) -> tuple[int, dict[str, torch.Tensor]]:
        """The next shard of a phase, and the sums so far."""
        done, totals = self._held.get(phase, (0, {}))
        return (1 << 62 if done == -1 else done), totals

    def keep(self, phase: str, done: int, totals: dict[str, torch.Tensor]) -> None:
        """Remember, and save if a minute has passed or the phase is done (-1)."""
        self._held[phase] = (done, totals)
        if self._path is None or (done != -1 and self._clock() - self._last < self._every):
            return
        tensors = {
            f"{name}|{key}": value for name, (_, held) in self._held.items() for key, value in held.items()
        }
        counts = {name: count for name, (count, _) in self._held.items()}
        save_tensors(self._path, tensors, {"made_of": self._key, "counts": json.dumps(counts)})
        self._last = self._clock()

    def _read(self) -> None:
        assert self._path is not None
        try:
            with open_tensors(self._path, "pt") as file:
                metadata = file.metadata
                if metadata.get("made_of") != self._key:
                    raise StoreError(
                        f"{self._path}: sums of another fit; delete the file, or give another place to save to"
                    )
                counts: dict[str, int] = json.loads(metadata["counts"])
                self._held = {name: (count, {}) for name, count in counts.items()}
                for key in file.names:
                    phase, name = key.split("|", 1)
                    self._held[phase][1][name] = file[key]
        except ValueError as error:
            raise StoreError(f"{self._path}: damaged ({error}); delete it and fit again") from error
