"""The losses of rows, in one registry: what training on a row does to the model."""

from aitia.records.losses.reading import require_answers, usual_loss
from aitia.records.losses.registry import LOSSES, loss_of, side_coefficients
from aitia.records.losses.row_loss import Columns, RowLoss
from aitia.records.losses.settings import PLAIN, REFERENCES, WEIGHT, LossSettings

__all__ = [
    "LOSSES",
    "PLAIN",
    "REFERENCES",
    "WEIGHT",
    "Columns",
    "LossSettings",
    "RowLoss",
    "loss_of",
    "require_answers",
    "side_coefficients",
    "usual_loss",
]
