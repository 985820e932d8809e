"""Controls of a ranking: null directions, scored by the ranking's own method."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

import numpy as np

from aitia.attribution.scanning.activation_products import RowsAlikeError
from aitia.attribution.scanning.null_directions import MATCHED, NullKind, null_directions
from aitia.attribution.scanning.store import ActivationStore
from aitia.concepts import Concept
from aitia.errors import AitiaError

_MOST_NUMBERS = 2**28
Kind = TypeVar("Kind", bound=str)
RANDOM_CONTROLS = 8
"""Random directions that are scored beside a concept by default."""

DirectionScores = Callable[[np.ndarray], np.ndarray]
"""Scores the rows under other directions than the concept's: [c, d] to [c, n]."""


class ControlKind(StrEnum):
    """Where a direction that means nothing comes from."""

    MATCHED = "matched direction"
    ISOTROPIC = "isotropic direction"
    SHUFFLED = "shuffled labels"


@dataclass(frozen=True, kw_only=True, eq=False)
class Control:
    """Scores of a direction that means nothing, by the ranking's own method.

    Attributes:
        kind: where the direction comes from.
        number: of the direction among its kind, from 1.
        scores: [n].
    """

    kind: ControlKind
    number: int
    scores: np.ndarray

    @property
    def name(self) -> str:
        """For people, as in "matched direction 3" or "shuffled labels 1"."""
        return f"{self.kind.value} {self.number}"


def control_kind(control: NullKind) -> ControlKind:
    """The kind of controls that a draw of null directions gives."""
    return ControlKind.MATCHED if control == MATCHED else ControlKind.ISOTROPIC


def controls_asked(
    concept: Concept, control: NullKind, random_controls: int, shuffled_controls: int | None = None
) -> dict[ControlKind, int]:
    """How many controls of each kind are wanted.

    Args:
        concept: gives width and shuffled directions.
        control: draw of the random ones.
        random_controls: how many random directions.
        shuffled_controls: how many of the shuffled directions, at most; none for all.

    Returns:
        Kind -> number, which may be 0.

    Raises:
        AitiaError: a number is negative or too large.
    """
    assert concept.shuffled is not None
    if shuffled_controls is not None and shuffled_controls < 0:
        raise AitiaError(f"`shuffled_controls` is {shuffled_controls}; it must be at least 0")
    if not 0 <= random_controls * concept.width <= _MOST_NUMBERS:
        most = _MOST_NUMBERS // concept.width
        raise AitiaError(
            f"`random_controls={random_controls}`: from 0 to {most:,} for directions of this width"
        )
    return {
        control_kind(control): random_controls,
        ControlKind.SHUFFLED: len(concept.shuffled[:shuffled_controls]),
    }


def control_directions(
    store: ActivationStore,
    concept: Concept,
    control: NullKind,
    asked: Mapping[ControlKind, int],
    seed: int,
) -> tuple[dict[ControlKind, np.ndarray], str | None]:
    """Directions that mean nothing, by kind: random ones, and the recipe's own on shuffled labels; [c, d] each.

    Random ones are as long as the concept's vector, so that the spreads of their scores compare with its own.

    Args:
        store: a finished store.
        concept: gives site, length and shuffled directions.
        control: draw of the random ones.
        asked: kind -> how many (`controls_asked`).
        seed: of the random directions.

    Returns:
        Kind -> [c, d] directions; c may be 0. And why there are no random ones, where they cannot be drawn.
    """
    assert concept.shuffled is not None
    kind, reason = control_kind(control), None
    try:
        drawn = null_directions(
            store,
            concept.site,
            concept.width,
            kind=control,
            count=asked[kind],
            seed=seed,
            tokens=concept.tokens,
        )
    except RowsAlikeError as error:
        drawn, reason = np.zeros((0, concept.width), dtype=np.float32), str(error)
    if len(concept.direction) > 1:
        drawn = drawn * np.linalg.norm(concept.vector)
    shuffled = concept.shuffled[: asked[ControlKind.SHUFFLED]].sum(axis=1)
    return {kind: drawn, ControlKind.SHUFFLED: shuffled}, reason


def score_controls(
    directions: Mapping[ControlKind, np.ndarray],
    score: DirectionScores,
    room: int | None,
    *,
    asked: Mapping[ControlKind, int] | None = None,
    reason: str | None = None,
) -> tuple[list[Control], dict[str, Any]]:
    """Score controls of every kind, all of them where there is room.

    Args:
        directions: kind -> [c, d].
        score: the ranking's method.
        room: for how many directions there is a place; none for as many as there are.
        asked: kind -> how many were wanted, where there are fewer directions; default: as many as there are.
        reason: why there are fewer.

    Returns:
        The controls, and how many of each kind were asked for and kept, and why any were left out.
    """
    there = {kind.value: len(vectors) for kind, vectors in directions.items()}
    kept = there if room is None else controls_kept(there, room)
    reasons = [reason] if reason else []
    if kept != there:
        reasons.append(f"only the gradients of {room} fit into one pass over the rows")
    wanted = there if asked is None else {kind.value: count for kind, count in asked.items()}
    record = {"asked": wanted, "kept": kept, "left_out": "; ".join(reasons) or None}
    which = [(kind, i + 1) for kind in directions for i in range(kept[kind.value])]
    if not which:
        return [], record
    scores = score(np.concatenate([vectors[: kept[kind.value]] for kind, vectors in directions.items()]))
    found = [
        Control(kind=kind, number=number, scores=each)
        for (kind, number), each in zip(which, scores, strict=True)
    ]
    return found, record


def no_controls(asked: Mapping[ControlKind, int], reason: str) -> dict[str, Any]:
    """The record of a ranking that can have no controls (see `score_controls`)."""
    wanted = {kind.value: count for kind, count in asked.items()}
    return {
        "asked": wanted,
        "kept": dict.fromkeys(wanted, 0),
        "left_out": reason if any(wanted.values()) else None,
    }


def controls_kept(asked: Mapping[Kind, int], room: int) -> dict[Kind, int]:
    """How many controls of each kind are scored where there is room for so many: in turn, and one of each at least.

    Args:
        asked: kind -> how many are wanted.
        room: for how many there is a place.

    Returns:
        Kind -> the number of its controls that are scored.
    """
    kept = {kind: min(count, 1) for kind, count in asked.items()}
    for turn in range(1, max(asked.values(), default=0)):
        for kind, count in asked.items():
            kept[kind] += turn < count and sum(kept.values()) < room
    return kept


def left_out_text(record: Mapping[str, Any]) -> str | None:
    """One line on controls that were left out, from the record of `score_controls`; none where none were."""
    if record.get("left_out") is None:
        return None
    counts = [
        f"{record['kept'][kind]} of {count} ({kind})" for kind, count in record["asked"].items() if count
    ]
    return f"Controls scored: {' and '.join(counts)}, because {record['left_out']}."
