"""What a loss reads of a row: the answers that it compares, and the numbers beside them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from typing import Any, Protocol

import numpy as np

from aitia.errors import RecordError
from aitia.records.losses.registry import loss_of
from aitia.records.losses.row_loss import number_in
from aitia.records.losses.settings import PLAIN, REFERENCES, WEIGHT, LossSettings
from aitia.records.record import Record
from aitia.records.shapes.preferences import SIDES, one_side
from aitia.records.values import described

_REFERENCE_COLUMNS = {1: ("ref_logps",), 2: ("ref_chosen_logps", "ref_rejected_logps")}
"""Number of sides -> where TRL's trainers keep log-probabilities of the reference model that were computed before."""


_ONE_SIDE = "read one side, as a prompt with that answer: `side=chosen` or `side=rejected`"


class _Cut(Protocol):
    """A side in tokens, as `aitia.records.TokenizedRecord` is one."""

    @property
    def response(self) -> np.ndarray: ...


def sides_of(record: Record, settings: LossSettings = PLAIN) -> tuple[Record, ...]:
    """The answers that a row's loss compares, each as a row of supervised fine-tuning.

    Args:
        record: the row.
        settings: of the loss.

    Returns:
        As many records as the loss has sides, the chosen answer of a pair first.

    Raises:
        RecordError: the row has not the shape that the loss takes; the reason alone, without the place.
    """
    loss = loss_of(settings)
    if len(loss.sides) > 1:
        if record.rejected is None:
            raise RecordError(
                f"is no preference pair, which `loss={settings.loss}` compares: give `chosen` and `rejected`, or leave "
                "the loss out"
            )
        whole = {each.name: getattr(record, each.name) for each in fields(Record)}
        return tuple(Record(**one_side(whole, side)) for side in SIDES)
    if record.rejected is not None:
        raise RecordError(
            f"is a preference pair, and `loss={settings.loss}` takes single answers: take the loss of pairs, "
            "`loss=dpo`, or read one side, as a prompt with that answer: `side=chosen` or `side=rejected`"
        )
    if record.desirable is not None and settings.loss != "kto":
        raise RecordError(
            f"is an answer marked as wanted or unwanted by its `label`, and `loss={settings.loss}` knows no marks: "
            "take `loss=kto`, or read it as a prompt with its completion, the label beside it: "
            "`shape=prompt-completion`"
        )
    return (record if record.desirable is None else replace(record, desirable=None),)


def require_answers(texts: Iterable[Record], on_error: str = "stop", *, mend: str = _ONE_SIDE) -> None:
    """Refuse texts that are no single answers, where they are measured or fitted to and not trained on.

    Args:
        texts: of a concept, or of queries.
        on_error: with `skip` they are left out later, where they are cut into tokens, and nothing is refused here.
        mend: what to do with a pair.

    Raises:
        RecordError: a text is a preference pair, or an answer with a mark; the first is named.
    """
    for record in texts if on_error == "stop" else ():
        if record.rejected is not None:
            raise RecordError(
                f"{record.location}: is a preference pair, and texts are single answers: {mend}"
            )
        if record.desirable is not None:
            raise RecordError(
                f"{record.location}: is an answer marked as wanted or unwanted by its `label`, and texts have no "
                "marks: read it as a prompt with its completion, the label beside it: `shape=prompt-completion`"
            )


def usual_loss(record: Record) -> LossSettings:
    """The loss that rows of a record's shape are made for: `dpo` of a pair, `kto` of a marked answer, else `sft`."""
    if record.rejected is not None:
        return LossSettings(loss="dpo")
    return PLAIN if record.desirable is None else LossSettings(loss="kto")


def numbers_of(record: Record, settings: LossSettings, sides: Sequence[_Cut]) -> dict[str, float]:
    """The numbers that a row's loss reads beside its text.

    Args:
        record: the row.
        settings: of the loss.
        sides: its sides in tokens.

    Returns:
        Name -> number: the weight, what the loss itself asks for, and references that stand in columns.

    Raises:
        RecordError: one is absent, not finite, or does not fit the row's tokens; the reason alone.
    """
    if settings.plain:
        return {}
    loss = loss_of(settings)
    found = loss.numbers(record, settings)
    if settings.weight:
        found[WEIGHT] = number_in(record, settings.weight, "`weight`")
    if loss.relative and settings.reference == "columns":
        columns = _REFERENCE_COLUMNS[len(loss.sides)]
        for name, column, side in zip(REFERENCES, columns, sides, strict=False):
            found[name] = _reference(record, column, int(side.response[1:].sum()))
    return found


def _reference(record: Record, column: str, tokens: int) -> float:
    """A log-probability in a column: a number, or one for each predicted token, which are added."""
    value: Any = record.extra.get(column)
    if not isinstance(value, list | tuple | np.ndarray):
        return _log_probability(number_in(record, column, "`reference=columns`"), column)
    if len(value) != tokens:
        raise RecordError(
            f"column {column!r} has {len(value)} numbers, but the answer has {tokens} tokens that are predicted; "
            "give one for each of them, or their sum"
        )
    for place, each in enumerate(value):
        if isinstance(each, bool) or not isinstance(each, int | float | np.number):
            raise RecordError(f"column {column!r}, number {place}, must be a number, not {described(each)}")
        if not math.isfinite(each):
            raise RecordError(f"column {column!r}, number {place}, is {each}, not a finite number")
    return _log_probability(float(sum(value)), column)


def _log_probability(value: float, column: str) -> float:
    if value > 0:
        raise RecordError(f"column {column!r} is {value:g}; the logarithm of a probability is at most 0")
    return value
