"""The Bayesian virtues as results: per observation, beside the null's and a perfect explanation's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from aitia.explanations.core.result import VirtueResult, measured, not_applicable, not_evaluable
from aitia.explanations.metrics.bayesian import (
    accuracy,
    co_explanation,
    descriptiveness,
    entropy,
    joint_entropy,
    power,
    precision,
    skill,
    unification,
)
from aitia.explanations.metrics.study import Evaluation, log_scores
from aitia.statistics import Interval, exact, weighted_mean_interval

ALONE = "no latent is shared: it would be accuracy, precision or 0 under another name"


def measure_bayesian(study: Evaluation) -> list[VirtueResult]:
    """The Bayesian virtues of a study, per observation, beside the null's and a perfect explanation's."""
    predictive, observed, counts = study.predictive, study.observed, study.counts
    n, settings = len(observed), study.settings
    k = predictive.probabilities.shape[-1]
    sure = float(np.log2(1 - settings.epsilon + settings.epsilon / k))
    null = float(study.weights @ study.null_log_probs)
    even = np.allclose(counts, 1)
    common = {"n": n, "seed": settings.seed}

    def per_observation(total: Callable[[np.ndarray], float], value: float) -> Interval:
        # The resampled counts stand for observations, which keep their weights.
        return study.interval_of(lambda drawn: np.array([total(row * counts) / n for row in drawn]), value)

    shuffled = np.random.default_rng(settings.seed).permutation(n)
    shuffled_log_probs = log_scores(predictive.marginals, observed[shuffled])
    total = accuracy(predictive, observed, counts)
    described = descriptiveness(predictive, observed, counts)
    joined = co_explanation(predictive, observed, counts)
    results = [
        _skill(study, total / n, float(study.weights @ shuffled_log_probs), sure),
        measured(
            "accuracy",
            total / n,
            interval=study.interval(study.log_probs)
            if predictive.independent
            else per_observation(lambda c: accuracy(predictive, observed, c), total / n),
            floor=null,
            ceiling=sure,
            details={"total_bits": total, "epsilon": settings.epsilon},
            items=study.log_probs if predictive.independent else None,
            **common,
        ),
        *_of_shared_latents(study, described, joined, null, sure, common, per_observation),
        _coverage(study),
    ]
    names = ("precision", "power", "unification", "calibration-gap")
    if not (predictive.independent or even):
        reason = "inputs weigh differently and share latents; the joint entropy is not defined"
        return [*results, *(not_evaluable(name, reason) for name in names)]
    if k == 1:
        reason = "only one outcome can be observed"
        return [*results, *(not_applicable(name, reason) for name in names)]
    powered = power(predictive, counts)
    joint = joint_entropy(predictive, draws=settings.joint_draws, seed=settings.seed)
    if predictive.independent:
        joint = replace(joint, bits=-powered)
    bold, unified = precision(joint), unification(predictive, joint) if even else 0.0
    margin = 1.96 * joint.error / n
    entropies = -entropy(predictive.marginals)

    def sampled(value: float) -> Interval:
        if predictive.independent:
            return study.interval(entropies, value)
        return (
            exact(value)
            if joint.exact
            else Interval(low=value - margin, high=value + margin, level=0.95, method="Monte Carlo")
        )

    gap = (total - bold) / n
    return [
        *results,
        measured(
            "precision",
            bold / n,
            interval=sampled(bold / n),
            floor=-float(study.weights @ entropy(study.null)),
            ceiling=-float(
                entropy(
                    np.array([1 - settings.epsilon + settings.epsilon / k] + (k - 1) * [settings.epsilon / k])
                )
            ),
            details={"total_bits": bold, "normalised": 1 + bold / (n * float(np.log2(k)))},
            **common,
        ),
        *(
            [not_applicable(name, ALONE) for name in ("power", "unification")]
            if predictive.independent
            else [
                measured(
                    "power",
                    powered / n,
                    interval=study.interval(entropies, powered / n),
                    details={"total_bits": powered},
                    **common,
                ),
                measured(
                    "unification",
                    unified / n,
                    interval=sampled(unified / n),
                    floor=0.0,
                    details={"total_bits": unified},
                    **common,
                ),
            ]
        ),
        measured(
            "calibration-gap",
            gap,
            interval=study.interval(study.log_probs - entropies, gap)
            if predictive.independent
            else sampled(gap),
            reason="bolder than it is right" if gap < -settings.tolerance else "",
            **common,
        ),
    ]


def _of_shared_latents(
    study: Evaluation,
    described: float,
    joined: float,
    null: float,
    sure: float,
    common: dict[str, Any],
    per_observation: Callable[[Callable[[np.ndarray], float], float], Interval],
) -> list[VirtueResult]:
    """Descriptiveness and co-explanation, which say something only where observations share a latent."""
    predictive, observed, n = study.predictive, study.observed, len(study.observed)
    if predictive.independent:
        return [not_applicable(name, ALONE) for name in ("descriptiveness", "co-explanation")]
    return [
        measured(
            "descriptiveness",
            described / n,
            interval=study.interval(study.log_probs),
            floor=null,
            ceiling=sure,
            details={"total_bits": described},
            items=study.log_probs,
            **common,
        ),
        measured(
            "co-explanation",
            joined / n,
            interval=per_observation(lambda c: co_explanation(predictive, observed, c), joined / n),
            floor=0.0,
            details={"total_bits": joined},
            **common,
        ),
    ]


def _skill(study: Evaluation, score: float, shuffled: float, sure: float) -> VirtueResult:
    null = -float(study.weights @ study.null_log_probs)
    if null <= 1e-12:
        return not_applicable("skill", "the null predicts every outcome already")

    def statistic(drawn: np.ndarray) -> np.ndarray:
        counts, expected = study.counts, drawn @ (study.counts * study.null_log_probs)
        if study.predictive.independent:
            totals = drawn @ (counts * study.log_probs)
        else:
            totals = np.array([accuracy(study.predictive, study.observed, row * counts) for row in drawn])
        with np.errstate(invalid="ignore", divide="ignore"):
            return 1 - totals / expected

    value = skill(-score, null)
    return measured(
        "skill",
        value,
        n=len(study.log_probs),
        seed=study.settings.seed,
        interval=study.interval_of(statistic, value),
        floor=1 + shuffled / null,
        ceiling=1 + sure / null,
        details={"null_bits_per_observation": null, "floor_is": "its own predictions, shuffled"},
        items=study.log_probs / null + 1 if study.predictive.independent else None,
    )


def _coverage(study: Evaluation) -> VirtueResult:
    phenomenon, covered = study.phenomenon, study.covered.astype(float)
    mass = phenomenon.normalised_weights(study.test)
    value = float(mass @ covered)
    interval = (
        exact(value)
        if study.exact
        else weighted_mean_interval(covered, mass, level=study.settings.level, seed=study.settings.seed)
    )
    abstained = int((~study.covered).sum())
    return measured(
        "coverage",
        value,
        n=len(covered),
        interval=interval,
        ceiling=1.0,
        floor=0.0,
        details={"abstentions": abstained},
    )
