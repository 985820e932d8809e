"""The main job from one configuration, as a list of steps: concept, scan, ranking, curated data, report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from aitia.attribution import NullSettings, ScanSettings, SliceSettings
from aitia.attribution.gradients import CurvatureSettings, Damping, Machine, RunPlan
from aitia.attribution.influence import SolveSettings
from aitia.concepts import SaeSettings
from aitia.engine import keeping_workers
from aitia.models import LanguageModel, in_tokens, load_model, load_outline
from aitia.pipelines.attribution.configuration import AttributeConfiguration
from aitia.pipelines.attribution.input_checks import check_input
from aitia.pipelines.attribution.result_steps import AttributeResult, Curate, Report, Summarise
from aitia.pipelines.attribution.slice_steps import ExplainSlices, LoadAutoencoder, TrainAutoencoder
from aitia.pipelines.steps.concept import MakeConcept
from aitia.pipelines.steps.curvature import curvature_steps
from aitia.pipelines.steps.models import LoadModel, ModelStep
from aitia.pipelines.steps.rank import Rank
from aitia.pipelines.steps.records import ReadRecords
from aitia.pipelines.steps.scan import Scan
from aitia.pipelines.steps.step import Place, Step, find_step, run_steps
from aitia.pipelines.steps.workload import Workload, plan_steps
from aitia.records import ReadingSettings
from aitia.records.losses import LossSettings

__all__ = ["AttributeResult", "attribute", "attribute_steps", "plan_attribute"]


def attribute(
    configuration: AttributeConfiguration,
    *,
    model: LanguageModel | None = None,
    baselines: Mapping[str, np.ndarray] | None = None,
) -> AttributeResult:
    """Find the training rows behind a concept, from a configuration.

    Writes into `configuration.out`: the concept, `store/`, `ranking.parquet`, `report.html`, the curated
    data and the rows removed (in the format of the data), `summary.json`, and `configuration.yaml`, which
    does it all again. An interrupted run goes on where it stopped.

    Args:
        configuration: what to do.
        model: the model, where it is loaded already.
        baselines: further scores for the report, name -> [n].

    Returns:
        The ranking, the summary, and the files that were written.

    Raises:
        AitiaError: see the parts; input is checked before the model runs.
    """
    given = None if model is None else LoadModel(load=lambda: model)
    steps = attribute_steps(configuration, model=given, baselines=baselines)
    with keeping_workers(configuration.engine):
        return run_steps(steps)[steps[-1]]


def attribute_steps(
    configuration: AttributeConfiguration,
    *,
    model: ModelStep | None = None,
    baselines: Mapping[str, np.ndarray] | None = None,
) -> list[Step[Any]]:
    """The steps of `attribute`, the last of which gives its result. The rows are read and the input is checked now.

    Args:
        configuration: what to do.
        model: gives the model; default: it is loaded as the configuration says.
        baselines: further scores for the report, name -> [n].

    Returns:
        The steps, in order.

    Raises:
        AitiaError: the input does not fit together.
    """
    out, part, settings = configuration.out, configuration.concept, configuration.rank
    data = ReadRecords(
        path=configuration.data.path,
        reading=configuration.data.take(ReadingSettings),
        on_error=configuration.data.on_error,
    )
    check_input(configuration, data.records)
    if model is None:
        asked = configuration.model
        model = LoadModel(
            load=partial(
                load_model,
                asked.name,
                adapter=asked.adapter,
                device=asked.device,
                dtype=asked.dtype,
                download=asked.download,
            )
        )
    texts = {
        name: ReadRecords(name=name, path=path, reading=part.take(ReadingSettings), on_error=part.on_error)
        for name, path in (("positive", part.positive), ("negative", part.negative))
        if path is not None
    }
    concept = MakeConcept(
        model=model,
        file=part.file,
        positive=texts.get("positive"),
        negative=texts.get("negative"),
        label=part.name,
        recipe=part.recipe,
        sites=part.sites,
        tokens=part.tokens,
        seed=part.seed,
        cutting=part.cutting,
        out=Place(folder=out, name="concept.concept.safetensors"),
    )
    scan = Scan(
        model=model,
        data=data,
        concept=concept,
        loss=configuration.data.take(LossSettings),
        settings=configuration.scan.take(
            ScanSettings,
            sites=(),
            max_length=configuration.data.max_length,
            truncate=configuration.data.truncate,
        ),
        on_error=configuration.data.on_error,
        engine=configuration.engine,
        out=Place(folder=out, name="store"),
    )
    plan, curvature = curvature_steps(
        scan,
        (settings.method, *settings.compare),
        settings.curvature.take(CurvatureSettings, site="", seed=settings.seed),
        Place(folder=out, name="curvature.safetensors"),
        file=settings.curvature.file,
        cache_gigabytes=settings.curvature.cache_gigabytes,
        engine=configuration.engine,
    )
    queries = None
    if settings.queries is not None:
        queries = ReadRecords(
            name="queries",
            path=settings.queries,
            reading=settings.take(ReadingSettings),
            on_error=settings.on_error,
        )
    ranking = Rank(
        model=model,
        data=data,
        concept=concept,
        scan=scan,
        plan=plan,
        curvature=curvature,
        queries=queries,
        method=settings.method,
        compare=settings.compare,
        compare_available=True,
        damping=settings.take(Damping),
        solve=settings.take(SolveSettings),
        label=configuration.data.label,
        random_controls=settings.random_controls,
        shuffled_controls=settings.shuffled_controls,
        nulls=settings.take(NullSettings),
        seed=settings.seed,
        folder=settings.run,
        cutting=settings.cutting,
        engine=configuration.engine,
    )
    autoencoder, slices = _slice_steps(configuration, scan, ranking)
    curated = Curate(data=data, ranking=ranking, configuration=configuration)
    report = Report(
        ranking=ranking, slices=slices, plan=plan, configuration=configuration, baselines=baselines
    )
    summary = Summarise(
        concept=concept, scan=scan, ranking=ranking, slices=slices, curated=curated, report=report, out=out
    )
    return [
        step
        for step in (
            data,
            model,
            *texts.values(),
            concept,
            scan,
            plan,
            curvature,
            queries,
            ranking,
            autoencoder,
            slices,
            curated,
            report,
            summary,
        )
        if step is not None
    ]


def _slice_steps(
    configuration: AttributeConfiguration, scan: Scan, ranking: Rank
) -> tuple[TrainAutoencoder | LoadAutoencoder | None, ExplainSlices | None]:
    """The steps for kinds of rows, where they are asked for."""
    part, seed = configuration.slices, configuration.rank.seed
    if part is None:
        return None, None
    model, data, concept = scan.model, scan.data, scan.concept
    if part.sae is not None:
        autoencoder = LoadAutoencoder(file=part.sae, site=part.site)
    else:
        chosen, cut = part.take(SaeSettings, seed=seed), configuration.data.cutting
        autoencoder = TrainAutoencoder(
            model=model,
            data=data,
            concept=concept,
            scan=scan,
            settings=chosen,
            out=Place(
                folder=configuration.out,
                name="sae-{}",
                made_of=lambda: [
                    model.fingerprint,
                    data.records.fingerprint,
                    concept.site(),
                    asdict(chosen),
                    cut,
                ],
                digits=12,
            ),
        )
    slices = ExplainSlices(
        model=model,
        data=data,
        concept=concept,
        scan=scan,
        autoencoder=autoencoder,
        ranking=ranking,
        settings=part.take(SliceSettings, seed=seed),
        pooling=part.pooling,
        controls=part.controls,
        columns=part.columns,
        strata=part.strata,
        shown=part.shown,
    )
    return autoencoder, slices


def plan_attribute(
    configuration: AttributeConfiguration,
    *,
    machine: Machine | None = None,
    workers: int = 0,
    rows: int = 0,
) -> RunPlan:
    """Count what the steps of a configuration that would run will take.

    The data are read and cut into tokens. The model's weights are not loaded, unless a result of an earlier run is
    there and has to be compared with them.

    Args:
        configuration: of `aitia attribute`.
        machine: of each worker; default: this one, by multiplying matrices for a moment.
        workers: how many; 0 for what the configuration says, or one.
        rows: plan for this many rows like these, from the start; 0 for as many as there are.

    Returns:
        The plan.

    Raises:
        RecordError, ModelError: data or model cannot be read.
    """
    part = configuration.model
    outline = load_outline(part.name, adapter=part.adapter, dtype=part.dtype)
    steps = attribute_steps(configuration)
    rows_in_tokens = in_tokens(
        outline,
        find_step(steps, ReadRecords).records,
        **configuration.data.cutting,
        loss=configuration.data.take(LossSettings),
    )
    work = Workload(
        outline=outline,
        rows=rows_in_tokens.answers,
        max_batch_tokens=configuration.scan.max_batch_tokens,
        planned_rows=rows,
    )
    workers = workers or configuration.engine.workers or 1
    return plan_steps(steps, work, machine=machine, workers=workers, resume=not rows)
