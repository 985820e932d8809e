"""Losses against a reference model: of preference pairs, and of answers marked as wanted or unwanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aitia.errors import RecordError
from aitia.records.losses.row_loss import Columns, RowLoss
from aitia.records.losses.settings import LossSettings
from aitia.records.record import Record

if TYPE_CHECKING:
    import torch


class DPO(RowLoss):
    """Direct preference optimisation: L = -log sigma(h), h = beta [(lp_c - ref_c) - (lp_r - ref_r)].

    The gradient is -beta sigma(-h) (grad lp_c - grad lp_r), c the chosen and r the rejected answer, so that the sides
    have the coefficients beta sigma(-h) and -beta sigma(-h). Source: Rafailov et al. 2023, equation 7; TRL 1.16,
    `DPOTrainer` with `loss_type` sigmoid and `f_divergence_type` reverse_kl, its defaults: the mean over pairs.
    """

    name = "dpo"
    formula = "-log sigma(beta [(lp_c - ref_c) - (lp_r - ref_r)])"
    source = "Rafailov et al. 2023, eq. 7; TRL 1.16, DPOTrainer (sigmoid)"
    sides = ("chosen", "rejected")
    relative = True

    def values(
        self,
        log_probs: torch.Tensor,
        references: torch.Tensor,
        columns: Columns,  # noqa: ARG002
        settings: LossSettings,
    ) -> torch.Tensor:
        """See `RowLoss.values`."""
        from torch.nn import functional

        ratios = log_probs - references
        return -functional.logsigmoid(settings.beta * (ratios[:, 0] - ratios[:, 1]))


class KTO(RowLoss):
    """Kahneman-Tversky optimisation, of answers marked as wanted or unwanted.

    L = d (1 - sigma(beta (r - z))) of a wanted answer, and u (1 - sigma(beta (z - r))) of an unwanted one, with
    r = lp - ref, z the baseline `kl`, d `desirable_weight` and u `undesirable_weight`. The trainer estimates z for each
    batch from mismatched prompts and answers and takes no gradient through it; here it is one number, held fixed.
    Source: Ethayarajh et al. 2024, equations 7 and 8; TRL 1.16, `KTOTrainer` with `loss_type` kto, its default: the
    mean over rows.
    """

    name = "kto"
    formula = (
        "1 - sigma(beta (lp - ref - z)) of wanted answers, 1 - sigma(beta (z - lp + ref)) of unwanted ones"
    )
    source = "Ethayarajh et al. 2024, eq. 7-8; TRL 1.16, KTOTrainer (kto), its KL baseline z held fixed"
    relative = True

    def numbers(self, record: Record, settings: LossSettings) -> dict[str, float]:  # noqa: ARG002
        """See `RowLoss.numbers`.

        Returns:
            Whether the answer is wanted, as 1 or 0.

        Raises:
            RecordError: the row has no mark.
        """
        if record.desirable is None:
            raise RecordError("has no `label` that is true or false, which `loss=kto` needs")
        return {"desirable": float(record.desirable)}

    def values(
        self, log_probs: torch.Tensor, references: torch.Tensor, columns: Columns, settings: LossSettings
    ) -> torch.Tensor:
        """See `RowLoss.values`."""
        wanted = columns["desirable"]
        sign = 2 * wanted - 1
        weight = wanted * settings.desirable_weight + (1 - wanted) * settings.undesirable_weight
        gain = log_probs[:, 0] - references[:, 0] - settings.kl
        return weight * (1 - (settings.beta * sign * gain).sigmoid())
