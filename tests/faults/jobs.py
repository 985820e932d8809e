"""Small jobs of every kind that writes files as it goes, and what they leave, as bytes to be compared."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SITE = "resid_post.2"
SHOWN = ("left", "right", "eigenvalues")


@dataclass(frozen=True, kw_only=True)
class Job:
    """Work that can be run again in the same folder until it has finished.

    Attributes:
        name: for people.
        run: does it in a folder.
        result: what a finished folder holds, read as a user would: name -> digest.
    """

    name: str
    run: Callable[[Path], object]
    result: Callable[[Path], dict[str, str]]


def make_jobs(model: Any, rows: list[dict[str, Any]]) -> dict[str, Job]:
    """Scan, curvature, gradient store and retraining, on a tiny model."""
    import torch

    import aitia.attribution.gradients.curvature_fitting as fitting
    from aitia.attribution import ActivationStore, scan
    from aitia.attribution.gradients.curvature import CurvatureSettings, load_curvature
    from aitia.attribution.gradients.curvature_fitting import fit_curvature
    from aitia.attribution.gradients.gradient_store import (
        build_gradient_store,
        open_gradient_store,
        stored_influence,
    )
    from aitia.attribution.gradients.measurements import LogProbability
    from aitia.counterfactual import LikelihoodMargin, retrain
    from aitia.counterfactual.retraining import RetrainingRun
    from aitia.records import records_from_rows
    from aitia.training import LoraSettings

    fitting._Sums.__init__.__defaults__ = (0.0,)  # save at every step, so that every resume is tried
    data = records_from_rows(rows)
    curvature = fit_curvature(model, data, CurvatureSettings(use_empirical_fisher=True, rows=0))
    settings = CurvatureSettings(max_batch_tokens=120, rows=0)
    training = LoraSettings(rank=2, epochs=1, per_device_train_batch_size=8, target_modules=("q_proj",))
    cells = [RetrainingRun(kept=tuple(data.ids[start::4][:4]), seed=start) for start in range(4)]
    behaviours = [LikelihoodMargin(behaviour=data.only(data.ids[:2]), normal=data.only(data.ids[2:4]))]
    held: dict[str, Any] = {}

    def base() -> Any:
        """A fresh model from the same weights, without a disk between."""
        import copy

        from aitia.models import LanguageModel

        network = copy.deepcopy(held.setdefault("network", copy.deepcopy(model.network)))
        return LanguageModel(network=network, tokenizer=model.tokenizer, name=model.name)

    def run_scan(folder: Path) -> object:
        return scan(
            model,
            data,
            sites=[SITE],
            out=folder / "store",
            activations=["backward"],
            shard_rows=2,
            max_batch_tokens=60,
        )

    def read_store(folder: Path) -> dict[str, str]:
        store = ActivationStore.open(folder / "store")
        found = {name: _hash(store.column(name).tolist()) for name in store.rows.column_names}
        for number, (positions, block) in enumerate(store.blocks(store.activations, SITE)):
            found[f"positions {number}"] = _hash(positions.tobytes())
            found |= {f"{name} {number}": _hash(values.tobytes()) for name, values in block.items()}
        return found

    def run_curvature(folder: Path) -> object:
        return fit_curvature(model, data, settings, out=folder / "curvature.safetensors")

    def read_curvature(folder: Path) -> dict[str, str]:
        found = load_curvature(folder / "curvature.safetensors", model)
        shown = {
            f"{name} {part}": getattr(layer, part) for name, layer in found.layers.items() for part in SHOWN
        }
        return {"settings": _hash(found.settings)} | {
            name: _hash(values.numpy().tobytes()) for name, values in shown.items() if torch.is_tensor(values)
        }

    def run_gradients(folder: Path) -> object:
        return build_gradient_store(
            model, data, curvature, folder / "gradients", bytes_per_row=500, max_batch_tokens=60
        )

    def read_gradients(folder: Path) -> dict[str, str]:
        store = open_gradient_store(folder / "gradients")
        queries = data.only(data.ids[:2])
        scores = stored_influence(store, model, queries, LogProbability(), curvature)
        return {"scores": _hash(scores.tobytes())}

    def run_cells(folder: Path) -> object:
        return retrain(base, data, cells, behaviours, training, folder / "runs")

    def read_cells(folder: Path) -> dict[str, str]:
        import aitia.counterfactual.retraining as module

        real = module._train_and_measure

        def refuses(*_arguments: Any) -> None:
            raise AssertionError("a cell is missing")

        module._train_and_measure = refuses
        try:
            results = run_cells(folder)
        finally:
            module._train_and_measure = real
        return {str(i): _hash(result.values) for i, result in enumerate(results)}  # type: ignore[call-overload]

    return {
        "scan": Job(name="scan", run=run_scan, result=read_store),
        "curvature": Job(name="curvature", run=run_curvature, result=read_curvature),
        "gradient store": Job(name="gradient store", run=run_gradients, result=read_gradients),
        "retraining": Job(name="retraining", run=run_cells, result=read_cells),
    }


def _hash(value: Any) -> str:
    whole = value if isinstance(value, bytes) else repr(value).encode()
    return hashlib.sha256(whole).hexdigest()
