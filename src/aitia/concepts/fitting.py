"""Fitting a concept to two sets of texts, and choosing its site by held-out separation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aitia.concepts.activations import response_means
from aitia.concepts.concept import Concept, Separation
from aitia.concepts.directions import DEFAULT_RECIPE, DIRECTIONS, DirectionMethod
from aitia.concepts.separation import held_out_projections
from aitia.errors import ConceptError
from aitia.models import LanguageModel, in_tokens
from aitia.records import Records, TokenizedRecords, read_records
from aitia.statistics import auc, effect_size

SHUFFLES = 8
"""Directions fitted to shuffled labels that a concept keeps by default."""


def fit_concept(
    model: LanguageModel,
    positive: Records | Path | str,
    negative: Records | Path | str,
    *,
    name: str = "concept",
    recipe: str = DEFAULT_RECIPE,
    sites: Sequence[str] | None = None,
    folds: int = 5,
    shuffles: int = SHUFFLES,
    seed: int = 0,
    max_length: int = 0,
    truncate: bool = False,
    on_error: str = "stop",
) -> Concept:
    """Fit a direction that points from negative to positive texts, at the site where it separates best.

    At every site the direction's AUC on held-out texts is found by cross-validation (answers to the same
    prompt are held out together). The site with the highest AUC wins, ties going to the larger effect
    size, and the direction is fitted there on all texts. The AUC of the winner is a best-of-many and so a
    little optimistic; `separation.auc_by_site` shows all of them.

    Args:
        model: the model to trace.
        positive: texts that show the concept: records, or a file of them.
        negative: texts that do not.
        name: for people.
        recipe: a name in `DIRECTIONS`: `contrast`, `logistic-probe` or `ridge-probe`.
        sites: where to look; default: all sites.
        folds: of the cross-validation.
        shuffles: directions fitted to shuffled labels, kept as controls.
        seed: of the split and the shuffles.
        max_length: longest text, in tokens; 0 for the model's context.
        truncate: cut longer texts instead of refusing them.
        on_error: `stop` at texts that cannot be used, or `skip` them; `recipe` lists those left out.

    Returns:
        The concept at its best site, with its held-out AUC at every site and its shuffled directions.

    Raises:
        ConceptError: unknown recipe, too few texts, or two sets that are the same.
        RecordError, SiteError, NumericalError: as for tracing.
    """
    if recipe not in DIRECTIONS:
        raise ConceptError(f"recipe {recipe!r} is not one of {', '.join(DIRECTIONS)}")
    cutting = {"max_length": max_length, "truncate": truncate, "on_error": on_error}
    positive, positive_rows = _usable(model, positive, cutting)
    negative, negative_rows = _usable(model, negative, cutting)
    skipped = [*positive.skipped, *positive_rows.skipped, *negative.skipped, *negative_rows.skipped]
    places = model.sites if sites is None else tuple(sites)
    above = response_means(model, positive_rows, places, title="Tracing positive texts")
    below = response_means(model, negative_rows, places, title="Tracing negative texts")
    groups = [
        record.question or record.id for record in [*positive, *negative]
    ]  # never on both sides of a split
    labels = np.repeat([True, False], [len(positive), len(negative)])
    method = DIRECTIONS[recipe]
    aucs, effects = {}, {}
    for site in above:
        held_out = held_out_projections(above[site], below[site], groups, method, folds=folds, seed=seed)
        aucs[site], effects[site] = auc(held_out, labels), effect_size(held_out, labels)
    site = max(above, key=lambda place: (round(aucs[place], 6), effects[place]))
    return Concept(
        name=name,
        site=site,
        direction=method(above[site], below[site]),
        model_name=model.name,
        model_fingerprint=model.fingerprint,
        base_fingerprint=model.base_fingerprint,
        dtype=model.dtype,
        recipe={
            "recipe": recipe,
            "positive": _said(positive),
            "negative": _said(negative),
            "folds": folds,
            "seed": seed,
            "max_length": max_length,
            "truncate": truncate,
            "skipped": [[row.location, row.reason] for row in skipped],
            "adapter": model.adapter,
        },
        separation=Separation(
            auc=aucs[site],
            effect_size=effects[site],
            positives=len(positive),
            negatives=len(negative),
            auc_by_site=aucs,
        ),
        shuffled=shuffled_directions(above[site], below[site], method, count=shuffles, seed=seed),
    )


def fit_contrast(
    model: LanguageModel,
    positive: Records | Path | str,
    negative: Records | Path | str,
    *,
    name: str = "concept",
    sites: Sequence[str] | None = None,
    seed: int = 0,
) -> Concept:
    """Fit the difference of mean response activations between two sets of texts (see `fit_concept`)."""
    return fit_concept(model, positive, negative, name=name, recipe="contrast", sites=sites, seed=seed)


def fit_probe(
    model: LanguageModel,
    positive: Records | Path | str,
    negative: Records | Path | str,
    *,
    name: str = "concept",
    kind: str = "logistic",
    sites: Sequence[str] | None = None,
    seed: int = 0,
) -> Concept:
    """Fit a linear probe, `logistic` or `ridge`, between two sets of texts (see `fit_concept`)."""
    return fit_concept(model, positive, negative, name=name, recipe=f"{kind}-probe", sites=sites, seed=seed)


def shuffled_directions(
    positive: np.ndarray, negative: np.ndarray, method: DirectionMethod, *, count: int, seed: int
) -> np.ndarray:
    """Directions fitted in the same way to shuffled labels: what the recipe finds where there is nothing.

    Args:
        positive: [n, d].
        negative: [m, d].
        method: fits a direction.
        count: how many, c.
        seed: of the shuffles.

    Returns:
        [c, 1, d] float32.
    """
    generator = np.random.default_rng(seed)
    activations = np.concatenate([positive, negative])
    found = np.empty((count, 1, activations.shape[1]), dtype=np.float32)
    for i in range(count):
        shuffled = activations[generator.permutation(len(activations))]
        found[i, 0] = method(shuffled[: len(positive)], shuffled[len(positive) :])
    return found


def random_directions(width: int, *, count: int, seed: int = 0) -> np.ndarray:
    """Unit directions drawn evenly from the sphere: [count, 1, width] float32."""
    directions = np.random.default_rng(seed).standard_normal((count, 1, width))
    return (directions / np.linalg.norm(directions, axis=-1, keepdims=True)).astype(np.float32)


def _usable(
    model: LanguageModel, texts: Records | Path | str, cutting: dict[str, Any]
) -> tuple[Records, TokenizedRecords]:
    """The texts that can be used, as they are and in tokens."""
    records = texts if isinstance(texts, Records) else read_records(texts, on_error=cutting["on_error"])
    if not len(records):
        raise ConceptError(f"{records.name}: no texts to fit a concept to")
    rows = in_tokens(model, records, **cutting)
    return (records.only([row.id for row in rows]) if rows.skipped else records), rows


def _said(texts: Records) -> dict[str, Any]:
    """What a concept keeps of the texts that it was fitted to."""
    read = {"reading": dict(texts.reading.settings)} if texts.reading.settings else {}
    return {"source": str(texts.source or "memory"), "fingerprint": texts.fingerprint} | read
