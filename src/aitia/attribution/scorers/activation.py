"""The fast family: scalar products of stored activations with the concept's direction.

Throughout: v is the concept's direction at site l; h_i the mean activation of row i over its response
tokens, or that at the last of them, where the concept is read there; F one forward pass of the model
over the row, L the number of its layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from aitia.attribution.scanning.activation_products import Reading, activation_products, contrasts_of_rows
from aitia.attribution.scanning.side_activations import side_activation
from aitia.attribution.scanning.store import ActivationStore
from aitia.attribution.scanning.tokens import token_shares
from aitia.attribution.scorers.context import RankingContext
from aitia.attribution.scorers.protocol import Needs, Scorer, Scores
from aitia.attribution.scorers.registry import find_scorer, register, scorers
from aitia.concepts import Concept, ReadTokens
from aitia.errors import AitiaError, ConceptError
from aitia.records import TokenizedRecord


@dataclass(frozen=True)
class ActivationScores(Scores):
    """Scores of a store's rows by one reading of its activations."""

    store: ActivationStore
    concept: Concept
    reading: Reading
    name: str

    def rows(self) -> np.ndarray:
        """See `Scores.rows`."""
        return self.under(self.concept.vector[None])[0]

    def under(self, directions: np.ndarray) -> np.ndarray:
        """See `Scores.under`."""
        return activation_products(self.store, directions, self.concept.site, self.reading, self.name)

    def directions_at_once(self) -> int | None:
        """See `Scores.directions_at_once`."""
        return None

    def tokens(self, row: TokenizedRecord) -> np.ndarray | None:
        """See `Scores.tokens`; none of a loss whose coefficients depend on whole answers."""
        if not self.store.loss.plain:
            return None
        return token_shares(self.store.load_model(), row, self.concept, self.store, self.reading)

    def sides(self) -> dict[str, np.ndarray]:
        """See `Scores.sides`."""
        return {
            side: activation_products(
                self.store,
                self.concept.vector[None],
                self.concept.site,
                replace(self.reading, activation=side_activation(side)),
                self.name,
            )[0]
            for side in self.store.sides
        }


@dataclass(frozen=True, kw_only=True)
class ActivationScorer(Scorer):
    """A member of the fast family.

    Attributes:
        reading: which stored vectors are multiplied with the direction.
    """

    name: str
    reading: Reading
    formula: str
    drops: str
    cost: str
    source: str
    through_concept = True
    any_loss: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "any_loss", self.reading.activation == "backward")

    def needs(self) -> Needs:
        """See `Scorer.needs`."""
        return Needs(activations=self.reading.activations, prompts=self.reading.prompts)

    def prepare(self, context: RankingContext) -> ActivationScores:
        """See `Scorer.prepare`."""
        return ActivationScores(
            context.store, context.concept, self.reading.at(context.concept.tokens), self.name
        )

    def row_contrasts(self, store: ActivationStore, concept: Concept, *, count: int, seed: int) -> np.ndarray:
        """See `Scorer.row_contrasts`."""
        return contrasts_of_rows(store, concept.site, self.reading.at(concept.tokens), count=count, seed=seed)


