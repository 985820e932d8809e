"""Curated data: the training data without one end of a ranking, a slice, or the rows that several rankings choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aitia.attribution import ControlSettings, Ranking, WeightChoice, choose_weights, pareto_front
from aitia.errors import AitiaError
from aitia.files import require_apart
from aitia.pipelines.attribution.slices import slice_members
from aitia.records import Records, Split, split_records, write_weighted


def curate(
    data: Records,
    ranking: Ranking,
    *,
    drop: float | int | None = None,
    keep: float | int | None = None,
    end: str = "top",
    curated: Path | str,
    removed: Path | str,
    left_out: Path | str | None = None,
    inputs: Mapping[str, Path | str] | None = None,
) -> Split:
    """Write the data without one end of a ranking, and the rows removed, each row untouched (see `split_records`).

    A row that was not ranked (because it could not be scanned, or was added since) stays where rows are
    dropped, and goes where rows are kept.

    Args:
        data: the data that was ranked.
        ranking: of it.
        drop: share (0.1) or number (10) of the ranked rows to drop.
        keep: share or number of the ranked rows to keep instead.
        end: drop or keep from the `top`, the most influential rows, or from the `bottom`.
        curated: file (or folder) for what stays.
        removed: file (or folder) for what goes.
        left_out: file (or folder) for rows that could not be read; default: beside `removed`.
        inputs: further files that may not be written over, in words -> where.

    Returns:
        The files, and how many rows went into each.

    Raises:
        AitiaError: neither `drop` nor `keep` is given, or both; or `end` is neither `top` nor `bottom`.
        RecordError: the ranking is of other data.
        StoreError: a file would be written over another, or over what is read.
    """
    if (drop is None) == (keep is None):
        raise AitiaError("give either the rows to `drop` or the rows to `keep`")
    if end not in ("top", "bottom"):
        raise AitiaError(f"end {end!r}: choose top or bottom")
    data.only(ranking.top(1.0))  # which refuses a ranking of other data, by every row of it
    choose = ranking.top if end == "top" else ranking.bottom
    gone = data.without(choose(keep)).ids if keep is not None else choose(drop or 0)
    return split_records(data, gone, kept=curated, removed=removed, left_out=left_out, inputs=inputs)


def curate_slice(
    data: Records,
    slices: Path | str,
    feature: int,
    *,
    curated: Path | str,
    removed: Path | str,
    left_out: Path | str | None = None,
) -> Split:
    """Write the data without the rows of a slice, and those rows, each untouched (see `split_records`).

    Returns:
        The files, and how many rows went into each.

    Raises:
        RecordError: the slices are of other data.
        StoreError: a file would be written over another, or over what is read.
        AitiaError: see `slice_members`.
    """
    return split_records(
        data,
        slice_members(slices, feature),
        kept=curated,
        removed=removed,
        left_out=left_out,
        inputs={"the slices": slices},
    )


@dataclass(frozen=True, kw_only=True)
class Controlled:
    """Data curated by several rankings.

    Attributes:
        choice: the weights that were chosen, in the order of the data.
        front: further choices, from the most careful to the most effective; empty where nothing is to be kept.
        split: the rows that stay and go; none where rows are weighed.
        weighted: where all rows were written with their weights; none where rows go whole.
    """

    choice: WeightChoice
    front: tuple[WeightChoice, ...] = ()
    split: Split | None = None
    weighted: Path | None = None


def curate_by_control(
    data: Records,
    lower: Sequence[Ranking],
    keep: Sequence[Ranking],
    settings: ControlSettings,
    *,
    curated: Path | str,
    removed: Path | str | None = None,
    left_out: Path | str | None = None,
    points: int = 6,
    inputs: Mapping[str, Path | str] | None = None,
) -> Controlled:
    """Write the data that lower some measurements most while others stay, as rankings of the rows say.

    The rankings' scores are taken for derivatives of the measurements, which those by replay are.

    Args:
        data: the data that were ranked, every row of them.
        lower: rankings by what is to fall.
        keep: rankings by what is to stay.
        settings: how much may go, and how.
        curated: file (or folder) for what stays, or for all rows with their weights.
        removed: file (or folder) for what goes; not used where rows are weighed.
        left_out: file (or folder) for rows that could not be read; default: beside `removed`.
        points: tolerances to try for the front.
        inputs: further files that may not be written over, in words -> where.

    Returns:
        The choice, its alternatives, and what was written where.

    Raises:
        AitiaError: no ranking is to be lowered, whole rows have no `removed`, or a row was not ranked.
        RecordError: a ranking is of other data.
        StoreError: a file would be written over another, or over what is read.
    """
    if not lower:
        raise AitiaError("control: name at least one ranking whose measurement is to fall: `lower`")
    if settings.whole_rows and removed is None:
        raise AitiaError("control: rows that go whole are written too: give `removed`")
    falls = np.stack([ranking.score_of(data) for ranking in lower])
    stays = np.stack([ranking.score_of(data) for ranking in keep]) if keep else None
    choice = choose_weights(falls, stays, settings)
    front = () if stays is None else tuple(pareto_front(falls, stays, settings, points=points))
    if settings.whole_rows:
        assert removed is not None
        gone = [data.ids[int(place)] for place in choice.removed]
        split = split_records(data, gone, kept=curated, removed=removed, left_out=left_out, inputs=inputs)
        return Controlled(choice=choice, front=front, split=split)
    require_apart({"the weighted rows": curated}, dict(inputs or {}))
    return Controlled(
        choice=choice, front=front, weighted=write_weighted(data, choice.weights.tolist(), curated)
    )
