"""The curvature that influence methods divide by: planned and fitted; its pass over the rows serves the scores too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from aitia.attribution.gradients import (
    Cost,
    Curvature,
    CurvaturePlan,
    CurvatureSettings,
    FactorCache,
    announce_curvature,
    curvature_cost,
    curvature_layers,
    factor_bytes,
    fit_curvature,
    load_curvature,
    plan_curvature,
)
from aitia.attribution.scorers import find_scorer
from aitia.engine import LOCAL, Engine, note
from aitia.files import digest, file_digest
from aitia.pipelines.steps.models import ModelStep
from aitia.pipelines.steps.records import ReadRecords
from aitia.pipelines.steps.scan import Scan
from aitia.pipelines.steps.step import DIGITS, Place, Results, Step
from aitia.pipelines.steps.workload import Workload


def wants_curvature(methods: Sequence[str]) -> bool:
    """Whether a method divides by a curvature, or takes its layers from one's settings."""
    return any(find_scorer(name).needs().curvature for name in methods)


def curvature_at(settings: CurvatureSettings, methods: Sequence[str], site: str) -> CurvatureSettings:
    """The settings with the highest site that counts: a concept's own, where every method goes through the concept."""
    curved = [found for found in map(find_scorer, methods) if found.needs().curvature]
    return replace(settings, site=site if all(found.through_concept for found in curved) else "")


@dataclass(frozen=True, kw_only=True)
class CurvatureWork:
    """What fitting a curvature will take, and where the rows' factors are kept meanwhile.

    Attributes:
        settings: of the curvature.
        plan: of the fit.
        cache: of the rows' factors; none where fit and scores cannot share them, or they do not fit.
    """

    settings: CurvatureSettings
    plan: CurvaturePlan
    cache: FactorCache | None


@dataclass(kw_only=True, eq=False, repr=False)
class PlanCurvature(Step[CurvatureWork]):
    """How the curvature is fitted, and whether the rows' factors can be kept for the scores.

    Attributes:
        model: whose curvature.
        data: the rows.
        scan: cut the rows.
        settings: of the curvature; its site is the concept's, or none, as the methods want it.
        methods: which use it.
        cache_gigabytes: the most that the rows' factors may take.
        folder: that they are kept in.
    """

    name: str = "curvature plan"
    model: ModelStep
    data: ReadRecords
    scan: Scan
    settings: CurvatureSettings
    methods: tuple[str, ...]
    cache_gigabytes: float
    folder: Path

    def depends(self) -> object:
        """See `Step.depends`."""
        return [asdict(self.settings), list(self.methods), self.cache_gigabytes]

    def run(self, results: Results) -> CurvatureWork:
        """See `Step.run`."""
        model, store = results[self.model], self.scan.opened(results)
        rows, settings = store.load_rows().answers, curvature_at(self.settings, self.methods, store.sites[0])
        plan = plan_curvature(model, rows, settings)
        cache = None
        if settings.use_empirical_fisher and plan.rows == len(rows):
            if plan.cache_bytes <= self.cache_gigabytes * 1e9:
                key = digest([model.fingerprint, rows.fingerprint, asdict(settings)])[:DIGITS]
                cache = FactorCache(folder=self.folder / f"factors-{key}")
            else:
                note(
                    f"The rows' factors would take {plan.cache_bytes / 1e9:.1f} GB, more than cache_gigabytes = "
                    f"{self.cache_gigabytes:g} allows: the model runs in every pass instead"
                )
        return CurvatureWork(settings=settings, plan=plan, cache=cache)

    def counted(self, work: Workload) -> tuple[CurvatureSettings, bool, CurvaturePlan]:
        """The settings, whether factors are kept, and the plan of the fit for the rows that are planned for."""
        settings = curvature_at(self.settings, self.methods, self.scan.counted_site(work))
        rows = min(settings.rows or work.data.rows, work.data.rows)
        kept = factor_bytes(work.rows, curvature_layers(work.outline, settings)) * work.grown
        cached = (
            settings.use_empirical_fisher and rows == work.data.rows and kept <= self.cache_gigabytes * 1e9
        )
        plan = plan_curvature(work.outline, work.rows, settings, cached=cached)
        more = rows / plan.rows
        plan = replace(
            plan, rows=rows, tokens=round(plan.tokens * more), operations=round(plan.operations * more)
        )
        return settings, cached, plan


