"""The main job from one configuration: concept, scan, ranking, curated data, report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from aitia.attribution import (
    ActivationStore,
    Ranking,
    ScanSettings,
    SliceSettings,
    available_methods,
    rank,
    scan,
)
from aitia.attribution.gradients import Damping
from aitia.attribution.scorers import find_scorer, scorer_names
from aitia.concepts import (
    Concept,
    SaeSettings,
    fit_concept,
    fit_sae,
    fitted_texts,
    load_concept,
    load_sae,
    require_concept_fits,
    save_sae,
)
from aitia.engine import keeping_workers
from aitia.errors import AitiaError, ConceptError
from aitia.files import digest, require_apart, require_place, write_json, write_text
from aitia.models import LanguageModel, load_model
from aitia.pipelines.attribution.configuration import AttributeConfiguration, ConceptPart, write_configuration
from aitia.pipelines.attribution.curation import curate
from aitia.pipelines.attribution.curvature import curvature_settings, prepare_curvature
from aitia.pipelines.attribution.slices import SlicesResult, explain_by_slices
from aitia.records import Records, read_records


@dataclass(frozen=True, kw_only=True)
class AttributeResult:
    """What `attribute` made, and where it is."""

    ranking: Ranking
    concept: Concept
    summary: dict[str, Any]
    files: dict[str, Path]
    slices: SlicesResult | None = None


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

    Raises:
        AitiaError: see the parts; input is checked before the model runs.
    """
    with keeping_workers(configuration.engine):
        return _attribute(configuration, model, baselines)


def _attribute(
    configuration: AttributeConfiguration,
    model: LanguageModel | None,
    baselines: Mapping[str, np.ndarray] | None,
) -> AttributeResult:
    data = read_records(configuration.data.path, on_error=configuration.data.on_error)
    _check_before_work(configuration, data)
    if model is None:
        part = configuration.model
        model = load_model(
            part.name, adapter=part.adapter, device=part.device, dtype=part.dtype, download=part.download
        )
    out = configuration.out
    start = perf_counter()
    concept_file = out / "concept.concept.safetensors"
    concept = _concept(configuration.concept, model, concept_file)
    concept.save(concept_file)
    fitted = perf_counter()
    store = scan(
        model,
        data,
        configuration.scan.take(
            ScanSettings,
            sites=(concept.site,),
            max_length=configuration.data.max_length,
            truncate=configuration.data.truncate,
        ),
        out=out / "store",
        on_error=configuration.data.on_error,
        engine=configuration.engine,
    )
    scanned = perf_counter()
    settings = configuration.rank
    curvature, cache = prepare_curvature(
        settings.curvature,
        curvature_settings(settings.curvature, _methods(configuration), concept.site, settings.seed),
        model,
        store.load_rows(),
        out / "curvature.safetensors",
        configuration.engine,
    )
    fitted_curvature = perf_counter()
    ranking = rank(
        store,
        concept,
        method=settings.method,
        compare=(*settings.compare, *available_methods(store)),
        queries=settings.queries,
        curvature=curvature,
        cache=cache,
        damping=settings.take(Damping),
        label=configuration.data.label,
        random_controls=settings.random_controls,
        seed=settings.seed,
        engine=configuration.engine,
        **settings.cutting,
    )
    ranked = perf_counter()
    slices = _slices(configuration, model, data, store, concept, ranking)
    sliced = perf_counter()
    text = write_configuration(configuration)
    places = _curated_places(configuration, data)
    split = curate(
        data,
        ranking,
        drop=configuration.curate.drop,
        end=configuration.curate.end,
        curated=places["curated"],
        removed=places["removed"],
    )
    files = {
        "concept": concept_file,
        "ranking": ranking.write(out / "ranking.parquet"),
        **split.files,
        "configuration": write_text(out / "configuration.yaml", write_configuration(configuration, out)),
        "report": ranking.report(
            out / "report.html",
            label=configuration.data.label,
            shown=settings.shown,
            baselines=baselines,
            reproduce=f"aitia attribute configuration.yaml\n\n# configuration.yaml\n{text}",
            slices=None if slices is None else slices.section(),
        ),
    }
    if slices is not None:
        files["slices"] = slices.write(out / "slices.json")
    if cache is not None:
        cache.clear()
    summary = {
        "concept": {"name": concept.name, "site": concept.site, "held_out_auc": _held_out_auc(concept)},
        "method": ranking.method,
        "rows": len(ranking),
        "rows_skipped": len(store.manifest["data"]["skipped"]),
        "skipped": store.manifest["data"]["skipped"],
        "rows_kept": split.rows_kept,
        "rows_removed": split.rows_removed,
        "rows_left_out": len(split.skipped),
        "seconds": {
            "concept": fitted - start,
            "scan": scanned - fitted,
            "curvature": fitted_curvature - scanned,
            "rank": ranked - fitted_curvature,
            "slices": sliced - ranked,
            "report": perf_counter() - sliced,
        },
        "files": {name: str(path) for name, path in files.items()},
    }
    files["summary"] = write_json(out / "summary.json", summary)
    return AttributeResult(ranking=ranking, concept=concept, summary=summary, files=files, slices=slices)


def _methods(configuration: AttributeConfiguration) -> tuple[str, ...]:
    return (configuration.rank.method, *configuration.rank.compare)


