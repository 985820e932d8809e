"""One activation vector per text and site: the mean over its response tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aitia.engine import progress_bar
from aitia.models import (
    LanguageModel,
    batch_tensors,
    in_tokens,
    masked_mean,
    require_finite,
    sort_sites,
    trace,
)
from aitia.records import BATCH_TOKENS, Records, TokenizedRecords, length_batches, pad_batch


def response_means(
    model: LanguageModel,
    records: Records | TokenizedRecords,
    sites: Sequence[str],
    *,
    max_batch_tokens: int = BATCH_TOKENS,
    title: str = "Tracing texts",
) -> dict[str, np.ndarray]:
    """Mean activation over the response tokens of each record, at each site.

    Args:
        model: the model.
        records: n rows; those in tokens are taken as they are cut.
        sites: where.
        max_batch_tokens: tokens run at once.
        title: of the progress bar.

    Returns:
        site -> [n, d] float32, rows in the order of `records`.

    Raises:
        RecordError: a record cannot be tokenised or is longer than the model's context.
        NumericalError: an activation is not finite; the record is named.
    """
    sites = sort_sites(sites, model.layers)
    tokenized = in_tokens(model, records)
    means = {site: np.empty((len(tokenized), model.width), dtype=np.float32) for site in sites}
    with progress_bar(title, len(tokenized), unit="texts") as advance:
        for index in length_batches([len(row.tokens) for row in tokenized], max_tokens=max_batch_tokens):
            batch = pad_batch(tokenized, index, model.pad_id)
            _, response = batch_tensors(model, batch)
            for site, hidden in trace(model, batch, sites).items():
                mean = masked_mean(hidden, response)
                require_finite(mean, [tokenized[i].location for i in index], f"the activation at {site}")
                means[site][index] = mean.cpu().numpy()
            advance(len(index))
    return means
