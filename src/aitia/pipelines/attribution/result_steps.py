"""What `aitia attribute` leaves, as steps: curated data, ranking, report, summary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aitia.attribution import Ranking
from aitia.concepts import Concept
from aitia.files import write_json, write_text
from aitia.pipelines.attribution.configuration import AttributeConfiguration, write_configuration
from aitia.pipelines.attribution.curation import curate
from aitia.pipelines.attribution.input_checks import curated_places
from aitia.pipelines.attribution.slice_steps import ExplainSlices
from aitia.pipelines.attribution.slices import SlicesResult
from aitia.pipelines.steps.concept import MakeConcept
from aitia.pipelines.steps.curvature import PlanCurvature
from aitia.pipelines.steps.rank import Rank
from aitia.pipelines.steps.records import ReadRecords
from aitia.pipelines.steps.scan import Scan
from aitia.pipelines.steps.step import Results, Step
from aitia.records import Split

SECONDS = {
    "concept": ("concept",),
    "scan": ("scan",),
    "curvature": ("curvature plan", "curvature"),
    "rank": ("rank",),
    "slices": ("autoencoder", "slices"),
    "report": ("curate", "report"),
}
"""The parts of a run whose seconds the summary gives, and the steps of each."""


@dataclass(frozen=True, kw_only=True)
class AttributeResult:
    """What `attribute` made, and where it is."""

    ranking: Ranking
    concept: Concept
    summary: dict[str, Any]
    files: dict[str, Path]
    slices: SlicesResult | None = None


@dataclass(kw_only=True, eq=False, repr=False)
class Curate(Step[Split]):
    """The data without one end of the ranking, and the rows removed.

    Attributes:
        data: the rows.
        ranking: of them.
        configuration: of the job.
    """

    name: str = "curate"
    data: ReadRecords
    ranking: Rank
    configuration: AttributeConfiguration

    def depends(self) -> object:
        """See `Step.depends`."""
        return self.configuration.curate.model_dump(mode="json")

    def run(self, results: Results) -> Split:
        """See `Step.run`."""
        data, part = results[self.data], self.configuration.curate
        places = curated_places(self.configuration, data)
        return curate(
            data,
            results[self.ranking],
            drop=part.drop,
            end=part.end,
            curated=places["curated"],
            removed=places["removed"],
        )


@dataclass(kw_only=True, eq=False, repr=False)
class Report(Step[dict[str, Path]]):
    """The ranking, the configuration, the report and the slices as files.

    Attributes:
        ranking: of the rows.
        slices: of the rows; none where they are not asked for.
        plan: of the curvature, whose factors of the rows are removed now; none where there is none to fit.
        configuration: of the job.
        baselines: further scores for the report, name -> [n].
    """

    name: str = "report"
    ranking: Rank
    slices: ExplainSlices | None
    plan: PlanCurvature | None
    configuration: AttributeConfiguration
    baselines: Mapping[str, np.ndarray] | None = None

    def depends(self) -> object:
        """See `Step.depends`."""
        scores = {name: np.asarray(each).tolist() for name, each in (self.baselines or {}).items()}
        return [self.configuration.rank.shown, self.configuration.data.label, scores]

    def run(self, results: Results) -> dict[str, Path]:
        """See `Step.run`."""
        out, ranking = self.configuration.out, results[self.ranking]
        slices = None if self.slices is None else results[self.slices]
        text = write_configuration(self.configuration)
        files = {
            "ranking": ranking.write(out / "ranking.parquet"),
            "configuration": write_text(
                out / "configuration.yaml", write_configuration(self.configuration, out)
            ),
            "report": ranking.report(
                out / "report.html",
                label=self.configuration.data.label,
                shown=self.configuration.rank.shown,
                baselines=self.baselines,
                reproduce=f"aitia attribute configuration.yaml\n\n# configuration.yaml\n{text}",
                slices=None if slices is None else slices.section(),
            ),
        }
        if slices is not None:
            files["slices"] = slices.write(out / "slices.json")
        cache = None if self.plan is None else results[self.plan].cache
        if cache is not None:
            cache.clear()
        return files


@dataclass(kw_only=True, eq=False, repr=False)
class Summarise(Step[AttributeResult]):
    """The figures of the run, in `summary.json`.

    Attributes:
        concept: what was asked.
        scan: the store.
        ranking: of the rows.
        slices: of the rows; none where they are not asked for.
        curated: the data without one end of the ranking.
        report: the files.
        out: folder of the run.
    """

    name: str = "summary"
    concept: MakeConcept
    scan: Scan
    ranking: Rank
    slices: ExplainSlices | None
    curated: Curate
    report: Report
    out: Path

    def depends(self) -> object:
        """See `Step.depends`."""
        return []

    def run(self, results: Results) -> AttributeResult:
        """See `Step.run`."""
        concept, ranking, split = results[self.concept], results[self.ranking], results[self.curated]
        written, skipped = dict(results[self.report]), results[self.scan].manifest["data"]["skipped"]
        files = {
            "concept": self.concept.out.path(),
            "ranking": written.pop("ranking"),
            **split.files,
            **written,
        }
        summary = {
            "concept": {
                "name": concept.name,
                "site": concept.site,
                "held_out_auc": None if concept.separation is None else concept.separation.auc,
            },
            "method": ranking.method,
            "warnings": list(ranking.warnings),
            "read": str(results[self.scan].load_records().reading),
            "rows": len(ranking),
            "rows_skipped": len(skipped),
            "skipped": skipped,
            "rows_kept": split.rows_kept,
            "rows_removed": split.rows_removed,
            "rows_left_out": len(split.skipped),
            "seconds": {
                part: sum(results.seconds.get(step, 0.0) for step in steps) for part, steps in SECONDS.items()
            },
            "files": {name: str(path) for name, path in files.items()},
        }
        files["summary"] = write_json(self.out / "summary.json", summary)
        slices = None if self.slices is None else results[self.slices]
        return AttributeResult(ranking=ranking, concept=concept, summary=summary, files=files, slices=slices)
