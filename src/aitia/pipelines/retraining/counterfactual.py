"""A ranking held against retraining, from one configuration: train, rank, remove, retrain, measure, report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from aitia.concepts import Concept
from aitia.counterfactual import (
    Behaviour,
    ConceptProjection,
    JudgedResponses,
    LikelihoodMargin,
    Removal,
    RunResult,
    plan_removals,
    retrain,
)
from aitia.files import write_json, write_text
from aitia.models import LanguageModel, load_model
from aitia.pipelines.attribution.configuration import write_configuration
from aitia.pipelines.retraining.counterfactual_configuration import BaseModelPart, CounterfactualConfiguration
from aitia.pipelines.retraining.counterfactual_inputs import Inputs, NamedJudge, make_judge, read_inputs
from aitia.pipelines.retraining.counterfactual_rankings import make_rankings
from aitia.pipelines.retraining.counterfactual_results import (
    build_page,
    draw_curves,
    summarise,
    write_runs,
    write_scores,
)
from aitia.records import read_records
from aitia.report import write_truth_report


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


def counterfactual(configuration: CounterfactualConfiguration) -> CounterfactualResult:
    """Remove what rankings blame (or clear), train again from the same start, and measure what changed.

    Writes into `configuration.folder`: `train.jsonl` (a mix), `removal.parquet` (every cell's value for every
    text), `rankings.parquet` (every row's score by every ranking), `pictures/` where matplotlib is installed,
    `report.html`, `summary.json`, `configuration.yaml`, and what is kept for the next run in `parts/` and
    `runs/`. A run that was stopped goes on at the first missing
    cell.

    Args:
        configuration: what to do.

    Raises:
        AitiaError: see the parts; input is checked before a model runs.
    """
    start = perf_counter()
    inputs = read_inputs(configuration)
    folder = configuration.folder
    judge = None if configuration.judge is None else make_judge(configuration.judge, folder)
    files = {}
    if configuration.data.chosen is not None:
        files["data"] = inputs.data.write(folder / "train.jsonl")
        inputs = inputs.with_data(read_records(files["data"]))
    inputs = inputs.with_overlap_warning()
    load = partial(load_part, configuration.model)
    rankings = make_rankings(configuration, inputs, load, judge)
    ranked = perf_counter()
    removal = configuration.removal
    plan = plan_removals(
        inputs.data.ids,
        {**rankings.scores, **inputs.files},
        removal.shares,
        range(removal.seeds),
        ends=removal.ends,
    )
    behaviours = make_behaviours(configuration, inputs, rankings.concept, judge)
    results = retrain(
        partial(load, None),
        inputs.data,
        list(plan.values()),
        behaviours,
        configuration.training,
        folder / "runs",
        configuration.engine,
    )
    scores = {**rankings.scores, **inputs.files}
    found = summarise(configuration, inputs, rankings.concept, judge, scores, list(plan), results)
    found["seconds"] = {"rankings": ranked - start, "retraining": perf_counter() - ranked, **rankings.seconds}
    text = write_configuration(configuration)
    files |= {
        "runs": write_runs(folder / "removal.parquet", list(plan), results),
        "rankings": write_scores(folder / "rankings.parquet", inputs.data.ids, scores),
        "configuration": write_text(
            folder / "configuration.yaml", write_configuration(configuration, folder)
        ),
    }
    page = build_page(configuration, found, inputs, scores, list(plan), results, text)
    files["report"] = write_truth_report(page, folder / "report.html")
    files |= draw_curves(page, folder / "pictures")
    found["files"] = {name: str(path) for name, path in files.items()}
    files["summary"] = write_json(folder / "summary.json", found)
    return CounterfactualResult(
        removals=tuple(plan), results=tuple(results), scores=scores, summary=found, files=files
    )


def make_behaviours(
    configuration: CounterfactualConfiguration, inputs: Inputs, concept: Concept, judge: NamedJudge | None
) -> list[Behaviour]:
    """What is measured after each training."""
    parts = configuration.behaviours
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


def load_part(part: BaseModelPart, adapter: Path | None) -> LanguageModel:
    """The base model of a configuration, with the adapter in a folder if one is given."""
    return load_model(
        part.name, adapter=adapter, device=part.device, dtype=part.dtype, download=part.download
    )
