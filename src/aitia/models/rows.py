"""Rows cut into the tokens of a model, within its context."""

from __future__ import annotations

from datetime import date

from aitia.errors import RecordError
from aitia.models.language_model import LanguageModel
from aitia.records import Records, TokenizedRecords, tokenize
from aitia.records.losses import PLAIN, LossSettings


def in_tokens(
    model: LanguageModel,
    data: Records | TokenizedRecords,
    *,
    max_length: int = 0,
    truncate: bool = False,
    on_error: str = "stop",
    today: date | None = None,
    loss: LossSettings = PLAIN,
) -> TokenizedRecords:
    """Rows in tokens: as they are, or cut by the model's tokenizer.

    Args:
        model: the model.
        data: rows; those in tokens already are left as they are.
        max_length: longest row, in tokens; 0 for the model's context.
        truncate: cut longer rows instead of refusing them.
        on_error: `stop` at rows that cannot be used, or `skip` them.
        today: the date for a chat template that writes one; default: the day of this run.
        loss: what training does with the rows; default: supervised fine-tuning, without weights.

    Returns:
        The rows in tokens, in their order; rows that were skipped are named in `skipped`.

    Raises:
        RecordError: a row is longer, or cannot be used otherwise; it is named. Or no row is left, or the model
            does not take rows of that length, or rows in tokens have another loss.
    """
    if isinstance(data, TokenizedRecords):
        if data.loss != loss:
            raise RecordError(
                f"these rows were cut for the loss {data.loss}, and are taken here with the loss {loss}, which would "
                "pass over what they are; give them with their own loss, where it is known"
            )
        return data
    longest = row_length(model, max_length)
    found = tokenize(
        data,
        model.tokenizer,
        max_length=longest,
        truncate=truncate,
        on_error=on_error,  # type: ignore[arg-type]
        today=today,
        loss=loss,
    )
    if len(data) and not len(found):
        raise RecordError(
            f"{data.name}: no row that can be used; the first, {found.skipped[0].location}: "
            f"{found.skipped[0].reason}"
        )
    return found


def row_length(model: LanguageModel, max_length: int) -> int:
    """The longest row, in tokens, where `max_length` is asked for and 0 stands for the model's context.

    Returns:
        At least 1.

    Raises:
        RecordError: it is negative, or longer than the context.
    """
    if not 0 <= max_length <= model.context_length:
        raise RecordError(
            f"`max_length={max_length}`: {model.name} takes rows of 1 to {model.context_length} tokens; "
            "0 stands for all of them"
        )
    return max_length or model.context_length
