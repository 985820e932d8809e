"""The curvature that a job's influence methods divide by: loaded, or planned, announced and fitted once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from aitia.attribution.gradients import (
    Curvature,
    CurvaturePlan,
    CurvatureSettings,
    FactorCache,
    announce_curvature,
    fit_curvature,
    load_curvature,
    plan_curvature,
)
from aitia.attribution.scorers import find_scorer
from aitia.engine import Engine, note
from aitia.files import digest
from aitia.models import LanguageModel
from aitia.pipelines.attribution.configuration import CurvaturePart
from aitia.records import TokenizedRecords


def curvature_settings(
    part: CurvaturePart, methods: Sequence[str], site: str, seed: int
) -> CurvatureSettings | None:
    """How to fit the curvature that methods want for a concept at a site; none where none wants any."""
    curved = [found for found in map(find_scorer, methods) if found.needs().curvature]
    if not curved:
        return None
    below = site if all(found.through_concept for found in curved) else ""
    return part.take(CurvatureSettings, site=below, seed=seed)


def shares_factors(part: CurvaturePart, settings: CurvatureSettings) -> bool:
    """Whether the curvature is fitted here to the very gradients that scores are made of, so that they can be kept."""
    return part.file is None and settings.use_empirical_fisher


def prepare_curvature(
    part: CurvaturePart,
    settings: CurvatureSettings | None,
    model: LanguageModel,
    rows: TokenizedRecords,
    out: Path,
    engine: Engine,
) -> tuple[Curvature | None, FactorCache | None]:
    """Load the curvature, or fit it to the rows and keep it in a file.

    Args:
        part: of the job's configuration.
        settings: of `curvature_settings`; none where no curvature is wanted.
        model: whose.
        rows: that are scored, cut as they are scored.
        out: file for the curvature that is fitted; the rows' factors are kept in a folder beside it.
        engine: where it is fitted.

    Returns:
        The curvature, and the rows' factors where the fit and the scores can share them and they fit into
        `cache_gigabytes`; the caller clears them.

    Raises:
        StoreError: the file is of another model, data or settings.
        RecordError, NumericalError: rows that cannot be used.
    """
    if settings is None:
        return None, None
    if part.file is not None:
        return load_curvature(part.file, model), None
    plan = plan_curvature(model, rows, settings)
    cache = _factor_cache(part, settings, model, rows, plan, out.parent)
    if not out.is_file():
        announce_curvature(model, rows, settings, plan)
    return fit_curvature(model, rows, settings, out=out, cache=cache, engine=engine), cache


def _factor_cache(
    part: CurvaturePart,
    settings: CurvatureSettings,
    model: LanguageModel,
    rows: TokenizedRecords,
    plan: CurvaturePlan,
    folder: Path,
) -> FactorCache | None:
    """A place for the rows' factors, where the curvature's pass and the scores' can share them and they fit."""
    if not shares_factors(part, settings) or plan.rows < len(rows):
        return None
    if plan.cache_bytes > part.cache_gigabytes * 1e9:
        note(
            f"The rows' factors would take {plan.cache_bytes / 1e9:.1f} GB, more than cache_gigabytes = "
            f"{part.cache_gigabytes:g} allows: the model runs in every pass instead"
        )
        return None
    key = digest([model.fingerprint, rows.fingerprint, asdict(settings)])[:16]
    return FactorCache(folder=folder / f"factors-{key}")
