"""The main job from one configuration: concept, scan, ranking, curated data, report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from aitia.attribution import GroupSettings, Ranking, SignalStore, available_methods, rank, scan
from aitia.attribution.curvature import Curvature, CurvatureSettings, Damping, load_curvature
from aitia.attribution.curvature_fitting import fit_curvature
from aitia.attribution.gradients import FactorCache
from aitia.attribution.methods import METHODS, InfluenceMethod
from aitia.attribution.planning import announce_curvature, plan_curvature
from aitia.concepts import (
    Concept,
    SaeSettings,
    fit_concept,
    fit_sae,
    load_concept,
    load_sae,
    require_concept_fits,
    save_sae,
)
from aitia.engine import keeping_workers, note
from aitia.errors import AitiaError
from aitia.files import digest, require_place, write_json, write_text
from aitia.models import LanguageModel, load_model
from aitia.pipelines.configuration import AttributeConfiguration, ConceptPart, write_configuration
from aitia.pipelines.groups import GroupsResult, explain_by_groups
from aitia.records import Records, TokenizedRecords, read_records


@dataclass(frozen=True, kw_only=True)
class AttributeResult:
    """What `attribute` made, and where it is."""

    ranking: Ranking
    concept: Concept
    summary: dict[str, Any]
    files: dict[str, Path]
    groups: GroupsResult | None = None


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
    with keeping_workers(configuration.engine.engine):
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
        sites=[concept.site],
        out=out / "store",
        signals=configuration.scan.signals,
        **configuration.data.cutting,
        max_batch_tokens=configuration.scan.max_batch_tokens,
        own_response_tokens=configuration.scan.own_response_tokens,
        seed=configuration.scan.seed,
        engine=configuration.engine.engine,
    )
    scanned = perf_counter()
    settings = configuration.rank
    settings_of_curvature = curvature_settings(configuration, concept.site, adapted=model.adapter is not None)
    rows = store.load_rows()  # cut as for the scan
    cache = _factor_cache(configuration, model, rows, settings_of_curvature)
    curvature = _curvature(configuration, model, rows, settings_of_curvature, cache)
    fitted_curvature = perf_counter()
    ranking = rank(
        store,
        concept,
        method=settings.method,
        others=(*settings.compare, *available_methods(store)),
        queries=settings.queries,
        curvature=curvature,
        cache=cache,
        damping=Damping(value=settings.damping),
        random_controls=settings.random_controls,
        seed=settings.seed,
        engine=configuration.engine.engine,
        **settings.cutting,
    )
    ranked = perf_counter()
    groups = _groups(configuration, model, data, store, concept, curvature, cache)
    grouped = perf_counter()
    text = write_configuration(configuration)
    suffix = "" if data.format == "datasets" else {"parquet": ".parquet"}.get(data.format, ".jsonl")
    files = {
        "concept": concept_file,
        "ranking": ranking.write(out / "ranking.parquet"),
        **curate(
            data,
            ranking,
            drop=configuration.curate.drop,
            end=configuration.curate.end,
            curated=out / f"curated{suffix}",
            removed=out / f"removed{suffix}",
        ),
        "configuration": write_text(out / "configuration.yaml", text),
        "report": ranking.report(
            out / "report.html",
            label=configuration.data.label,
            shown=settings.shown,
            baselines=baselines,
            reproduce=f"aitia attribute configuration.yaml\n\n# configuration.yaml\n{text}",
            groups=None if groups is None else groups.section(),
        ),
    }
    if groups is not None:
        files["groups"] = groups.write(out / "groups.json")
    if cache is not None:
        cache.clear()
    summary = {
        "concept": {"name": concept.name, "site": concept.site, "held_out_auc": _held_out_auc(concept)},
        "method": ranking.method,
        "rows": len(ranking),
        "rows_skipped": len(store.manifest["data"]["skipped"]),
        "skipped": store.manifest["data"]["skipped"],
        "rows_removed": len(_removed(ranking, configuration.curate.drop, configuration.curate.end)),
        "seconds": {
            "concept": fitted - start,
            "scan": scanned - fitted,
            "curvature": fitted_curvature - scanned,
            "rank": ranked - fitted_curvature,
            "groups": grouped - ranked,
            "report": perf_counter() - grouped,
        },
        "files": {name: str(path) for name, path in files.items()},
    }
    files["summary"] = write_json(out / "summary.json", summary)
    return AttributeResult(ranking=ranking, concept=concept, summary=summary, files=files, groups=groups)


def curate(
    data: Records, ranking: Ranking, *, drop: float | int, end: str, curated: Path | str, removed: Path | str
) -> dict[str, Path]:
    """Write the data without one end of a ranking, and the rows removed, each row untouched.

    Args:
        data: the data that was ranked.
        ranking: of it.
        drop: share (0.1) or number (10) of rows to drop.
        end: `top` for the most influential, `bottom` for the least.
        curated: file (or folder) for what stays.
        removed: file (or folder) for what goes.

    Returns:
        `curated` and `removed`, where they were written.

    Raises:
        RecordError: the ranking is of other data.
    """
    gone = _removed(ranking, drop, end)
    kept, dropped = data.without(gone), data.only(gone)
    return {"curated": kept.write(curated), "removed": dropped.write(removed)}


def _needs_queries(configuration: AttributeConfiguration) -> bool:
    settings = configuration.rank
    return any(isinstance(METHODS[name], InfluenceMethod) for name in (settings.method, *settings.compare))


def curvature_settings(
    configuration: AttributeConfiguration, site: str, *, adapted: bool
) -> CurvatureSettings | None:
    """How to fit the curvature that the influence methods want for a concept at a site; none where none is wanted."""
    if not _needs_queries(configuration):
        return None
    part = configuration.rank.curvature
    knows_texts_only = "influence" in (configuration.rank.method, *configuration.rank.compare)
    return CurvatureSettings(
        kind=part.kind,
        labels=part.labels,
        parameters=part.parameters or ("lora" if adapted else "full"),
        stride=part.stride,
        site="" if knows_texts_only else site,
        rows=part.rows,
        precision=part.precision,
        seed=configuration.rank.seed,
    )


def shares_factors(configuration: AttributeConfiguration, settings: CurvatureSettings) -> bool:
    """Whether the curvature is fitted here to the very gradients that scores are made of, so that they can be kept."""
    return configuration.rank.curvature.file is None and settings.labels == "empirical"


def _factor_cache(
    configuration: AttributeConfiguration,
    model: LanguageModel,
    rows: TokenizedRecords,
    settings: CurvatureSettings | None,
) -> FactorCache | None:
    """A place for the rows' factors, where the curvature's pass and the scores' can share them and they fit."""
    if settings is None or not shares_factors(configuration, settings):
        return None
    plan, allowed = plan_curvature(model, rows, settings), configuration.rank.curvature.cache_gigabytes
    if plan.rows < len(rows):
        return None
    if plan.cache_bytes > allowed * 1e9:
        note(
            f"The rows' factors would take {plan.cache_bytes / 1e9:.1f} GB, more than cache_gigabytes = "
            f"{allowed:g} allows: the model runs in every pass instead"
        )
        return None
    key = digest([model.fingerprint, rows.fingerprint, asdict(settings)])[:16]
    return FactorCache(folder=configuration.out / f"factors-{key}")