register(
    ActivationScorer(
        name="vector-filter",
        reading=Reading(activation="response"),
        formula="<v, h_i>",
        drops="what the model would have said anyway, the backward activation, the queries, curvature",
        cost="l/L F",
        source="Kowal et al. 2026, eq. 15",
    )
)
register(
    ActivationScorer(
        name="projection-difference",
        reading=Reading(activation="response", baseline="on_policy_response"),
        formula="<v, h_i - h'_i>, h'_i the same mean over a response that the model itself samples",
        drops="the backward activation, the queries, curvature",
        cost="2 l/L F, and sampling a response",
        source="Kowal et al. 2026, eq. 13-14; the projection metric of Chen et al. 2025",
    )
)
register(
    ActivationScorer(
        name="projection-difference-prompt",
        reading=Reading(activation="response", baseline="prompt_end"),
        formula="<v, h_i - p_i>, p_i the activation of the last token before the response",
        drops="the backward activation, the queries, curvature; the own response is stood in for by the prompt",
        cost="l/L F",
        source="Chen et al. 2025, appendix I",
    )
)
register(
    ActivationScorer(
        name="whitened-projection-difference",
        reading=Reading(activation="response", baseline="prompt_end", whitened=True),
        formula="<C^-1 v, h_i - p_i>, C the Ledoit-Wolf covariance of h_i - p_i over the store",
        drops="the backward activation, the queries; C stands in for curvature in feature space",
        cost="l/L F, and one d x d inverse",
        source="ours: natural-gradient reading of the projection difference",
    )
)
register(
    ActivationScorer(
        name="activation-gradient",
        reading=Reading(activation="backward", sign=-1),
        formula="-sum_s <v, dL_i/da_s>, s the response tokens, L_i the row's mean loss",
        drops="the similarity of inputs between query and row, curvature",
        cost="F forward and 2 (1 - l/L) F backward",
        source="ours: the backward half of Concept Influence",
    )
)


def activation_scorers() -> dict[str, ActivationScorer]:
    """The fast family of this process by name, in the order of cost."""
    return {name: each for name, each in scorers().items() if isinstance(each, ActivationScorer)}


def available_methods(store: ActivationStore) -> tuple[str, ...]:
    """The members of the fast family whose activations a store holds, for each of its rows."""
    held = set(store.activations)
    if bool((store.column("prompt_tokens") == 0).any()):
        held.discard("prompt_end")
    return tuple(
        name
        for name, each in activation_scorers().items()
        if held.issuperset(each.reading.activations) and (store.loss.plain or each.any_loss)
    )


def find_activation_scorer(name: str) -> ActivationScorer:
    """Look a member of the fast family up.

    Returns:
        The scorer of that name.

    Raises:
        AitiaError: no such scorer, or one that needs more than stored activations.
    """
    found = find_scorer(name)
    if not isinstance(found, ActivationScorer):
        what = (
            "measures queries, not stored activations alone"
            if found.needs().queries
            else "reads no stored activation"
        )
        raise AitiaError(
            f"method {name} {what}: give {'queries to ' if found.needs().queries else 'it to '}`rank`, or choose among "
            f"{', '.join(activation_scorers())}"
        )
    return found


def score_concepts(store: ActivationStore, concepts: Sequence[Concept], method: str) -> np.ndarray:
    """Score every row of a store under any number of concepts at one site.

    Args:
        store: a finished store.
        concepts: c concepts at the same site.
        method: the name of a member of the fast family.

    Returns:
        [c, n] float32, rows in data order.

    Raises:
        ConceptError: concepts at different sites or read at different tokens, or of another width.
        StoreError: the store lacks the site or an activation.
        NumericalError: a stored value is not finite; the row is named.
    """
    places = {(concept.site, concept.tokens) for concept in concepts}
    if len(places) != 1:
        said = ", ".join(f"{site} ({tokens})" for site, tokens in sorted(places))
        raise ConceptError(
            f"concepts at one site that are read alike are scored together; these are at {said}"
        )
    site, tokens = concepts[0].site, concepts[0].tokens
    return score_vectors(
        store, np.stack([concept.vector for concept in concepts]), site, method, tokens=tokens
    )


def score_vectors(
    store: ActivationStore,
    vectors: np.ndarray,
    site: str,
    method: str,
    *,
    tokens: ReadTokens = "response",
) -> np.ndarray:
    """Score every row under any number of bare directions.

    Args:
        store: a finished store.
        vectors: [c, d].
        site: where they live.
        method: the name of a member of the fast family.
        tokens: at which they are read, as a concept's.

    Returns:
        [c, n] float32, rows in data order.
    """
    return activation_products(
        store, vectors, site, find_activation_scorer(method).reading.at(tokens), method
    )
