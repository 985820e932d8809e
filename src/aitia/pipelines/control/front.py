"""The trade-off between what is to fall and what is to stay: predicted at several shares, and verified by training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from aitia.attribution import ControlSettings, FrontSettings, WeightChoice, choose_weights, pareto_front
from aitia.counterfactual import Behaviour, RetrainingRun, RunResult, retrain
from aitia.errors import AitiaError
from aitia.files import digest
from aitia.pipelines.control.measurements import Asked, Linearised, Question
from aitia.training import CONTROL


@dataclass(frozen=True, kw_only=True)
class FrontPoint:
    """One choice of weights on the front.

    Attributes:
        share: the most of the rows' weight that it might take out.
        choice: the weights and what they are predicted to do.
        lowered: [seeds, a] measured change of what is to fall, against training on all rows with the same seed; empty
            where nothing was trained.
        kept: [seeds, b] of what is to stay.
    """

    share: float
    choice: WeightChoice
    lowered: np.ndarray
    kept: np.ndarray


@dataclass(frozen=True, kw_only=True)
class RandomPoint:
    """What training without random rows does, at one share: [seeds, a] and [seeds, b]."""

    share: float
    rows: int
    lowered: np.ndarray
    kept: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Front:
    """The trade-off.

    Attributes:
        lower: names of what is to fall.
        keep: names of what is to stay.
        lower_scale: [a] sum of absolute derivatives, by which a change becomes a share.
        keep_scale: [b] likewise.
        points: share by share, from the most careful to the most effective.
        random: random rows at each share, for comparison; empty where nothing was trained, or rows get weights.
    """

    lower: tuple[str, ...]
    keep: tuple[str, ...]
    lower_scale: np.ndarray
    keep_scale: np.ndarray
    points: tuple[FrontPoint, ...]
    random: tuple[RandomPoint, ...] = ()

    @property
    def verified(self) -> bool:
        """Whether each point was trained."""
        return len(self.points[0].lowered) > 0

    def as_json(self) -> dict[str, Any]:
        """Everything but the weights, in plain data."""

        def named(names: Sequence[str], values: np.ndarray) -> dict[str, Any]:
            return dict(zip(names, values.T.tolist(), strict=True))

        def measured(point: FrontPoint | RandomPoint) -> dict[str, Any]:
            return named(self.lower, point.lowered) | named(self.keep, point.kept)

        return {
            "lower": list(self.lower),
            "keep": list(self.keep),
            "sum_of_absolute_derivatives": named(self.lower, self.lower_scale)
            | named(self.keep, self.keep_scale),
            "points": [
                {
                    "share": each.share,
                    "tolerance": each.choice.tolerance,
                    "removed_share": each.choice.removed_share,
                    "rows_removed": len(each.choice.removed),
                    "predicted": named(self.lower, each.choice.lowered) | named(self.keep, each.choice.kept),
                    "measured_by_seed": measured(each) if self.verified else None,
                }
                for each in self.points
            ],
            "random_rows": [
                {"share": each.share, "rows_removed": each.rows, "measured_by_seed": measured(each)}
                for each in self.random
            ],
        }


def predicted_front(
    question: Question, linearised: Linearised, control: ControlSettings, settings: FrontSettings
) -> Front:
    """What the derivatives foretell at each share, for tolerances from the given one on.

    Returns:
        The front, not verified.

    Raises:
        AitiaError: a share is less than one row.
        NumericalError: a derivative is not finite.
    """
    nothing = np.zeros((0, len(question.lower))), np.zeros((0, len(question.keep)))
    points = []
    for share in sorted(set(settings.shares)):
        part = replace(control, share=share)
        if linearised.keep is None:
            found = [choose_weights(linearised.lower, None, part, about=linearised.anywhere())]
        else:
            found = pareto_front(
                linearised.lower, linearised.keep, part, points=settings.points, about=linearised.anywhere()
            )
        points += [
            FrontPoint(share=share, choice=each, lowered=nothing[0], kept=nothing[1]) for each in found
        ]
    return Front(
        lower=tuple(each.name for each in question.lower),
        keep=tuple(each.name for each in question.keep),
        lower_scale=linearised.scales()[0],
        keep_scale=linearised.scales()[1],
        points=tuple(points),
    )


def verified_front(
    front: Front, question: Question, control: ControlSettings, settings: FrontSettings
) -> Front:
    """Train at each point as the run was trained, and measure what was asked.

    Whole rows are left out of the training, weights are multiplied into the loss, as the written file says. Each
    training is a file in the run's folder; stopped and called again, this goes on.

    Args:
        front: as predicted.
        question: what is to fall and to stay, and the recorded run.
        control: how rows go.
        settings: how many seeds.

    Returns:
        The front, with what was measured, and random rows at each share beside it.

    Raises:
        AitiaError: there is no run, or a ranking is asked about, which no model can be measured by.
    """
    run = question.run
    if run is None:
        raise AitiaError("front: each point is trained as a recorded run was; give its folder as `run`")
    behaviours = {each.name: _nameless(each) for each in question.asked}
    ids, first = np.array(run.data.ids, dtype=object), run.run.settings.seed
    seeds = range(first, first + settings.seeds)

    def cells(weights: np.ndarray) -> list[RetrainingRun]:
        if control.whole_rows:
            return [RetrainingRun(kept=tuple(ids[weights > 0].tolist()), seed=seed) for seed in seeds]
        loss_weights = tuple(weights.tolist())
        return [RetrainingRun(kept=tuple(ids.tolist()), seed=seed, weights=loss_weights) for seed in seeds]

    ones, random_weights = np.ones(len(ids)), {}
    wanted = [cells(each.choice.weights) for each in front.points]
    if control.whole_rows:
        for share in sorted(set(settings.shares)):
            count = max(len(each.choice.removed) for each in front.points if each.share == share)
            random_weights[share] = ones.copy()
            random_weights[share][np.random.default_rng(first).permutation(len(ids))[:count]] = 0
    everything = [RetrainingRun(kept=tuple(ids.tolist()), seed=seed) for seed in seeds]
    at_random = {share: cells(weights) for share, weights in random_weights.items()}
    listed = [
        *everything,
        *(cell for part in (*wanted, *at_random.values()) for cell in part),
    ]
    results = retrain(
        run.fresh,
        run.data,
        listed,
        list({each.name: each for each in behaviours.values()}.values()),
        run.run.settings,
        run.run.path / CONTROL / "retrained",
        loss=run.run.loss,
    )
    by_cell = dict(zip(listed, results, strict=True))

    def change(part: Sequence[RetrainingRun], asked: Sequence[Asked]) -> np.ndarray:
        return np.array(
            [
                [_mean(by_cell[cell], full, behaviours[each.name]) for each in asked]
                for cell, full in zip(part, (by_cell[each] for each in everything), strict=True)
            ]
        ).reshape(len(part), len(asked))

    points = tuple(
        replace(each, lowered=change(part, question.lower), kept=change(part, question.keep))
        for each, part in zip(front.points, wanted, strict=True)
    )
    random = tuple(
        RandomPoint(
            share=share,
            rows=int((random_weights[share] == 0).sum()),
            lowered=change(part, question.lower),
            kept=change(part, question.keep),
        )
        for share, part in at_random.items()
    )
    return replace(front, points=points, random=random)


def _mean(result: RunResult, full: RunResult, behaviour: Behaviour) -> float:
    return result.mean(behaviour.name) - full.mean(behaviour.name)


def _nameless(asked: Asked) -> Any:
    """The behaviour under a name that does not depend on where its file was called from."""
    if asked.behaviour is None:
        raise AitiaError(
            f"{asked.name}: a ranking cannot be measured on a model that was trained again; give the concept or the "
            "texts that it is about, with `run`"
        )
    behaviour: Any = asked.behaviour
    return replace(behaviour, name=digest(asked.behaviour.identity())[:16])
