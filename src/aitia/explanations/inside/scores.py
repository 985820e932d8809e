"""What an explanation gets right of the inside, as results: its informativeness, and its claims about states."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from aitia.explanations.core.explanation import Explanation
from aitia.explanations.core.result import VirtueResult, measured, not_applicable, not_evaluable
from aitia.explanations.inside.informativeness import Gain, counted, gain
from aitia.explanations.inside.mixtures import Swaps, swap_all
from aitia.explanations.inside.states import (
    ABSENT,
    HELD,
    OPEN,
    REFUTED,
    SHOWN,
    Distinction,
    distinctions,
    interchangeable,
)
from aitia.explanations.metrics.controls import Control, permute_sites
from aitia.explanations.metrics.study import Evaluation
from aitia.statistics import student_interval, weighted_mean_interval

CONTROL_SHARE = 4
"""Random alignments are tried with this many times fewer swaps."""


def measure_inside(study: Evaluation) -> list[VirtueResult]:
    """Informativeness, and the share of the distinctions between states that are there."""
    explanation = study.explanation
    names = ("informativeness", "state-distinctions")
    if not explanation.aligned:
        reason = (
            "none of its variables is said to live anywhere in the model"
            if explanation.variables
            else "it posits no internal variable: a predictive model, not an explanation of the mechanism"
        )
        return [not_evaluable(name, reason) for name in names]
    return [_informativeness(study), _state_distinctions(study)]


def _informativeness(study: Evaluation) -> VirtueResult:
    settings, explanation = study.settings, study.explanation
    swaps = _swapped(study, explanation, settings.interventions)
    if not swaps:
        return not_evaluable("informativeness", "its program computes none of its aligned variables")
    gains = [gain(explanation, each) for each in swaps]
    kept = _counted(study, explanation, gains)
    items = np.sum([each.bits for each in kept], axis=0)
    value, room = float(items.mean()), float(np.sum([each.room.mean() for each in kept]))
    controls = _controls(study, swaps)
    interval = weighted_mean_interval(
        _by_base(study, swaps, kept, items),
        level=settings.level,
        resamples=settings.resamples,
        seed=settings.seed,
    )
    highest = max((each.interval.high for each in controls if each.interval is not None), default=0.0)
    return measured(
        "informativeness",
        value,
        n=sum(len(each.answers) for each in swaps),
        seed=settings.seed,
        interval=interval,
        floor=max((each.value for each in controls if each.value is not None), default=0.0),
        ceiling=room,
        discriminating=bool(interval.low > max(highest, 0.0)),
        reason=""
        if value > 0
        else "no more than the trivial: after a swap the answer is as before, or the source's",
        details={
            "share_of_room": value / room if room > 0 else None,
            "by_variable": {each.name: float(each.bits.mean()) for each in gains},
            "room_by_variable": {each.name: float(each.room.mean()) for each in gains},
            "alone": _sum(kept, lambda each: each.bits[each.alone]),
            "together": _sum(kept, lambda each: each.bits[~each.alone]),
            "relied_upon": {each.name: each.weight for each in gains},
            "unanswered": {each.name: each.unanswered for each in gains if each.unanswered},
            "counted": [each.name for each in kept],
            "controls": [asdict(each) for each in controls],
        },
    )


def _swapped(study: Evaluation, explanation: Explanation, count: int) -> list[Swaps]:
    phenomenon = study.phenomenon
    return swap_all(
        explanation,
        phenomenon.model,
        study.indices,
        study.indices if phenomenon.sources is None else phenomenon.sources,
        mass=study.weights,
        count=count,
        seed=study.settings.seed,
    )


def _counted(study: Evaluation, explanation: Explanation, gains: list[Gain]) -> list[Gain]:
    model = study.phenomenon.model
    traced = model.trace(study.phenomenon.inputs[:1], model.sites)
    return counted(gains, explanation.aligned, {site: np.shape(each)[1] for site, each in traced.items()})


def _sum(gains: list[Gain], of: Callable[[Gain], np.ndarray]) -> float | None:
    found = [of(each) for each in gains]
    return float(sum(each.mean() for each in found)) if all(len(each) for each in found) else None


def _by_base(study: Evaluation, swaps: list[Swaps], kept: list[Gain], items: np.ndarray) -> np.ndarray:
    """What is drawn again for the interval: trials on a whole domain, else inputs with all their trials."""
    if study.exact:
        return items
    by_name = {each.name: each for each in swaps}
    total = np.zeros(len(study.phenomenon.inputs))
    for each in kept:
        np.add.at(total, by_name[each.name].bases, each.bits / len(each.bits))
    return total[study.indices] * len(study.indices)


def _controls(study: Evaluation, swaps: list[Swaps]) -> list[Control]:
    """Random programs at the same places, and the same program at random places."""
    settings, explanation = study.settings, study.explanation
    programs, places = [], []
    for i in range(settings.controls):
        generator = np.random.default_rng([settings.seed, i])
        gains = [gain(explanation, each, shuffle=generator) for each in swaps]
        programs.append(_total(study, explanation, gains))
        moved = permute_sites(explanation, np.random.default_rng(settings.seed + i))
        if moved is not None:
            fewer = _swapped(study, moved, max(settings.interventions // CONTROL_SHARE, 2))
            places.append(_total(study, moved, [gain(moved, each) for each in fewer]))
    return [
        _control("random programs", programs, "no controls are asked for"),
        _control("random places", places, "the model has no other place of that size"),
    ]


def _total(study: Evaluation, explanation: Explanation, gains: list[Gain]) -> float:
    return float(sum(each.bits.mean() for each in _counted(study, explanation, gains)))


def _control(name: str, values: list[float], reason: str) -> Control:
    if not values:
        return Control(name=name, reason=reason)
    interval = student_interval(values) if len(values) > 1 else None
    return Control(name=name, value=float(np.mean(values)), interval=interval, n=len(values))


def _state_distinctions(study: Evaluation) -> VirtueResult:
    phenomenon, settings = study.phenomenon, study.settings
    found = distinctions(
        study.explanation,
        phenomenon.model,
        study.indices,
        study.indices if phenomenon.sources is None else phenomenon.sources,
        mass=study.weights,
        settings=settings,
    )
    if not found:
        return not_applicable(
            "state-distinctions", "no aligned variable has finitely many values, two or more"
        )
    counts = {
        kind: sum(each.outcome == kind for each in found) for kind in (SHOWN, HELD, REFUTED, ABSENT, OPEN)
    }
    return measured(
        "state-distinctions",
        (counts[SHOWN] + counts[HELD]) / len(found),
        n=len(found),
        seed=settings.seed,
        floor=0.0,
        ceiling=1.0,
        reason=_worst(found),
        details={
            **counts,
            "grain": f"{len({each.variable for each in found})} variables, {len(found)} pairs of values",
            "interchangeable": interchangeable(found),
            "refuted_pairs": [_plain(each) for each in found if each.outcome in (REFUTED, ABSENT)][:20],
            "open_pairs": [_plain(each) for each in found if each.outcome == OPEN][:20],
            "unused_pairs": [_plain(each) for each in found if each.outcome == HELD][:20],
        },
    )


def _worst(found: list[Distinction]) -> str:
    wrong = [each for each in found if each.outcome in (ABSENT, REFUTED)]
    if not wrong:
        return ""
    first = wrong[0]
    return (
        f"{len(wrong)} of {len(found)} pairs refuted, such as {first.variable} {first.values[0]} and "
        f"{first.values[1]}: {first.why}"
    )


def _plain(each: Distinction) -> dict[str, Any]:
    return {**asdict(each), "values": list(each.values)}
