"""Fitting a concept to two sets of texts, and choosing its site by held-out separation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from aitia.concepts.activations import READ_TOKENS, ReadTokens, response_activations
from aitia.concepts.concept import Concept, Separation
from aitia.concepts.directions import DEFAULT_RECIPE, DIRECTIONS, DirectionMethod
from aitia.concepts.separation import choose_site, held_out_projections, null_effect_sizes
from aitia.errors import ConceptError
from aitia.models import LanguageModel, in_tokens
from aitia.records import Records, TokenizedRecords, read_records
from aitia.records.losses import require_answers
from aitia.statistics import auc, effect_size

ChosenTokens = Literal["auto", "response", "response_end"]
"""The tokens that a concept is to be read at; `auto` for those that tell held-out texts apart better."""
TOKENS_DESCRIPTION = "Where the concept is read: the mean of the response, its last token, or the better one."
"""What is said of `ChosenTokens` where it is set."""
SHUFFLES = 8
"""Directions fitted to shuffled labels that a concept keeps by default."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedDirection:
    """A direction at the site where it separates best, with its separation everywhere.

    Attributes:
        site: where it was fitted.
        direction: [d] float32, of unit length, from negative to positive.
        auc_by_site: site -> held-out AUC.
        effect_size_by_site: site -> difference of the held-out projections' means over their pooled deviation.
        effect_over_nulls: saturated site -> its effect size as a multiple of what null directions get; empty where the
            AUC decided.
        held_out: [n + m] projections of the texts at the site, each by a direction that was fitted without it.
    """

    site: str
    direction: np.ndarray
    auc_by_site: Mapping[str, float]
    effect_size_by_site: Mapping[str, float]
    effect_over_nulls: Mapping[str, float]
    held_out: np.ndarray


def fit_direction(
    positive: Mapping[str, np.ndarray],
    negative: Mapping[str, np.ndarray],
    groups: Sequence[str],
    *,
    recipe: str = DEFAULT_RECIPE,
    folds: int = 5,
    seed: int = 0,
) -> FittedDirection:
    """Fit a direction between two sets of activations, at the site where it separates held-out ones best.

    This is what `fit_concept` does once it has traced the texts. Call it yourself to fit many concepts or several
    recipes to texts that you trace once, with `response_means`.

    Args:
        positive: site -> [n, d] activations of texts that show the concept.
        negative: site -> [m, d] activations of texts that do not, at the same sites.
        groups: n + m names, positives first; texts of one name are held out together.
        recipe: a name in `DIRECTIONS`.
        folds: of the cross-validation.
        seed: of the split.

    Returns:
        The direction, fitted to all texts at the site that `aitia.concepts.separation.choose_site` takes.

    Raises:
        ConceptError: unknown recipe, too few texts, or two sets that are the same.
    """
    method = _method(recipe)
    aucs, effects, projections = {}, {}, {}
    for site, above in positive.items():
        below = negative[site]
        labels = np.repeat([True, False], [len(above), len(below)])
        held_out = held_out_projections(above, below, groups, method, folds=folds, seed=seed)
        projections[site] = held_out
        aucs[site], effects[site] = auc(held_out, labels), effect_size(held_out, labels)
    site, multiples = choose_site(
        aucs,
        effects,
        lambda place: null_effect_sizes(positive[place], negative[place], groups, folds=folds, seed=seed),
    )
    return FittedDirection(
        site=site,
        direction=method(positive[site], negative[site]),
        auc_by_site=aucs,
        effect_size_by_site=effects,
        effect_over_nulls=multiples,
        held_out=projections[site],
    )


