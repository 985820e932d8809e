"""Scoring: every row of a store by one method and beside the others, with its controls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from aitia.attribution.gradients.curvature import Curvature, Damping
from aitia.attribution.gradients.training_gradients import FactorCache
from aitia.attribution.influence.solving import SolveSettings
from aitia.attribution.ranking.controls import (
    RANDOM_CONTROLS,
    control_directions,
    controls_asked,
    left_out_text,
    no_controls,
    score_controls,
)
from aitia.attribution.ranking.prepared import direction_scores, row_scores, side_scores, token_shares
from aitia.attribution.ranking.ranking import Ranking
from aitia.attribution.ranking.trust import trust_warnings
from aitia.attribution.scanning.activation_products import PromptsMissingError, RowsAlikeError
from aitia.attribution.scanning.null_directions import NullSettings
from aitia.attribution.scanning.store import ActivationStore
from aitia.attribution.scorers import (
    DEFAULT_METHOD,
    RankingContext,
    Scores,
    available_methods,
    find_scorer,
    naming_package,
)
from aitia.attribution.scorers.context import Encoder, Given
from aitia.concepts import Concept, require_same_base
from aitia.engine import LOCAL, Engine, keeping_workers, note
from aitia.errors import NumericalError
from aitia.records import Records

if TYPE_CHECKING:
    from aitia.models import LanguageModel

T = TypeVar("T")


def rank(
    store: ActivationStore | Path | str,
    concept: Concept,
    *,
    method: str = DEFAULT_METHOD,
    compare: Sequence[str] | None = None,
    queries: Records | Path | str | None = None,
    curvature: Curvature | Path | str | None = None,
    damping: Damping | None = None,
    solve: SolveSettings | None = None,
    cache: FactorCache | None = None,
    positive: Records | Path | str | None = None,
    negative: Records | Path | str | None = None,
    label: np.ndarray | str | None = None,
    encoder: Encoder | None = None,
    run: Path | str | Sequence[Path | str] | None = None,
    base: LanguageModel | Path | str | None = None,
    random_controls: int = RANDOM_CONTROLS,
    shuffled_controls: int | None = None,
    nulls: NullSettings | None = None,
    seed: int = 0,
    engine: Engine = LOCAL,
    model: LanguageModel | Path | str | None = None,
    adapter: Path | str | None = None,
    data: Records | Path | str | None = None,
    **cutting: Any,
) -> Ranking:
    """Rank the rows of a store by their influence on a concept.

    Args:
        store: a finished store, or its folder.
        concept: at a site that was scanned, of the same model (or another adapter of its base).
        method: the scorer that decides the order; `aitia.attribution.scorer_names` lists all.
        compare: further scorers, for comparison; default: the fast family, as far as the store's activations allow.
        queries: what the influence methods and those of a `run` measure: texts that show the behaviour, other than
            those the concept was fitted to.
        curvature: for these two; fitted, a file of it, or none to fit EK-FAC now (to the factors of the
            adapter where there is one, to the full weights otherwise).
        damping: for these two; default: a tenth of each layer's mean eigenvalue.
        solve: for these two: invert the curvature as a whole, by conjugate gradients; default: layer by layer.
        cache: for these two, as `fit_curvature` left it from the same rows with the empirical Fisher.
        positive: what the text baselines compare with, texts that show the concept; default: those that the concept
            was fitted to, where they are found as they were.
        negative: texts that do not, likewise.
        label: what `oracle` knows: the name of a true-or-false column of the data, or its values, [n] bool.
        encoder: of `sentence-embedding`, texts to [texts, d]; default: `aitia.models.load_sentence_encoder`.
        run: of `replay`, `checkpoint-influence` and `tracin`: the folder of the recorded training run
            (`aitia.training.train`), or several on the same rows, whose scores are averaged.
        base: of these, the model that the run started from, where it lies in another place than the run says.
        random_controls: null directions to draw and score as controls, beside the concept's shuffled ones. All are
            scored, except under `concept-influence` and `concept-gradient-product` where their gradients do not fit
            into one pass over the rows: then as many of either kind as fit, at least one. What is left out is said on
            standard error and in the provenance.
        shuffled_controls: how many of the concept's shuffled directions to score as controls, at most; default: all.
        nulls: how null directions are drawn: matched to the covariance of the rows' activations, or isotropic; and how
            many stand behind a p-value; default: matched.
        seed: of the random directions.
        engine: where the influence methods make gradients; what reads the store alone takes seconds, here.
        model: the model that was scanned, or its folder, where it lies in another place than the store says.
        adapter: likewise, the folder of its adapter.
        data: likewise, the data that were scanned.
        cutting: `max_length`, `truncate` and `on_error` of the queries, as `aitia.models.in_tokens` takes them. The
            store's rows are cut as for its scan.

    What each scorer needs is checked before any of them works.

    Returns:
        The ranking by `method`, with the scores of the methods it is compared with and its controls.

    Raises:
        AitiaError: a scorer does not exist, lacks what it needs, or comes from another package and fails.
        ConceptError: the concept belongs to another model.
        StoreError: the store lacks the site or an activation; the message says how to get it.
    """
    store = store if isinstance(store, ActivationStore) else ActivationStore.open(store)
    first = find_scorer(method)
    require_concept_of_store(concept, store)
    store.give(model=model, adapter=adapter, data=data)
    wanted = available_methods(store) if compare is None else compare
    given = Given(
        queries=queries,
        curvature=curvature,
        damping=damping,
        solve=solve,
        cache=cache,
        positive=positive,
        negative=negative,
        label=label,
        encoder=encoder,
        run=run,
        base=base,
        cutting=cutting,
    )
    context = RankingContext(store=store, concept=concept, seed=seed, engine=engine, given=given)
    nulls = nulls or NullSettings()
    asked = controls_asked(concept, nulls.control, random_controls, shuffled_controls)
    with keeping_workers(engine):
        scored = _score(context, tuple(dict.fromkeys((method, *wanted))))
        prepared = scored.prepared[method]
        score = direction_scores(method, prepared, len(store)) if first.through_concept else None
        if score is None:
            measures = "measures texts, not a direction" if first.needs().queries else "takes no direction"
            controls, record = [], no_controls(asked, f"{method} {measures}")
        else:
            with naming_package(method):
                room = prepared.directions_at_once()
            directions, reason = control_directions(store, concept, nulls.control, asked, seed)
            controls, record = score_controls(directions, score, room, asked=asked, reason=reason)
    controls_left_out = left_out_text(record)
    if controls_left_out is not None:
        note(controls_left_out)
    return Ranking(
        method=method,
        ids=store.column("id"),
        contents=store.column("content"),
        rows=store.column("row"),
        locations=store.column("location"),
        prompt_tokens=store.column("prompt_tokens"),
        response_tokens=store.column("response_tokens"),
        scores=scored.scores,
        seconds=scored.seconds,
        controls=controls,
        sides=side_scores(method, prepared, len(store)) if store.sides else {},
        provenance={
            "store": str(store.path),
            "model": store.manifest["model"],
            "data": {key: store.manifest["data"][key] for key in ("source", "fingerprint", "rows")}
            | {"skipped": len(store.manifest["data"]["skipped"])}
            | {key: value for key, value in store.manifest["data"].items() if key in ("reading", "loss")},
            "concept": {
                "name": concept.name,
                "site": concept.site,
                "fingerprint": concept.fingerprint,
                "recipe": dict(concept.recipe),
            },
            "settings": store.manifest["settings"],
            "left_out": scored.left_out,
            "controls": record | {"seed": seed},
            "queries_skipped": context.queries_skipped(),
            "warnings": trust_warnings(method, scored.scores, controls, concept),
        },
        concept=concept,
        store=store,
        token_shares=token_shares(method, prepared),
        direction_scores=score,
        nulls=nulls,
    )


def require_concept_of_store(concept: Concept, store: ActivationStore) -> None:
    """Refuse a concept that was fitted on another base model than the store's.

    Raises:
        ConceptError: naming both models, and their precisions.
    """
    model = store.manifest["model"]
    what = f"{model['name']}, which the store {store.path} was scanned with"
    require_same_base(concept, model["base_fingerprint"], model["dtype"], what)


@dataclass(kw_only=True)
class _Scored:
    """What scorers made of a store's rows, by the names of the scorers."""

    prepared: dict[str, Scores] = field(default_factory=dict)
    scores: dict[str, np.ndarray] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def _score(context: RankingContext, names: Sequence[str]) -> _Scored:
    """Score the rows by the first name and by those others that can be compared with it."""
    found = _Scored()

    def unless_left_out(name: str, act: Callable[[], T]) -> T | None:
        try:
            with naming_package(name):
                return act()
        except (PromptsMissingError, RowsAlikeError) as error:
            if name == names[0]:
                raise
            found.left_out[name] = str(error)
            note(f"The comparison leaves out {name}: {error}")
            return None

    scorers = {name: find_scorer(name) for name in names}
    ready = {name: unless_left_out(name, partial(context.for_scorer, each)) for name, each in scorers.items()}
    for name, own in ready.items():
        prepared = None if own is None else unless_left_out(name, partial(scorers[name].prepare, own))
        if prepared is None:
            continue
        start = perf_counter()
        scores = unless_left_out(name, partial(row_scores, prepared, len(context.store)))
        if scores is None:
            continue
        _require_finite(scores, name, context.store)
        found.prepared[name], found.scores[name] = prepared, scores
        found.seconds[name] = perf_counter() - start
    return found


def _require_finite(scores: np.ndarray, method: str, store: ActivationStore) -> None:
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        raise NumericalError(
            f"{store.column('location')[bad[0]]}: the score by {method} is not finite ({len(bad)} such rows); where "
            "the method divides by a curvature, give a larger damping"
        )
