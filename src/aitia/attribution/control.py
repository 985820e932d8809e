"""Control: which training rows to take out, or to weigh differently, so that one behaviour falls and others stay.

A score by replay is the derivative of a measurement after training with respect to the weight of a row's loss. To
first order, weights w in the place of 1 change a measurement by D (w - 1), where D [measurements, n] are its
derivatives. So the question is a linear programme (ours):

    minimise    sum over lowered measurements a of  D_a (w - 1) / s_a
    subject to  D_b (w - 1) >= -tolerance * s_b     for each kept measurement b
                sum over rows of (1 - w)+  <=  share * n
                0 <= w <= highest_weight            (w in {0, 1} where whole rows are taken out)

where s is the sum of a measurement's absolute derivatives, which makes units irrelevant. The solution is as good as
the linearisation: training again on the chosen rows says what it is worth. A large share is better taken in several
rounds (sequential linear programming). Each takes the derivatives D' of a run with the weights w' that the round before
chose, foretells the change from weights of one by c' + D' (w - w'), where c' is the change that was measured there, and
moves the weights no further than the sum over rows of |w - w'| <= reach * n.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, cast

import numpy as np

from aitia.errors import AitiaError, NumericalError
from aitia.settings import Above, AtLeast, AtMost, Count, check

_SECONDS = 60.0
_GAP = 1e-4  # of the optimum; far below what the linearisation is worth


@dataclass(frozen=True, kw_only=True)
class ControlSettings:
    """Settings for choosing rows by several measurements.

    Attributes:
        share: largest share of the rows' weight that may be taken out.
        tolerance: largest fall of a kept measurement, as a share of the sum of its absolute derivatives.
        use_weights: weigh rows down by any share, instead of taking them out whole.
        highest_weight: largest weight of a row. Above 1, rows that help are weighed up, by as much in all as may be
            taken out, and rows get weights.
    """

    share: Annotated[float, Above(0), AtMost(1)] = 0.2
    tolerance: Annotated[float, AtLeast(0), AtMost(1)] = 0.0
    use_weights: bool = False
    highest_weight: Annotated[float, AtLeast(1)] = 1.0

    def __post_init__(self) -> None:
        check(self, "control")

    @property
    def whole_rows(self) -> bool:
        """Whether rows stay or go whole."""
        return not self.use_weights and self.highest_weight == 1


@dataclass(frozen=True, kw_only=True)
class RoundSettings:
    """Settings for taking the derivatives of a recorded run, once or in several rounds.

    Attributes:
        rounds: times that rows are chosen. Each further round trains with the weights of the one before, takes
            derivatives there, and chooses again, with an equal part of the share more.
        surrogates: smooth runs whose derivatives are averaged, where the recorded run is not smooth itself.
    """

    rounds: Count = 1
    surrogates: Count = 2

    def __post_init__(self) -> None:
        check(self, "control")


@dataclass(frozen=True, kw_only=True)
class FrontSettings:
    """Settings for the trade-off between several measurements.

    Attributes:
        shares: largest shares of the rows' weight that may be taken out, one line of the picture each.
        points: tolerances to try for each share.
        verify: train again at each point, and measure.
        seeds: trainings at each point, with as many seeds.
    """

    shares: Annotated[tuple[float, ...], Above(0), AtMost(1)] = (0.1, 0.2, 0.3)
    points: Annotated[int, AtLeast(2)] = 3
    verify: bool = False
    seeds: Count = 1

    def __post_init__(self) -> None:
        check(self, "front")
        if not self.shares:
            raise AitiaError("front: give at least one share")


@dataclass(frozen=True, kw_only=True)
class Expansion:
    """Where derivatives were taken, if not at weights of one each, and what was measured there.

    Attributes:
        weights: [n] of the training that was replayed.
        lowered: [a] change of each measurement that is to fall, from weights of one to these.
        kept: [b] likewise of those that are to stay.
        lower_scale: [a] what makes a change a share; default: the sum of the absolute derivatives given. To be compared
            between rounds, shares are of the derivatives at weights of one.
        keep_scale: [b] likewise.
        reach: the most that the weights may move from here together, as a share of the rows; none for no limit. Far
            from here the derivatives foretell nothing.
    """

    weights: np.ndarray
    lowered: np.ndarray
    kept: np.ndarray
    lower_scale: np.ndarray | None = None
    keep_scale: np.ndarray | None = None
    reach: float | None = None


@dataclass(frozen=True, kw_only=True)
class WeightChoice:
    """Weights of the training rows, and what they do to each measurement to first order.

    Attributes:
        weights: [n], 1 for a row that stays as it is, 0 for one that goes.
        lowered: [a] predicted change of each measurement that is to fall.
        kept: [b] predicted change of each measurement that is to stay.
        lowered_share: [a] the same, in shares of the sum of the measurement's absolute derivatives.
        kept_share: [b] likewise.
        tolerance: what the kept ones were allowed to fall, in such shares.
    """

    weights: np.ndarray
    lowered: np.ndarray
    kept: np.ndarray
    lowered_share: np.ndarray
    kept_share: np.ndarray
    tolerance: float

    @property
    def removed_share(self) -> float:
        """Share of the rows' weight that is taken out."""
        return float(np.clip(1 - self.weights, 0, None).mean())

    @property
    def removed(self) -> np.ndarray:
        """[r] positions of the rows that go whole."""
        return np.flatnonzero(self.weights == 0)


