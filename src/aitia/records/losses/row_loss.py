"""What a row's loss is: which answers it compares, which numbers it reads, and its value; every loss by name.

At fixed parameters the gradient of a row's loss is a sum over its sides s (the answers that it compares) of

    dL/d(lp_s) grad lp_s = k_s grad l_s,    l_s = -lp_s the summed cross-entropy of the side, k_s = -dL/d(lp_s),

lp_s the log-probability of the side's response tokens given what comes before. So whatever is linear in a row's
gradient scores the sides as rows of supervised fine-tuning, and adds them up with the coefficients k_s. A loss gives
its value alone; coefficients are its derivative. (Ours, by the chain rule.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import TYPE_CHECKING, Any, Protocol

from aitia.errors import RecordError
from aitia.records.losses.settings import LossSettings
from aitia.records.record import Record
from aitia.records.values import described

if TYPE_CHECKING:
    import torch

Columns = Mapping[str, "torch.Tensor"]
"""Name of a number that rows give -> [b] of them."""


class RowLoss(Protocol):
    """A loss of rows. A subclass gives the words and `values`, and what differs else.

    Attributes:
        name: as `LossSettings.loss` has it.
        formula: of the loss.
        source: where it comes from.
        sides: names of the answers that it compares, the row's own first.
        per_token: whether a step's loss is divided by its rows' predicted tokens; otherwise by the number of rows.
        relative: whether it reads log-probabilities of a reference model.
    """

    name: str
    formula: str
    source: str
    sides: tuple[str, ...] = ("response",)
    per_token: bool = False
    relative: bool = False

    def numbers(self, record: Record, settings: LossSettings) -> dict[str, float]:  # noqa: ARG002
        """What the loss reads of a row beside its text, and beside weight and references: none by default."""
        return {}

    def values(
        self, log_probs: torch.Tensor, references: torch.Tensor, columns: Columns, settings: LossSettings
    ) -> torch.Tensor:
        """The loss of each row, differentiable in the log-probabilities; the row's weight is not in it.

        Args:
            log_probs: [b, s] of the sides' responses, in nats, summed over their tokens.
            references: [b, s] likewise, by the reference model; zeros where the loss reads none.
            columns: what `numbers` gave, [b] each.
            settings: of the loss.

        Returns:
            [b].
        """
        ...


def number_in(record: Record, column: str, needed_by: str) -> float:
    """A number in a column of a row.

    Args:
        record: the row.
        column: its name.
        needed_by: what reads it, for the message.

    Returns:
        The number.

    Raises:
        RecordError: it is absent, or no finite number; the reason alone, without the place.
    """
    value: Any = record.extra.get(column)
    if value is None:
        others = ", ".join(map(str, record.extra)) or "none"
        raise RecordError(f"has no column {column!r}, which {needed_by} reads; its other columns: {others}")
    if isinstance(value, str):  # as a table without types has it
        try:
            value = float(value)
        except ValueError:
            raise RecordError(f"column {column!r} is {value!r:.40}, not a number") from None
    if isinstance(value, bool) or not isinstance(value, Real):
        raise RecordError(f"column {column!r} must be a number, not {described(value)}")
    number = float(value)
    if not math.isfinite(number):
        raise RecordError(f"column {column!r} is {number}, not a finite number; mend it, or take the row out")
    return number
