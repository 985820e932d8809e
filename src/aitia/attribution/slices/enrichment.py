"""Do the rows of a slice differ from the others in a column of the data? Fisher's exact test, or the rank-sum test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from aitia.attribution.slices.slice_statistics import adjusted
from aitia.attribution.slices.slices import Slice
from aitia.errors import AitiaError

_KINDS = 20


@dataclass(frozen=True, kw_only=True)
class Enrichment:
    """How a slice's rows differ in a column.

    Attributes:
        feature: of the slice.
        column: of the data.
        value: the value that is commoner or rarer among the slice's rows; none for a column of numbers.
        inside: share of the slice's rows that have the value, or their median number.
        outside: the same of the other rows.
        p_value: two-sided, Fisher's exact test, or the rank-sum test (Mann & Whitney).
        p_adjusted: over all slices and values of the column (Benjamini & Hochberg).
    """

    feature: int
    column: str
    value: str | None
    inside: float
    outside: float
    p_value: float
    p_adjusted: float = 1.0


def enrichments(slices: Sequence[Slice], column: str, values: Sequence[Any]) -> list[Enrichment]:
    """Test every slice against a column of the data, the most surprising first.

    A column of numbers with more than 20 different values is compared by rank; any other value by value. Rows
    without a value are left out.

    Args:
        slices: of the n rows.
        column: its name.
        values: [n].

    Returns:
        One test for each slice and value, by rising p-value.

    Raises:
        AitiaError: the column has one value only, or more than 20 that are not numbers.
    """
    given = np.array([value is not None for value in values], dtype=bool)
    kinds = sorted({str(value) for value in values if value is not None})
    if len(kinds) < 2:
        raise AitiaError(f"column {column!r}: has {len(kinds)} different values; there is nothing to compare")
    numbers = all(
        isinstance(value, int | float) and not isinstance(value, bool)
        for value in values
        if value is not None
    )
    if len(kinds) > _KINDS and not numbers:
        raise AitiaError(
            f"column {column!r}: {len(kinds)} different values; at most {_KINDS} can be compared"
        )
    found = []
    for slice_ in slices:
        inside = np.zeros(len(values), dtype=bool)
        inside[slice_.members] = True
        if not (inside & given).any() or not (~inside & given).any():
            continue
        if len(kinds) > _KINDS:
            part = np.array([float(value) if value is not None else np.nan for value in values])
            found.append(_by_rank(slice_, column, part[inside & given], part[~inside & given]))
        else:
            names = np.array([str(value) for value in values])
            shown = kinds if len(kinds) > 2 else kinds[-1:]  # of two values, one says it all
            found += [
                _by_count(slice_, column, kind, names[inside & given] == kind, names[~inside & given] == kind)
                for kind in shown
            ]
    p_adjusted = adjusted([each.p_value for each in found])
    found = [replace(each, p_adjusted=float(p)) for each, p in zip(found, p_adjusted, strict=True)]
    return sorted(found, key=lambda each: each.p_value)


def _by_count(slice_: Slice, column: str, value: str, inside: np.ndarray, outside: np.ndarray) -> Enrichment:
    from scipy.stats import fisher_exact

    table = [[int(part.sum()), int((~part).sum())] for part in (inside, outside)]
    return Enrichment(
        feature=slice_.feature,
        column=column,
        value=value,
        inside=float(inside.mean()),
        outside=float(outside.mean()),
        p_value=float(fisher_exact(table)[1]),  # type: ignore[index]
    )


def _by_rank(slice_: Slice, column: str, inside: np.ndarray, outside: np.ndarray) -> Enrichment:
    from scipy.stats import mannwhitneyu

    return Enrichment(
        feature=slice_.feature,
        column=column,
        value=None,
        inside=float(np.median(inside)),
        outside=float(np.median(outside)),
        p_value=float(mannwhitneyu(inside, outside, alternative="two-sided").pvalue),
    )
