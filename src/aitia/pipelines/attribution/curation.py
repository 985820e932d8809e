"""Curated data: the training data without one end of a ranking or without a slice, and the rows removed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from aitia.attribution import Ranking
from aitia.errors import AitiaError
from aitia.pipelines.attribution.slices import slice_members
from aitia.records import Records, Split, split_records


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
