"""What a scorer is: what it says about itself, what it needs, and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from aitia.attribution.scanning.store import ActivationStore
from aitia.records import TokenizedRecord

if TYPE_CHECKING:
    from aitia.attribution.gradients.cost_model import InfluencePass
    from aitia.attribution.gradients.curvature import CurvatureSettings
    from aitia.attribution.gradients.run_passes import RunPass
    from aitia.attribution.scorers.context import RankingContext
    from aitia.concepts import Concept
    from aitia.models import LanguageModel


RANKING_COLUMNS = ("id", "content", "row", "location", "score", "rank", "prompt_tokens", "response_tokens")
"""The columns of a ranking's file that are not a scorer's; no scorer may have such a name, or that of a side."""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a scorer must be given beside the store's columns and the concept; checked before any work.

    Attributes:
        activations: stored activations at the concept's site, as `scan` keeps them.
        prompts: a prompt before every response.
        queries: texts that show the behaviour.
        curvature: the curvature of the model's loss.
        texts: the positive and negative texts that the concept is fitted to.
        labels: which rows are known to be of the kind that is sought.
        shuffled: directions that the concept's recipe found for shuffled labels.
        run: the recorded training run, as `aitia.training.train` leaves it.
        adapter: an adapter that was scanned with the model, to be turned off.
    """

    activations: tuple[str, ...] = ()
    prompts: bool = False
    queries: bool = False
    curvature: bool = False
    texts: bool = False
    labels: bool = False
    shuffled: bool = False
    run: bool = False
    adapter: bool = False


class Scores(Protocol):
    """What a scorer gives for one store and concept."""

    def rows(self) -> np.ndarray:
        """[n] one score a row, in the store's order; positive where the row raises the concept."""
        ...

    def under(self, directions: np.ndarray) -> np.ndarray | None:
        """[c, n] scores with other directions, [c, d], in the concept's place; none where no direction enters."""
        ...

    def directions_at_once(self) -> int | None:
        """For how many directions one pass has a place; none for as many as there are."""
        ...

    def tokens(self, row: TokenizedRecord) -> np.ndarray | None:
        """[t] each token's share of a row's score; none where a score has no such parts."""
        ...

    def sides(self) -> Mapping[str, np.ndarray]:
        """Answer that the rows' loss compares -> its part of each row's score, [n]; empty where scores have none."""
        return {}


@dataclass(frozen=True)
class RowScores(Scores):
    """Scores that no direction enters and that have no parts by token.

    Attributes:
        score: gives the rows' scores, [n].
    """

    score: Callable[[], np.ndarray]

    def rows(self) -> np.ndarray:
        """See `Scores.rows`."""
        return self.score()

    def under(self, directions: np.ndarray) -> np.ndarray | None:  # noqa: ARG002
        """See `Scores.under`."""
        return None

    def directions_at_once(self) -> int | None:
        """See `Scores.directions_at_once`."""
        return None

    def tokens(self, row: TokenizedRecord) -> np.ndarray | None:  # noqa: ARG002
        """See `Scores.tokens`."""
        return None


class Scorer(Protocol):
    """A way to give each training row a number. A subclass gives the words and `prepare`, and what differs else.

    Attributes:
        name: as given to `rank`.
        formula: of the score.
        drops: what it leaves out.
        cost: of scoring, per row.
        source: where it comes from.
        positive: what a positive score says.
        through_concept: whether scores come from the concept's direction, so that other directions give other scores.
        baseline: whether it is there to be beaten, as the oracle is there to be approached.
        any_loss: whether it counts rows by their own loss, or by nothing that a loss changes. Otherwise it takes rows
            of supervised fine-tuning without weights alone, and is refused others.
    """

    name: str
    formula: str
    drops: str
    cost: str
    source: str
    positive: str = "training on the row raises the concept"
    through_concept: bool = False
    baseline: bool = False
    any_loss: bool = False

    @property
    def description(self) -> str:
        """A paragraph for reports."""
        return (
            f"Score = {self.formula}. Positive: {self.positive}. Leaves out: {self.drops}. Cost: {self.cost}. "
            f"Source: {self.source}."
        )

    def needs(self) -> Needs:
        """What it must be given; nothing by default."""
        return Needs()

    def prepare(self, context: RankingContext) -> Scores:
        """The scores of a store's rows for a concept; work that grows with the rows waits until they are asked for."""
        ...

    def cost_of(
        self,
        model: LanguageModel,  # noqa: ARG002
        site: str,  # noqa: ARG002
        curvature: CurvatureSettings,  # noqa: ARG002
    ) -> InfluencePass | RunPass | None:
        """What the model does for it with the rows or with a run, for `aitia plan`; none where stored numbers suffice.

        Args:
            model: with its weights or without.
            site: of the concept.
            curvature: how the curvature is fitted.

        Returns:
            The pass, or None.
        """
        return None

    def row_contrasts(
        self,
        store: ActivationStore,  # noqa: ARG002
        concept: Concept,  # noqa: ARG002
        *,
        count: int,  # noqa: ARG002
        seed: int,  # noqa: ARG002
    ) -> np.ndarray | None:
        """Directions that mean nothing but lie as the rows do, [count, d]; none where random ones must serve."""
        return None
