"""Scores that see the whole of training: the derivative of a recorded run, and products of gradients along it.

f_v is the queries' mean projection on the concept's direction v, w_i the loss weight of row i, L_i its summed loss, p_c
the parameters at checkpoint c and P_c what AdamW divides by there. F is one forward pass of the model over a row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from aitia.attribution.gradients.curvature import CurvatureSettings
from aitia.attribution.gradients.run_passes import RunPass
from aitia.attribution.replay import CHECKPOINTS, OVER_ORDERS, SURROGATES
from aitia.attribution.scorers.context import RankingContext
from aitia.attribution.scorers.protocol import Needs, Scorer, Scores
from aitia.attribution.scorers.registry import register, scorer
from aitia.models import LanguageModel, find_linear_layers
from aitia.records import TokenizedRecord

_REPLAY_CONTROLS = 2
"""Controls that a replay scores: each is a further target of every run."""


@dataclass(frozen=True)
class RunScores(Scores):
    """Scores that go through a run.

    Attributes:
        score: from directions, [c, d], or none for the concept's own, to [c, n, s] by the answers of the rows' loss.
        names: [s] names of the answers; () where the loss compares none.
        at_once: directions that one pass has a place for.
    """

    score: Callable[[np.ndarray | None], np.ndarray]
    names: tuple[str, ...]
    at_once: int | None = None

    @cached_property
    def own(self) -> np.ndarray:
        """[n, s] with the concept's own direction, computed once."""
        return self.score(None)[0]

    def rows(self) -> np.ndarray:
        """See `Scores.rows`."""
        return self.own.sum(axis=-1)

    def under(self, directions: np.ndarray) -> np.ndarray:
        """See `Scores.under`."""
        return self.score(directions).sum(axis=-1)

    def sides(self) -> dict[str, np.ndarray]:
        """See `Scores.sides`."""
        return {name: self.own[:, place] for place, name in enumerate(self.names)}

    def directions_at_once(self) -> int | None:
        """See `Scores.directions_at_once`."""
        return self.at_once

    def tokens(self, row: TokenizedRecord) -> np.ndarray | None:  # noqa: ARG002
        """See `Scores.tokens`."""
        return None


@scorer
class Replay(Scorer):
    """The derivative of the trained model's projection with respect to each row's loss weight."""

    name = "replay"
    formula = (
        "d f_v(x) / d w_i after training, by reversing a smooth surrogate of the recorded run; the mean of "
        f"{SURROGATES} surrogates, and the expectation over orders of the rows, taken at {OVER_ORDERS} steps of each"
    )
    drops = "the gap between the smooth run and the recorded one, and what is not linear in the rows' weights"
    cost = (
        "for each surrogate a training, 2.5 trainings to reverse it, and "
        f"{OVER_ORDERS} times F forward and 2 F backward"
    )
    source = (
        "Maclaurin et al. 2015; Engstrom et al. 2025; Ilyas & Engstrom 2025; concepts and smoothing are ours"
    )
    through_concept = True
    any_loss = True

    def needs(self) -> Needs:
        """See `Scorer.needs`."""
        return Needs(queries=True, run=True)

    def prepare(self, context: RankingContext) -> RunScores:
        """See `Scorer.prepare`."""
        runs = context.runs()

        def score(directions: np.ndarray | None) -> np.ndarray:
            found = runs.replay(directions)
            return found.scores[:, :, None] if found.sides is None else found.sides

        return RunScores(score, context.store.sides, _REPLAY_CONTROLS)

    def cost_of(self, model: LanguageModel, site: str, curvature: CurvatureSettings) -> RunPass:  # noqa: ARG002
        """See `Scorer.cost_of`."""
        return replace(
            _use_of_the_run(model), reversals=SURROGATES, over_orders=OVER_ORDERS, at_once=_REPLAY_CONTROLS
        )


@dataclass(frozen=True, kw_only=True)
class CheckpointScorer(Scorer):
    """A scorer that sums products of gradients over checkpoints of a run.

    Attributes:
        preconditioned: whether AdamW's scaling is divided out.
    """

    name: str
    formula: str
    drops: str
    source: str
    preconditioned: bool
    cost = f"{CHECKPOINTS} times F forward and 2 F backward, and the products of the row's gradients"
    through_concept = True
    any_loss = True

    def needs(self) -> Needs:
        """See `Scorer.needs`."""
        return Needs(queries=True, run=True)

    def prepare(self, context: RankingContext) -> RunScores:
        """See `Scorer.prepare`."""
        runs = context.runs()
        return RunScores(
            lambda directions: runs.checkpoints(directions, preconditioned=self.preconditioned),
            context.store.sides,
        )

    def cost_of(self, model: LanguageModel, site: str, curvature: CurvatureSettings) -> RunPass:  # noqa: ARG002
        """See `Scorer.cost_of`."""
        return replace(_use_of_the_run(model), checkpoints=CHECKPOINTS)


register(
    CheckpointScorer(
        name="checkpoint-influence",
        formula="-sum over checkpoints c of rate_c grad f_v(x, p_c)^T P_c^-1 grad L_i(p_c)",
        drops="how later steps act on what a row did: each of its effects is taken to last",
        source="Pruthi et al. 2020 with AdamW's scaling, as in Xia et al. 2024 without its momentum",
        preconditioned=True,
    )
)
register(
    CheckpointScorer(
        name="tracin",
        formula="-sum over checkpoints c of rate_c grad f_v(x, p_c)^T grad L_i(p_c)",
        drops="the optimizer's scaling, and how later steps act on what a row did",
        source="Pruthi et al. 2020",
        preconditioned=False,
    )
)


def _use_of_the_run(model: LanguageModel) -> RunPass:
    """What training moved: every linear layer, or the adapter's."""
    layers = find_linear_layers(model, parameters="full" if model.adapter is None else "lora")
    return RunPass(
        weights=sum(layer.outputs * layer.inputs for layer in layers),
        lowest=0 if model.adapter is None else min(layer.block for layer in layers),
    )
