"""The reference model of DPO and KTO, and the log-probabilities that it gives to rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import numpy as np

from aitia.errors import AitiaError, NumericalError
from aitia.models.language_model import LanguageModel
from aitia.models.tracing import run
from aitia.records import TokenizedRecord, TokenizedRecords, length_batches, pad_batch
from aitia.records.losses import REFERENCES, LossSettings, loss_of

_BATCH_TOKENS = 2048


@contextmanager
def without_adapter(model: LanguageModel) -> Iterator[LanguageModel]:
    """The same model with its adapter turned off while the block runs.

    Yields:
        The model without its adapter.

    Raises:
        AitiaError: it has none.
    """
    if model.adapter is None or not hasattr(model.network, "disable_adapter"):
        raise AitiaError(f"{model.name}: no adapter to turn off; give the base model too")
    with model.network.disable_adapter():
        yield replace(model, adapter=None)


def log_probabilities(
    model: LanguageModel, rows: Sequence[TokenizedRecord], *, max_batch_tokens: int = _BATCH_TOKENS
) -> np.ndarray:
    """The log-probability of each row's response tokens given what comes before, summed, in nats.

    Args:
        model: the model.
        rows: n rows, of one answer each.
        max_batch_tokens: tokens run at once.

    Returns:
        [n] float64.

    Raises:
        NumericalError: one is not finite; the row is named.
    """
    found = np.empty(len(rows))
    for index in length_batches([len(row.tokens) for row in rows], max_tokens=max_batch_tokens):
        losses = run(model, pad_batch(rows, index, model.pad_id)).losses()
        found[index] = -losses.double().cpu().numpy()
    bad = np.flatnonzero(~np.isfinite(found))
    if len(bad):
        raise NumericalError(
            f"{rows[int(bad[0])].location}: the log-probability of its response is not finite; the model's precision "
            "may be too low for this row (try `dtype=float32`)"
        )
    return found


def with_references(
    model: LanguageModel,
    rows: Sequence[TokenizedRecord],
    loss: LossSettings,
    *,
    untrained: bool = False,
    max_batch_tokens: int = _BATCH_TOKENS,
) -> list[TokenizedRecord]:
    """Rows with the log-probabilities that the reference model gives their sides, where their loss reads these.

    Args:
        model: the model; with its adapter turned off it is the reference, unless columns hold the log-probabilities.
        rows: n rows, as `in_tokens` gives them with that loss.
        loss: of the rows.
        untrained: whether the model is the reference itself, as before a training.
        max_batch_tokens: tokens run at once.

    Returns:
        The n rows; as they are where the loss reads no reference, columns gave it, or it is filled in already.

    Raises:
        AitiaError: the model has no adapter to turn off.
        NumericalError: a log-probability is not finite; the row is named.
    """
    if not loss_of(loss).relative or loss.reference != "base" or _are_known(rows):
        return list(rows)
    if not untrained and model.adapter is None:
        raise AitiaError(
            f"{model.name}: `loss={loss.loss}` compares with a reference model, which is this model without its "
            "adapter, and it has none; give the log-probabilities in columns: `reference=columns`"
        )
    if not len(rows):
        return []
    sides = [row.sides for row in rows]
    with nullcontext(model) if untrained else without_adapter(model) as reference:
        flat = log_probabilities(
            reference, [each for part in sides for each in part], max_batch_tokens=max_batch_tokens
        )
    by_row = flat.reshape(len(rows), -1)
    return [
        replace(row, numbers={**row.numbers, **dict(zip(REFERENCES, found.tolist(), strict=False))})
        for row, found in zip(rows, by_row, strict=True)
    ]


def _are_known(rows: Sequence[TokenizedRecord]) -> bool:
    return bool(len(rows)) and REFERENCES[0] in rows[0].numbers


def references_table(rows: Sequence[TokenizedRecord]) -> list[list[float]]:
    """The log-probabilities by the reference model that rows hold, [n, s]; empty where they hold none."""
    names = [name for name in REFERENCES if len(rows) and name in rows[0].numbers]
    return [[row.numbers[name] for name in names] for row in rows] if names else []


def known_references(rows: TokenizedRecords, known: Sequence[Sequence[float]]) -> TokenizedRecords:
    """Rows with log-probabilities of the reference model that were computed before.

    Args:
        rows: n rows.
        known: [n, s] in the order of the rows and of their sides; empty for rows without any.

    Returns:
        The n rows.
    """
    if not len(known):
        return rows
    filled = [
        replace(row, numbers={**row.numbers, **dict(zip(REFERENCES, found, strict=False))})
        for row, found in zip(rows, known, strict=True)
    ]
    return replace(rows, records=filled)
