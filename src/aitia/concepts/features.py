"""How strongly each feature of a sparse autoencoder fires on each row, and where in the text.

Only response tokens count: they are what is trained on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from aitia.concepts.sae import SparseAutoencoder, require_sae_fits
from aitia.engine import progress_bar
from aitia.errors import ConceptError
from aitia.models import LanguageModel, batch_tensors, in_tokens, require_finite, trace
from aitia.records import BATCH_TOKENS, Records, TokenizedRecords, length_batches, pad_batch

if TYPE_CHECKING:
    import scipy.sparse as sparse
    import torch

POOLINGS = ("share", "mean", "max")
DEFAULT_POOLING = "share"
_TOKENS_AT_ONCE = 2048


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureMatrix:
    """Features by rows.

    Attributes:
        values: sparse [n, m] float32: each feature pooled over the response tokens of each row.
        ids: [n] of the rows.
        pooling: `share` of the response tokens on which the feature fires, its `mean`, or its `max`.
        site: of the autoencoder.
        sae: its fingerprint.
    """

    values: sparse.csr_array
    ids: tuple[str, ...]
    pooling: str
    site: str
    sae: str

    def fires(self, threshold: float) -> sparse.csc_array:
        """Which features fire on which rows: sparse [n, m] bool, true where the value exceeds the threshold.

        Raises:
            ConceptError: a threshold below 0, under which every feature would fire on every row.
        """
        import scipy.sparse as sparse

        if threshold < 0:
            raise ConceptError(f"threshold {threshold}: at least 0, or every feature fires on every row")
        return sparse.csc_array(self.values > threshold)


def feature_matrix(
    model: LanguageModel,
    data: Records | TokenizedRecords,
    sae: SparseAutoencoder,
    *,
    pooling: str = DEFAULT_POOLING,
    max_batch_tokens: int = BATCH_TOKENS,
) -> FeatureMatrix:
    """Encode every row's response tokens, and pool each feature over them.

    Args:
        model: whose activations; the base of the model that the autoencoder was trained on, or any adapter on it.
        data: n rows.
        sae: with m features, at a site of the model.
        pooling: `share`, `mean` or `max` (see `FeatureMatrix`). With `max` and a threshold of 0.1, groups are
            those of Kowal et al. 2026; a share does not depend on a feature's scale, nor on a single token.
        max_batch_tokens: tokens run at once.

    Raises:
        ConceptError: the autoencoder is of another width, site or model; or no such pooling.
        RecordError, NumericalError: a row that cannot be used; it is named.
    """
    import scipy.sparse as sparse
    import torch

    if pooling not in POOLINGS:
        raise ConceptError(f"pooling {pooling!r}: choose among {', '.join(POOLINGS)}")
    require_sae_fits(sae, model)
    tokenized = in_tokens(model, data)
    rows: list[Any] = [None] * len(tokenized)
    with progress_bar("Encoding features", len(tokenized)) as advance:
        for index, hidden in site_batches(model, tokenized, sae.site, max_batch_tokens):
            for number, i in enumerate(index):
                row = tokenized[int(i)]
                response = torch.from_numpy(row.response).to(hidden.device)
                rows[int(i)] = _pool(sae, hidden[number, : len(row.tokens)][response], pooling)
            advance(len(index))
    values = sparse.csr_array(sparse.vstack(rows)) if rows else sparse.csr_array((0, sae.features))
    return FeatureMatrix(
        values=values,
        ids=tuple(row.id for row in tokenized),
        pooling=pooling,
        site=sae.site,
        sae=sae.fingerprint,
    )


def site_batches(
    model: LanguageModel, rows: TokenizedRecords, site: str, max_batch_tokens: int
) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
    """Go through rows in batches of like length, with their activations at a site.

    Yields:
        Positions [b] among the rows, and activations [b, t, d]; those at pads mean nothing.

    Raises:
        NumericalError: an activation at a response token is not finite; the row is named.
    """
    for index in length_batches([len(row.tokens) for row in rows], max_tokens=max_batch_tokens):
        batch = pad_batch(rows, index, model.pad_id)
        _, response = batch_tensors(model, batch)
        hidden = trace(model, batch, [site])[site]
        require_finite(
            hidden.float().masked_fill(~response.unsqueeze(-1), 0),
            [rows[int(i)].location for i in index],
            f"an activation at {site}",
        )
        yield index, hidden


def token_features(
    model: LanguageModel,
    rows: TokenizedRecords,
    sae: SparseAutoencoder,
    features: Sequence[int],
    *,
    max_batch_tokens: int = BATCH_TOKENS,
) -> list[np.ndarray]:
    """How strongly some features fire on each token: for each row [t, len(features)] float32, prompts zero."""
    chosen = np.asarray(features, dtype=np.int64)
    found: list[Any] = [None] * len(rows)
    for index, hidden in site_batches(model, rows, sae.site, max_batch_tokens):
        for number, i in enumerate(index):
            row = rows[int(i)]
            values = sae.encode(hidden[number, : len(row.tokens)])[:, chosen].cpu().numpy()
            found[int(i)] = np.where(row.response[:, None], values, 0).astype(np.float32)
    return found


def _pool(sae: SparseAutoencoder, tokens: torch.Tensor, pooling: str) -> sparse.csr_array:
    """One row's features: sparse [1, m] float32. Long rows are encoded a stretch at a time."""
    import scipy.sparse as sparse
    import torch

    pooled = torch.zeros(sae.features, device=tokens.device)
    for part in tokens.split(_TOKENS_AT_ONCE):
        features = sae.encode(part)
        if pooling == "max":
            pooled = torch.maximum(pooled, features.max(dim=0).values)
        else:
            fired = features if pooling == "mean" else (features > 0).float()
            pooled += fired.sum(dim=0)
    if pooling != "max":
        pooled /= max(len(tokens), 1)
    return sparse.csr_array(pooled.cpu().numpy().astype(np.float32)[None])
