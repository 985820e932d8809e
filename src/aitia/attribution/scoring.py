"""Scoring: every row of a store by one method and beside the others, with its controls."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aitia.attribution.controls import (
    RANDOM_CONTROLS,
    control_directions,
    left_out_text,
    no_controls,
    score_controls,
)
from aitia.attribution.curvature import Curvature, Damping
from aitia.attribution.gradients import FactorCache
from aitia.attribution.methods import (
    DEFAULT_METHOD,
    InfluenceMethod,
    PromptsMissingError,
    RowsAlikeError,
    available_methods,
    find_method,
    score_concepts,
    score_vectors,
)
from aitia.attribution.ranking import Ranking
from aitia.attribution.store import SignalStore
from aitia.attribution.store_influence import StoreInfluence
from aitia.attribution.tokens import token_shares
from aitia.concepts import Concept
from aitia.concepts.concept import require_same_base
from aitia.engine import LOCAL, Engine, keeping_workers, note
from aitia.errors import NumericalError
from aitia.records import Records, TokenizedRecord

if TYPE_CHECKING:
    from aitia.models import LanguageModel


def rank(
    store: SignalStore | Path | str,
    concept: Concept,
    *,
    method: str = DEFAULT_METHOD,
    others: Sequence[str] | None = None,
    queries: Records | Path | str | None = None,
    curvature: Curvature | Path | str | None = None,
    damping: Damping | None = None,
    cache: FactorCache | None = None,
    random_controls: int = RANDOM_CONTROLS,
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
        method: decides the order.
        others: further methods, for comparison; default: all that the store's signals allow.
        queries: what `concept-influence` and `influence` measure: texts that show the behaviour, other than
            those the concept was fitted to.
        curvature: for these two; fitted, a file of it, or none to fit EK-FAC now (to the factors of the
            adapter where there is one, to the full weights otherwise).
        damping: for these two; default: a tenth of each layer's mean eigenvalue.
        cache: for these two, as `fit_curvature` left it from the same rows with empirical labels.
        random_controls: random directions to score as controls, beside the concept's shuffled ones. All are scored,
            except under `concept-influence` and `concept-gradient-product` where their gradients do not fit into
            one pass over the rows: then as many of either kind as fit, at least one. What is left out is said on
            standard error and in the provenance.
        seed: of the random directions.
        engine: where the influence methods make gradients; what reads the store alone takes seconds, here.
        model: the model that was scanned, or its folder, where it lies in another place than the store says.
        adapter: likewise, the folder of its adapter.
        data: likewise, the data that were scanned.
        cutting: `max_length`, `truncate` and `on_error` of the queries, as `aitia.models.in_tokens` takes them. The
            store's rows are cut as for its scan.

    Raises:
        ConceptError: the concept belongs to another model.
        StoreError: the store lacks the site or a signal; the message says how to get it.
    """
    from time import perf_counter

    store = store if isinstance(store, SignalStore) else SignalStore.open(store)
    find_method(method)
    require_concept_of_store(concept, store)
    store.give(model=model, adapter=adapter, data=data)
    wanted = available_methods(store) if others is None else others
    names = [method, *(name for name in wanted if name != method)]
    influences, scores, seconds = None, {}, {}
    left_out: dict[str, str] = {}
    with keeping_workers(engine):
        if any(isinstance(find_method(name), InfluenceMethod) for name in names):
            influences = StoreInfluence.prepare(
                store, concept, queries, curvature, damping, cache, engine, **cutting
            )
        for name in names:
            start = perf_counter()
            try:
                if isinstance(find_method(name), InfluenceMethod):
                    assert influences is not None
                    scores[name] = influences.scores(name)
                else:
                    scores[name] = score_concepts(store, [concept], name)[0]
            except (PromptsMissingError, RowsAlikeError) as error:
                if name == method:
                    raise
                left_out[name] = str(error)
                note(f"The comparison leaves out {name}: {error}")
                continue
            _require_finite(scores[name], name, store)
            seconds[name] = perf_counter() - start
        directions = control_directions(concept, random_controls, seed)
        if isinstance(find_method(method), InfluenceMethod):
            assert influences is not None
            token_parts = partial(influences.token_shares, method)
            room = influences.controls_that_fit(method)
            score = None if room is None else partial(influences.direction_scores, method)
        else:
            token_parts = partial(_token_shares, concept, store, method)
            room, score = None, partial(score_vectors, store, site=concept.site, method=method)
        if score is None:
            controls, account = [], no_controls(directions, f"{method} measures texts, not a direction")
        else:
            controls, account = score_controls(directions, score, room)
    controls_left_out = left_out_text(account)
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
        scores=scores,
        seconds=seconds,
        controls=controls,
        provenance={
            "store": str(store.path),
            "model": store.manifest["model"],
            "data": {key: store.manifest["data"][key] for key in ("source", "fingerprint", "rows")}
            | {"skipped": len(store.manifest["data"]["skipped"])},
            "concept": {
                "name": concept.name,
                "site": concept.site,
                "fingerprint": concept.fingerprint,
                "recipe": dict(concept.recipe),
            },
            "settings": store.manifest["settings"],
            "left_out": left_out,
            "controls": account,
            "queries_skipped": []
            if influences is None
            else [[row.location, row.reason] for row in influences.queries.skipped],
        },
        concept=concept,
        store=store,
        token_shares=token_parts,
        direction_scores=score,
    )


def require_concept_of_store(concept: Concept, store: SignalStore) -> None:
    """Refuse a concept that was fitted on another base model than the store's.

    Raises:
        ConceptError: naming both models, and their precisions.
    """
    model = store.manifest["model"]
    what = f"{model['name']}, which the store {store.path} was scanned with"
    require_same_base(concept, model["base_fingerprint"], model["dtype"], what)


def _require_finite(scores: np.ndarray, method: str, store: SignalStore) -> None:
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        raise NumericalError(
            f"{store.column('location')[bad[0]]}: the score by {method} is not finite ({len(bad)} such rows); where "
            "the method divides by a curvature, give a larger damping"
        )


def _token_shares(concept: Concept, store: SignalStore, method: str, row: TokenizedRecord) -> np.ndarray:
    return token_shares(store.load_model(), row, concept, store, method)
