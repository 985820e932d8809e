"""What `aitia counterfactual` leaves, as steps: summary and report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aitia.counterfactual import Removal, RunResult
from aitia.files import write_json, write_text
from aitia.pipelines.attribution.configuration import write_configuration
from aitia.pipelines.retraining.counterfactual_configuration import CounterfactualConfiguration
from aitia.pipelines.retraining.counterfactual_inputs import Inputs
from aitia.pipelines.retraining.counterfactual_results import (
    build_page,
    draw_curves,
    summarise,
    write_runs,
    write_scores,
)
from aitia.pipelines.retraining.ranking_steps import KeepScores, MakeJudge, WriteTrainingData
from aitia.pipelines.retraining.retraining_steps import PlanRemovals, Retrain
from aitia.pipelines.steps.concept import MakeConcept
from aitia.pipelines.steps.step import Results, Step
from aitia.report import kept_beside, write_document

_RETRAINING = ("behaviours", "removals", "retraining", "summary")


@dataclass(frozen=True, kw_only=True)
class CounterfactualResult:
    """What `counterfactual` made, and where it is.

    Attributes:
        removals: every cell that was planned.
        results: what each led to, in the same order.
        scores: ranking -> [n], in the order of the data.
        summary: also in `summary.json`.
        files: name -> path.
    """

    removals: tuple[Removal, ...]
    results: tuple[RunResult, ...]
    scores: Mapping[str, np.ndarray]
    summary: dict[str, Any]
    files: dict[str, Path]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Inputs with the warnings that came up, all scores, and the figures.

    Attributes:
        inputs: as they were read, with the training rows as they were trained on.
        scores: ranking -> [n].
        figures: what `summary.json` holds, but for times and files.
    """

    inputs: Inputs
    scores: Mapping[str, np.ndarray]
    figures: dict[str, Any]


@dataclass(kw_only=True, eq=False, repr=False)
class Summarise(Step[Summary]):
    """All figures of the run.

    Attributes:
        data: the training rows.
        concept: what the rankings are about.
        judge: who graded; none where nobody did.
        scores: of the rankings that were made here.
        removals: what was trained.
        results: what it led to.
        given: the inputs, as they were read.
        configuration: of the job.
    """

    name: str = "summary"
    data: WriteTrainingData
    concept: MakeConcept
    judge: MakeJudge | None
    scores: KeepScores
    removals: PlanRemovals
    results: Retrain
    given: Inputs
    configuration: CounterfactualConfiguration

    def depends(self) -> object:
        """See `Step.depends`."""
        labels = self.given.labels
        return [self.configuration.model.name, None if labels is None else labels.tolist()]

    def run(self, results: Results) -> Summary:
        """See `Step.run`."""
        inputs = self.given.with_data(results[self.data]).with_overlap_warning()
        scores = {**results[self.scores].scores, **inputs.files}
        figures = summarise(
            self.configuration,
            inputs,
            results[self.concept],
            None if self.judge is None else results[self.judge],
            scores,
            list(results[self.removals]),
            results[self.results],
        )
        return Summary(inputs=inputs, scores=scores, figures=figures)


@dataclass(kw_only=True, eq=False, repr=False)
class Report(Step[CounterfactualResult]):
    """Values, scores, configuration, pictures, report and summary as files.

    Attributes:
        data: the training rows.
        scores: of the rankings that were made here, with the seconds that they took.
        removals: what was trained.
        results: what it led to.
        summary: all figures.
        configuration: of the job.
    """

    name: str = "report"
    data: WriteTrainingData
    scores: KeepScores
    removals: PlanRemovals
    results: Retrain
    summary: Summarise
    configuration: CounterfactualConfiguration

    def depends(self) -> object:
        """See `Step.depends`."""
        return []

    def run(self, results: Results) -> CounterfactualResult:
        """See `Step.run`."""
        folder, summary = self.configuration.folder, results[self.summary]
        removals, runs = list(results[self.removals]), results[self.results]
        text, found = write_configuration(self.configuration), summary.figures
        took = results.seconds
        retrained = sum(took.get(name, 0.0) for name in _RETRAINING)
        found["seconds"] = {
            "rankings": sum(took.values()) - retrained,
            "retraining": retrained,
            **results[self.scores].seconds,
        }
        files = {} if self.data.out is None else {"data": self.data.out}
        files |= {
            "runs": write_runs(folder / "removal.parquet", removals, runs),
            "rankings": write_scores(folder / "rankings.parquet", summary.inputs.data.ids, summary.scores),
            "configuration": write_text(
                folder / "configuration.yaml", write_configuration(self.configuration, folder)
            ),
        }
        page = build_page(self.configuration, found, summary.inputs, summary.scores, removals, runs, text)
        files["report"] = write_document(page, folder / "report.html", keep=True)
        files["document"] = kept_beside(files["report"])
        files |= draw_curves(page, folder / "pictures")
        found["files"] = {name: str(path) for name, path in files.items()}
        files["summary"] = write_json(folder / "summary.json", found)
        return CounterfactualResult(
            removals=tuple(removals), results=tuple(runs), scores=summary.scores, summary=found, files=files
        )
