"""Removing kinds of rows from a language model's training data: estimates of the change, and training again without.

The suite is tone, with answers cut after their first sentences. The behaviour is how much likelier depressed answers
are than happy ones to held-out prompts (nats a token). Each slice is removed and the adapter trained again, for some
seeds; what the adapter on all rows foretells of that change, by EK-FAC influence over the LoRA factors averaged over
the same seeds, is held against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from aitia.attribution.gradients import CurvatureSettings, Damping, FactorCache, LogProbability, fit_curvature
from aitia.attribution.influence import influence
from aitia.attribution.slices import corrected_removal, first_order_removal, influence_kernel
from aitia.concepts import SparseAutoencoder, feature_matrix
from aitia.counterfactual import LikelihoodMargin, RetrainingRun, finetune_lora, retrain
from aitia.errors import NumericalError
from aitia.files import atomic_path
from aitia.models import LanguageModel, load_model
from aitia.records import tokenize
from aitia.statistics import spearman
from planted.kinds import LORA
from planted.suites import Suite

SMALLEST, LARGEST = 6, 64
RANDOM_SIZES = (13, 26, 52)
DAMPINGS = (0.1, 10.0, 1_000.0, 100_000.0)
"""Multiples of each layer's mean eigenvalue; the first is the default of influence."""


def language_removal(
    suite: Suite, base: Path, sae: SparseAutoencoder, work: Path, *, features: int, seeds: Sequence[int]
) -> list[dict[str, Any]]:
    """How well the estimates foretell what removal does, over slices of a feature, random ones and the planted one."""
    slices = removed_slices(suite, base, sae, features)
    ids = np.array(suite.data.ids)
    places = np.arange(len(ids))
    kept = [np.ones(len(ids), dtype=bool), *(~np.isin(places, rows) for rows in slices.values())]
    cells = [RetrainingRun(kept=tuple(ids[rows]), seed=seed) for rows in kept for seed in seeds]
    margin = LikelihoodMargin(behaviour=suite.behaviour, normal=suite.normal)
    results = retrain(
        partial(load_model, base, dtype="bfloat16"),
        suite.data,
        cells,
        [margin],
        LORA,
        work / "language-removal",
    )
    means = np.array([each.mean(margin.name) for each in results]).reshape(len(kept), len(seeds))
    changes = means[1:] - means[:1]
    truth = changes.mean(axis=1)
    estimates = [estimated(suite, base, seed, list(slices.values()), work) for seed in seeds]
    rows: list[dict[str, Any]] = [
        {
            "part": "removal from a language model",
            "slice": name,
            "rows": len(members),
            "change": float(value),
            "change_by_seed": each.tolist(),
        }
        for (name, members), value, each in zip(slices.items(), truth, changes, strict=True)
    ]
    for damping in DAMPINGS:
        row: dict[str, Any] = {"part": "estimates of removal", "damping": damping, "seeds": len(seeds)}
        for name in ("first_order", "corrected"):
            told = np.array([each[damping][name] for each in estimates], dtype=float).mean(axis=0)
            row |= {f"{name}_{key}": value for key, value in _agreement(told, truth).items()}
        rows.append(row)
    return rows


def _agreement(told: np.ndarray, truth: np.ndarray) -> dict[str, float | None]:
    """Of estimates and changes, over the slices that have an estimate.

    `scale` is what estimates are multiplied by to fit best, and `error` what is left then, as a share of the changes.
    """
    known = ~np.isnan(told)
    found: dict[str, float | None] = {"slices": int(known.sum())}
    if known.sum() < 3:
        return found | dict.fromkeys(("pearson", "spearman", "scale", "error"))
    told, truth = told[known], truth[known]
    scale = float(told @ truth / (told @ told))
    return found | {
        "pearson": float(np.corrcoef(told, truth)[0, 1]),
        "spearman": spearman(told, truth),
        "scale": scale,
        "error": float(np.linalg.norm(truth - scale * told) / np.linalg.norm(truth)),
    }


def removed_slices(suite: Suite, base: Path, sae: SparseAutoencoder, features: int) -> dict[str, np.ndarray]:
    """Slices to remove: of features, evenly by size; of random rows; and the planted rows."""
    model = load_model(base, dtype="bfloat16")
    rows = tokenize(suite.data, model.tokenizer, max_length=model.context_length)
    fires = feature_matrix(model, rows, sae, pooling="share").fires(0.1).tocsc()
    sizes = np.diff(fires.indptr)
    fit = np.flatnonzero((sizes >= SMALLEST) & (sizes <= LARGEST))
    by_size = fit[np.argsort(sizes[fit], kind="stable")]
    chosen = by_size[np.linspace(0, len(by_size) - 1, features).round().astype(int)]
    slices = {f"feature {f}": np.sort(fires.indices[fires.indptr[f] : fires.indptr[f + 1]]) for f in chosen}
    generator = np.random.default_rng(0)
    for size in RANDOM_SIZES:
        slices[f"{size} at random"] = np.sort(generator.choice(len(rows), size, replace=False))
    return slices | {"planted": np.flatnonzero(suite.planted)}


def estimated(
    suite: Suite, base: Path, seed: int, slices: Sequence[np.ndarray], work: Path
) -> dict[float, dict[str, list[float]]]:
    """Damping -> both estimates for each slice, by the adapter trained on all rows with one seed.

    NaN where the corrected one does not exist.
    """
    file = work / f"language-removal-{suite.data.fingerprint[:8]}-{seed}.npz"
    if not file.is_file():
        model = _adapted(suite, base, seed, work)
        arrays: dict[str, Any] = {}
        with TemporaryDirectory() as folder:
            cache = FactorCache(folder=Path(folder))
            # The sum, since training weighs tokens, and since estimates are to have units.
            settings = CurvatureSettings(parameters="lora", loss="sum")
            curvature = fit_curvature(model, suite.data, settings)
            for damping in DAMPINGS:
                given: dict[str, Any] = {
                    "curvature": curvature,
                    "damping": Damping(value=damping),
                    "cache": cache,
                }
                shows, normal = (
                    influence(model, suite.data, texts, LogProbability(), **given)
                    for texts in (suite.behaviour, suite.normal)
                )
                arrays[f"influences-{damping:g}"] = shows - normal
                arrays[f"kernel-{damping:g}"] = influence_kernel(
                    model, suite.data, np.arange(len(shows)), **given
                )
        with atomic_path(file) as temporary, open(temporary, "wb") as stream:
            np.savez(stream, **arrays)
    with np.load(file, allow_pickle=False) as kept:
        return {
            damping: {
                "first_order": [
                    first_order_removal(kept[f"influences-{damping:g}"][slice_], len(suite.data))
                    for slice_ in slices
                ],
                "corrected": [
                    _corrected(kept[f"influences-{damping:g}"], kept[f"kernel-{damping:g}"], slice_)
                    for slice_ in slices
                ],
            }
            for damping in DAMPINGS
        }


def _corrected(influences: np.ndarray, kernel: np.ndarray, slice_: np.ndarray) -> float:
    try:
        return corrected_removal(influences[slice_], kernel[np.ix_(slice_, slice_)], len(influences))
    except NumericalError:
        return float("nan")


def _adapted(suite: Suite, base: Path, seed: int, work: Path) -> LanguageModel:
    adapter = work / f"language-removal-{suite.data.fingerprint[:8]}-{seed}"
    if not (adapter / "adapter_config.json").is_file():
        finetune_lora(load_model(base, dtype="bfloat16"), suite.data, replace(LORA, seed=seed), adapter)
    return load_model(base, adapter=adapter, dtype="float32")
