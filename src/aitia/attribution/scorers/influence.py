"""Influence: gradients of the rows' losses with respect to the weights, multiplied with those of the queries.

H is the curvature, x the queries, L_i the loss of row i, F one forward pass of the model over the row.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from aitia.attribution.gradients.cost_model import InfluencePass
from aitia.attribution.gradients.curvature import CurvatureSettings
from aitia.attribution.influence.store_influence import InfluenceForm, StoreInfluence, weights_of
from aitia.attribution.influence.streaming import layers_up_to
from aitia.attribution.scorers.context import RankingContext
from aitia.attribution.scorers.protocol import Needs, Scorer, Scores
from aitia.attribution.scorers.registry import find_scorer, register
from aitia.errors import AitiaError
from aitia.models import LanguageModel
from aitia.records import TokenizedRecord


@dataclass(frozen=True)
class InfluenceScores(Scores):
    """Influence on a store's rows in one form."""

    influence: StoreInfluence
    form: InfluenceForm

    def rows(self) -> np.ndarray:
        """See `Scores.rows`."""
        return self.influence.scores(self.form)

    def under(self, directions: np.ndarray) -> np.ndarray | None:
        """See `Scores.under`."""
        return self.influence.direction_scores(self.form, directions) if self.form.of_concept else None

    def directions_at_once(self) -> int | None:
        """See `Scores.directions_at_once`."""
        return self.influence.directions_at_once(self.form)

    def tokens(self, row: TokenizedRecord) -> np.ndarray | None:
        """See `Scores.tokens`; none of a loss whose coefficients depend on whole answers."""
        if not self.influence.rows.loss.plain:
            return None
        return self.influence.token_shares(self.form, row)

    def sides(self) -> dict[str, np.ndarray]:
        """See `Scores.sides`."""
        return self.influence.side_scores(self.form)


@dataclass(frozen=True, kw_only=True)
class InfluenceScorer(Scorer):
    """A scorer that takes gradients with respect to the weights, and queries to measure.

    Attributes:
        form: what is measured, and whether curvature is divided out.
    """

    name: str
    form: InfluenceForm
    formula: str
    drops: str
    cost: str
    source: str
    through_concept: bool = field(init=False)
    positive = "training on the row raises the measurement"
    any_loss = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "through_concept", self.form.of_concept)

    def needs(self) -> Needs:
        """See `Scorer.needs`. Without curvature too, its settings say which layers count."""
        return Needs(queries=True, curvature=True)

    def prepare(self, context: RankingContext) -> InfluenceScores:
        """See `Scorer.prepare`."""
        return InfluenceScores(context.influence(), self.form)

    def cost_of(self, model: LanguageModel, site: str, curvature: CurvatureSettings) -> InfluencePass:
        """See `Scorer.cost_of`."""
        layers = layers_up_to(model, site if self.form.of_concept else None, curvature)
        return InfluencePass(weights=weights_of(layers), lowest=min(layer.block for layer in layers))


register(
    InfluenceScorer(
        name="concept-gradient-product",
        form=InfluenceForm(of_concept=True, curved=False),
        formula="-grad f_v(x)^T grad L_i, f_v the queries' mean projection on v",
        drops="curvature",
        cost="F forward and 2 F backward, and the products of the row's gradients",
        source="concept-influence with H the identity",
    )
)
register(
    InfluenceScorer(
        name="concept-influence",
        form=InfluenceForm(of_concept=True),
        formula="-grad f_v(x)^T (H + damping)^-1 grad L_i, f_v the queries' mean projection on v",
        drops="everything beyond one linearisation at the trained weights",
        cost="F forward and 2 F backward, and the products of the row's gradients",
        source="Kowal et al. 2026; curvature as in Grosse et al. 2023",
    )
)
register(
    InfluenceScorer(
        name="influence",
        form=InfluenceForm(of_concept=False),
        formula="-grad log p(x)^T (H + damping)^-1 grad L_i, turned so that positive raises log p",
        drops="everything beyond one linearisation at the trained weights; it knows texts, not the concept",
        cost="as concept-influence",
        source="Koh & Liang 2017; Grosse et al. 2023",
    )
)


def find_damped_scorer(name: str) -> InfluenceScorer:
    """Look up a scorer that divides by a damped curvature.

    Returns:
        The scorer of that name.

    Raises:
        AitiaError: there is no such scorer, or it has no damping.
    """
    found = find_scorer(name)
    if not isinstance(found, InfluenceScorer) or not found.form.curved:
        raise AitiaError(f"method {name} has no damping; sweep concept-influence or influence")
    return found
