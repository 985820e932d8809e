"""Removal and retraining, as steps: what is measured, which rows are removed, and the runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from aitia.attribution.gradients import Cost
from aitia.concepts import Concept
from aitia.counterfactual import (
    Behaviour,
    ConceptProjection,
    JudgedResponses,
    LikelihoodMargin,
    Removal,
    RetrainingRun,
    RunResult,
    plan_removals,
    read_result,
    retrain,
    run_files,
)
from aitia.engine import Engine
from aitia.models import site_layer
from aitia.pipelines.retraining.counterfactual_configuration import BehavioursPart, RemovalPart
from aitia.pipelines.retraining.counterfactual_inputs import Inputs, NamedJudge
from aitia.pipelines.retraining.ranking_steps import KeepScores, MakeJudge
from aitia.pipelines.steps.concept import MakeConcept
from aitia.pipelines.steps.models import BaseModel, training_identity
from aitia.pipelines.steps.records import ReadRecords
from aitia.pipelines.steps.step import Results, Step
from aitia.pipelines.steps.workload import Workload, forward_cost, training_cost
from aitia.records.losses import PLAIN, LossSettings
from aitia.training import LoraSettings


@dataclass(kw_only=True, eq=False, repr=False)
class MakeBehaviours(Step[list[Behaviour]]):
    """What is measured after each training.

    Attributes:
        concept: whose projection is measured.
        judge: who grades responses; none where none are graded.
        parts: of the configuration.
        given: the inputs, with the held-out texts.
    """

    name: str = "behaviours"
    concept: MakeConcept
    judge: MakeJudge | None
    parts: BehavioursPart
    given: Inputs

    def depends(self) -> object:
        """See `Step.depends`."""
        margin = self.parts.margin and self.parts.margin.model_dump(
            mode="json", exclude={"behaviour", "normal"}
        )
        return [
            [texts.fingerprint for texts in self.given.measured],
            self.parts.projection and self.parts.projection.tokens,
            margin,
            self.parts.judged and self.parts.judged.model_dump(mode="json", exclude={"prompts"}),
        ]

    def run(self, results: Results) -> list[Behaviour]:
        """See `Step.run`."""
        judge = None if self.judge is None else results[self.judge]
        return self.made(results[self.concept], judge)

    def kept(self) -> list[Behaviour] | None:
        """What is measured, where the concept is there already."""
        if not self.concept.done():
            return None
        wants_judge = self.judge is not None and self.parts.judged is not None
        return self.made(self.concept.read(), self.judge.judge if wants_judge and self.judge else None)

    def made(self, concept: Concept, judge: NamedJudge | None) -> list[Behaviour]:
        """What is measured, of a concept and by a judge."""
        parts, inputs = self.parts, self.given
        found: list[Behaviour] = []
        if parts.projection is not None:
            assert inputs.projected is not None
            tokens = parts.projection.tokens
            found.append(ConceptProjection(concept=concept, texts=inputs.projected, tokens=tokens))
        if parts.margin is not None:
            assert inputs.margin is not None
            found.append(LikelihoodMargin(behaviour=inputs.margin[0], normal=inputs.margin[1]))
        if parts.judged is not None:
            assert inputs.judged is not None
            assert judge is not None
            found.append(
                JudgedResponses(
                    prompts=inputs.judged,
                    judge=judge.judge,
                    judged_by=judge.name,
                    max_new_tokens=parts.judged.max_new_tokens,
                    temperature=parts.judged.temperature,
                    samples=parts.judged.samples,
                    seed=parts.judged.seed,
                )
            )
        return found

    def once(self, work: Workload) -> list[Cost]:
        """What measuring one model takes; sampled answers are not counted, because nobody knows their length."""
        shape, found = work.shape, []
        if self.given.projected is not None:
            site = self.concept.site() or f"resid_post.{shape.layers // 2}"
            texts, blocks = work.texts(self.given.projected), 1 + site_layer(site, shape.layers)
            found.append(forward_cost(shape, texts, self.name, blocks=blocks))
        for texts in self.given.margin or ():
            if texts is not None:
                whole = work.texts(texts)
                found.append(forward_cost(shape, whole, self.name, blocks=shape.layers, logits=True))
        return found


@dataclass(kw_only=True, eq=False, repr=False)
class PlanRemovals(Step[dict[Removal, RetrainingRun]]):
    """Which rows are removed by which ranking, and what is trained then.

    Attributes:
        data: the rows.
        scores: of the rankings that are made here.
        files: ranking made elsewhere -> [n] scores.
        part: of the configuration.
    """

    name: str = "removals"
    data: ReadRecords
    scores: KeepScores
    files: Mapping[str, np.ndarray]
    part: RemovalPart

    def depends(self) -> object:
        """See `Step.depends`."""
        files = {name: np.asarray(values).tolist() for name, values in self.files.items()}
        return [self.part.model_dump(mode="json"), files]

    def run(self, results: Results) -> dict[Removal, RetrainingRun]:
        """See `Step.run`."""
        return self.made(results[self.scores].scores)

    def made(self, scores: Mapping[str, np.ndarray]) -> dict[Removal, RetrainingRun]:
        """The removals by scores and those of files."""
        return plan_removals(
            self.data.records.ids,
            {**scores, **self.files},
            self.part.shares,
            range(self.part.seeds),
            ends=self.part.ends,
        )

    def counted(self) -> list[RetrainingRun]:
        """The runs, where scores are not there yet those of arbitrary scores: as many rows are removed then."""
        if self.scores.done():
            return list(self.made(self.scores.read().scores).values())
        draw = np.random.default_rng(0)
        stand_in = {name: draw.permutation(len(self.data.records.ids)) * 1.0 for name in self.scores.compare}
        return list(self.made(stand_in).values())


@dataclass(kw_only=True, eq=False, repr=False)
class Retrain(Step[list[RunResult]]):
    """Training again from the same start for each removal, and measuring each model; every finished run is kept.

    Attributes:
        base: the start.
        data: all rows.
        removals: what is trained.
        behaviours: what is measured.
        settings: of each training.
        loss: what training does with a row.
        engine: where the runs are made.
        out: folder of the runs.
    """

    name: str = "retraining"
    base: BaseModel
    data: ReadRecords
    removals: PlanRemovals
    behaviours: MakeBehaviours
    settings: LoraSettings
    loss: LossSettings = PLAIN
    engine: Engine
    out: Path

    def depends(self) -> object:
        """See `Step.depends`."""
        return training_identity(self.settings, self.loss)

    def files(self) -> dict[RetrainingRun, Path] | None:
        """The file of each run, where rankings and concept are there, so that it is known which runs these are."""
        if not any(self.out.glob("*.json")) or not self.removals.scores.done():
            return None
        behaviours = self.behaviours.kept()
        if behaviours is None:
            return None
        runs = self.removals.made(self.removals.scores.read().scores).values()
        return run_files(
            self.base.fingerprint,
            self.data.records,
            list(runs),
            behaviours,
            self.settings,
            self.out,
            loss=self.loss,
        )

    def done(self) -> bool:
        """See `Step.done`."""
        files = self.files()
        return files is not None and all(path.is_file() for path in files.values())

    def read(self) -> list[RunResult]:
        """See `Step.read`."""
        files = self.files() or {}
        found = {run: read_result(path) for run, path in files.items()}
        return [found[run] for run in self.removals.made(self.removals.scores.read().scores).values()]

    def run(self, results: Results) -> list[RunResult]:
        """See `Step.run`. It goes on at the first run that is missing."""
        return retrain(
            partial(results[self.base], None),
            results[self.data],
            list(results[self.removals].values()),
            results[self.behaviours],
            self.settings,
            self.out,
            self.engine,
            loss=self.loss,
        )

    def missing(self) -> list[RetrainingRun]:
        """The runs that are still to be made, each once."""
        files = self.files()
        if files is None:
            return list(dict.fromkeys(self.removals.counted()))
        return [run for run, path in files.items() if not path.is_file()]

    def cost(self, work: Workload) -> tuple[Cost, ...]:
        """See `Step.cost`: a training for each missing run that keeps rows, by its share of them, and its measuring."""
        runs = self.missing()
        shares = [len(run.kept) / len(self.data.records) for run in runs if run.kept]
        return (_together(self.name, work, self.settings, shares, self.behaviours.once(work), len(runs)),)


def _together(
    name: str,
    work: Workload,
    settings: LoraSettings,
    shares: Sequence[float],
    measuring: Sequence[Cost],
    models: int,
) -> Cost:
    trained = training_cost(work, name, settings, share=sum(shares))
    return Cost(
        name=name,
        multiply_adds=trained.multiply_adds + models * sum(each.multiply_adds for each in measuring),
        calls=trained.calls + models * sum(each.calls for each in measuring),
        rows=trained.rows + models * sum(each.rows for each in measuring),
        memory_bytes=trained.memory_bytes,
    )
