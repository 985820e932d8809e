"""One activation vector per text and site: the mean over its response tokens, or the activation at their end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from aitia.engine import progress_bar
from aitia.models import (
    LanguageModel,
    batch_tensors,
    in_tokens,
    masked_mean,
    require_finite,
    response_end_mask,
    sort_sites,
    trace,
)
from aitia.records import BATCH_TOKENS, Records, TokenizedRecords, length_batches, pad_batch

ReadTokens = Literal["response", "response_end"]
"""The tokens of a text at which a concept is read: all of the response, in the mean, or its last one."""
READ_TOKENS: tuple[ReadTokens, ...] = get_args(ReadTokens)
"""The same as values."""


def response_means(
    model: LanguageModel,
    records: Records | TokenizedRecords,
    sites: Sequence[str],
    *,
    max_batch_tokens: int = BATCH_TOKENS,
    title: str = "Tracing texts",
) -> dict[str, np.ndarray]:
    """Mean activation over the response tokens of each record, at each site (see `response_activations`).

    Returns:
        site -> [n, d] float32, rows in the order of `records`.
    """
    found = response_activations(
        model, records, sites, ("response",), max_batch_tokens=max_batch_tokens, title=title
    )
    return found["response"]


def response_activations(
    model: LanguageModel,
    records: Records | TokenizedRecords,
    sites: Sequence[str],
    tokens: Sequence[ReadTokens] = READ_TOKENS,
    *,
    max_batch_tokens: int = BATCH_TOKENS,
    title: str = "Tracing texts",
) -> dict[ReadTokens, dict[str, np.ndarray]]:
    """Activations at the response tokens of each record, at each site, in one pass.

    Args:
        model: the model.
        records: n rows; those in tokens are taken as they are cut.
        sites: where.
        tokens: `response` for the mean over the response tokens; `response_end` for the last of them (of each response
            of a conversation, in the mean).
        max_batch_tokens: tokens run at once.
        title: of the progress bar.

    Returns:
        tokens -> site -> [n, d] float32, rows in the order of `records`.

    Raises:
        RecordError: a record cannot be tokenised or is longer than the model's context.
        NumericalError: an activation is not finite; the record is named.
    """
    sites = sort_sites(sites, model.layers)
    tokenized = in_tokens(model, records)
    found: dict[ReadTokens, dict[str, np.ndarray]] = {
        name: {site: np.empty((len(tokenized), model.width), dtype=np.float32) for site in sites}
        for name in tokens
    }
    with progress_bar(title, len(tokenized), unit="texts") as advance:
        for index in length_batches([len(row.tokens) for row in tokenized], max_tokens=max_batch_tokens):
            batch = pad_batch(tokenized, index, model.pad_id)
            _, response = batch_tensors(model, batch)
            masks = {"response": response, "response_end": response_end_mask(response)}
            for site, hidden in trace(model, batch, sites).items():
                for name, by_site in found.items():
                    mean = masked_mean(hidden, masks[name])
                    require_finite(mean, [tokenized[i].location for i in index], f"the activation at {site}")
                    by_site[site][index] = mean.cpu().numpy()
            advance(len(index))
    return found
