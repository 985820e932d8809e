"""Rows under their losses: sides, reference log-probabilities, coefficients, and values with a graph."""

from aitia.models.losses.reference import (
    known_references,
    log_probabilities,
    references_table,
    with_references,
    without_adapter,
)
from aitia.models.losses.sides import (
    Sides,
    answers_in_tokens,
    coefficients,
    loss_values,
    row_losses,
    side_batch,
    sides_of_rows,
)

__all__ = [
    "Sides",
    "answers_in_tokens",
    "coefficients",
    "known_references",
    "log_probabilities",
    "loss_values",
    "references_table",
    "row_losses",
    "side_batch",
    "sides_of_rows",
    "with_references",
    "without_adapter",
]
