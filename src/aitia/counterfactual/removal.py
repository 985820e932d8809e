"""Removal curves: take out the rows that a ranking blames (or clears), train again, see what changes.

A ranking that is right makes the behaviour fall faster than random removal when its top goes, and not at
all when its bottom goes. All methods are compared with random removal of as many rows, seed by seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from aitia.counterfactual.retraining import RetrainingRun, RunResult
from aitia.errors import AitiaError
from aitia.statistics import Estimate, mean_estimate

TOP, BOTTOM = "top", "bottom"


@dataclass(frozen=True, kw_only=True)
class Removal:
    """Which rows go.

    Attributes:
        method: whose scores decide, or `random`.
        end: `most` or `least` influential.
        share: of the rows, from 0 to 1.
        seed: of the training, and of the draw for `random`.
    """

    method: str
    end: str
    share: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """The behaviour after a removal, over seeds.

    Attributes:
        method, end, share: as in `Removal`.
        behaviour: mean over seeds, with a 95 % interval of the mean.
        seeds: how many.
    """

    method: str
    end: str
    share: float
    behaviour: Estimate
    seeds: int


def plan_removals(
    ids: Sequence[str],
    scores: Mapping[str, np.ndarray],
    shares: Sequence[float],
    seeds: Sequence[int],
    *,
    ends: Sequence[str] = (TOP, BOTTOM),
) -> dict[Removal, RetrainingRun]:
    """The training runs of removal curves: every method, end, share and seed, and random removal beside.

    Share 0 (all rows) and 1 (none) are each made once a seed, for all methods, under the name `all`.

    Args:
        ids: [n] of the rows.
        scores: method -> [n]; the higher, the more influential.
        shares: of the rows to remove, between 0 and 1.
        seeds: of the training.
        ends: which ends to remove.

    Returns:
        What is removed -> the training run on the rows that are left.

    Raises:
        AitiaError: a share out of range, scores of another length or not finite, or a method called `random`.
    """
    for method, values in scores.items():
        if method in ("random", "all"):
            raise AitiaError(f"a method cannot be called {method!r}: that name is taken")
        if len(values) != len(ids) or not np.isfinite(values).all():
            raise AitiaError(
                f"{method}: {len(values)} scores for {len(ids)} rows, or some that are not finite"
            )
    if any(not 0 < share < 1 for share in shares):
        raise AitiaError(f"shares {list(shares)}: each must lie between 0 and 1")
    names = np.asarray(ids)
    found: dict[Removal, RetrainingRun] = {}
    for seed in seeds:
        found[Removal(method="all", end=TOP, share=0.0, seed=seed)] = RetrainingRun(
            kept=tuple(ids), seed=seed
        )
        found[Removal(method="all", end=TOP, share=1.0, seed=seed)] = RetrainingRun(kept=(), seed=0)
        shuffled = np.random.default_rng(seed).permutation(len(ids))
        orders = {("random", TOP): shuffled}
        for method, values in scores.items():
            falling = np.argsort(-values, kind="stable")
            orders |= {(method, end): falling if end == TOP else falling[::-1] for end in ends}
        for (method, end), order in orders.items():
            for share in shares:
                kept = np.sort(order[round(share * len(ids)) :])
                cell = RetrainingRun(kept=tuple(names[kept].tolist()), seed=seed)
                found[Removal(method=method, end=end, share=share, seed=seed)] = cell
    return found


def removal_curves(
    removals: Sequence[Removal], results: Sequence[RunResult], behaviour: str
) -> list[CurvePoint]:
    """The behaviour for each method, end and share, with its interval over seeds.

    Args:
        removals: as planned.
        results: one each, in their order.
        behaviour: which.

    Returns:
        One point for each method, end and share.
    """
    found: dict[tuple[str, str, float], list[float]] = {}
    for removal, result in zip(removals, results, strict=True):
        found.setdefault((removal.method, removal.end, removal.share), []).append(result.mean(behaviour))
    return [
        CurvePoint(method=method, end=end, share=share, behaviour=mean_estimate(values), seeds=len(values))
        for (method, end, share), values in found.items()
    ]


def against_random(
    removals: Sequence[Removal],
    results: Sequence[RunResult],
    behaviour: str,
    method: str,
    share: float,
    *,
    end: str = TOP,
) -> Estimate:
    """Behaviour after the method's removal less that after random removal of as many rows, paired by seed.

    Below zero, interval and all, for `top`: the method finds rows that cause the behaviour.

    Returns:
        The difference, in the unit of the behaviour, with its 95 % interval over seeds.

    Raises:
        AitiaError: no such removal was planned.
    """
    values = _by_seed(removals, results, behaviour, method, end, share)
    random = _by_seed(removals, results, behaviour, "random", TOP, share)
    return mean_estimate([values[seed] - random[seed] for seed in values])


def recovered_fraction(
    removals: Sequence[Removal],
    results: Sequence[RunResult],
    behaviour: str,
    method: str,
    share: float,
    *,
    oracle: str | None = None,
    end: str = TOP,
) -> Estimate:
    """The share of the behaviour's shift that a removal undoes: 0 as with all rows, 1 as if there were no shift.

    The shift is what training on all rows adds to training on those that the oracle, which knows the plant,
    leaves after removing as many; without an oracle, to the untouched model. Both ends of the scale are averaged
    over seeds, the removal is not.

    Returns:
        The share, with its 95 % interval over seeds.

    Raises:
        AitiaError: no such removal was planned, or there is no shift to undo.
    """
    values = _by_seed(removals, results, behaviour, method, end, share)
    full = float(np.mean(list(_by_seed(removals, results, behaviour, "all", TOP, 0.0).values())))
    without = ("all", TOP, 1.0) if oracle is None else (oracle, TOP, share)
    clean = float(np.mean(list(_by_seed(removals, results, behaviour, *without).values())))
    if not full - clean > 0:
        raise AitiaError(
            f"{behaviour}: training on all rows does not raise it above that, so nothing can be recovered"
        )
    return mean_estimate([(full - value) / (full - clean) for value in values.values()])


def shift(removals: Sequence[Removal], results: Sequence[RunResult], behaviour: str) -> Estimate:
    """What training on all rows adds to the untouched model, over seeds."""
    full = _by_seed(removals, results, behaviour, "all", TOP, 0.0)
    untouched = _by_seed(removals, results, behaviour, "all", TOP, 1.0)
    return mean_estimate([full[seed] - untouched[seed] for seed in full])


def _by_seed(
    removals: Sequence[Removal],
    results: Sequence[RunResult],
    behaviour: str,
    method: str,
    end: str,
    share: float,
) -> dict[int, float]:
    found = {
        removal.seed: result.mean(behaviour)
        for removal, result in zip(removals, results, strict=True)
        if (removal.method, removal.end, removal.share) == (method, end, share)
    }
    if not found:
        raise AitiaError(f"no removal of the {end} {share:g} by {method} was planned")
    return found
