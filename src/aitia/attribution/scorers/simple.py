"""Baselines that know no concept, and the oracle, which knows the answer."""

from __future__ import annotations

from functools import partial

from aitia.attribution.scanning.null_directions import ISOTROPIC, MATCHED, NullKind
from aitia.attribution.scorers.activation import find_activation_scorer
from aitia.attribution.scorers.baselines import (
    random_direction_scores,
    response_length,
    shuffled_direction_scores,
    training_loss,
)
from aitia.attribution.scorers.context import RankingContext
from aitia.attribution.scorers.protocol import Needs, RowScores, Scorer
from aitia.attribution.scorers.registry import DEFAULT_METHOD, scorer


@scorer
class ResponseLength(Scorer):
    """The length of the response."""

    name = "response-length"
    formula = "the number of the response's tokens"
    drops = "everything but length"
    cost = "none"
    source = "a ranking that agrees with it may be about length alone"
    positive = "always"
    baseline = True
    any_loss = True

    def prepare(self, context: RankingContext) -> RowScores:
        """See `Scorer.prepare`."""
        return RowScores(partial(response_length, context.store.column("response_tokens")))


@scorer
class TrainingLoss(Scorer):
    """What the model has yet to learn."""

    name = "training-loss"
    formula = "mean cross-entropy of the response's tokens in nats, under the scanned model"
    drops = "the concept"
    cost = "F forward, in the scan"
    source = "a ranking that agrees with it may be about difficulty alone"
    positive = "always"
    baseline = True

    def needs(self) -> Needs:
        """See `Scorer.needs`: losses are kept with the backward activation."""
        return Needs(activations=("backward",))

    def prepare(self, context: RankingContext) -> RowScores:
        """See `Scorer.prepare`."""
        return RowScores(partial(training_loss, context.store))


class _NullDirection(Scorer):
    """The default method on a null direction."""

    kind: NullKind
    cost = f"as {DEFAULT_METHOD}"
    drops = "the concept"
    baseline = True
    any_loss = True

    def needs(self) -> Needs:
        """See `Scorer.needs`."""
        return find_activation_scorer(DEFAULT_METHOD).needs()

    def prepare(self, context: RankingContext) -> RowScores:
        """See `Scorer.prepare`."""
        score = partial(
            random_direction_scores,
            context.store,
            context.concept,
            DEFAULT_METHOD,
            count=1,
            seed=context.seed,
            kind=self.kind,
        )
        return RowScores(lambda: score()[0])


@scorer
class RandomDirection(_NullDirection):
    """The default method on an isotropic random direction."""

    name = "random-direction"
    kind = ISOTROPIC
    formula = f"{DEFAULT_METHOD} with a random direction, drawn evenly, in the concept's place"
    source = "what activations along any direction give away"
    positive = "training on the row raises the projection on the random direction"


@scorer
class MatchedDirection(_NullDirection):
    """The default method on a random direction with the covariance of the rows."""

    name = "matched-direction"
    kind = MATCHED
    formula = f"{DEFAULT_METHOD} with the contrast of two random halves of the rows in the concept's place"
    source = "what a contrast of texts gives away whose labels say nothing"
    positive = "training on the row raises the projection on the random contrast"


@scorer
class ShuffledLabels(Scorer):
    """The default method on a direction that the recipe found for shuffled labels."""

    name = "shuffled-labels"
    formula = f"{DEFAULT_METHOD} with the concept's first shuffled direction in its place"
    drops = "which texts are positive"
    cost = f"as {DEFAULT_METHOD}"
    source = "what the recipe gives away without the concept"
    positive = "training on the row raises the projection on the shuffled direction"
    baseline = True
    any_loss = True

    def needs(self) -> Needs:
        """See `Scorer.needs`."""
        return Needs(activations=find_activation_scorer(DEFAULT_METHOD).needs().activations, shuffled=True)

    def prepare(self, context: RankingContext) -> RowScores:
        """See `Scorer.prepare`."""
        store, concept = context.store, context.concept
        return RowScores(lambda: shuffled_direction_scores(store, concept, DEFAULT_METHOD)[0])


@scorer
class Oracle(Scorer):
    """The label itself: what no ranking can beat."""

    name = "oracle"
    formula = "1 for a row with the label, 0 for one without"
    drops = "nothing: it knows the answer"
    cost = "none"
    source = "a true-or-false column of the data"
    positive = "the row has the label"
    baseline = True
    any_loss = True

    def needs(self) -> Needs:
        """See `Scorer.needs`."""
        return Needs(labels=True)

    def prepare(self, context: RankingContext) -> RowScores:
        """See `Scorer.prepare`."""
        labels = context.labels()
        return RowScores(lambda: labels.astype(float))
