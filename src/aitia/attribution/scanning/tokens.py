"""Each token's share of a row's score, for showing where in a text the score comes from."""

from __future__ import annotations

import numpy as np

from aitia.attribution.scanning.activation_products import Reading, readout
from aitia.attribution.scanning.activations import predicted_tokens
from aitia.attribution.scanning.store import ActivationStore
from aitia.concepts import Concept
from aitia.models import (
    LanguageModel,
    batch_tensors,
    masked_mean,
    prompt_end_mask,
    response_end_mask,
    site_gradients,
    trace,
)
from aitia.records import TokenizedRecord, pad_batch


def token_shares(
    model: LanguageModel, row: TokenizedRecord, concept: Concept, store: ActivationStore, reading: Reading
) -> np.ndarray:
    """What each token of a row adds to its score; the shares of the response tokens sum to the score.

    A baseline is spread evenly over the response tokens. Prompt tokens have share 0. Of a concept that is read at the
    end of the response, the last token has all of it.

    Args:
        model: the model that the store was scanned with.
        row: the row, tokenised as for the scan.
        concept: the concept.
        store: for the whitening, and for a sampled baseline.
        reading: which stored vectors the score is made of.

    Returns:
        [t] float32.
    """
    import torch

    reading = reading.at(concept.tokens)
    functional = readout(store, concept.vector[None], concept.site, reading)[0]
    batch = pad_batch([row], np.array([0]), model.pad_id)
    response = row.response
    if reading.activation == "backward":
        _, gradients = site_gradients(model, batch, [concept.site])
        values = gradients[concept.site][0] / float(predicted_tokens(batch)[0])
    else:
        hidden = trace(model, batch, [concept.site])[concept.site]
        values = hidden[0].float()
        if reading.baseline == "prompt_end":
            _, mask = batch_tensors(model, batch)
            values = values - masked_mean(hidden, prompt_end_mask(mask))[0]
        elif reading.baseline is not None:
            values = values - values.new_tensor(_stored(store, reading.baseline, concept.site, row.id))
        read = response
        if concept.tokens == "response_end":
            read = response_end_mask(torch.from_numpy(batch.response))[0, : len(response)].numpy()
        values = values / float(read.sum())
        response = read
    shares = reading.sign * (values.float().cpu().numpy() @ functional)
    return np.where(response, shares, 0.0).astype(np.float32)


def _stored(store: ActivationStore, activation: str, site: str, name: str) -> np.ndarray:
    """The stored activation of one row, [d]."""
    wanted = int(np.flatnonzero(store.column("id") == name)[0])
    for positions, block in store.blocks([activation], site):
        found = np.flatnonzero(positions == wanted)
        if len(found):
            return block[activation][found[0]]
    raise KeyError(name)
