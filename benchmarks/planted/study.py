"""One planted suite on one model: every method's scores, and what retraining says of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from planted.suites import Suite

from aitia.attribution import rank, scan
from aitia.attribution.baselines import (
    bm25_similarity,
    embedding_similarity,
    random_direction_scores,
    random_order,
    response_length,
    shuffled_direction_scores,
    tfidf_similarity,
    training_loss,
)
from aitia.attribution.curvature import CurvatureSettings
from aitia.attribution.curvature_fitting import fit_curvature
from aitia.attribution.shift_diagnostic import diagnose_shift
from aitia.concepts import Concept, auc, fit_concept, load_concept
from aitia.counterfactual import (
    Cell,
    CellResult,
    ConceptProjection,
    LikelihoodMargin,
    LoraSettings,
    Removal,
    draw_subsets,
    finetune_lora,
    plan_removals,
    retrain,
)
from aitia.counterfactual.behaviours import Behaviour
from aitia.counterfactual.concept_lds import measured_changes, subset_cells
from aitia.counterfactual.intervals import Interval, bootstrap_interval
from aitia.files import atomic_path, digest, write_json
from aitia.models import LanguageModel, load_model

FAST = (
    "vector-filter",
    "projection-difference-prompt",
    "projection-difference",
    "whitened-projection-difference",
    "backward-signal",
)
GRADIENT = ("concept-influence", "concept-gradient-product", "influence")
ORACLE = "oracle"
LEXICAL = ("tf-idf", "bm25")
PROJECTION, MARGIN = "concept projection", "likelihood margin"


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A suite with every method's scores.

    Attributes:
        suite: the suite.
        base: folder of the model that training starts from.
        concept: fitted on the tuned model.
        methods: name -> [n].
        baselines: name -> [n], the oracle among them.
        diagnosis: whether Vector Filter is safe on this suite: verdict and the three measures behind it.
    """

    suite: Suite
    base: Path
    concept: Concept
    methods: Mapping[str, np.ndarray]
    baselines: Mapping[str, np.ndarray]
    diagnosis: Mapping[str, Any]

    def auc_of(self, name: str) -> Interval:
        """How well the planted rows are found, with an interval by resampling rows."""
        scores, labels = (self.methods | self.baselines)[name], self.suite.planted  # type: ignore[operator]
        return bootstrap_interval(len(labels), lambda rows: _auc(scores[rows], labels[rows]), draws=400)


def score(
    suite: Suite,
    base: Path,
    settings: LoraSettings,
    work: Path,
    encoder: Callable[[Sequence[str]], np.ndarray] | None,
    *,
    sites: Sequence[str] | None = None,
    seed: int = 0,
) -> Scored:
    """Train on a suite's data, and score its rows by every method and baseline.

    Args:
        suite: what to train on.
        base: folder of the model.
        settings: of the training.
        work: folder; the adapter, the scan and the scores are kept there and found again.
        encoder: of sentences, for the baseline that compares meanings.
        sites: where the concept may lie; default: anywhere.
        seed: of what is random in the methods.
    """
    named = [suite.data.fingerprint, settings.identity(), list(sites or ()), suite.recipe, seed]
    folder = work / f"{suite.name.replace(' ', '-')}-{digest(named)[:12]}"
    if not (folder / "scores.npz").is_file():
        _score(suite, base, settings, folder, encoder, sites, seed)
    with np.load(folder / "scores.npz", allow_pickle=False) as kept:
        scores = {name: kept[name] for name in kept.files}
    return Scored(
        suite=suite,
        base=base,
        concept=load_concept(folder / "concept.safetensors"),
        methods={name: scores[name] for name in (*GRADIENT, *FAST)},
        baselines={name: each for name, each in scores.items() if name not in (*GRADIENT, *FAST)},
        diagnosis=json.loads((folder / "diagnosis.json").read_text(encoding="utf-8")),
    )


