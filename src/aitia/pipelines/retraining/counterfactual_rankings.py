"""The rankings that `aitia counterfactual` holds against each other: trained, fitted and scored once, kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aitia.attribution import ScanSettings, rank, scan
from aitia.attribution.gradients import Damping
from aitia.attribution.scorers import find_scorer
from aitia.concepts import Concept, fit_concept, load_concept, require_concept_fits
from aitia.counterfactual import finetune_lora, on_policy_queries
from aitia.errors import AitiaError, StoreError, reason_of
from aitia.files import atomic_path, digest, file_digest, reading
from aitia.models import LanguageModel
from aitia.pipelines.attribution.curvature import curvature_settings, prepare_curvature
from aitia.pipelines.retraining.counterfactual_configuration import CounterfactualConfiguration
from aitia.pipelines.retraining.counterfactual_inputs import Inputs, NamedJudge
from aitia.records import Records

Load = Callable[[Path | None], LanguageModel]
"""Loads the base model, with the adapter in a folder if one is given."""


@dataclass(frozen=True, kw_only=True)
class Rankings:
    """Scores of all rankings.

    Attributes:
        concept: what they are about.
        scores: name -> [n], in the order of the data.
        seconds: name -> time that scoring took.
    """

    concept: Concept
    scores: Mapping[str, np.ndarray]
    seconds: Mapping[str, float]


def make_rankings(
    configuration: CounterfactualConfiguration, inputs: Inputs, load: Load, judge: NamedJudge | None
) -> Rankings:
    """Train on all rows, fit the concept and score the rows; what was done before is found again.

    Everything lies in `parts` of the configuration's folder, each thing under a name made of what it depends on.
    """
    parts, settings = configuration.folder / "parts", configuration.training
    fitted = _fitted_depends(configuration, inputs, load(None).fingerprint)
    adapter, concept_file = _kept(parts, fitted)
    scores_file = parts / f"scores-{_key([fitted, _scores_depend(configuration, inputs, judge)])}.parquet"
    if scores_file.is_file() and concept_file.is_file():
        return _read(scores_file, load_concept(concept_file))
    if not (adapter / "adapter_config.json").is_file():
        finetune_lora(load(None), inputs.data, settings, adapter)
    if not concept_file.is_file():
        on_base = configuration.concept.fitted_on == "base"
        _concept(configuration, inputs, load(None if on_base else adapter)).save(concept_file)
    concept = load_concept(concept_file)
    found = _score(configuration, inputs, load(adapter), concept, judge, parts)
    _write(scores_file, found, inputs.data)
    return found


def kept_parts(
    folder: Path, configuration: CounterfactualConfiguration, inputs: Inputs, base: str
) -> tuple[Path, Path]:
    """Where a run keeps the adapter trained on all rows, and the concept.

    Args:
        folder: of the run.
        configuration: of the run.
        inputs: as it read them.
        base: fingerprint of the base model.
    """
    return _kept(folder / "parts", _fitted_depends(configuration, inputs, base))


def _kept(parts: Path, fitted: list[object]) -> tuple[Path, Path]:
    return parts / f"adapter-{_key(fitted[0])}", parts / f"concept-{_key(fitted)}.concept.safetensors"


def _fitted_depends(configuration: CounterfactualConfiguration, inputs: Inputs, base: str) -> list[object]:
    """What the adapter depends on, and what the concept depends on besides."""
    trained = [base, inputs.data.fingerprint, configuration.training.identity()]
    return [trained, _concept_depends(configuration, inputs)]


def _score(
    configuration: CounterfactualConfiguration,
    inputs: Inputs,
    model: LanguageModel,
    concept: Concept,
    judge: NamedJudge | None,
    parts: Path,
) -> Rankings:
    part, trained = configuration.rankings, configuration.training
    require_concept_fits(concept, model)
    needs = [find_scorer(name).needs() for name in part.compare]
    activations = {activation for each in needs for activation in each.activations}
    order = [activation for activation in ("on_policy_response", "backward") if activation in activations]
    depends = [
        model.fingerprint,
        inputs.data.fingerprint,
        concept.site,
        order,
        trained.max_length,
        trained.cuts,
        part.on_policy_response_tokens,
    ]
    store = scan(
        model,
        inputs.data,
        part.take(
            ScanSettings,
            sites=(concept.site,),
            activations=tuple(order),
            max_length=trained.max_length,
            truncate=trained.cuts,
            seed=part.seed,
        ),
        out=parts / f"store-{_key([*depends, part.max_batch_tokens, part.seed])}",
    )
    if not part.compare:
        return Rankings(concept=concept, scores={}, seconds={})
    settings = curvature_settings(part.curvature, part.compare, concept.site, part.seed)
    rows = store.load_rows()
    name = _key([model.fingerprint, rows.fingerprint, repr(settings)])
    curvature, cache = prepare_curvature(
        part.curvature,
        settings,
        model,
        rows,
        parts / f"curvature-{name}.safetensors",
        configuration.engine,
    )
    ranking = rank(
        store,
        concept,
        method=part.compare[0],
        compare=part.compare[1:],
        queries=_queries(configuration, inputs, model, judge)
        if any(each.queries for each in needs)
        else None,
        curvature=curvature,
        cache=cache,
        damping=part.take(Damping),
        positive=inputs.positive,
        negative=inputs.negative,
        label=inputs.labels,
        random_controls=0,
        shuffled_controls=0,  # controls are baselines of their own here
        seed=part.seed,
        **({} if configuration.queries is None else configuration.queries.cutting),
    )
    assert tuple(ranking.ids.tolist()) == inputs.data.ids
    for left_out, reason in ranking.provenance["left_out"].items():
        raise AitiaError(f"rankings.compare: {left_out} cannot be compared: {reason}")
    if cache is not None:
        cache.clear()
    return Rankings(
        concept=concept,
        scores={each: ranking.scores[each] for each in part.compare},
        seconds={each: ranking.seconds[each] for each in part.compare},
    )


def _concept(configuration: CounterfactualConfiguration, inputs: Inputs, model: LanguageModel) -> Concept:
    part = configuration.concept
    if part.file is not None:
        concept = load_concept(part.file)
        require_concept_fits(concept, model)
        return concept
    assert inputs.positive is not None
    assert inputs.negative is not None
    return fit_concept(
        model,
        inputs.positive,
        inputs.negative,
        name=part.name,
        recipe=part.recipe,
        sites=part.sites or None,
        seed=part.seed,
        **part.cutting,
    )


def _queries(
    configuration: CounterfactualConfiguration,
    inputs: Inputs,
    model: LanguageModel,
    judge: NamedJudge | None,
) -> Records | None:
    """The queries as they are, or what the model answers and the judge picks; those are written down too."""
    part = configuration.queries
    if part is None or part.prompts is None:
        return inputs.queries
    assert inputs.queries is not None
    assert judge is not None
    found = on_policy_queries(
        model,
        inputs.queries,
        judge.judge,
        keep=part.keep,
        samples=part.samples,
        max_new_tokens=part.max_new_tokens,
        temperature=part.temperature,
        seed=part.seed,
    )
    found.write(configuration.folder / "queries.jsonl")
    return found


def _concept_depends(configuration: CounterfactualConfiguration, inputs: Inputs) -> list[object]:
    part = configuration.concept
    if part.file is not None:
        return [load_concept(part.file).fingerprint]
    assert inputs.positive is not None
    assert inputs.negative is not None
    texts = [inputs.positive.fingerprint, inputs.negative.fingerprint]
    return [*texts, part.name, part.recipe, list(part.sites), part.seed, part.fitted_on, part.cutting]


def _scores_depend(
    configuration: CounterfactualConfiguration, inputs: Inputs, judge: NamedJudge | None
) -> list[object]:
    rankings = configuration.rankings.model_dump(mode="json", exclude={"files"})
    file = configuration.rankings.curvature.file
    queries = configuration.queries
    return [
        rankings,
        None if file is None else file_digest(file),
        None if inputs.queries is None else inputs.queries.fingerprint,
        None if queries is None else queries.model_dump(mode="json", exclude={"texts", "prompts"}),
        None if judge is None or queries is None or queries.prompts is None else judge.name,
        None if inputs.labels is None else inputs.labels.tolist(),
    ]


def _key(depends: object) -> str:
    return digest(depends)[:16]


def _write(path: Path, rankings: Rankings, data: Records) -> None:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    table = pa.table({"id": list(data.ids), **{f"score {n}": v for n, v in rankings.scores.items()}})
    table = table.replace_schema_metadata({"aitia": json.dumps(dict(rankings.seconds))})
    with atomic_path(path) as temporary:
        parquet.write_table(table, temporary)


def _read(path: Path, concept: Concept) -> Rankings:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    try:
        with reading(path):
            table = parquet.read_table(path)
        seconds = json.loads((table.schema.metadata or {})[b"aitia"])
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise StoreError(f"{path}: damaged ({reason_of(error)}); delete the file and run again") from error
    names = [name for name in table.column_names if name != "id"]
    return Rankings(
        concept=concept,
        scores={name.removeprefix("score "): table[name].to_numpy() for name in names},
        seconds=seconds,
    )
