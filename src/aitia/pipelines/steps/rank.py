"""The ranking: every row's score by every method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from aitia.attribution import ControlKind, NullSettings, Ranking, available_methods, rank
from aitia.attribution.gradients import (
    Cost,
    CurvatureSettings,
    Damping,
    InfluencePass,
    RunPass,
    influence_cost,
    rank_cost,
    run_cost,
)
from aitia.attribution.influence import SolveSettings, directions_that_fit
from aitia.attribution.ranking import RANDOM_CONTROLS, control_kind, controls_kept
from aitia.attribution.scorers import activation_scorers, find_scorer, label_values, naming_package
from aitia.concepts import SHUFFLES, load_concept
from aitia.engine import LOCAL, Engine
from aitia.files import file_digest
from aitia.models import LanguageModel
from aitia.pipelines.steps.concept import MakeConcept
from aitia.pipelines.steps.curvature import FitCurvature, LoadCurvature, PlanCurvature
from aitia.pipelines.steps.models import BaseModel, ModelStep, RecordRun
from aitia.pipelines.steps.records import ReadRecords
from aitia.pipelines.steps.scan import Scan
from aitia.pipelines.steps.step import Results, Step
from aitia.pipelines.steps.workload import Workload, training_cost
from aitia.records import Records
from aitia.training import RUN, open_run


@dataclass(kw_only=True, eq=False, repr=False)
class Rank(Step[Ranking]):
    """Every row scored by the method that decides the order and by those that it is compared with.

    Attributes:
        model: which was scanned.
        data: what was scanned.
        concept: what the rows' influence is on.
        scan: the store.
        plan: of the curvature; none where there is none to fit.
        curvature: none where no method uses one.
        queries: texts to measure; none where no method measures any.
        method: decides the order.
        compare: further methods.
        compare_available: compare with all that the store's activations allow, too.
        damping: of the curvature; none for the default.
        solve: how far the curvature is inverted as a whole; none for layer by layer.
        positive: texts that show the concept; none for those that it names.
        negative: texts that do not, likewise.
        label: name of a true-or-false column, or its values, [n].
        random_controls: null directions to draw and score as controls.
        shuffled_controls: the most of the concept's shuffled directions to score as controls; none for all.
        nulls: how null directions are drawn.
        seed: of the null directions.
        recorded: the recorded training run, for the scorers that go through it; none where none does.
        base: the model that it started from; none to load the one that the run names.
        folder: of a run that was recorded before, in the place of `recorded`.
        cutting: of the queries, as `aitia.models.in_tokens` takes it.
        engine: where gradients are made.
    """

    name: str = "rank"
    model: ModelStep
    data: ReadRecords
    concept: MakeConcept
    scan: Scan
    plan: PlanCurvature | None = None
    curvature: FitCurvature | LoadCurvature | None = None
    queries: Step[Records] | None = None
    method: str
    compare: tuple[str, ...] = ()
    compare_available: bool = False
    damping: Damping | None = None
    solve: SolveSettings | None = None
    positive: ReadRecords | None = None
    negative: ReadRecords | None = None
    label: np.ndarray | str | None = None
    random_controls: int = RANDOM_CONTROLS
    shuffled_controls: int | None = None
    nulls: NullSettings = field(default_factory=NullSettings)
    seed: int = 0
    recorded: RecordRun | None = None
    base: BaseModel | None = None
    folder: Path | None = None
    cutting: Mapping[str, Any] = field(default_factory=dict)
    engine: Engine = LOCAL

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that are asked for, the deciding one first."""
        return tuple(dict.fromkeys((self.method, *self.compare)))

    def depends(self) -> object:
        """See `Step.depends`."""
        label: Any = self.label
        if isinstance(label, str):
            label = [label, label_values(self.data.records, label, self.data.records.ids).tolist()]
        elif label is not None:
            label = label.tolist()
        return [
            list(self.methods),
            self.compare_available,
            None if self.damping is None else asdict(self.damping),
            None if self.solve is None else asdict(self.solve),
            label,
            [self.random_controls, self.shuffled_controls, asdict(self.nulls), self.seed],
            dict(self.cutting),
            None if self.folder is None else file_digest(self.folder / RUN),
        ]

    def run(self, results: Results) -> Ranking:
        """See `Step.run`. The rows' factors stay: controls that are asked for later need them too."""
        store = self.scan.opened(results)
        return rank(
            store,
            results[self.concept],
            method=self.method,
            compare=(*self.compare, *(available_methods(store) if self.compare_available else ())),
            queries=None if self.queries is None else results[self.queries],
            curvature=None if self.curvature is None else results[self.curvature],
            cache=None if self.plan is None else results[self.plan].cache,
            damping=self.damping,
            solve=self.solve,
            positive=None if self.positive is None else results[self.positive],
            negative=None if self.negative is None else results[self.negative],
            label=self.label,
            run=self.folder if self.recorded is None else results[self.recorded],
            base=None if self.base is None else results[self.base](None),
            random_controls=self.random_controls,
            shuffled_controls=self.shuffled_controls,
            nulls=self.nulls,
            seed=self.seed,
            engine=self.engine,
            **self.cutting,
        )

    def cost(self, work: Workload) -> tuple[Cost, ...]:
        """See `Step.cost`: the passes of the influence methods over the rows, and the products with what is stored."""
        shape, data, costs = work.shape, work.data, []
        settings, cached = CurvatureSettings(), False
        if self.curvature is not None:
            settings, cached = self.curvature.counted(work)
        passes = _passes(work.outline, settings, self.scan.counted_site(work), self.methods, self._controls())
        over_rows = [each for each in passes if isinstance(each, InfluencePass)]
        through = [each for each in passes if isinstance(each, RunPass)]
        if over_rows:
            costs.append(influence_cost(shape, data, over_rows, cached=cached))
        if through:
            costs += self._through_the_run(work, through)
        others = activation_scorers() if self.compare_available else ()
        scored = len({*self.methods, *others})
        costs.append(rank_cost(shape, data, methods=scored, controls=self.random_controls))
        return tuple(costs)

    def _through_the_run(self, work: Workload, passes: Sequence[RunPass]) -> list[Cost]:
        """The surrogates of the recorded run, each trained once, and what is done with them and with the run."""
        if self.recorded is not None:
            training = self.recorded.settings
        else:
            assert self.folder is not None  # `Needs.run` asked for one
            training = open_run(self.folder).settings
        surrogates = 0 if training.smooth else max(each.reversals for each in passes)
        once = training_cost(work, "surrogates", training)
        trained = replace(
            once,
            multiply_adds=once.multiply_adds * surrogates,
            calls=once.calls * surrogates,
            rows=once.rows * surrogates,
            disk_bytes=once.disk_bytes * surrogates,
        )
        through = run_cost(
            work.shape,
            work.data,
            passes,
            epochs=training.epochs,
            smooth=training.smooth,
            accumulated=training.gradient_accumulation_steps > 1,
        )
        return [trained, through] if surrogates else [through]

    def _controls(self) -> dict[ControlKind, int]:
        file = self.concept.file
        loaded = None if file is None else load_concept(file)
        shuffled = SHUFFLES if loaded is None or loaded.shuffled is None else len(loaded.shuffled)
        if self.shuffled_controls is not None:
            shuffled = min(shuffled, self.shuffled_controls)
        return {control_kind(self.nulls.control): self.random_controls, ControlKind.SHUFFLED: shuffled}


def _passes(
    outline: LanguageModel,
    curvature: CurvatureSettings,
    site: str,
    methods: Sequence[str],
    controls: Mapping[ControlKind, int],
) -> list[InfluencePass | RunPass]:
    """A pass for each method that makes one, and after the first method's, which decides the order, its controls'."""
    found: list[InfluencePass | RunPass] = []
    for name in methods:
        scorer = find_scorer(name)
        with naming_package(name):
            once = scorer.cost_of(outline, site, curvature)
        if once is None:
            continue
        found.append(once)
        if scorer.through_concept and name == methods[0]:
            room = _room(once, sum(controls.values()))
            kept, at_once = sum(controls_kept(controls, room).values()), max(room, 1)
            found += [replace(once, directions=min(at_once, kept - done)) for done in range(0, kept, at_once)]
    return found


def _room(once: InfluencePass | RunPass, asked: int) -> int:
    """For how many controls one pass has a place."""
    if isinstance(once, InfluencePass):
        return directions_that_fit(once.weights)
    return asked if once.at_once is None else once.at_once