def choose_weights(
    lower: np.ndarray,
    keep: np.ndarray | None = None,
    settings: ControlSettings | None = None,
    *,
    about: Expansion | None = None,
) -> WeightChoice:
    """Weights of the training rows that lower some measurements most and keep others.

    Args:
        lower: [a, n] or [n] derivatives of the measurements that are to fall, by row.
        keep: [b, n] or [n] derivatives of those that are to stay; none for none.
        settings: how much may be taken out, and how much the kept ones may fall.
        about: where the derivatives were taken; default: at weights of one each.

    Returns:
        The best weights: of a linear programme (HiGHS), or of an integer one where whole rows are taken out.

    Raises:
        AitiaError: the derivatives are of different numbers of rows, or the share takes out less than one row.
        NumericalError: a derivative is not finite, or the solver found no answer.
    """
    settings = settings or ControlSettings()
    lower, keep = _matrix(lower, "lower"), _matrix(keep, "keep") if keep is not None else None
    rows = lower.shape[1]
    if keep is None:
        keep = np.zeros((0, rows))
    if keep.shape[1] != rows:
        raise AitiaError(
            f"control: derivatives of {rows} rows to lower and of {keep.shape[1]} rows to keep; score the same rows"
        )
    if settings.whole_rows and round(settings.share * rows, 6) < 1:
        raise AitiaError(f"control: share {settings.share:g} of {rows} rows is less than one row; give more")
    low, high = absolute_sums(lower)[:, None], absolute_sums(keep)[:, None]
    if about is not None and about.lower_scale is not None and about.keep_scale is not None:
        low, high = about.lower_scale[:, None], about.keep_scale[:, None]
    # What the linearisation foretells at weights of one: nothing where the derivatives were taken there.
    off_low, off_high = np.zeros(len(lower)), np.zeros(len(keep))
    if about is not None:
        off_low = about.lowered + lower @ (1 - about.weights)
        off_high = about.kept + keep @ (1 - about.weights)
    falls = settings.tolerance + off_high / high[:, 0]
    down, up = _solve((lower / low).sum(0), keep / high, falls, settings, about)
    weights = 1 - down + up
    lowered, kept = off_low + lower @ (weights - 1), off_high + keep @ (weights - 1)
    return WeightChoice(
        weights=weights,
        lowered=lowered,
        kept=kept,
        lowered_share=lowered / low[:, 0],
        kept_share=kept / high[:, 0],
        tolerance=settings.tolerance,
    )


def pareto_front(
    lower: np.ndarray,
    keep: np.ndarray,
    settings: ControlSettings | None = None,
    *,
    points: int = 6,
    about: Expansion | None = None,
) -> list[WeightChoice]:
    """Choices from the most careful to the most effective: each lowers more, and lets the kept measurements fall more.

    Args:
        lower: [a, n] or [n] derivatives of the measurements that are to fall.
        keep: [b, n] or [n] derivatives of those that are to stay.
        settings: of the most careful choice; its tolerance is where the front begins.
        points: how many tolerances to try, at least two.
        about: where the derivatives were taken; default: at weights of one each. Tolerances that no weights keep, by
            what was measured there, are left out.

    Returns:
        At most so many choices; ones that no other choice beats in both respects.

    Raises:
        AitiaError: fewer than two points, or see `choose_weights`.
        NumericalError: a derivative is not finite.
    """
    if points < 2:
        raise AitiaError(f"control: a front has at least two points, not {points}")
    settings = settings or ControlSettings()
    # With a tolerance of all, nothing is kept: so far the kept ones fall at most.
    free = choose_weights(lower, keep, replace(settings, tolerance=1.0), about=about)
    most = min(1.0, max(float(-free.kept_share.min()), settings.tolerance))
    found = []
    for each in np.linspace(settings.tolerance, most, points):
        try:
            found.append(choose_weights(lower, keep, replace(settings, tolerance=float(each)), about=about))
        except NumericalError:
            if (
                about is None
            ):  # by derivatives at weights of one, to leave all rows as they are keeps everything
                raise
    return _undominated(found or [free])


