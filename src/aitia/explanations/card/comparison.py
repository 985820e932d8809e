"""Baselines: who is better at what, who dominates whom, and what weights would make of it.

There is no total. One baseline dominates another where it is better in at least one group of virtues and worse in none,
and a difference counts only where its interval excludes zero. What claims something of the inside and does not pass
the gate takes no part: it cannot win by being short. Weights are the user's; with them comes how much
of the space of all weights each baseline would win.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from aitia.errors import ExplanationError
from aitia.explanations.core.catalogue import DOWN, NONE, VIRTUES, ZERO
from aitia.explanations.core.result import Status, VirtueResult
from aitia.explanations.core.settings import Settings
from aitia.statistics import weighted_mean_interval

_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One virtue of two baselines.

    Attributes:
        name: the virtue.
        low: of the interval of first minus second, turned so that more is better.
        high: its other end.
        better: 1 where the first is better, -1 where the second is, 0 where the interval holds zero.
    """

    name: str
    low: float
    high: float
    better: int


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two baselines on one phenomenon.

    Attributes:
        first: name of the first.
        second: name of the second.
        differences: virtue by virtue, where both have a value that can be compared.
        dominates: the name of the one that dominates, or None.
        barred: names of those that take no part in dominance, since they do not pass the gate.
    """

    first: str
    second: str
    differences: tuple[Difference, ...]
    dominates: str | None
    barred: tuple[str, ...] = ()

    def groups(self, better: int) -> list[str]:
        """The groups of virtues in which the first (1) or the second (-1) is better."""
        return sorted({VIRTUES[each.name].group for each in self.differences if each.better == better})


def compare(
    names: tuple[str, str],
    first: Mapping[str, VirtueResult],
    second: Mapping[str, VirtueResult],
    mass: np.ndarray | None,
    settings: Settings,
    barred: Sequence[str] = (),
) -> Comparison:
    """Two baselines, virtue by virtue.

    Args:
        names: of the baselines.
        first: results of the first, by virtue.
        second: results of the second.
        mass: [n] how much each test input counts.
        settings: level and seed of the paired bootstrap.
        barred: names of those that take no part in dominance.

    Returns:
        The differences, one a virtue, and which of the two dominates, if one does.
    """
    found = []
    for name in first:
        if name in second and (difference := _difference(first[name], second[name], mass, settings)):
            found.append(difference)
    signs = {each.better for each in found}
    winner = names[0] if signs - {0} == {1} else names[1] if signs - {0} == {-1} else None
    return Comparison(
        first=names[0],
        second=names[1],
        differences=tuple(found),
        dominates=None if barred else winner,
        barred=tuple(barred),
    )


def _difference(
    first: VirtueResult, second: VirtueResult, mass: np.ndarray | None, settings: Settings
) -> Difference | None:
    """First minus second; paired over the test inputs where both have their items, else from both intervals."""
    direction = first.virtue.direction
    unusable = (Status.NOT_APPLICABLE, Status.NOT_EVALUABLE, Status.DECLARED)
    if direction == NONE or first.status in unusable or second.status in unusable:
        return None
    ends = [_ends(first), _ends(second)]
    exact = all(each.status == Status.MEASURED for each in (first, second))
    items = (first.items, second.items)
    paired = items[0] is not None and items[1] is not None and len(items[0]) == len(items[1])
    if paired and not exact and direction != ZERO and first.name != "probing-agreement":
        assert items[0] is not None
        assert items[1] is not None
        weights = mass if mass is not None and len(mass) == len(items[0]) else None
        interval = weighted_mean_interval(
            items[0] - items[1],
            weights,
            level=settings.level,
            resamples=settings.resamples,
            seed=settings.seed,
        )
        low, high = interval.low, interval.high
    else:
        low, high = ends[0][0] - ends[1][1], ends[0][1] - ends[1][0]
    if direction in (DOWN, ZERO):
        low, high = -high, -low
    better = 1 if low > _ROUNDING else -1 if high < -_ROUNDING else 0
    return Difference(name=first.name, low=float(low), high=float(high), better=better)


def _ends(result: VirtueResult) -> tuple[float, float]:
    """The interval's ends; for a virtue whose best is 0, those of the distance from it."""
    assert result.value is not None
    interval = result.interval
    low, high = (result.value, result.value) if interval is None else (interval.low, interval.high)
    if result.virtue.direction != ZERO:
        return low, high
    return (0.0 if low <= 0 <= high else min(abs(low), abs(high))), max(abs(low), abs(high))


@dataclass(frozen=True, kw_only=True)
class Weighing:
    """What weights make of baselines.

    Attributes:
        virtues: those that were weighed: every baseline has a value of them.
        totals: baseline -> weighted mean of its standing, virtue by virtue, from 0 (the worst) to 1 (the best).
        wins: baseline -> share of all weights, drawn evenly, under which it would win; ties are split.
        draws: weights drawn.
        seed: of the draws.
    """

    virtues: tuple[str, ...]
    totals: Mapping[str, float]
    wins: Mapping[str, float]
    draws: int
    seed: int


def weigh(
    results: Mapping[str, Mapping[str, VirtueResult]],
    weights: Mapping[str, float],
    *,
    draws: int = 10_000,
    seed: int = 0,
) -> Weighing:
    """Add up baselines by the user's weights, and say how much hangs on them.

    Args:
        results: baseline -> its results by virtue.
        weights: virtue -> weight, not negative.
        draws: of weights, even over all that sum to one.
        seed: of the draws.

    Returns:
        Totals, and the share of random weightings that each baseline wins.

    Raises:
        ExplanationError: an unknown virtue, one without a direction, or one that a baseline has no value of.
    """
    for name, weight in weights.items():
        if name not in VIRTUES or VIRTUES[name].direction == NONE:
            raise ExplanationError(f"{name!r} cannot be weighed: it is no virtue, or has no better end")
        if not (np.isfinite(weight) and weight >= 0):
            raise ExplanationError(f"the weight of {name} is {weight}; it must not be negative")
        if missing := [
            baseline for baseline, each in results.items() if name not in each or each[name].value is None
        ]:
            raise ExplanationError(f"{name} cannot be weighed: {', '.join(missing)} has no value of it")
    if sum(weights.values()) <= 0:
        raise ExplanationError("give at least one weight above 0")
    standings = np.stack([_standing(results, name) for name in weights], axis=1)
    given = np.array(list(weights.values())) / sum(weights.values())
    drawn = np.random.default_rng(seed).dirichlet(np.ones(len(weights)), size=draws)
    totals = drawn @ standings.T
    best = totals >= totals.max(axis=1, keepdims=True) - 1e-12
    wins = (best / best.sum(axis=1, keepdims=True)).mean(axis=0)
    return Weighing(
        virtues=tuple(weights),
        totals=dict(zip(results, (standings @ given).tolist(), strict=True)),
        wins=dict(zip(results, wins.tolist(), strict=True)),
        draws=draws,
        seed=seed,
    )


def _standing(results: Mapping[str, Mapping[str, VirtueResult]], name: str) -> np.ndarray:
    direction = VIRTUES[name].direction
    values = np.array([each[name].value for each in results.values()], dtype=float)
    values = -np.abs(values) if direction == ZERO else -values if direction == DOWN else values
    span = np.ptp(values)
    return (values - values.min()) / span if span > 0 else np.full(len(values), 0.5)