@dataclass(kw_only=True, eq=False, repr=False)
class FitCurvature(Step[Curvature]):
    """The curvature of the training loss, fitted to the rows as the scan cut them.

    Attributes:
        model: whose.
        data: the rows.
        scan: cut them.
        plan: says how.
        engine: where it is fitted.
        out: file that it is kept in.
    """

    name: str = "curvature"
    model: ModelStep
    data: ReadRecords
    scan: Scan
    plan: PlanCurvature
    engine: Engine = LOCAL
    out: Place

    def depends(self) -> object:
        """See `Step.depends`."""
        return []

    def done(self) -> bool:
        """See `Step.done`: the file says that it is of these settings, rows and model."""
        if not self.out.may_be_there() or not self.scan.done() or not self.out.path().is_file():
            return False
        found, store = load_curvature(self.out.path()), self.scan.read()
        data = store.manifest["data"]
        settings = curvature_at(self.plan.settings, self.plan.methods, store.sites[0])
        return (
            found.settings == settings.for_model(self.model.loaded)
            and found.provenance["data_fingerprint"] == data.get("answers", data.get("tokens"))
            and found.provenance["model_fingerprint"] == self.model.fingerprint
        )

    def read(self) -> Curvature:
        """See `Step.read`."""
        return load_curvature(self.out.path())

    def run(self, results: Results) -> Curvature:
        """See `Step.run`. A fit that was stopped goes on where it was."""
        model, work = results[self.model], results[self.plan]
        rows = self.scan.opened(results).load_rows().answers
        if not self.out.path().is_file():
            announce_curvature(model, rows, work.settings, work.plan)
        return fit_curvature(
            model, rows, work.settings, out=self.out.path(), cache=work.cache, engine=self.engine
        )

    def cost(self, work: Workload) -> tuple[Cost, ...]:
        """See `Step.cost`."""
        *_, plan = self.plan.counted(work)
        return (curvature_cost(work.shape, work.data, plan),)

    def counted(self, work: Workload) -> tuple[CurvatureSettings, bool]:
        """The settings that are planned for, and whether the rows' factors are kept for the scores."""
        return self.plan.counted(work)[:2]


@dataclass(kw_only=True, eq=False, repr=False)
class LoadCurvature(Step[Curvature]):
    """A curvature that was fitted before.

    Attributes:
        model: whose it has to be.
        scan: cut the rows that are scored.
        file: as `aitia fit-curvature` wrote it.
        settings: how it would be fitted, which a plan takes for how it was.
        methods: which use it.
    """

    name: str = "curvature"
    model: ModelStep
    scan: Scan
    file: Path
    settings: CurvatureSettings
    methods: tuple[str, ...]

    def depends(self) -> object:
        """See `Step.depends`."""
        return file_digest(self.file)

    def run(self, results: Results) -> Curvature:
        """See `Step.run`."""
        return load_curvature(self.file, results[self.model])

    def counted(self, work: Workload) -> tuple[CurvatureSettings, bool]:
        """See `FitCurvature.counted`: no factors are kept."""
        return curvature_at(self.settings, self.methods, self.scan.counted_site(work)), False


def curvature_steps(
    scan: Scan,
    methods: tuple[str, ...],
    settings: CurvatureSettings,
    out: Place,
    *,
    file: Path | None = None,
    cache_gigabytes: float = 0.0,
    engine: Engine = LOCAL,
) -> tuple[PlanCurvature | None, FitCurvature | LoadCurvature | None]:
    """The steps that give some methods their curvature: what plans it, and what makes it; none where it is not wanted.

    Args:
        scan: cuts the rows.
        methods: which may use it.
        settings: of the fit.
        out: file for a fit; the rows' factors are kept in its folder meanwhile.
        file: of a curvature that was fitted before, in the place of a fit.
        cache_gigabytes: the most that the rows' factors may take.
        engine: where it is fitted.

    Returns:
        Both steps.
    """
    if not wants_curvature(methods):
        return None, None
    if file is not None:
        return None, LoadCurvature(model=scan.model, scan=scan, file=file, settings=settings, methods=methods)
    plan = PlanCurvature(
        model=scan.model,
        data=scan.data,
        scan=scan,
        settings=settings,
        methods=methods,
        cache_gigabytes=cache_gigabytes,
        folder=out.folder,
    )
    made = FitCurvature(model=scan.model, data=scan.data, scan=scan, plan=plan, engine=engine, out=out)
    return plan, made