def _slices(
    configuration: AttributeConfiguration,
    model: LanguageModel,
    data: Records,
    store: ActivationStore,
    concept: Concept,
    ranking: Ranking,
) -> SlicesResult | None:
    """Kinds of rows, where they are asked for; an autoencoder that is trained here is kept beside the store."""
    part, settings = configuration.slices, configuration.rank
    if part is None:
        return None
    if part.sae is not None:
        sae = load_sae(part.sae, site=part.site)
    else:
        chosen = part.take(SaeSettings, seed=settings.seed)
        cut = configuration.data.cutting
        key = digest([model.fingerprint, data.fingerprint, concept.site, asdict(chosen), cut])[:12]
        folder = configuration.out / f"sae-{key}"
        if not folder.is_dir():
            save_sae(fit_sae(model, store.load_rows(), concept.site, chosen), folder)
        sae = load_sae(folder)
    return explain_by_slices(
        store,
        concept,
        sae,
        ranking=ranking,
        settings=part.take(SliceSettings, seed=settings.seed),
        pooling=part.pooling,
        controls=part.controls,
        columns=part.columns,
        strata=part.strata,
        shown=part.shown,
    )


def _curated_places(configuration: AttributeConfiguration, data: Records) -> dict[str, Path]:
    """Where the parts of the data go, `curated` and `removed`."""
    suffix = (
        ""
        if data.format == "datasets"
        else {"parquet": ".parquet", "json": ".json"}.get(data.format, ".jsonl")
    )
    return {name: configuration.out / f"{name}{suffix}" for name in ("curated", "removed")}


def _check_before_work(configuration: AttributeConfiguration, data: Records) -> None:
    if data.source is not None:
        require_apart(
            {f"out/{path.name}": path for path in _curated_places(configuration, data).values()},
            {"data.path": data.source},
        )
    require_place(configuration.out, folder=True)
    for key, name in (
        ("method", configuration.rank.method),
        *(("compare", name) for name in configuration.rank.compare),
    ):
        if name not in scorer_names():
            raise AitiaError(f"rank.{key}: {name!r} is not one of {', '.join(scorer_names())}")
        _require_needs(configuration, key, name)
    if configuration.data.label is not None:
        data.column(configuration.data.label)
    slices = configuration.slices
    if slices is not None:
        for column in (*slices.columns, *([slices.strata] if slices.strata else [])):
            data.column(column)
        if slices.sae is not None:
            load_sae(slices.sae, site=slices.site)
    part = configuration.concept
    if part.file is not None:
        load_concept(part.file)
    else:
        assert part.positive is not None
        assert part.negative is not None
        for texts in (part.positive, part.negative):
            read_records(texts, on_error=part.on_error)


def _require_needs(configuration: AttributeConfiguration, key: str, name: str) -> None:
    """Refuse a scorer that is not given what it needs, before the model runs."""
    needs, settings = find_scorer(name).needs(), configuration.rank
    if needs.queries:
        if settings.queries is None:
            raise AitiaError("rank.queries: the influence methods need texts that show the behaviour")
        read_records(settings.queries, on_error=settings.on_error)
    kept = {"response", "prompt_end", *configuration.scan.activations}
    missing = [activation for activation in needs.activations if activation not in kept]
    if missing:
        raise AitiaError(f"rank.{key} {name} needs {', '.join(missing)} in scan.activations")
    if needs.labels and configuration.data.label is None:
        raise AitiaError(f"rank.{key} {name} needs data.label")
    file = configuration.concept.file
    if needs.texts and file is not None:
        try:
            fitted_texts(load_concept(file))
        except ConceptError as error:
            raise AitiaError(
                f"rank.{key} {name} compares rows with the concept's texts: {error}; give concept.positive and "
                "concept.negative instead of concept.file"
            ) from error


def _concept(part: ConceptPart, model: LanguageModel, file: Path) -> Concept:
    """The concept that is asked for: loaded, fitted, or as an earlier run fitted it and left it in `file`."""
    if part.file is not None:
        concept = load_concept(part.file)
        require_concept_fits(concept, model)
        return concept
    assert part.positive is not None
    assert part.negative is not None
    positive, negative = (
        read_records(texts, on_error=part.on_error) for texts in (part.positive, part.negative)
    )
    before = load_concept(file) if file.is_file() else None
    if before is not None and _is_of(before, part, model, positive, negative):
        return before
    return fit_concept(
        model,
        positive,
        negative,
        name=part.name,
        recipe=part.recipe,
        sites=part.sites or None,
        seed=part.seed,
        **part.cutting,
    )


def _is_of(
    concept: Concept, part: ConceptPart, model: LanguageModel, positive: Records, negative: Records
) -> bool:
    """Whether a concept was fitted to these texts on this model with these settings."""
    recipe, sites = concept.recipe, set(part.sites or model.sites)
    return (
        concept.name == part.name
        and concept.model_fingerprint == model.fingerprint
        and recipe.get("recipe") == part.recipe
        and all(recipe.get(key) == getattr(part, key) for key in ("seed", "max_length", "truncate"))
        and recipe.get("positive", {}).get("fingerprint") == positive.fingerprint
        and recipe.get("negative", {}).get("fingerprint") == negative.fingerprint
        and concept.separation is not None
        and set(concept.separation.auc_by_site) == sites
    )


def _held_out_auc(concept: Concept) -> float | None:
    return None if concept.separation is None else concept.separation.auc
