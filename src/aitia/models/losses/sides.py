"""Rows taken apart into the answers that their loss compares, and put together by coefficients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from aitia.models.language_model import LanguageModel
from aitia.models.losses.reference import log_probabilities, with_references
from aitia.models.rows import in_tokens
from aitia.models.tracing import Outputs
from aitia.records import Batch, Records, TokenizedRecord, TokenizedRecords, pad_batch
from aitia.records.losses import (
    PLAIN,
    REFERENCES,
    WEIGHT,
    LossSettings,
    loss_of,
    side_coefficients,
    usual_loss,
)

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class Sides:
    """The sides of n rows as rows of supervised fine-tuning, and what each adds to its row's gradient.

    Attributes:
        rows: n * s of them, the sides of the first row first.
        coefficients: [n, s]; the gradient of row i is the sum over s of these times that of side s's summed
            cross-entropy, or of its mean, as they were asked for.
        names: [s] names of the sides.
    """

    rows: TokenizedRecords
    coefficients: np.ndarray
    names: tuple[str, ...]

    def parts(self, scores: np.ndarray) -> np.ndarray:
        """What each side adds to its row's score, from scores of the sides that are linear in their gradients.

        Args:
            scores: [..., n * s].

        Returns:
            [..., n, s]; the sum over s is the row's score.
        """
        return scores.reshape(*scores.shape[:-1], *self.coefficients.shape) * self.coefficients


def sides_of_rows(
    model: LanguageModel,
    rows: TokenizedRecords,
    *,
    mean: bool = False,
    weighted: bool = True,
    max_batch_tokens: int = 2048,
) -> Sides:
    """Take rows apart into sides, with the coefficients that these have at the model's parameters.

    Args:
        model: the trained model; with its adapter turned off it is the reference, where the loss reads one.
        rows: n rows, as `in_tokens` gives them with their loss.
        mean: coefficients of the gradient of the side's mean cross-entropy, in the place of its sum. A loss that is
            itself divided by tokens is then a mean over its row's.
        weighted: whether a row's weight is in its gradient.
        max_batch_tokens: tokens run at once.

    Returns:
        The sides.

    Raises:
        AitiaError: the loss reads a reference, and the model has no adapter to turn off.
        NumericalError: a log-probability is not finite; the row is named.
    """
    loss = loss_of(rows.loss)
    answers = rows.answers
    flat = list(answers)
    filled = with_references(model, list(rows), rows.loss, max_batch_tokens=max_batch_tokens)
    if loss.per_token:  # whose coefficients do not depend on the log-probabilities
        log_probs = np.zeros(len(flat))
    else:
        log_probs = log_probabilities(model, flat, max_batch_tokens=max_batch_tokens)
    found = coefficients(filled, log_probs.reshape(len(rows), -1), rows.loss, mean=mean, weighted=weighted)
    return Sides(
        rows=answers,
        coefficients=found,
        names=loss.sides,
    )


def answers_in_tokens(model: LanguageModel, data: Records, **cutting: Any) -> TokenizedRecords:
    """Every answer of the rows in tokens: both of a preference pair, as rows of supervised fine-tuning.

    For what is about the model on the rows' texts, whatever is trained with them, as a curvature is.

    Args:
        model: the model.
        data: the rows, of one shape.
        cutting: as `in_tokens` takes it.

    Returns:
        The answers, those of a row together.
    """
    settings = usual_loss(data[0]) if len(data) else PLAIN
    return in_tokens(model, data, loss=settings, **cutting).answers


def coefficients(
    rows: Sequence[TokenizedRecord],
    log_probs: np.ndarray,
    settings: LossSettings,
    *,
    mean: bool,
    weighted: bool = True,
) -> np.ndarray:
    """What each side's gradient is multiplied with in that of its row.

    Args:
        rows: n rows, their references filled in.
        log_probs: [n, s] of their sides at the parameters where gradients are taken.
        settings: of the loss.
        mean: see `sides_of_rows`.
        weighted: see `sides_of_rows`.

    Returns:
        [n, s] float64.
    """
    import torch

    numbers = numbers_of_rows(rows, settings)
    references = references_of(numbers, log_probs.shape)
    found = side_coefficients(
        torch.from_numpy(np.array(log_probs, dtype=np.float64)),
        torch.from_numpy(references),
        {name: torch.from_numpy(value) for name, value in numbers.items()},
        settings,
    ).numpy()
    if mean and not loss_of(settings).per_token:
        found = found * [[max(int(side.response[1:].sum()), 1) for side in row.sides] for row in rows]
    return found * numbers[WEIGHT][:, None] if weighted and WEIGHT in numbers else found


def numbers_of_rows(rows: Sequence[TokenizedRecord], settings: LossSettings) -> dict[str, np.ndarray]:
    """What the loss reads of rows beside their text: name -> [n] float64."""
    if settings.plain:
        return {}
    names = rows[0].numbers if len(rows) else {}
    return {name: np.array([row.numbers[name] for row in rows], dtype=np.float64) for name in names}


def references_of(numbers: dict[str, np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """The references among the numbers of rows, [n, s]; zeros where there are none."""
    found = np.zeros(shape)
    for place, name in enumerate(REFERENCES[: shape[1]]):
        if name in numbers:
            found[:, place] = numbers[name]
    return found


def side_batch(rows: TokenizedRecords | Sequence[TokenizedRecord], index: np.ndarray, pad_id: int) -> Batch:
    """The sides of rows beside one another: those of the first row first, each with its row's place as index.

    Args:
        rows: the rows to choose from.
        index: [b] positions among them.
        pad_id: the token to pad with.

    Returns:
        [b * s, t] tokens and masks.
    """
    settings = getattr(rows, "loss", PLAIN)
    if settings.plain:
        return pad_batch(rows, index, pad_id)
    sides = [rows[int(i)].sides for i in index]
    flat = [side for part in sides for side in part]
    batch = pad_batch(flat, np.arange(len(flat)), pad_id)
    places = np.repeat(np.asarray(index, dtype=np.int64), [len(part) for part in sides])
    return Batch(index=places, tokens=batch.tokens, attention=batch.attention, response=batch.response)


def row_losses(outputs: Outputs, rows: Sequence[TokenizedRecord], settings: LossSettings) -> torch.Tensor:
    """The loss of each row of a batch, with its graph: [b]. The row's weight is not in it.

    Args:
        outputs: of `side_batch` of the rows.
        rows: [b], their references filled in.
        settings: of the loss.

    Returns:
        [b], in nats where the loss is a cross-entropy.
    """
    return loss_values(-outputs.losses().reshape(len(rows), -1), rows, settings)


def loss_values(
    log_probs: torch.Tensor, rows: Sequence[TokenizedRecord], settings: LossSettings
) -> torch.Tensor:
    """The loss of each row, from the log-probabilities of its answers: [b]. The row's weight is not in it.

    Args:
        log_probs: [b, s], with a graph or without.
        rows: [b], their references filled in.
        settings: of the loss.

    Returns:
        [b].
    """
    numbers = numbers_of_rows(rows, settings)
    references = log_probs.new_tensor(references_of(numbers, tuple(log_probs.shape)))
    columns = {name: log_probs.new_tensor(value) for name, value in numbers.items()}
    return loss_of(settings).values(log_probs, references, columns, settings)
