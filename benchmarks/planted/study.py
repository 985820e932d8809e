"""One planted suite on one model: every method's scores, and what retraining says of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aitia.attribution import rank, scan
from aitia.attribution.gradients import CurvatureSettings, fit_curvature
from aitia.attribution.ranking import diagnose_shift
from aitia.attribution.scorers import bm25_similarity, random_order, response_length, tfidf_similarity
from aitia.attribution.scorers.baselines import (
    embedding_similarity,
    random_direction_scores,
    shuffled_direction_scores,
    training_loss,
)
from aitia.concepts import Concept, fit_concept, load_concept
from aitia.counterfactual import (
    Behaviour,
    ConceptProjection,
    LikelihoodMargin,
    Removal,
    RetrainingRun,
    RunResult,
    draw_subsets,
    plan_removals,
    retrain,
)
from aitia.counterfactual.concept_lds import measured_changes, subset_cells
from aitia.files import atomic_path, digest, write_json
from aitia.statistics import Estimate, auc, bootstrap_estimate, mean_estimate
from aitia.training import finetune_lora
from planted.subject import Subject
from planted.suites import SUITES, Suite

FAST = (
    "vector-filter",
    "projection-difference-prompt",
    "projection-difference",
    "whitened-projection-difference",
    "activation-gradient",
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
        subject: the model.
        concept: fitted on the tuned model.
        methods: name -> [n].
        baselines: name -> [n], the oracle among them.
        diagnosis: whether Vector Filter is safe on this suite: verdict and the three measures behind it.
        folder: holds the adapter, the store and the scores.
    """

    suite: Suite
    subject: Subject
    concept: Concept
    methods: Mapping[str, np.ndarray]
    baselines: Mapping[str, np.ndarray]
    diagnosis: Mapping[str, Any]
    folder: Path

    @property
    def planted_share(self) -> float:
        """Of the rows, to three decimals."""
        return round(float(self.suite.planted.mean()), 3)

    def scores_of(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Scores of methods and baselines by name."""
        every = dict(self.methods) | dict(self.baselines)
        return {name: every[name] for name in names}

    def auc_of(self, name: str) -> Estimate:
        """How well the planted rows are found, with an interval by resampling rows."""
        scores, labels = self.scores_of([name])[name], self.suite.planted
        return bootstrap_estimate(len(labels), lambda rows: _auc(scores[rows], labels[rows]), draws=400)


def score(
    suite: Suite,
    subject: Subject,
    encoder: Callable[[Sequence[str]], np.ndarray] | None,
    *,
    seed: int = 0,
) -> Scored:
    """Train on a suite's data, and score its rows by every method and baseline.

    Args:
        suite: what to train on.
        subject: what is trained; the adapter, the scan and the scores are kept in its folder and found again.
        encoder: of sentences, for the baseline that compares meanings.
        seed: of what is random in the methods.
    """
    named = [suite.data.fingerprint, subject.training.identity(), list(subject.sites), suite.recipe, seed]
    folder = subject.work / f"{suite.name.replace(' ', '-')}-{digest(named)[:12]}"
    if not (folder / "scores.npz").is_file():
        _score(suite, subject, folder, encoder, seed)
    with np.load(folder / "scores.npz", allow_pickle=False) as kept:
        scores = {name: kept[name] for name in kept.files}
    return Scored(
        suite=suite,
        subject=subject,
        concept=load_concept(folder / "concept.safetensors"),
        methods={name: scores[name] for name in (*GRADIENT, *FAST)},
        baselines={name: each for name, each in scores.items() if name not in (*GRADIENT, *FAST)},
        diagnosis=json.loads((folder / "diagnosis.json").read_text(encoding="utf-8")),
        folder=folder,
    )


def _score(
    suite: Suite,
    subject: Subject,
    folder: Path,
    encoder: Callable[[Sequence[str]], np.ndarray] | None,
    seed: int,
) -> None:
    adapter = folder / "adapter"
    if not (adapter / "adapter_config.json").is_file():
        finetune_lora(subject.untouched(), suite.data, subject.training, adapter)
    model = subject.with_adapter(adapter)
    concept = fit_concept(
        model, suite.positive, suite.negative, name=suite.name, recipe=suite.recipe, sites=subject.sites
    )
    store = scan(
        model,
        suite.data,
        sites=[concept.site],
        out=folder / "store",
        activations=("response", "prompt_end", "on_policy_response", "backward"),
        on_policy_response_tokens=8,
    )
    curvature = fit_curvature(
        model, suite.data, CurvatureSettings(parameters="lora", rows=0, precision="float32")
    )
    ranking = rank(
        store,
        concept,
        method="activation-gradient",
        compare=(*GRADIENT, *FAST),
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
        "random direction": random_direction_scores(
            store, concept, "activation-gradient", count=1, seed=seed, kind="isotropic"
        )[0],
        "shuffled labels": shuffled_direction_scores(store, concept, "activation-gradient")[0],
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
        arrays: dict[str, Any] = {
            name: np.asarray(each) for name, each in (dict(ranking.scores) | baselines).items()
        }
        np.savez(stream, **arrays)


def words_alone(name: str, draws: Sequence[int]) -> dict[str, Estimate]:
    """AUC of the lexical baselines over many draws of a suite, which cost next to nothing."""
    found: dict[str, list[float]] = {each: [] for each in LEXICAL}
    for draw in draws:
        suite = SUITES[name](draw)
        texts = (suite.data, suite.positive, suite.negative)
        for each, scores in zip(LEXICAL, (tfidf_similarity(*texts), bm25_similarity(*texts)), strict=True):
            found[each].append(auc(scores, suite.planted))
    return {each: mean_estimate(values) for each, values in found.items()}


def behaviours_of(scored: Scored, *others: Behaviour, texts: int | None = None) -> list[Behaviour]:
    """What is measured after retraining: concept and margin on so many held-out texts, and others."""
    suite = scored.suite
    behaviour = suite.behaviour.only(suite.behaviour.ids[:texts])
    normal = suite.normal.only(suite.normal.ids[:texts])
    return [
        ConceptProjection(concept=scored.concept, texts=behaviour, name=PROJECTION),
        LikelihoodMargin(behaviour=behaviour, normal=normal, name=MARGIN),
        *others,
    ]


def remove_and_retrain(
    scored: Scored,
    methods: Sequence[str],
    shares: Sequence[float],
    seeds: Sequence[int],
    behaviours: Sequence[Behaviour],
    *,
    compare: Sequence[str] = (),
    bottom: Sequence[str] = (),
) -> tuple[list[Removal], list[RunResult]]:
    """Removal of the most influential rows, with the oracle and random removal beside it.

    Args:
        scored: a suite with scores.
        methods: whose curves.
        shares: of the rows to remove, beside the planted share.
        seeds: of the training.
        behaviours: measured after each.
        compare: methods by which only the planted share is removed.
        bottom: methods by which the least influential planted share is removed, too.
    """
    ids, planted = scored.suite.data.ids, scored.planted_share
    every = sorted({*shares, planted})
    plan = plan_removals(ids, scored.scores_of((*methods, ORACLE)), every, seeds, ends=["top"])
    plan |= plan_removals(ids, scored.scores_of(compare), [planted], seeds, ends=["top"])
    plan |= plan_removals(ids, scored.scores_of(bottom), [planted], seeds, ends=["bottom"])
    return list(plan), retrain_scored(scored, list(plan.values()), behaviours)


def train_on_subsets(
    scored: Scored, subsets: int, seeds: Sequence[int], behaviours: Sequence[Behaviour]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Random halves of the data, retrained.

    Returns:
        Which rows each subset kept, [m, n], and behaviour -> [m, seeds].
    """
    kept = draw_subsets(len(scored.suite.data), subsets, seed=7)
    results = retrain_scored(scored, subset_cells(scored.suite.data.ids, kept, seeds), behaviours)
    return kept, {each.name: measured_changes(results, subsets, each.name) for each in behaviours}


def safest(
    scored: Scored,
    methods: Sequence[str],
    shares: Sequence[float],
    seeds: Sequence[int],
    behaviours: Sequence[Behaviour],
) -> dict[tuple[str, float], list[RunResult]]:
    """Train on the least influential rows alone, with as many steps as on all of them.

    Returns:
        (method, share kept) -> one result a seed; ("all", 1.0) and ("base", 0.0) beside them.
    """
    ids = np.asarray(scored.suite.data.ids)
    cells: dict[tuple[str, float], list[RetrainingRun]] = {
        ("all", 1.0): [RetrainingRun(kept=tuple(ids.tolist()), seed=seed) for seed in seeds],
        ("base", 0.0): [RetrainingRun(kept=(), seed=0)],
    }
    for method, scores in scored.scores_of(methods).items():
        rising = np.argsort(scores, kind="stable")
        for share in shares:
            kept = tuple(ids[np.sort(rising[: round(share * len(ids))])].tolist())
            epochs = round(scored.subject.training.epochs / share)
            cells[method, share] = [RetrainingRun(kept=kept, seed=seed, epochs=epochs) for seed in seeds]
    results = iter(retrain_scored(scored, [cell for part in cells.values() for cell in part], behaviours))
    return {key: [next(results) for _ in part] for key, part in cells.items()}


def retrain_scored(
    scored: Scored, cells: Sequence[RetrainingRun], behaviours: Sequence[Behaviour]
) -> list[RunResult]:
    """Train and measure; what was trained before is found again."""
    subject = scored.subject
    return retrain(
        subject.untouched, scored.suite.data, cells, behaviours, subject.training, subject.work / "runs"
    )


def _auc(scores: np.ndarray, labels: Any) -> float:
    return float("nan") if labels.all() or not labels.any() else auc(scores, labels)