def _undominated(choices: Sequence[WeightChoice]) -> list[WeightChoice]:
    front: list[WeightChoice] = []
    for choice in choices:  # by rising tolerance: a later one is worth its place only if it lowers more
        if not front or choice.lowered_share.sum() < front[-1].lowered_share.sum() - 1e-9:
            front.append(choice)
    return front


def _solve(
    objective: np.ndarray,
    keep: np.ndarray,
    falls: np.ndarray,
    settings: ControlSettings,
    about: Expansion | None,
) -> tuple[np.ndarray, np.ndarray]:
    """How much each row is weighed down, [n] in 0 to 1, and up, [n] in 0 to highest_weight - 1; `falls` is [b]."""
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import block_array, csr_array, eye_array

    rows, room = len(objective), settings.share * len(objective)
    if settings.whole_rows:
        room = float(np.floor(room + 1e-9))
    # Columns: what is taken out of each row, what is added where rows may be weighed up, and how far a row moves from
    # where the derivatives were taken, where that is limited.
    raised, limited = settings.highest_weight > 1, about is not None and about.reach is not None
    signs, bounds = [-1.0], [1.0]
    if raised:
        signs, bounds = [-1.0, 1.0], [1.0, settings.highest_weight - 1]
    free = csr_array((len(keep), rows))
    limits: list[Any] = [[*(sign * csr_array(keep) for sign in signs), *([free] if limited else [])]]
    lows, highs = [-falls], [np.full(len(keep), np.inf)]
    one, none = csr_array(np.ones((1, rows))), csr_array((1, rows))
    for block in range(len(signs)):
        limits.append([one if each == block else none for each in range(len(signs) + limited)])
        lows.append(np.array([-np.inf]))
        highs.append(np.array([room]))
    if about is not None and about.reach is not None:
        each, gap = eye_array(rows), 1 - about.weights
        for side in (1.0, -1.0):  # moved >= side * (w - w'), of w = 1 - down + up
            limits.append([*(-side * sign * each for sign in signs), each])
            lows.append(side * gap)
            highs.append(np.full(rows, np.inf))
        limits.append([*([none] * len(signs)), one])
        lows.append(np.array([0.0]))
        highs.append(np.array([about.reach * rows + 1e-9]))
    # SciPy's types know single numbers alone here; arrays are documented.
    upper: Any = np.repeat([*bounds, *([np.inf] if limited else [])], rows)
    least, most = cast(Any, np.concatenate(lows)), cast(Any, np.concatenate(highs))
    whole = [int(settings.whole_rows)] * len(signs) + [0] * limited
    result = milp(
        np.concatenate([*(sign * objective for sign in signs), *([np.zeros(rows)] if limited else [])]),
        constraints=LinearConstraint(block_array(limits, format="csr"), least, most),
        bounds=Bounds(0, upper),
        integrality=np.repeat(whole, rows),
        options={"time_limit": _SECONDS, "mip_rel_gap": _GAP},
    )
    if result.x is None:
        raise NumericalError(f"control: the solver found no weights ({result.message})")
    x = np.clip(result.x, 0, upper)
    if settings.whole_rows:
        x = x.round()
    return x[:rows], x[rows : 2 * rows] if raised else np.zeros(rows)


def absolute_sums(derivatives: np.ndarray) -> np.ndarray:
    """[m] sum of a measurement's absolute derivatives, which a share of 1 stands for; 1 for one that no row moves."""
    total = np.abs(derivatives).sum(1)
    return np.where(total > 0, total, 1.0)


def _matrix(derivatives: np.ndarray, name: str) -> np.ndarray:
    found = np.atleast_2d(np.asarray(derivatives, dtype=np.float64))
    if found.ndim != 2 or not found.size:
        raise AitiaError(f"control: {name}: derivatives are [measurements, rows], not {found.shape}")
    wrong = np.argwhere(~np.isfinite(found))
    if len(wrong):
        at = ", ".join(str(int(row)) for row in sorted(set(wrong[:, 1]))[:5])
        raise NumericalError(
            f"control: {name}: the derivative is not finite for row {at}; score the rows again"
        )
    return found
