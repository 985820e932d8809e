"""Faithfulness by intervening on a direction, as a result: ablation, steering, and the controls of both."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from aitia.explanations.core.direction import Direction, DirectionTrial, added, share_gone, steered
from aitia.explanations.core.result import VirtueResult, measured, not_applicable, not_evaluable
from aitia.explanations.metrics.study import Evaluation
from aitia.statistics import Interval, bootstrap

CAUSAL_BY_DIRECTION = "causal-by-direction"
"""Name of the result: faithfulness by intervening on a direction."""


def measure_direction(study: Evaluation) -> VirtueResult:
    """The share of what training added to a behaviour that goes through the direction, and steering in the details.

    It stands out if its interval lies above what every single control does.
    """
    direction = study.explanation.direction
    if direction is None:
        return not_applicable(
            CAUSAL_BY_DIRECTION, "it names no direction that the behaviour would go through"
        )
    if (trial := direction.trial) is None:
        return not_evaluable(CAUSAL_BY_DIRECTION, f"its direction was not intervened on: {direction.reason}")
    shift = _interval(study, trial, partial(added, trial))
    if not shift.low > 0:
        return not_applicable(
            CAUSAL_BY_DIRECTION,
            f"training does not clearly raise the {trial.behaviour} ({float(added(trial)):.3g}, from {shift.low:.3g} "
            f"to {shift.high:.3g}, over {len(trial.trained)} held-out texts): there is nothing that could go",
        )
    value = float(share_gone(trial, trial.own))
    interval = _interval(study, trial, partial(share_gone, trial, trial.own))
    gone = {kind: [float(share_gone(trial, each)) for each in all_] for kind, all_ in trial.controls.items()}
    every = [each for values in gone.values() for each in values]
    details = _details(study, direction, trial, shift)
    return measured(
        CAUSAL_BY_DIRECTION,
        value,
        reason=_in_words(details["steering"]),
        n=len(trial.trained),
        seed=study.settings.seed,
        interval=interval,
        floor=float(np.mean(every)) if every else None,
        ceiling=1.0,
        discriminating=interval.low > max(every) if every else None,
        details=details
        | {
            "controls": [
                {"name": kind, "value": float(np.mean(values)), "most": max(values), "n": len(values)}
                for kind, values in gone.items()
                if values
            ]
        },
    )


def _in_words(steering: Mapping[str, Any]) -> str:
    said = (
        f"steering: a step along it moves the behaviour by {steering['value']:.3g} of what training added "
        f"({steering['low']:.3g} to {steering['high']:.3g})"
    )
    most = [max(sizes) for sizes in steering["controls"].values() if sizes]
    return f"{said}, the strongest control by {max(most):.3g}" if most else said


def _details(
    study: Evaluation, direction: Direction, trial: DirectionTrial, shift: Interval
) -> dict[str, Any]:
    steering = _interval(study, trial, partial(steered, trial, trial.own))
    means = {
        name: float(np.mean(getattr(trial.own, name)))
        for name in ("removed", "removed_before", "raised", "lowered")
    }
    return {
        "direction": direction.name,
        "site": direction.site,
        "behaviour": trial.behaviour,
        "step": trial.step,
        "means": {"trained": float(np.mean(trial.trained)), "before": float(np.mean(trial.before)), **means},
        "added_by_training": {"value": float(added(trial)), "low": shift.low, "high": shift.high},
        "steering": {
            "value": float(steered(trial, trial.own)),
            "low": steering.low,
            "high": steering.high,
            # A direction that means nothing has no right side: how far it moves counts, not whereto.
            "controls": {
                kind: [abs(float(steered(trial, each))) for each in all_]
                for kind, all_ in trial.controls.items()
            },
        },
    }


def _interval(study: Evaluation, trial: DirectionTrial, statistic: Any) -> Interval:
    """Bootstrap over the held-out texts."""
    settings = study.settings
    return bootstrap(
        lambda counts: statistic(counts=counts),
        len(trial.trained),
        level=settings.level,
        resamples=settings.resamples,
        seed=settings.seed,
    )
