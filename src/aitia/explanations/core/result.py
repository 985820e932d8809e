"""One virtue's result: a value with its interval, controls and provenance, or the reason why there is none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np

from aitia.explanations.core.catalogue import VIRTUES, Virtue
from aitia.statistics import Interval, exact

_ROUNDING = 1e-9


class Status(StrEnum):
    """How a value was come by; the last two have none, which is not the same as 0."""

    MEASURED = "measured"
    ESTIMATED = "estimated"
    DECLARED = "declared"
    NOT_APPLICABLE = "not applicable"
    NOT_EVALUABLE = "not evaluable"


@dataclass(frozen=True, kw_only=True)
class VirtueResult:
    """The result of one virtue.

    Attributes:
        name: its key in `VIRTUES`.
        status: measured exactly, estimated from a sample, declared by the user, or without a value.
        value: in the virtue's unit; None where there is none.
        reason: why there is none, or what to mind when reading it.
        interval: around the value; exact where nothing was sampled.
        n: observations, interventions, premises or models behind it.
        seed: of what was random.
        floor: what a null, shuffled or random explanation gets.
        ceiling: what a perfect one could get.
        discriminating: whether it stands out from its sanity checks; None where it has none.
        details: further figures, plain data.
        items: [n] the value of each test input, where the result is their mean; kept for paired comparisons.
    """

    name: str
    status: Status
    value: float | None = None
    reason: str = ""
    interval: Interval | None = None
    n: int = 0
    seed: int | None = None
    floor: float | None = None
    ceiling: float | None = None
    discriminating: bool | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    items: np.ndarray | None = field(default=None, repr=False, compare=False)

    @property
    def virtue(self) -> Virtue:
        """What it is a result of."""
        return VIRTUES[self.name]


def measured(
    name: str, value: float, *, n: int, interval: Interval | None = None, **fields: Any
) -> VirtueResult:
    """A result with a value: measured where its interval is exact, else estimated; none where it is no number."""
    if value == -math.inf:
        return not_applicable(name, "what it held impossible was observed; raise epsilon above 0")
    if not math.isfinite(value):
        return not_applicable(name, fields.get("reason") or "the value is undefined here")
    virtue = VIRTUES[name]
    within = min(max(value, virtue.low), virtue.high)
    value = within if abs(within - value) < _ROUNDING else value
    interval = exact(value) if interval is None or interval.method == "exact" else interval
    status = Status.MEASURED if interval.method == "exact" else Status.ESTIMATED
    return VirtueResult(name=name, status=status, value=float(value), n=n, interval=interval, **fields)


def declared(name: str, value: float, **fields: Any) -> VirtueResult:
    """A value that the user typed in."""
    return VirtueResult(name=name, status=Status.DECLARED, value=float(value), **fields)


def not_applicable(name: str, reason: str) -> VirtueResult:
    """The question does not arise."""
    return VirtueResult(name=name, status=Status.NOT_APPLICABLE, reason=reason)


def not_evaluable(name: str, reason: str) -> VirtueResult:
    """The question arises, but what it takes to answer is not there."""
    return VirtueResult(name=name, status=Status.NOT_EVALUABLE, reason=reason)
