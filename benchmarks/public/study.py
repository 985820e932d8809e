"""One draw of public data on one model: trained, scored by everything, and what that says over several draws."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from aitia.attribution import rank, scan
from aitia.attribution.gradients import CurvatureSettings, fit_curvature
from aitia.attribution.ranking import CONFOUNDS
from aitia.attribution.replay import checkpoint_influence, margin_target, projection_target, smooth_replay
from aitia.attribution.scorers import random_order
from aitia.concepts import Concept, fit_concept, load_concept
from aitia.files import atomic_path, digest, read_json, write_json
from aitia.models import load_model
from aitia.records import Records, records_from_rows
from aitia.statistics import Estimate, confound_adjusted_gain, mean_estimate, retrieval_figures
from aitia.training import RecordedRun, read_run, train
from harness import WORK
from planted.findings import Findings
from planted.study import FAST, GRADIENT, ORACLE, Scored
from planted.subject import Subject, subject
from planted.suites import Suite

BASELINES = (*CONFOUNDS, "bm25", "random-direction", "shuffled-labels")
RANDOM = "random"
REPLAY, RELATIVE = "replay", "checkpoint-influence"
ANYWHERE = "vector-filter, any block"
MARGIN = " of the margin"
"""Behind the name of a scorer that goes through training: the likelihood margin in the concept's place."""
FOLDS, RESAMPLINGS = 5, 1000
READ = "tokens chosen by held-out AUC"
"""How concepts are read, in the names of folders."""
ACTIVATIONS = ("response", "prompt_end", "on_policy_response", "backward")


@dataclass(frozen=True, kw_only=True)
class Depth:
    """How far one draw is scored.

    Attributes:
        surrogates: smooth runs that are replayed; 0 to leave replay out.
        gradients: whether the scorers of weight gradients are run, with a curvature of all rows.
        checkpoints: whether those that sum gradients over checkpoints of the run are.
        state_gigabytes: what the kept states of a run may take on disk.
    """

    surrogates: int = 0
    gradients: bool = True
    checkpoints: bool = False
    state_gigabytes: float = 1.5


def model_for(part: str, texts: Iterable[str], *, quick: bool) -> Subject:
    """The model with the vocabulary of a part's texts, and the folder of the part's results.

    Args:
        part: its name.
        texts: prompts and completions, together as they are read.
        quick: keep the results of a quick run apart.
    """
    parts = WORK / "public" / "parts"
    return subject(WORK / "public" / (f"{part}-quick" if quick else part), texts, parts=parts)


