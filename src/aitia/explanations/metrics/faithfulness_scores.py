"""Faithfulness as results: each score with its interval, floor and sanity checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from aitia.explanations.core.predictive import agreement
from aitia.explanations.core.result import VirtueResult, measured, not_applicable, not_evaluable
from aitia.explanations.metrics.controls import (
    Control,
    Score,
    causal_score,
    discriminates,
    probing_agreement_score,
    run_controls,
)
from aitia.explanations.metrics.direction_scores import measure_direction
from aitia.explanations.metrics.faithfulness import (
    Trials,
    disturb_inert,
    fidelity,
    interchange,
    mean_score,
    probing_agreement,
    writing,
)
from aitia.explanations.metrics.study import Evaluation
from aitia.statistics import Interval, exact, wilson

FEW = 30
"""Fewer interventions than this do not settle an interchange-intervention accuracy (Méloux et al. 2026)."""


def measure_faithfulness(study: Evaluation) -> list[VirtueResult]:
    """Fidelity, probing agreement, interchange-intervention accuracy, leakage, and the gap of fidelity to the third."""
    predicted = _fidelity(study)
    causal = _causal(study)
    if predicted.value is None or causal.value is None:
        gap = not_evaluable(
            "faithfulness-gap", "there is no interchange-intervention accuracy to compare with fidelity"
        )
    else:
        value = predicted.value - causal.value
        assert causal.interval is not None
        assert predicted.interval is not None
        interval = (
            exact(value)
            if causal.interval.method == predicted.interval.method == "exact"
            else Interval(
                low=predicted.interval.low - causal.interval.high,
                high=predicted.interval.high - causal.interval.low,
                level=study.settings.level,
                method="difference of intervals",
            )
        )
        wrong = "right answers, wrong mechanism" if interval.low > study.settings.tolerance else ""
        gap = measured("faithfulness-gap", value, n=causal.n, interval=interval, reason=wrong)
    by_writing, by_direction = _by_writing(study), measure_direction(study)
    return [predicted, _probing_agreement(study), causal, by_writing, by_direction, _leakage(study), gap]


def _fidelity(study: Evaluation) -> VirtueResult:
    items = fidelity(study.explanation, study.indices)
    value = float(study.weights @ items)
    null = float(study.weights @ agreement(study.null, study.observed))
    n = len(items)
    interval = exact(value) if study.exact else wilson(value * n, n, study.settings.level)
    return measured(
        "fidelity",
        value,
        n=n,
        interval=interval,
        floor=null,
        ceiling=1.0,
        details={"normalised": (value - null) / (1 - null)} if null < 1 else {"null_is_perfect": True},
        items=items,
    )


def _missing(study: Evaluation) -> str | None:
    if not study.explanation.variables:
        return "it posits no internal variable: a predictive model, not an explanation of the mechanism"
    if not study.explanation.aligned:
        return "none of its variables is said to live anywhere in the model"
    return None


def _probing_agreement(study: Evaluation) -> VirtueResult:
    explanation = study.explanation
    if reason := _missing(study):
        return not_evaluable("probing-agreement", reason)
    readings = probing_agreement(explanation, study.phenomenon.model, study.indices)
    if not readings:
        return not_evaluable(
            "probing-agreement", "none of its variables has a map from activations to values"
        )
    scores = {name: each.score for name, each in readings.items()}
    known = {name: score for name, score in scores.items() if not np.isnan(score)}
    if not known:
        return not_applicable("probing-agreement", "every variable is constant over the test inputs")
    items = np.all([each.right for each in readings.values()], axis=0).astype(float)
    value = float(np.mean(list(known.values())))

    def resampled(drawn: np.ndarray) -> np.ndarray:
        # The distance is resampled; what is expected by chance is held fixed.
        weights = drawn * study.weights
        shares = [weights @ readings[name].distances / weights.sum(axis=1) for name in known]
        return 1 - np.mean(shares, axis=0)

    interval = study.interval_of(resampled, value)
    controls, stands = _controlled(study, probing_agreement_score(study.indices), interval.low)
    return measured(
        "probing-agreement",
        value,
        n=len(study.indices),
        seed=study.settings.seed,
        interval=interval,
        floor=0.0,
        ceiling=1.0,
        discriminating=stands,
        details={
            "by_variable": {name: None if np.isnan(score) else score for name, score in scores.items()},
            "min": min(known.values()),
            "all_right": float(study.weights @ items),
            "controls": controls,
        },
        items=items,
    )


def _causal(study: Evaluation) -> VirtueResult:
    explanation = study.explanation
    if reason := _missing(study):
        return not_evaluable("interchange-intervention-accuracy", reason)
    bases, sources, complete = study.pairs
    trials = interchange(explanation, study.phenomenon.model, bases, sources)
    value = mean_score(trials)
    if np.isnan(value):
        return not_evaluable("interchange-intervention-accuracy", "it abstains on every intervention")
    interval = _share_interval(study, value, trials, complete)
    controls, stands = _controlled(study, causal_score(bases, sources), interval.low)
    return measured(
        "interchange-intervention-accuracy",
        value,
        n=sum(int((each.predicted >= 0).sum()) for each in trials.values()),
        seed=study.settings.seed,
        interval=interval,
        floor=_floor(trials),
        ceiling=1.0,
        discriminating=stands,
        reason=_few(trials),
        details={**_by_variable(trials), "controls": controls},
    )


def _by_writing(study: Evaluation) -> VirtueResult:
    explanation = study.explanation
    if reason := _missing(study):
        return not_evaluable("causal-by-writing", reason)
    bases = np.repeat(study.indices, max(1, min(FEW, study.settings.interventions // len(study.indices))))
    bases = bases[: max(study.settings.interventions, len(study.indices))]
    trials = writing(explanation, study.phenomenon.model, bases, seed=study.settings.seed)
    value = mean_score(trials)
    if np.isnan(value):
        return not_evaluable("causal-by-writing", "none of its maps has an inverse")
    return measured(
        "causal-by-writing",
        value,
        n=sum(len(each.hits) for each in trials.values()),
        seed=study.settings.seed,
        interval=_share_interval(study, value, trials, complete=False),
        floor=_floor(trials),
        ceiling=1.0,
        reason=_few(trials),
        details=_by_variable(trials),
    )


def _leakage(study: Evaluation) -> VirtueResult:
    if not study.explanation.inert:
        return not_applicable("leakage", "it calls no site inert")
    bases, sources, complete = study.pairs
    moved = disturb_inert(study.explanation, study.phenomenon.model, bases, sources)
    value = float(np.mean([each.mean() for each in moved.values()]))
    n = sum(len(each) for each in moved.values())
    return measured(
        "leakage",
        value,
        n=n,
        seed=study.settings.seed,
        interval=exact(value) if complete else wilson(value * n, n, study.settings.level),
        floor=1.0,
        ceiling=0.0,
        details={"by_site": {site: float(each.mean()) for site, each in moved.items()}},
    )


def _controlled(study: Evaluation, score: Score, low: float) -> tuple[list[dict[str, Any]], bool | None]:
    settings = study.settings
    controls = run_controls(study.explanation, score, repeats=settings.controls, seed=settings.seed)
    return _plain(controls), discriminates(study.explanation, low, controls)


def _plain(controls: Sequence[Control]) -> list[dict[str, Any]]:
    return [asdict(each) for each in controls]


def _share_interval(
    study: Evaluation, value: float, trials: Mapping[str, Trials], complete: bool
) -> Interval:
    n = sum(int((~np.isnan(each.hits)).sum()) for each in trials.values())
    return exact(value) if complete else wilson(value * n, n, study.settings.level)


def _floor(trials: Mapping[str, Trials]) -> float | None:
    floors = [each.floor for each in trials.values() if not np.isnan(each.floor)]
    return float(np.mean(floors)) if floors else None


def _few(trials: Mapping[str, Trials]) -> str:
    fewest = min(len(each.hits) for each in trials.values())
    return f"only {fewest} interventions on a variable" if fewest < FEW else ""


def _by_variable(trials: Mapping[str, Trials]) -> dict[str, Any]:
    moved = np.concatenate([each.moved for each in trials.values()])
    alike = np.concatenate([each.answers for each in trials.values()])[moved]
    followed = [each.follows for each in trials.values() if each.follows is not None]
    return {
        "still": float(np.mean([each.still.mean() for each in trials.values()])),
        **({"follows_source": float(np.mean([each.mean() for each in followed]))} if followed else {}),
        "moved_share": float(moved.mean()),
        "alike_where_moved": float(np.nanmean(alike)) if np.isfinite(alike).any() else None,
        "by_variable": {name: None if np.isnan(each.score) else each.score for name, each in trials.items()},
        "answers_alone": {
            name: None if np.isnan(each.answers).all() else float(np.nanmean(each.answers))
            for name, each in trials.items()
        },
        "natural_activations": {name: each.natural for name, each in trials.items()},
    }
