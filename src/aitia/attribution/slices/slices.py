"""Slice influence: which *kinds* of rows raise a concept, a kind being the rows on which a feature fires.

Kowal et al. 2026 slice training data by the features of a sparse autoencoder and aggregate each row's influence
over the slice; how they aggregate is not said, and no test is. Here a slice has its sum (what removing it would
take away, to first order), its mean, and p-values (see `aitia.attribution.slices.slice_statistics`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from aitia.attribution.scanning.null_directions import MATCHED, NullKind
from aitia.attribution.slices.slice_statistics import (
    adjusted,
    control_p_values,
    permutation_p_values,
    z_scores,
)
from aitia.errors import AitiaError, NumericalError
from aitia.settings import Above, AtLeast, AtMost, Below, Count, Seed, check

if TYPE_CHECKING:
    from aitia.concepts import FeatureMatrix

SMALLEST_CONTROLS = 8
"""Control directions that a test of slices needs at least."""


@dataclass(frozen=True, kw_only=True)
class SliceSettings:
    """Settings for making slices and testing them.

    Attributes:
        threshold: a row belongs to a feature's slice if the feature's pooled value exceeds this.
        smallest: slices of fewer rows are not tested; a slice has at least 2.
        largest: slices of a larger share of the rows are not tested, since too few rows are left to compare with.
        permutations: permutations of the scores.
        false_discovery_rate: slices whose adjusted p-value is at most this count as found.
        control: draw of the null directions: matched to the covariance of the rows, or isotropic.
        seed: seed of the permutations, and of the control directions that a job draws.
    """

    threshold: Annotated[float, AtLeast(0)] = 0.1
    smallest: Annotated[int, AtLeast(2)] = 5
    largest: Annotated[float, Above(0), AtMost(1)] = 0.9
    permutations: Count = 10_000
    false_discovery_rate: Annotated[float, Above(0), Below(1)] = 0.05
    control: NullKind = MATCHED
    seed: Seed = 0

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True, eq=False)
class Slice:
    """The rows on which a feature fires, and their influence together.

    Attributes:
        feature: its number.
        members: positions of the rows, in data order.
        total: sum of the members' scores.
        mean: their mean.
        z: the sum in standard deviations from that of as many rows drawn at random.
        inflation_factor: root mean square of the slice's z under null directions, at least 1; 1 without any.
        p_rows: two-sided, against as many rows drawn at random.
        p_controls: two-sided, against null directions; none without controls.
        p_adjusted: the larger of the two, adjusted over all tested slices.
        not_testable: why there are no p-values; none where there are.
    """

    feature: int
    members: np.ndarray
    total: float
    mean: float
    z: float | None = None
    inflation_factor: float | None = None
    p_rows: float | None = None
    p_controls: float | None = None
    p_adjusted: float | None = None
    not_testable: str | None = None

    @property
    def size(self) -> int:
        """The number of its rows."""
        return len(self.members)

    @property
    def calibrated_z(self) -> float:
        """Calibrated z: z divided by its inflation factor. Slices are ranked by it; 0 where a slice was not tested."""
        return 0.0 if self.z is None or self.inflation_factor is None else self.z / self.inflation_factor


@dataclass(frozen=True, kw_only=True, eq=False)
class SliceInfluence:
    """Every slice, tested or not.

    Attributes:
        tested: the strongest raising slice first, the strongest lowering one last.
        untested: the others, each with its reason, in the order of their features.
        rows: the number n of rows.
        ids: [n] of the rows.
        settings: how it was done.
        controls: how many null directions were used.
        pooling: of the features.
    """

    tested: tuple[Slice, ...]
    untested: tuple[Slice, ...]
    rows: int
    ids: tuple[str, ...]
    settings: SliceSettings
    controls: int
    pooling: str = ""

    @property
    def found(self) -> tuple[Slice, ...]:
        """The slices whose adjusted p-value holds the false-discovery rate, in the order of `tested`."""
        limit = self.settings.false_discovery_rate
        return tuple(
            slice_ for slice_ in self.tested if slice_.p_adjusted is not None and slice_.p_adjusted <= limit
        )

    def of_feature(self, feature: int) -> Slice:
        """The slice of a feature.

        Returns:
            The tested slice of that feature.

        Raises:
            AitiaError: there is no such feature.
        """
        for slice_ in (*self.tested, *self.untested):
            if slice_.feature == feature:
                return slice_
        raise AitiaError(f"no feature {feature}; there are {len(self.tested) + len(self.untested)}")

    def member_ids(self, slice_: Slice) -> list[str]:
        """The ids of a slice's rows."""
        return [self.ids[int(i)] for i in slice_.members]