def fit_concept(
    model: LanguageModel,
    positive: Records | Path | str,
    negative: Records | Path | str,
    *,
    name: str = "concept",
    recipe: str = DEFAULT_RECIPE,
    sites: Sequence[str] | None = None,
    tokens: ChosenTokens = "auto",
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
    size, and the direction is fitted there on all texts. Where two sites or more reach an AUC of .99, the one among
    these wins whose effect size is the largest multiple of what null directions get there, matched to the texts'
    covariance (`aitia.concepts.separation.choose_site`). The AUC of the winner is a best-of-many and so a
    little optimistic; `separation.auc_by_site` shows all of them.

    A text is read in the mean over its response tokens, or at the last of them, where what the whole response has come
    to is known: a wrong result shows there, and hardly in the mean. By default the last one is read where it tells
    held-out texts apart better, beyond chance (`choose_tokens`).

    Args:
        model: the model to trace.
        positive: texts that show the concept: records, or a file of them.
        negative: texts that do not.
        name: for people.
        recipe: a name in `DIRECTIONS`: `contrast`, `logistic-probe`, `ridge-probe` or `lda-probe`.
        sites: where to look; default: all sites.
        tokens: `response` for the mean over the response tokens, `response_end` for the last of them, or `auto`.
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
    method = _method(recipe)
    cutting = {"max_length": max_length, "truncate": truncate, "on_error": on_error}
    positive, positive_rows = _usable(model, positive, cutting)
    negative, negative_rows = _usable(model, negative, cutting)
    skipped = [*positive.skipped, *positive_rows.skipped, *negative.skipped, *negative_rows.skipped]
    places = model.sites if sites is None else tuple(sites)
    read = _tokens(tokens)
    above = response_activations(model, positive_rows, places, read, title="Tracing positive texts")
    below = response_activations(model, negative_rows, places, read, title="Tracing negative texts")
    groups = [
        record.question or record.id for record in [*positive, *negative]
    ]  # never on both sides of a split
    every: dict[ReadTokens, FittedDirection] = {}
    for place in read:
        every[place] = fit_direction(
            above[place], below[place], groups, recipe=recipe, folds=folds, seed=seed
        )
    labels = np.repeat([True, False], [len(positive), len(negative)])
    held_out: dict[ReadTokens, np.ndarray] = {place: every[place].held_out for place in read}
    taken = choose_tokens(held_out, labels, groups, seed=seed)
    fitted, site = every[taken], every[taken].site
    return Concept(
        name=name,
        site=site,
        direction=fitted.direction,
        model_name=model.name,
        model_fingerprint=model.fingerprint,
        base_fingerprint=model.base_fingerprint,
        dtype=model.dtype,
        tokens=taken,
        recipe={
            "recipe": recipe,
            "tokens": tokens,
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
            auc=fitted.auc_by_site[site],
            effect_size=fitted.effect_size_by_site[site],
            positives=len(positive),
            negatives=len(negative),
            auc_by_site=fitted.auc_by_site,
            effect_over_nulls=fitted.effect_over_nulls,
            auc_by_tokens={name: each.auc_by_site[each.site] for name, each in every.items()}
            if len(every) > 1
            else {},
        ),
        shuffled=shuffled_directions(
            above[taken][site], below[taken][site], method, count=shuffles, seed=seed
        ),
    )


def choose_tokens(
    held_out: Mapping[ReadTokens, np.ndarray],
    labels: np.ndarray,
    groups: Sequence[str],
    *,
    draws: int = 400,
    seed: int = 0,
) -> ReadTokens:
    """The tokens at which a concept is to be read: the mean, unless the end tells held-out texts apart better.

    Better is an AUC that is higher beyond chance: the lower end of the interval of the difference, by resampling the
    groups of texts, lies above 0. Where both tell all texts apart, the mean stays.

    Args:
        held_out: tokens -> [n] held-out projections, at the best site of each.
        labels: [n] bool, the positive texts.
        groups: [n] names; texts of one name are resampled together.
        draws: resamplings.
        seed: of the resampling.

    Returns:
        One of the names given.

    Source: ours.
    """
    if len(held_out) == 1:
        return next(iter(held_out))
    mean, end = held_out["response"], held_out["response_end"]
    known = np.isfinite(mean) & np.isfinite(end)
    names, place = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    members = [np.flatnonzero(place == number) for number in range(len(names))]
    generator = np.random.default_rng(seed)
    gains = []
    for _ in range(draws):
        rows = np.concatenate([members[i] for i in generator.integers(len(names), size=len(names))])
        rows = rows[known[rows]]
        if len(set(labels[rows])) == 2:
            gains.append(auc(end[rows], labels[rows]) - auc(mean[rows], labels[rows]))
    return "response_end" if gains and np.quantile(gains, 0.025) > 0 else "response"


def _tokens(chosen: ChosenTokens) -> tuple[ReadTokens, ...]:
    if chosen not in get_args(ChosenTokens):
        raise ConceptError(f"tokens {chosen!r}: choose {', '.join(get_args(ChosenTokens))}")
    return READ_TOKENS if chosen == "auto" else (chosen,)


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
    """Fit a linear probe, `logistic`, `ridge` or `lda`, between two sets of texts (see `fit_concept`)."""
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


def _method(recipe: str) -> DirectionMethod:
    if recipe not in DIRECTIONS:
        raise ConceptError(f"recipe {recipe!r} is not one of {', '.join(DIRECTIONS)}")
    return DIRECTIONS[recipe]


def _usable(
    model: LanguageModel, texts: Records | Path | str, cutting: dict[str, Any]
) -> tuple[Records, TokenizedRecords]:
    """The texts that can be used, as they are and in tokens."""
    records = texts if isinstance(texts, Records) else read_records(texts, on_error=cutting["on_error"])
    if not len(records):
        raise ConceptError(f"{records.name}: no texts to fit a concept to")
    require_answers(records, cutting["on_error"])
    rows = in_tokens(model, records, **cutting)
    return (records.only([row.id for row in rows]) if rows.skipped else records), rows


def _said(texts: Records) -> dict[str, Any]:
    """What a concept keeps of the texts that it was fitted to."""
    read = {"reading": dict(texts.reading.settings)} if texts.reading.settings else {}
    return {"source": str(texts.source or "memory"), "fingerprint": texts.fingerprint} | read
