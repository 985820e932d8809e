"""The method activation-gradient with each row's gradient scaled to unit length: size alone does not lead."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aitia.attribution.scanning.store import ActivationStore
from aitia.attribution.scorers.activation import ActivationScores, find_activation_scorer
from aitia.attribution.scorers.confounds import gradient_norms
from aitia.attribution.scorers.context import RankingContext
from aitia.attribution.scorers.protocol import Needs, Scorer, Scores
from aitia.attribution.scorers.registry import scorer
from aitia.concepts import Concept
from aitia.records import TokenizedRecord

_PRODUCT = "activation-gradient"


@dataclass(frozen=True)
class UnitGradientScores(Scores):
    """Products of directions with the rows' gradients, each divided by the gradient's length.

    Attributes:
        products: the scores before the division.
    """

    products: ActivationScores

    def rows(self) -> np.ndarray:
        """See `Scores.rows`."""
        return self._scaled(self.products.rows())

    def under(self, directions: np.ndarray) -> np.ndarray:
        """See `Scores.under`. The norms are read once for all directions."""
        return self._scaled(self.products.under(directions))

    def directions_at_once(self) -> int | None:
        """See `Scores.directions_at_once`."""
        return None

    def tokens(self, row: TokenizedRecord) -> np.ndarray | None:
        """See `Scores.tokens`: every share is divided by the length of the whole row's gradient."""
        position = np.flatnonzero(self.products.store.column("id") == row.id)
        shares = self.products.tokens(row)
        return None if shares is None else self._scaled(shares, position)

    def sides(self) -> dict[str, np.ndarray]:
        """See `Scores.sides`: every part is divided by the length of the whole row's gradient."""
        return {side: self._scaled(part) for side, part in self.products.sides().items()}

    def _scaled(self, scores: np.ndarray, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Scores / |g_i|, [..., n] float32; 0 for a row without any gradient, which has no direction."""
        norms = gradient_norms(self.products.store, self.products.concept.site)[rows]
        return np.divide(scores, norms, out=np.zeros(scores.shape), where=norms > 0).astype(np.float32)


@scorer
class ActivationGradientCosine(Scorer):
    """How well a row's gradient points along the concept, however long it is."""

    name = "activation-gradient-cosine"
    formula = "-<v, g_i> / |g_i|, g_i = sum_s dL_i/da_s, s the response tokens, L_i the row's mean loss"
    drops = "what activation-gradient drops, and how far a step on the row goes"
    cost = f"as {_PRODUCT}"
    source = "ours; Xia et al. 2024 take cosines of gradients of weights for the same reason"
    through_concept = True
    any_loss = True

    def needs(self) -> Needs:
        """See `Scorer.needs`."""
        return find_activation_scorer(_PRODUCT).needs()

    def prepare(self, context: RankingContext) -> UnitGradientScores:
        """See `Scorer.prepare`."""
        return UnitGradientScores(find_activation_scorer(_PRODUCT).prepare(context))

    def row_contrasts(self, store: ActivationStore, concept: Concept, *, count: int, seed: int) -> np.ndarray:
        """See `Scorer.row_contrasts`: those of the gradients as they are."""
        return find_activation_scorer(_PRODUCT).row_contrasts(store, concept, count=count, seed=seed)