def _curvature(
    configuration: AttributeConfiguration,
    model: LanguageModel,
    rows: TokenizedRecords,
    settings: CurvatureSettings | None,
    cache: FactorCache | None,
) -> Curvature | None:
    """The curvature that the influence methods want, fitted and saved, or loaded."""
    if settings is None:
        return None
    if configuration.rank.curvature.file is not None:
        return load_curvature(configuration.rank.curvature.file, model)
    file = configuration.out / "curvature.safetensors"
    if not file.is_file():
        announce_curvature(model, rows, settings)
    return fit_curvature(model, rows, settings, out=file, cache=cache, engine=configuration.engine.engine)


def _groups(
    configuration: AttributeConfiguration,
    model: LanguageModel,
    data: Records,
    store: SignalStore,
    concept: Concept,
    curvature: Curvature | None,
    cache: FactorCache | None,
) -> GroupsResult | None:
    """Kinds of rows, where they are asked for; an autoencoder that is trained here is kept beside the store."""
    part, settings = configuration.groups, configuration.rank
    if part is None:
        return None
    if part.sae is not None:
        sae = load_sae(part.sae, site=part.site)
    else:
        chosen = SaeSettings(features=part.features, k=part.k, epochs=part.epochs, seed=settings.seed)
        cut = configuration.data.cutting
        key = digest([model.fingerprint, data.fingerprint, concept.site, asdict(chosen), cut])[:12]
        folder = configuration.out / f"sae-{key}"
        if not folder.is_dir():
            save_sae(fit_sae(model, store.load_rows(), concept.site, chosen), folder)
        sae = load_sae(folder)
    return explain_by_groups(
        store,
        concept,
        sae,
        method=settings.method,
        settings=GroupSettings(
            threshold=part.threshold, false_discovery_rate=part.false_discovery_rate, seed=settings.seed
        ),
        pooling=part.pooling,
        controls=part.controls,
        columns=part.columns,
        strata=part.strata,
        shown=part.shown,
        queries=settings.queries,
        curvature=curvature,
        cache=cache,
        damping=Damping(value=settings.damping),
        seed=settings.seed,
        **settings.cutting,
    )


def _removed(ranking: Ranking, drop: float | int, end: str) -> list[str]:
    return ranking.top(drop) if end == "top" else ranking.bottom(drop)


def _check_before_work(configuration: AttributeConfiguration, data: Records) -> None:
    require_place(configuration.out, folder=True)
    method = configuration.rank.method
    for key, name in (("method", method), *(("compare", name) for name in configuration.rank.compare)):
        if name not in METHODS:
            raise AitiaError(f"rank.{key}: {name!r} is not one of {', '.join(METHODS)}")
    if _needs_queries(configuration):
        if configuration.rank.queries is None:
            raise AitiaError("rank.queries: the influence methods need texts that show the behaviour")
        read_records(configuration.rank.queries, on_error=configuration.rank.on_error)
    kept = {"response", "prompt_end", *configuration.scan.signals}
    missing = [signal for signal in METHODS[method].signals if signal not in kept]
    if missing:
        raise AitiaError(f"rank.method {method} needs {', '.join(missing)} in scan.signals")
    if configuration.data.label is not None:
        data.column(configuration.data.label)
    groups = configuration.groups
    if groups is not None:
        for column in (*groups.columns, *([groups.strata] if groups.strata else [])):
            data.column(column)
        if groups.sae is not None:
            load_sae(groups.sae, site=groups.site)
    part = configuration.concept
    if part.file is not None:
        load_concept(part.file)
    else:
        assert part.positive is not None
        assert part.negative is not None
        for texts in (part.positive, part.negative):
            read_records(texts, on_error=part.on_error)


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
