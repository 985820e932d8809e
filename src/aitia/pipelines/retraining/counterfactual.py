"""A ranking held against retraining, from one configuration, as a list of steps: train, rank, remove, retrain."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from aitia.attribution import ScanSettings
from aitia.attribution.gradients import CurvatureSettings, Damping, Machine, RunPlan
from aitia.attribution.scorers import find_scorer
from aitia.concepts import load_concept
from aitia.files import file_digest
from aitia.models import LanguageModel, in_tokens, load_model, load_outline
from aitia.pipelines.retraining.counterfactual_configuration import BaseModelPart, CounterfactualConfiguration
from aitia.pipelines.retraining.counterfactual_inputs import Inputs, read_inputs
from aitia.pipelines.retraining.ranking_steps import (
    AnswerPrompts,
    KeepScores,
    MakeJudge,
    WriteTrainingData,
    measures_queries,
)
from aitia.pipelines.retraining.result_steps import CounterfactualResult, Report, Summarise
from aitia.pipelines.retraining.retraining_steps import MakeBehaviours, PlanRemovals, Retrain
from aitia.pipelines.steps.concept import MakeConcept
from aitia.pipelines.steps.curvature import curvature_at, curvature_steps
from aitia.pipelines.steps.models import BaseModel, LoadTuned, RecordRun, TrainAdapter, training_identity
from aitia.pipelines.steps.rank import Rank
from aitia.pipelines.steps.records import ReadRecords
from aitia.pipelines.steps.scan import Scan
from aitia.pipelines.steps.step import Place, Step, run_steps
from aitia.pipelines.steps.workload import Workload, plan_steps
from aitia.records.losses import LossSettings
from aitia.training import make_trainable

__all__ = ["CounterfactualResult", "counterfactual", "counterfactual_steps", "plan_counterfactual"]


def counterfactual(configuration: CounterfactualConfiguration) -> CounterfactualResult:
    """Remove what rankings blame (or clear), train again from the same start, and measure what changed.

    Writes into `configuration.folder`: `train.jsonl` (a mix), `removal.parquet` (every cell's value for every
    text), `rankings.parquet` (every row's score by every ranking), `pictures/` where matplotlib is installed,
    `report.html`, `summary.json`, `configuration.yaml`, and what is kept for the next run in `parts/` and
    `runs/`. A run that was stopped goes on at the first missing
    cell.

    Args:
        configuration: what to do.

    Returns:
        The summary, and the files that were written.

    Raises:
        AitiaError: see the parts; input is checked before a model runs.
    """
    steps = counterfactual_steps(configuration, read_inputs(configuration))
    return run_steps(steps)[steps[-1]]


def plan_counterfactual(
    configuration: CounterfactualConfiguration,
    *,
    machine: Machine | None = None,
    workers: int = 0,
    rows: int = 0,
) -> RunPlan:
    """Count what the steps of a configuration that would run will take; sampled answers are not counted.

    All texts are read, and the rows cut into tokens. The model's weights are not loaded, unless a result of an earlier
    run may be there, under a name that depends on them.

    Args:
        configuration: of `aitia counterfactual`.
        machine: of each worker; default: this one, by multiplying matrices for a moment.
        workers: how many; 0 for what the configuration says, or one.
        rows: plan for this many rows like these, from the start; 0 for as many as there are.

    Returns:
        The plan.

    Raises:
        RecordError, ModelError: data or model cannot be read.
    """
    part, training = configuration.model, configuration.training
    inputs = read_inputs(configuration)
    outline = make_trainable(load_outline(part.name, dtype=part.dtype), training).model
    work = Workload(
        outline=outline,
        rows=in_tokens(
            outline,
            inputs.data,
            max_length=training.max_length,
            truncate=training.cuts,
            loss=configuration.data.take(LossSettings),
        ).answers,
        max_batch_tokens=configuration.rankings.max_batch_tokens,
        planned_rows=rows,
    )
    steps = counterfactual_steps(configuration, inputs, ask_judge=False)
    workers = workers or configuration.engine.workers or 1
    return plan_steps(steps, work, machine=machine, workers=workers, resume=not rows)


def counterfactual_steps(
    configuration: CounterfactualConfiguration,
    inputs: Inputs,
    *,
    folder: Path | None = None,
    ask_judge: bool = True,
) -> list[Step[Any]]:
    """The steps of `counterfactual`, the last of which gives its result.

    What is kept lies in `parts`, each thing under a name made of what it depends on.

    Args:
        configuration: what to do.
        inputs: as `read_inputs` reads them.
        folder: of the run; default: the configuration's.
        ask_judge: ask a judge at an endpoint one question, to see that it answers.

    Returns:
        The steps, in order.
    """
    folder = folder or configuration.folder
    judge = None
    if configuration.judge is not None:
        judge = MakeJudge(part=configuration.judge, folder=folder, ask=ask_judge)
    mixed = configuration.data.chosen is not None
    data = WriteTrainingData(given=inputs.data, out=folder / "train.jsonl" if mixed else None)
    base = BaseModel(load=partial(load_part, configuration.model))
    concept, scores, ranking = _scores_steps(configuration, folder, inputs, data, base, judge)
    behaviours = MakeBehaviours(concept=concept, judge=judge, parts=configuration.behaviours, given=inputs)
    removals = PlanRemovals(data=data, scores=scores, files=inputs.files, part=configuration.removal)
    retrained = Retrain(
        base=base,
        data=data,
        removals=removals,
        behaviours=behaviours,
        settings=configuration.training,
        loss=configuration.data.take(LossSettings),
        engine=configuration.engine,
        out=folder / "runs",
    )
    summary = Summarise(
        data=data,
        concept=concept,
        judge=judge,
        scores=scores,
        removals=removals,
        results=retrained,
        given=inputs,
        configuration=configuration,
    )
    report = Report(
        data=data,
        scores=scores,
        removals=removals,
        results=retrained,
        summary=summary,
        configuration=configuration,
    )
    first = [data, base] if judge is None else [judge, data, base]
    return [*first, *ranking, behaviours, removals, retrained, summary, report]


def _scores_steps(
    configuration: CounterfactualConfiguration,
    folder: Path,
    inputs: Inputs,
    data: WriteTrainingData,
    base: BaseModel,
    judge: MakeJudge | None,
) -> tuple[MakeConcept, KeepScores, list[Step[Any]]]:
    """The concept, the scores of all rankings, and all the steps from the adapter to the scores."""
    parts, part, training = folder / "parts", configuration.rankings, configuration.training
    asked, loss = configuration.concept, configuration.data.take(LossSettings)

    def trained() -> list[object]:
        return [base.fingerprint, data.records.fingerprint, training_identity(training, loss)]

    def fitted() -> list[object]:
        return [trained(), _concept_made_of(configuration, inputs)]

    adapter = TrainAdapter(
        base=base,
        data=data,
        settings=training,
        loss=loss,
        out=Place(folder=parts, name="adapter-{}", made_of=trained),
    )
    tuned = LoadTuned(base=base, adapter=adapter)
    texts = {
        name: ReadRecords(name=name, given=records)
        for name, records in (("positive", inputs.positive), ("negative", inputs.negative))
        if records is not None
    }
    fitted_on = LoadTuned(name="untouched", base=base, adapter=None) if asked.fitted_on == "base" else tuned
    concept = MakeConcept(
        model=fitted_on,
        file=asked.file,
        positive=texts.get("positive"),
        negative=texts.get("negative"),
        label=asked.name,
        recipe=asked.recipe,
        sites=asked.sites,
        tokens=asked.tokens,
        seed=asked.seed,
        cutting=asked.cutting,
        out=Place(folder=parts, name="concept-{}.concept.safetensors", made_of=fitted),
    )
    steps = [adapter, tuned, *({fitted_on} - {tuned}), *texts.values(), concept]
    ranking = None
    if part.compare:
        ranking, more = _ranking_steps(configuration, folder, inputs, concept, base, tuned, data, judge)
        steps += more
    scores = KeepScores(
        data=data,
        ranking=ranking,
        plan=None if ranking is None else ranking.plan,
        compare=part.compare,
        out=Place(
            folder=parts,
            name="scores-{}.parquet",
            made_of=lambda: [fitted(), _scores_made_of(configuration, inputs, judge)],
        ),
    )
    return concept, scores, [*steps, scores]


def _ranking_steps(
    configuration: CounterfactualConfiguration,
    folder: Path,
    inputs: Inputs,
    concept: MakeConcept,
    base: BaseModel,
    tuned: LoadTuned,
    data: WriteTrainingData,
    judge: MakeJudge | None,
) -> tuple[Rank, list[Step[Any]]]:
    """The ranking by all methods, and all the steps from the scan to it."""
    parts, part, training = folder / "parts", configuration.rankings, configuration.training
    activations = {each for name in part.compare for each in find_scorer(name).needs().activations}
    kept = tuple(each for each in ("on_policy_response", "backward") if each in activations)
    loss, sampled = configuration.data.take(LossSettings), part.on_policy_responses
    # Left out at their defaults, so that results from before they could be set keep their names.
    later = [
        *([] if loss.plain else [loss.said]),
        *([] if sampled == 1 else [{"on_policy_responses": sampled}]),
    ]
    scan = Scan(
        model=tuned,
        data=data,
        concept=concept,
        loss=loss,
        settings=part.take(
            ScanSettings,
            sites=(),
            activations=kept,
            max_length=training.max_length,
            truncate=training.cuts,
            seed=part.seed,
        ),
        out=Place(
            folder=parts,
            name="store-{}",
            made_of=lambda: [
                tuned.fingerprint,
                data.records.fingerprint,
                concept.site(),
                list(kept),
                training.max_length,
                training.cuts,
                part.on_policy_response_tokens,
                part.max_batch_tokens,
                part.seed,
                *later,
            ],
        ),
    )
    fit = part.curvature.take(CurvatureSettings, site="", seed=part.seed)

    def curved() -> list[object]:
        store = scan.read()
        settings = curvature_at(fit, part.compare, store.sites[0])
        return [tuned.fingerprint, store.manifest["data"]["tokens"], repr(settings)]

    plan, curvature = curvature_steps(
        scan,
        part.compare,
        fit,
        Place(folder=parts, name="curvature-{}.safetensors", made_of=curved),
        file=part.curvature.file,
        cache_gigabytes=part.curvature.cache_gigabytes,
        engine=configuration.engine,
    )
    recorded = None
    if any(find_scorer(name).needs().run for name in part.compare):
        recorded = RecordRun(
            base=base,
            data=data,
            settings=training,
            loss=loss,
            out=Place(
                folder=parts,
                name="run-{}",
                made_of=lambda: [
                    base.fingerprint,
                    data.records.fingerprint,
                    training_identity(training, loss),
                ],
            ),
        )
    queries: list[Step[Any]] = []
    if measures_queries(part.compare):
        asked, given = configuration.queries, ReadRecords(name="queries", given=inputs.queries)
        queries = [given]
        if asked is not None and asked.prompts is not None:
            assert judge is not None
            given.name = "prompts"
            out = folder / "queries.jsonl"
            queries.append(AnswerPrompts(model=tuned, judge=judge, prompts=given, part=asked, out=out))
    ranking = Rank(
        model=tuned,
        data=data,
        concept=concept,
        scan=scan,
        plan=plan,
        curvature=curvature,
        queries=queries[-1] if queries else None,
        method=part.compare[0],
        compare=part.compare[1:],
        damping=part.take(Damping),
        positive=concept.positive,
        negative=concept.negative,
        label=inputs.labels,
        random_controls=0,
        shuffled_controls=0,  # controls are baselines of their own here
        seed=part.seed,
        recorded=recorded,
        base=None if recorded is None else base,
        cutting={} if configuration.queries is None else configuration.queries.cutting,
    )
    made = [step for step in (scan, plan, curvature, recorded, *queries, ranking) if step is not None]
    return ranking, made


def _concept_made_of(configuration: CounterfactualConfiguration, inputs: Inputs) -> list[object]:
    part = configuration.concept
    if part.file is not None:
        return [load_concept(part.file).fingerprint]
    assert inputs.positive is not None
    assert inputs.negative is not None
    texts = [inputs.positive.fingerprint, inputs.negative.fingerprint]
    return [*texts, part.name, part.recipe, list(part.sites), part.seed, part.fitted_on, part.cutting]


def _scores_made_of(
    configuration: CounterfactualConfiguration, inputs: Inputs, judge: MakeJudge | None
) -> list[object]:
    rankings = configuration.rankings.model_dump(mode="json", exclude={"files"})
    if rankings["on_policy_responses"] == ScanSettings.on_policy_responses:
        del rankings["on_policy_responses"]  # results from before it could be set keep their names
    file = configuration.rankings.curvature.file
    queries = configuration.queries
    return [
        rankings,
        None if file is None else file_digest(file),
        None if inputs.queries is None else inputs.queries.fingerprint,
        None if queries is None else queries.model_dump(mode="json", exclude={"texts", "prompts"}),
        None if judge is None or queries is None or queries.prompts is None else judge.judge.name,
        None if inputs.labels is None else inputs.labels.tolist(),
    ]


def load_part(part: BaseModelPart, adapter: Path | None) -> LanguageModel:
    """The base model of a configuration, with the adapter in a folder if one is given."""
    return load_model(
        part.name, adapter=adapter, device=part.device, dtype=part.dtype, download=part.download
    )
