"""Removing kinds of rows from a language model's training data: estimates of the change, and training again without.

The suite is tone, with answers cut after their first sentences. The behaviour is how much likelier depressed answers
are than happy ones to held-out prompts (nats a token). Each group is removed and the adapter trained again, for some
seeds; what the adapter on all rows foretells of that change, by EK-FAC influence over the LoRA factors averaged over
the same seeds, is held against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import pearsonr, spearmanr

from aitia.attribution.curvature import CurvatureSettings
from aitia.attribution.curvature_fitting import fit_curvature
from aitia.attribution.group_removal import corrected_removal, first_order_removal, influence_kernel
from aitia.attribution.influence import influence
from aitia.attribution.measurements import LogProbability
from aitia.concepts import SparseAutoencoder, feature_matrix
from aitia.counterfactual import Cell, LikelihoodMargin, finetune_lora, retrain
from aitia.errors import NumericalError
from aitia.models import LanguageModel, load_model
from aitia.records import tokenize
from planted.kinds import LORA
from planted.suites import Suite

SMALLEST, LARGEST = 6, 64
RANDOM_SIZES = (13, 26, 52)


def language_removal(
    suite: Suite, base: Path, sae: SparseAutoencoder, work: Path, *, features: int, seeds: Sequence[int]
) -> dict[str, Any]:
    """How well the estimates foretell what removal does, over groups of a feature, random ones and the planted one."""
    groups = removed_groups(suite, base, sae, features)
    ids = np.array(suite.data.ids)
    kept = [np.ones(len(ids), dtype=bool), *(~_members(rows, len(ids)) for rows in groups.values())]
    cells = [Cell(kept=tuple(ids[rows]), seed=seed) for rows in kept for seed in seeds]
    margin = LikelihoodMargin(behaviour=suite.behaviour, normal=suite.normal)
    load = partial(load_model, base, dtype="bfloat16")
    results = retrain(load, suite.data, cells, [margin], LORA, work / "language-removal")
    means = np.array([each.mean(margin.name) for each in results]).reshape(len(kept), len(seeds))
    changes = means[1:] - means[:1]
    estimates = [estimated(suite, base, seed, list(groups.values()), work) for seed in seeds]
    truth = changes.mean(axis=1)
    found: dict[str, Any] = {
        "part": "removal from a language model",
        "seeds": len(seeds),
        "groups": [
            {"group": name, "rows": len(rows), "truth": float(value), "truth_spread": float(np.std(each))}
            for (name, rows), value, each in zip(groups.items(), truth, changes, strict=True)
        ],
    }
    for name in ("first_order", "corrected"):
        values = np.array([[np.nan if v is None else v for v in each[name]] for each in estimates])
        known = ~np.isnan(values).any(axis=0)
        told = values.mean(axis=0)
        for group, value in zip(found["groups"], told, strict=True):
            group[name] = None if np.isnan(value) else float(value)
        found[f"{name}_exists"] = int(known.sum())
        if known.sum() > 2:
            scale = float(told[known] @ truth[known] / (told[known] @ told[known]))
            left = truth[known] - scale * told[known]
            found |= {
                f"{name}_pearson": float(pearsonr(told[known], truth[known])[0]),
                f"{name}_spearman": float(spearmanr(told[known], truth[known])[0]),
                f"{name}_scale": scale,
                f"{name}_error": float(np.linalg.norm(left) / np.linalg.norm(truth[known])),
            }
    return found


def removed_groups(suite: Suite, base: Path, sae: SparseAutoencoder, features: int) -> dict[str, np.ndarray]:
    """Groups to remove: of features, evenly by size; of random rows; and the planted rows."""
    model = load_model(base, dtype="bfloat16")
    rows = tokenize(suite.data, model.tokenizer, max_length=model.context_length)
    fires = feature_matrix(model, rows, sae, pooling="share").fires(0.1).tocsc()
    sizes = np.diff(fires.indptr)
    fit = np.flatnonzero((sizes >= SMALLEST) & (sizes <= LARGEST))
    by_size = fit[np.argsort(sizes[fit], kind="stable")]
    chosen = by_size[np.linspace(0, len(by_size) - 1, features).round().astype(int)]
    groups = {f"feature {f}": np.sort(fires.indices[fires.indptr[f] : fires.indptr[f + 1]]) for f in chosen}
    generator = np.random.default_rng(0)
    for size in RANDOM_SIZES:
        groups[f"{size} at random"] = np.sort(generator.choice(len(rows), size, replace=False))
    return groups | {"planted": np.flatnonzero(suite.planted)}


def estimated(
    suite: Suite, base: Path, seed: int, groups: Sequence[np.ndarray], work: Path
) -> dict[str, list[float | None]]:
    """Both estimates for each group, by the adapter trained on all rows with one seed."""
    model = _adapted(suite, base, seed, work)
    curvature = fit_curvature(model, suite.data, CurvatureSettings(parameters="lora"))
    shows, normal = (
        influence(model, suite.data, texts, LogProbability(), curvature=curvature)
        for texts in (suite.behaviour, suite.normal)
    )
    influences = (shows - normal).astype(np.float64)
    kernel = influence_kernel(model, suite.data, np.arange(len(influences)), curvature)
    rows = len(influences)
    corrected: list[float | None] = []
    for group in groups:
        try:
            corrected.append(corrected_removal(influences[group], kernel[np.ix_(group, group)], rows))
        except NumericalError:
            corrected.append(None)
    return {
        "first_order": [first_order_removal(influences[group], rows) for group in groups],
        "corrected": corrected,
    }


def _adapted(suite: Suite, base: Path, seed: int, work: Path) -> LanguageModel:
    adapter = work / f"language-removal-{suite.data.fingerprint[:8]}-{seed}"
    if not (adapter / "adapter_config.json").is_file():
        finetune_lora(load_model(base, dtype="bfloat16"), suite.data, replace(LORA, seed=seed), adapter)
    return load_model(base, adapter=adapter, dtype="float32")


def _members(rows: np.ndarray, count: int) -> np.ndarray:
    found = np.zeros(count, dtype=bool)
    found[rows] = True
    return found
