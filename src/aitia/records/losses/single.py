"""Losses of one answer that are multiples of its cross-entropy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aitia.records.losses.row_loss import Columns, RowLoss, number_in
from aitia.records.losses.settings import LossSettings
from aitia.records.record import Record

if TYPE_CHECKING:
    import torch


class Supervised(RowLoss):
    """Supervised fine-tuning: the cross-entropy of the response, L = -lp."""

    name = "sft"
    formula = "-log p(response)"
    source = "cross-entropy, as TRL's SFTTrainer has it; a step's loss is the mean over its response tokens"
    per_token = True

    def values(
        self,
        log_probs: torch.Tensor,
        references: torch.Tensor,  # noqa: ARG002
        columns: Columns,  # noqa: ARG002
        settings: LossSettings,  # noqa: ARG002
    ) -> torch.Tensor:
        """See `RowLoss.values`."""
        return -log_probs[:, 0]


class PolicyGradient(RowLoss):
    """A policy-gradient row: L = -A lp, A the row's advantage.

    The gradient is that of GRPO's loss where the policy is the one that sampled: there the ratio of probabilities is
    one, nothing is clipped, and d(ratio A)/d(theta) = A grad lp (TRL 1.16, `GRPOTrainer`, `loss_type` dapo, its
    default: divided by the tokens of the step). A reward without a baseline is REINFORCE (Williams 1992).
    """

    name = "policy-gradient"
    formula = "-A log p(response), A the advantage"
    source = "Williams 1992; TRL 1.16, GRPOTrainer at ratio one, without clipping and without its KL term"
    per_token = True

    def numbers(self, record: Record, settings: LossSettings) -> dict[str, float]:
        """See `RowLoss.numbers`: the advantage."""
        return {"advantage": number_in(record, settings.advantage, "`loss=policy-gradient`")}

    def values(
        self,
        log_probs: torch.Tensor,
        references: torch.Tensor,  # noqa: ARG002
        columns: Columns,
        settings: LossSettings,  # noqa: ARG002
    ) -> torch.Tensor:
        """See `RowLoss.values`."""
        return -columns["advantage"] * log_probs[:, 0]
