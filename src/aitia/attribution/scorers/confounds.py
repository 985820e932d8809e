"""Baselines that know the model and its training, and no concept: the size of a gradient, and what was learned.

A ranking that finds rows through a concept must find more than these do.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from aitia.attribution.gradients.cost_model import InfluencePass
from aitia.attribution.gradients.curvature import CurvatureSettings
from aitia.attribution.scanning.activations import predicted_tokens
from aitia.attribution.scanning.store import ActivationStore
from aitia.attribution.scorers.baselines import training_loss
from aitia.attribution.scorers.context import RankingContext, require_adapter
from aitia.attribution.scorers.protocol import Needs, RowScores, Scorer
from aitia.attribution.scorers.registry import scorer
from aitia.engine import progress_bar
from aitia.errors import NumericalError
from aitia.models import LanguageModel, run
from aitia.models.losses import without_adapter
from aitia.records import length_batches, pad_batch


def gradient_norms(store: ActivationStore, site: str) -> np.ndarray:
    """The Euclidean norm of each row's stored backward activation at a site.

    Args:
        store: a finished store with the backward activation.
        site: a site of the store.

    Returns:
        [n] float64, rows in data order; in nats per unit of activation.

    Raises:
        StoreError: the store lacks the site or the activation.
        NumericalError: a stored value is not finite; the row is named.
    """
    norms = np.empty(len(store))
    for positions, block in store.blocks(["backward"], site):
        norms[positions] = np.linalg.norm(block["backward"].astype(np.float64), axis=1)
    bad = np.flatnonzero(~np.isfinite(norms))
    if len(bad):
        raise NumericalError(
            f"{store.column('location')[bad[0]]}: the stored backward activation is not finite; scan again"
        )
    return norms


def loss_gap(store: ActivationStore) -> np.ndarray:
    """The mean cross-entropy of each row's response without the model's adapter, less that with it.

    The losses with the adapter are those that the scan stored. Those without it come from a pass of the model over the
    rows, with the adapter turned off, in batches of the size of the scan's.

    Args:
        store: a finished store with the backward activation, of a model with an adapter.

    Returns:
        [n] float64 in nats per predicted token, rows in data order; positive where training has lowered the loss.

    Raises:
        AitiaError: the scanned model has no adapter.
        StoreError: the store has no losses, or model and data are not at hand.
        NumericalError: a loss without the adapter is not finite; the row is named.
    """
    import torch

    require_adapter(store, "loss-gap")
    after, rows = training_loss(store), store.load_rows()
    before = np.empty(len(store))
    most = int(store.manifest["settings"]["max_batch_tokens"])
    with without_adapter(store.load_model()) as bare, progress_bar("Base model", len(rows)) as advance:
        for index in length_batches([len(row.tokens) for row in rows], max_tokens=most):
            batch = pad_batch(rows, index, bare.pad_id)
            with torch.no_grad():
                losses = run(bare, batch).losses()
            before[index] = losses.double().cpu().numpy() / predicted_tokens(batch)
            advance(len(index))
    bad = np.flatnonzero(~np.isfinite(before))
    if len(bad):
        raise NumericalError(
            f"{rows[int(bad[0])].location}: the loss without the adapter is not finite; check the base model"
        )
    return before - after


@scorer
class GradientNorm(Scorer):
    """How hard a row pulls at the site, in whatever direction."""

    name = "gradient-norm"
    formula = "|sum_s dL_i/da_s|, s the response tokens, L_i the row's mean loss"
    drops = "the direction of the gradient, and so the concept"
    cost = "F forward and 2 (1 - l/L) F backward, in the scan"
    source = "a ranking that agrees with it may be about the size of gradients alone"
    positive = "always"
    baseline = True
    any_loss = True

    def needs(self) -> Needs:
        """See `Scorer.needs`."""
        return Needs(activations=("backward",))

    def prepare(self, context: RankingContext) -> RowScores:
        """See `Scorer.prepare`."""
        return RowScores(partial(gradient_norms, context.store, context.concept.site))


@scorer
class LossGap(Scorer):
    """What the model has learned of a row in fine-tuning."""

    name = "loss-gap"
    formula = "mean cross-entropy of the response's tokens in nats without the adapter, less that with it"
    drops = "the concept"
    cost = "F forward, and F forward in the scan"
    source = "a ranking that agrees with it may be about what was learned best alone"
    positive = "training has lowered the row's loss"
    baseline = True

    def needs(self) -> Needs:
        """See `Scorer.needs`: losses are kept with the backward activation."""
        return Needs(activations=("backward",), adapter=True)

    def prepare(self, context: RankingContext) -> RowScores:
        """See `Scorer.prepare`."""
        return RowScores(partial(loss_gap, context.store))

    def cost_of(self, model: LanguageModel, site: str, curvature: CurvatureSettings) -> InfluencePass:  # noqa: ARG002
        """See `Scorer.cost_of`: a forward pass, and no gradients of weights."""
        return InfluencePass(weights=0, lowest=model.layers)