def read_as(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Prompt and completion of each row in one text."""
    return [row["prompt"] + row["completion"] for row in rows]


def named_records(rows: Iterable[Mapping[str, Any]], name: str) -> Records:
    """Records of rows, with ids of a name and a number."""
    return records_from_rows([{**row, "id": f"{name}-{i}"} for i, row in enumerate(rows)])


def every_draw(suites: Sequence[Suite], model: Subject, depths: Sequence[Depth]) -> list[Scored]:
    """Score each of several draws, to its own depth."""
    draws = []
    for suite, depth in zip(suites, depths, strict=True):
        draws.append(score_draw(suite, model, depth))
        print(f"{suite.name} is scored", flush=True)
    return draws


def score_draw(suite: Suite, model: Subject, depth: Depth) -> Scored:
    """Train on a draw's rows and score them by every scorer; what was made before is found again.

    Args:
        suite: the rows, and the texts that are apart from them.
        model: what is trained.
        depth: which scorers.

    Returns:
        Methods and baselines, under the names of the registry.
    """
    named = [suite.data.fingerprint, model.training.identity(), list(model.sites), suite.recipe, READ]
    folder = model.work / f"{suite.name.replace(' ', '-')}-{digest(named)[:12]}"
    run = _recorded(suite, model, depth, folder / "run")
    if not (folder / "concept.safetensors").is_file():
        _fit(suite, model, run, folder)
    concept = load_concept(folder / "concept.safetensors")
    scores = _kept(
        folder / f"ranked-{depth.gradients}.npz", lambda: _ranked(suite, model, run, concept, depth)
    )
    site = read_json(folder / "probe.json")["untouched"]["site"]
    scores |= _kept(folder / "anywhere.npz", lambda: _anywhere(suite, model, site, folder / "anywhere"))
    if depth.checkpoints:
        scores |= _kept(folder / "checkpoints.npz", lambda: _by_checkpoints(suite, model, run, concept))
    if depth.surrogates:
        file = folder / f"replayed-{depth.surrogates}.npz"
        scores |= _kept(file, lambda: _replayed(suite, model, run, concept, depth.surrogates))
    scores |= {RANDOM: random_order(len(suite.data)), ORACLE: suite.planted.astype(float)}
    known_by_none = (*BASELINES, RANDOM, ORACLE)
    return Scored(
        suite=suite,
        subject=model,
        concept=concept,
        methods={name: each for name, each in scores.items() if name not in known_by_none},
        baselines={name: each for name, each in scores.items() if name in known_by_none},
        diagnosis=read_json(folder / "probe.json"),
        folder=folder,
    )


def _recorded(suite: Suite, model: Subject, depth: Depth, path: Path) -> RecordedRun:
    train(
        model.untouched_float32(),
        suite.data,
        model.training,
        path,
        state_gigabytes=depth.state_gigabytes,
    )
    return read_run(path)


def _fit(suite: Suite, model: Subject, run: RecordedRun, folder: Path) -> None:
    """The concept on the tuned model; and how well each site of either model tells texts that it was not fitted on."""
    fit = partial(
        fit_concept, positive=suite.positive, negative=suite.negative, name=suite.name, recipe=suite.recipe
    )
    tuned = fit(model.with_adapter(run.trained), sites=model.sites)
    untouched = fit(load_model(model.base, dtype="float32"))
    write_json(
        folder / "probe.json",
        {
            name: {
                "site": each.site,
                "tokens": each.tokens,
                "auc_by_site": each.separation.auc_by_site,
                "auc_by_tokens": each.separation.auc_by_tokens,
            }
            for name, each in (("tuned", tuned), ("untouched", untouched))
            if each.separation
        },
    )
    tuned.save(folder / "concept.safetensors")


def _ranked(
    suite: Suite, model: Subject, run: RecordedRun, concept: Concept, depth: Depth
) -> Mapping[str, np.ndarray]:
    tuned = model.with_adapter(run.trained)
    store = scan(
        tuned,
        suite.data,
        sites=[concept.site],
        out=run.path.parent / "store",
        activations=ACTIVATIONS,
        on_policy_response_tokens=8,
    )
    curvature = None
    if depth.gradients:
        settings = CurvatureSettings(parameters="lora", rows=0, precision="float32")
        curvature = fit_curvature(tuned, suite.data, settings)
    ranking = rank(
        store,
        concept,
        method="activation-gradient",
        compare=(*FAST, *(GRADIENT if depth.gradients else ()), *BASELINES),
        queries=suite.queries,
        curvature=curvature,
        positive=suite.positive,
        negative=suite.negative,
        random_controls=0,
        shuffled_controls=0,
    )
    return ranking.scores


def _anywhere(suite: Suite, model: Subject, site: str, store: Path) -> Mapping[str, np.ndarray]:
    """Vector Filter where the untouched model tells its texts apart best, in any block.

    The other scorers look at trained blocks, since gradients of the adapter say nothing below them.
    """
    untouched = load_model(model.base, dtype="float32")
    texts = (suite.positive, suite.negative)
    concept = fit_concept(untouched, *texts, name=suite.name, recipe=suite.recipe, sites=[site])
    scanned = scan(untouched, suite.data, sites=[site], out=store, activations=("response",))
    ranking = rank(scanned, concept, method="vector-filter", random_controls=0, shuffled_controls=0)
    return {ANYWHERE: ranking.score_of(suite.data)}


def _targets(suite: Suite, concept: Concept) -> list[Any]:
    return [
        projection_target(concept, suite.queries),
        margin_target(suite.positive, suite.negative),
    ]


def _by_checkpoints(
    suite: Suite, model: Subject, run: RecordedRun, concept: Concept
) -> Mapping[str, np.ndarray]:
    both = checkpoint_influence(run, model.untouched_float32(), suite.data, _targets(suite, concept))
    return {RELATIVE: both[0], RELATIVE + MARGIN: both[1]}


def _replayed(
    suite: Suite, model: Subject, run: RecordedRun, concept: Concept, surrogates: int
) -> Mapping[str, np.ndarray]:
    base = model.untouched_float32()
    both = smooth_replay([run], base, suite.data, _targets(suite, concept), runs=surrogates).scores
    shutil.rmtree(run.path / "smooth")  # a gigabyte a surrogate, and the scores are what was wanted
    return {REPLAY: both[0], REPLAY + MARGIN: both[1]}


def _kept(path: Path, make: Any) -> dict[str, np.ndarray]:
    """Arrays of a file, made if it is not there."""
    if not path.is_file():
        arrays = {name: np.asarray(each) for name, each in make().items()}
        with atomic_path(path) as temporary, open(temporary, "wb") as stream:
            np.savez(stream, **arrays)  # type: ignore[arg-type]
    with np.load(path, allow_pickle=False) as kept:
        return {name: kept[name] for name in kept.files}


def figures_of(scored: Scored, name: str, *, share: float = 0.1, resamplings: int = 1) -> dict[str, Estimate]:
    """How well one scorer finds the labelled rows of one draw, and what it adds to the confounds.

    Args:
        scored: a draw.
        name: of the scorer.
        share: of the rows, at whose top precision is also taken.
        resamplings: of the rows, for the intervals; 1 where intervals are not wanted.

    Returns:
        `auc`, `auprc`, precision at the number of labelled rows and at the top share; and `gain`, but not for a
        confound, nor where fewer than `FOLDS` rows are labelled.
    """
    labels = scored.suite.planted
    scores, top = scored.scores_of([name])[name], round(share * len(labels))
    each = retrieval_figures(scores, labels, (top,), draws=resamplings)
    found = {
        "auc": each["auc"],
        "auprc": each["auprc"],
        "precision_at_labelled": each[f"precision@{labels.sum()}"],
        "precision_at_top": each[f"precision@{top}"],
    }
    if name not in CONFOUNDS and labels.sum() >= FOLDS:
        columns = scored.scores_of(CONFOUNDS)
        gain, _ = confound_adjusted_gain(scores, columns, labels, folds=FOLDS, draws=resamplings)
        found["gain"] = gain
    return found


def over_draws(draws: Sequence[Scored], name: str) -> dict[str, Estimate]:
    """A scorer's figures, averaged over the draws that it scored: the interval of that mean, or of one draw's rows."""
    own = [each for each in draws if name in each.methods or name in each.baselines]
    if len(own) == 1:
        return figures_of(own[0], name, resamplings=RESAMPLINGS)
    every = [figures_of(each, name) for each in own]
    return {figure: mean_estimate([each[figure].value for each in every]) for figure in every[0]}


def find_labelled(draws: Sequence[Scored], found: Findings, **named: Any) -> None:
    """Add a row for each scorer with its figures, and two for the probes of the untouched and the trained model."""
    labelled = {
        "texts": len(draws[0].suite.positive),
        "rows": len(draws[0].suite.data),
        "labelled": int(draws[0].suite.planted.sum()),
    }
    names = dict.fromkeys(name for each in draws for name in (*each.methods, *each.baselines))
    for name in names:
        if name != ORACLE:
            count = sum(name in each.methods or name in each.baselines for each in draws)
            found.add(**named, scorer=name, draws=count, **over_draws(draws, name))
    for model in ("untouched", "tuned"):
        best = [max(each.diagnosis[model]["auc_by_site"].values()) for each in draws]
        found.add(
            **named,
            probe=model,
            held_out_auc=mean_estimate(best),
            sites=[each.diagnosis[model]["site"] for each in draws],
            tokens=[each.diagnosis[model]["tokens"] for each in draws],
            auc_by_tokens=[each.diagnosis[model]["auc_by_tokens"] for each in draws],
            draws=len(draws),
            **labelled,
        )