def slice_influence(
    matrix: FeatureMatrix,
    scores: np.ndarray,
    settings: SliceSettings | None = None,
    *,
    control_scores: np.ndarray | None = None,
    strata: Sequence[Any] | np.ndarray | None = None,
) -> SliceInfluence:
    """Aggregate scores over the rows on which each feature fires, and test each slice.

    Args:
        matrix: n rows by m features.
        scores: [n] of the same rows; positive raises the concept.
        settings: how.
        control_scores: [c, n] of the same method under null directions, c at least 8; without
            them a slice may stand out for its content alone.
        strata: [n] names of kinds of rows within which scores are compared, such as the source.

    Returns:
        Every slice that can be tested, with its sum, mean, z-score and p-values.

    Raises:
        AitiaError: arrays that do not fit together, or fewer than 8 controls.
        NumericalError: a score is not finite; its row is named.
    """
    settings = settings or SliceSettings()
    rows = len(matrix.ids)
    _check(rows, scores, control_scores, strata)
    scores = np.asarray(scores, dtype=np.float64)
    named = None if strata is None else np.asarray([str(each) for each in strata])
    fires = matrix.fires(settings.threshold)
    reasons = _reasons(fires, settings, named)
    testable = np.array([reason is None for reason in reasons], dtype=bool)
    chosen = np.flatnonzero(testable)
    membership = fires[:, chosen]
    z = z_scores(membership, scores, named)
    p_rows = permutation_p_values(
        membership, scores, permutations=settings.permutations, strata=named, seed=settings.seed
    )
    p_controls, inflation_factor = None, np.ones(len(chosen))
    if control_scores is not None and len(chosen):
        p_controls, inflation_factor = control_p_values(membership, z, control_scores, named)
    p_adjusted = adjusted(p_rows if p_controls is None else np.maximum(p_rows, p_controls))
    tested = [
        Slice(
            **_sums(fires, scores, int(feature)),
            z=float(z[i]),
            inflation_factor=float(inflation_factor[i]),
            p_rows=float(p_rows[i]),
            p_controls=None if p_controls is None else float(p_controls[i]),
            p_adjusted=float(p_adjusted[i]),
        )
        for i, feature in enumerate(chosen)
    ]
    return SliceInfluence(
        tested=tuple(sorted(tested, key=lambda slice_: -slice_.calibrated_z)),
        untested=tuple(
            Slice(**_sums(fires, scores, int(feature)), not_testable=reasons[feature])
            for feature in np.flatnonzero(~testable)
        ),
        rows=rows,
        ids=matrix.ids,
        settings=settings,
        controls=0 if control_scores is None else len(control_scores),
        pooling=matrix.pooling,
    )


def _check(
    rows: int,
    scores: np.ndarray,
    control_scores: np.ndarray | None,
    strata: Sequence[Any] | np.ndarray | None,
) -> None:
    if np.shape(scores) != (rows,):
        raise AitiaError(f"scores of shape {np.shape(scores)} for the features of {rows} rows")
    if not np.isfinite(scores).all():
        wrong = int(np.flatnonzero(~np.isfinite(scores))[0])
        raise NumericalError(f"row {wrong}: its score is {scores[wrong]}; leave it out or score it again")
    if strata is not None and len(strata) != rows:
        raise AitiaError(f"{len(strata)} strata for {rows} rows")
    if control_scores is None:
        return
    if np.ndim(control_scores) != 2 or np.shape(control_scores)[1] != rows:
        raise AitiaError(f"control scores of shape {np.shape(control_scores)} for {rows} rows")
    if len(control_scores) < SMALLEST_CONTROLS:
        raise AitiaError(
            f"{len(control_scores)} control directions: give at least {SMALLEST_CONTROLS}, to tell how far z-scores "
            "spread without meaning"
        )


def _sums(fires: Any, scores: np.ndarray, feature: int) -> dict[str, Any]:
    members = np.sort(fires.indices[fires.indptr[feature] : fires.indptr[feature + 1]])
    total = float(scores[members].sum())
    return {
        "feature": feature,
        "members": members,
        "total": total,
        "mean": total / len(members) if len(members) else 0.0,
    }


def _reasons(fires: Any, settings: SliceSettings, strata: np.ndarray | None) -> list[str | None]:
    """Why each feature's slice cannot be tested; none where it can."""
    rows = fires.shape[0]
    sizes: Any = np.diff(fires.indptr)
    free: Any = np.ones(len(sizes), dtype=bool)
    if strata is not None:
        drawn = np.stack(
            [
                np.asarray(fires[np.flatnonzero(strata == name)].sum(axis=0)).ravel()
                for name in np.unique(strata)
            ]
        )
        whole = np.array([(strata == name).sum() for name in np.unique(strata)])[:, None]
        free = ((drawn > 0) & (drawn < whole)).any(axis=0)
    reasons: list[str | None] = []
    for size, mixed in zip(sizes.tolist(), free.tolist(), strict=True):
        if size == 0:
            reasons.append("dead: fires on no row")
        elif size == rows:
            reasons.append("fires on every row: nothing to compare with")
        elif size == 1:
            reasons.append("fires on one row only: see its own score")
        elif size < settings.smallest:
            reasons.append(f"fires on {size} rows, fewer than {settings.smallest}")
        elif size > settings.largest * rows:
            reasons.append(f"fires on {size} of {rows} rows, more than {settings.largest:.0%}")
        elif not mixed:
            reasons.append("fires on whole strata only: nothing to compare with inside them")
        else:
            reasons.append(None)
    return reasons