def _score(
    suite: Suite,
    base: Path,
    settings: LoraSettings,
    folder: Path,
    encoder: Callable[[Sequence[str]], np.ndarray] | None,
    sites: Sequence[str] | None,
    seed: int,
) -> None:
    adapter = folder / "adapter"
    if not (adapter / "adapter_config.json").is_file():
        finetune_lora(trained_from(base), suite.data, settings, adapter)
    model = load_model(base, adapter=adapter, dtype="float32")
    concept = fit_concept(
        model, suite.positive, suite.negative, name=suite.name, recipe=suite.recipe, sites=sites
    )
    store = scan(
        model,
        suite.data,
        sites=[concept.site],
        out=folder / "store",
        signals=("response", "prompt_end", "own_response", "backward"),
        own_response_tokens=24,
    )
    curvature = fit_curvature(
        model, suite.data, CurvatureSettings(parameters="lora", labels="empirical", rows=0)
    )
    ranking = rank(
        store,
        concept,
        method=GRADIENT[0],
        others=(*GRADIENT[1:], *FAST),
        queries=suite.queries,
        curvature=curvature,
        random_controls=0,
    )
    texts = (suite.data, suite.positive, suite.negative)
    baselines = {
        "tf-idf": tfidf_similarity(*texts),
        "bm25": bm25_similarity(*texts),
        "response length": response_length(store.column("response_tokens")),
        "training loss": training_loss(store),
        "random direction": random_direction_scores(store, concept, "backward-signal", count=1, seed=seed)[0],
        "shuffled labels": shuffled_direction_scores(store, concept, "backward-signal")[0],
        "random": random_order(len(suite.data), seed=seed),
        ORACLE: suite.planted.astype(float),
    }
    if encoder is not None:
        baselines["sentence embedding"] = embedding_similarity(*texts, encoder)
    found = diagnose_shift(store, concept)
    concept.save(folder / "concept.safetensors")
    write_json(
        folder / "diagnosis.json",
        {
            "verdict": found.verdict,
            "agreement": found.agreement.value if found.agreement else None,
            "projection_share": found.projection_share.value,
            "predicted_share": found.predicted_share.value,
        },
    )
    with atomic_path(folder / "scores.npz") as temporary, open(temporary, "wb") as stream:
        np.savez(
            stream, **{name: np.asarray(each) for name, each in (dict(ranking.scores) | baselines).items()}
        )


def trained_from(base: Path) -> LanguageModel:
    """A fresh base model for training and measuring: bfloat16, which is 2.4 times faster here."""
    return load_model(base, dtype="bfloat16")


def behaviours_of(scored: Scored, *others: Behaviour) -> list[Behaviour]:
    """What is measured after retraining: concept and margin on held-out texts, and others."""
    suite = scored.suite
    return [
        ConceptProjection(concept=scored.concept, texts=suite.behaviour, name=PROJECTION),
        LikelihoodMargin(behaviour=suite.behaviour, normal=suite.normal, name=MARGIN),
        *others,
    ]


def remove_and_retrain(
    scored: Scored,
    methods: Sequence[str],
    shares: Sequence[float],
    seeds: Sequence[int],
    behaviours: Sequence[Behaviour],
    settings: LoraSettings,
    work: Path,
    *,
    ends: Sequence[str] = ("most", "least"),
) -> tuple[list[Removal], list[CellResult]]:
    """Removal curves of the named methods, with the oracle and random removal beside them."""
    every = dict(scored.methods) | dict(scored.baselines)
    chosen = {name: every[name] for name in (*methods, ORACLE)}
    plan = plan_removals(scored.suite.data.ids, chosen, shares, seeds, ends=ends)
    results = retrain(
        lambda: trained_from(scored.base),
        scored.suite.data,
        list(plan.values()),
        behaviours,
        settings,
        work / "cells",
    )
    return list(plan), results


def train_on_subsets(
    scored: Scored,
    subsets: int,
    seeds: Sequence[int],
    behaviours: Sequence[Behaviour],
    settings: LoraSettings,
    work: Path,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Random halves of the data, retrained.

    Returns:
        Which rows each subset kept, [m, n], and behaviour -> [m, seeds].
    """
    kept = draw_subsets(len(scored.suite.data), subsets, seed=7)
    results = retrain(
        lambda: trained_from(scored.base),
        scored.suite.data,
        subset_cells(scored.suite.data.ids, kept, seeds),
        behaviours,
        settings,
        work / "cells",
    )
    return kept, {each.name: measured_changes(results, subsets, each.name) for each in behaviours}


def safest(
    scored: Scored,
    methods: Sequence[str],
    shares: Sequence[float],
    seeds: Sequence[int],
    behaviours: Sequence[Behaviour],
    settings: LoraSettings,
    work: Path,
) -> dict[tuple[str, float], list[CellResult]]:
    """Train on the least influential rows alone, with as many steps as on all of them.

    Returns:
        (method, share kept) -> one result a seed; ("all", 1.0) and ("base", 0.0) beside them.
    """
    ids, every = np.asarray(scored.suite.data.ids), dict(scored.methods) | dict(scored.baselines)
    cells: dict[tuple[str, float], list[Cell]] = {
        ("all", 1.0): [Cell(kept=tuple(ids.tolist()), seed=seed) for seed in seeds],
        ("base", 0.0): [Cell(kept=(), seed=0)],
    }
    for method in methods:
        rising = np.argsort(every[method], kind="stable")
        for share in shares:
            kept = tuple(ids[np.sort(rising[: round(share * len(ids))])].tolist())
            epochs = round(settings.epochs / share)
            cells[method, share] = [Cell(kept=kept, seed=seed, epochs=epochs) for seed in seeds]
    flat = [cell for part in cells.values() for cell in part]
    results = iter(
        retrain(
            lambda: trained_from(scored.base),
            scored.suite.data,
            flat,
            behaviours,
            settings,
            work / "cells",
        )
    )
    return {key: [next(results) for _ in part] for key, part in cells.items()}


def _auc(scores: np.ndarray, labels: Any) -> float:
    return float("nan") if labels.all() or not labels.any() else auc(scores, labels)
