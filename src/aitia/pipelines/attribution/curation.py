"""Curated data: without one end of a ranking, without a slice, or without the rows that several measurements choose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aitia.attribution import ControlSettings, Ranking, RoundSettings, WeightChoice, pareto_front
from aitia.errors import AitiaError
from aitia.files import require_apart
from aitia.pipelines.attribution.slices import slice_members
from aitia.pipelines.control.measurements import Question
from aitia.pipelines.control.rounds import Steered, choose_in_rounds
from aitia.records import Export, Records, Split, split_records, write_weighted


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
    with_scores: bool = False,
    export: Export | None = None,
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
        with_scores: give every row the columns of `reasons`.
        export: further columns, or another format; default: each row untouched.

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
    if with_scores:
        plain = export or Export()
        export = Export(columns={**plain.columns, **reasons(data, ranking)}, format=plain.format)
    return split_records(
        data, gone, kept=curated, removed=removed, left_out=left_out, inputs=inputs, export=export
    )


def reasons(data: Records, ranking: Ranking) -> dict[str, list[Any]]:
    """Why rows stay or go, as columns.

    Args:
        data: n rows.
        ranking: of them.

    Returns:
        `aitia_method`, `aitia_score`, `aitia_rank` (1 for the most influential) and `aitia_percentile` (percent of the
        ranked rows that come after a row, the row with them: 100 for the most influential), [n] each; None for a row
        that was not ranked.
    """
    places = {str(name): place for place, name in enumerate(ranking.ids)}
    at = [places.get(name) for name in data.ids]
    n = len(ranking)
    return {
        "aitia_method": [None if place is None else ranking.method for place in at],
        "aitia_score": [None if place is None else float(ranking.score[place]) for place in at],
        "aitia_rank": [None if place is None else int(ranking.ranks[place]) for place in at],
        "aitia_percentile": [
            None if place is None else 100 * (n + 1 - int(ranking.ranks[place])) / n for place in at
        ],
    }


def curate_slice(
    data: Records,
    slices: Path | str,
    feature: int,
    *,
    curated: Path | str,
    removed: Path | str,
    left_out: Path | str | None = None,
    export: Export | None = None,
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
        export=export,
    )


@dataclass(frozen=True, kw_only=True)
class Controlled:
    """Data curated by several measurements.

    Attributes:
        steered: the weights that were chosen, in the order of the data, round by round.
        front: further choices, from the most careful to the most effective; empty where nothing is to be kept.
        split: the rows that stay and go; none where rows are weighed.
        weighted: where all rows were written with their weights; none where rows go whole.
    """

    steered: Steered
    front: tuple[WeightChoice, ...] = ()
    split: Split | None = None
    weighted: Path | None = None

    @property
    def choice(self) -> WeightChoice:
        """The weights that were written."""
        return self.steered.choice


def curate_by_control(
    data: Records,
    question: Question,
    settings: ControlSettings,
    *,
    rounds: RoundSettings | None = None,
    curated: Path | str,
    removed: Path | str | None = None,
    left_out: Path | str | None = None,
    points: int = 6,
    inputs: Mapping[str, Path | str] | None = None,
) -> Controlled:
    """Write the data that lower some measurements most while others stay, as derivatives by the rows' weights say.

    The scores of rankings are taken for derivatives, which those by replay are. Concepts and texts are asked of a
    recorded run (`Question.read`).

    Args:
        data: the data that were ranked or trained on, every row of them.
        question: what is to fall and to stay, and the run that is asked.
        settings: how much may go, and how.
        rounds: how often derivatives are taken; default: once.
        curated: file (or folder) for what stays, or for all rows with their weights.
        removed: file (or folder) for what goes; not used where rows are weighed.
        left_out: file (or folder) for rows that could not be read; default: beside `removed`.
        points: tolerances to try for the front.
        inputs: further files that may not be written over, in words -> where.

    Returns:
        The choice, its alternatives, and what was written where.

    Raises:
        AitiaError: whole rows have no `removed`, a row was not ranked, or see `choose_in_rounds`.
        RecordError: a ranking is of other data.
        StoreError: a file would be written over another, or over what is read; or data or model are not the run's.
    """
    if settings.whole_rows and removed is None:
        raise AitiaError("control: rows that go whole are written too: give `removed`")
    steered = choose_in_rounds(data, question, settings, rounds or RoundSettings())
    found = steered.linearised
    front: tuple[WeightChoice, ...] = ()
    if found.keep is not None:
        front = tuple(pareto_front(found.lower, found.keep, settings, points=points, about=found.anywhere()))
    if settings.whole_rows:
        assert removed is not None
        gone = [data.ids[int(place)] for place in steered.choice.removed]
        split = split_records(data, gone, kept=curated, removed=removed, left_out=left_out, inputs=inputs)
        return Controlled(steered=steered, front=front, split=split)
    require_apart({"the weighted rows": curated}, dict(inputs or {}))
    return Controlled(
        steered=steered,
        front=front,
        weighted=write_weighted(data, steered.choice.weights.tolist(), curated),
    )
