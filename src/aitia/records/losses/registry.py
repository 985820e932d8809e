"""Every loss of rows by name, and what the package asks of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aitia.records.losses.preferences import DPO, KTO
from aitia.records.losses.row_loss import RowLoss
from aitia.records.losses.settings import LossSettings
from aitia.records.losses.single import PolicyGradient, Supervised

if TYPE_CHECKING:
    import torch

LOSSES: dict[str, RowLoss] = {loss.name: loss for loss in (Supervised(), DPO(), KTO(), PolicyGradient())}
"""Every loss of rows by name."""


def loss_of(settings: LossSettings) -> RowLoss:
    """The loss that settings name."""
    return LOSSES[settings.loss]


def side_coefficients(
    log_probs: torch.Tensor,
    references: torch.Tensor,
    columns: dict[str, torch.Tensor],
    settings: LossSettings,
) -> torch.Tensor:
    """What each side's gradient is multiplied with in that of its row: k_s = -dL/d(lp_s), the row's weight left out.

    Args:
        log_probs: [b, s].
        references: [b, s].
        columns: name -> [b].
        settings: of the loss.

    Returns:
        [b, s]: the gradient of row i is the sum over s of k_is times that of side s's summed cross-entropy.
    """
    import torch

    with torch.enable_grad():
        given = log_probs.detach().double().requires_grad_()
        values = loss_of(settings).values(
            given,
            references.double(),
            {name: value.double() for name, value in columns.items()},
            settings,
        )
        (slope,) = torch.autograd.grad(values.sum(), given)
    return -slope
