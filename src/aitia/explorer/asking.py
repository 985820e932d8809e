"""Asking a new concept of a store: from texts, from rows, from a saved concept, or from a feature of an autoencoder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from aitia.attribution import ActivationStore, RankingContext, available_methods, find_scorer
from aitia.attribution.ranking import require_concept_of_store
from aitia.attribution.scorers import DEFAULT_METHOD
from aitia.concepts import (
    DEFAULT_RECIPE,
    DIRECTIONS,
    Concept,
    Separation,
    concept_from_feature,
    fit_concept,
    fit_direction,
    load_sae,
)
from aitia.errors import AitiaError, ConceptError
from aitia.explorer.neighbours import stored_vectors
from aitia.explorer.rows.columns import ScoreColumn, TokenShares
from aitia.explorer.rows.queries import whole_numbers
from aitia.files import digest
from aitia.records import Records, records_from_rows

if TYPE_CHECKING:
    from aitia.explorer.rows.explored import ExploredRows

KINDS = ("texts", "rows", "concept", "feature")
"""What a concept can be asked by."""
_OTHERS = 512
_SEED = 0
_MOST_TEXTS = 1000


class Asking:
    """Asks concepts of rows; the model, where one is needed, is used by one question at a time."""

    def __init__(self, concepts: Mapping[str, Concept], autoencoders: Mapping[str, Path]):
        self._concepts, self._autoencoders = concepts, autoencoders
        self.model_lock = Lock()

    def ask(self, rows: ExploredRows, question: Mapping[str, Any]) -> list[ScoreColumn]:
        """Score all rows under a concept that is made now.

        Args:
            rows: of a finished store.
            question: `kind` and what belongs to it; `methods`, the scorers, default the first that the store allows;
                `name`, for people.

        Returns:
            One column a scorer, entered among the rows' scores; those that are there already are taken as they are.

        Raises:
            AitiaError: the question cannot be asked of these rows; the message says why.
        """
        store = _store_of(rows)
        key = digest(_defining(question))[:10]
        methods = _methods(store, question)
        missing = [method for method in methods if f"asked:{key}:{method}" not in rows.scores]
        if missing:
            started = perf_counter()
            concept = self._concept(rows, store, question)
            require_concept_of_store(concept, store)
            fitted = perf_counter() - started
            for method in missing:
                rows.add(self._scored(store, concept, method, f"asked:{key}:{method}", question, fitted))
        return [rows.scores[f"asked:{key}:{method}"] for method in methods]

    def _concept(self, rows: ExploredRows, store: ActivationStore, question: Mapping[str, Any]) -> Concept:
        kind = question.get("kind")
        if kind == "texts":
            return self._of_texts(store, question)
        if kind == "rows":
            return concept_of_rows(rows, store, question)
        if kind == "concept":
            found = self._concepts.get(str(question.get("concept")))
            if found is None:
                raise ConceptError("this concept is not among those that are opened")
            return found
        if kind == "feature":
            return self._of_feature(store, question)
        raise AitiaError(f"`kind` {kind!r:.40}: choose among {', '.join(KINDS)}")

    def _of_texts(self, store: ActivationStore, question: Mapping[str, Any]) -> Concept:
        positive, negative = (texts_of(question.get(side), side) for side in ("positive", "negative"))
        recipe = str(question.get("recipe") or DEFAULT_RECIPE)
        if recipe not in DIRECTIONS:
            raise AitiaError(f"`recipe` {recipe!r:.60}: choose among {', '.join(DIRECTIONS)}")
        with self.model_lock:
            return fit_concept(
                store.load_model(),
                positive,
                negative,
                name=_name(question, "asked by texts"),
                recipe=recipe,
                sites=_sites(store, question),
                truncate=True,
            )

    def _of_feature(self, store: ActivationStore, question: Mapping[str, Any]) -> Concept:
        folder = self._autoencoders.get(str(question.get("autoencoder")))
        if folder is None:
            raise ConceptError("this autoencoder is not among those that are opened")
        number = question.get("feature")
        if type(number) is not int:
            raise AitiaError("`feature` must be a whole number")
        with self.model_lock:
            sae = load_sae(folder)
            return concept_from_feature(
                sae,
                number,
                store.load_model(),
                side=str(question.get("side") or "encoder"),
                name=_name(question, f"feature {number}"),
            )

    def _scored(
        self,
        store: ActivationStore,
        concept: Concept,
        method: str,
        key: str,
        question: Mapping[str, Any],
        fitted: float,
    ) -> ScoreColumn:
        scorer = find_scorer(method)
        started = perf_counter()
        prepared = scorer.prepare(RankingContext(store=store, concept=concept, seed=_SEED).for_scorer(scorer))
        values = prepared.rows().astype(np.float64)
        separation = concept.separation

        def shares() -> TokenShares:
            return prepared.tokens

        return ScoreColumn(
            key=key,
            method=method,
            concept=concept.name,
            values=values,
            asked=_defining(question) | {"name": concept.name, "methods": [method]},
            direction=concept,
            shares=shares,
            about={
                "site": concept.site,
                "auc": None if separation is None else separation.auc,
                "texts": None if separation is None else [separation.positives, separation.negatives],
                "auc_by_site": None if separation is None else dict(separation.auc_by_site),
                "recipe": str(concept.recipe.get("recipe", "given")),
                "seconds": {"concept": fitted, "scores": perf_counter() - started},
            },
        )


def texts_of(given: Any, side: str) -> Records:
    """Texts as a page sends them: plain texts, or rows as lines of JSON.

    Args:
        given: a list of texts.
        side: `positive` or `negative`, for messages.

    Returns:
        Records.

    Raises:
        AitiaError: fewer than two texts, or one cannot be used.
    """
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
        raise AitiaError(f"`{side}` must be a list of texts")
    texts = [each.strip() for each in given if each.strip()]
    if len(texts) < 2:
        what = "that show it" if side == "positive" else "that do not"
        raise AitiaError(
            f"give at least two texts {what}, so that one can be held out; there are {len(texts)}"
        )
    if len(texts) > _MOST_TEXTS:
        raise AitiaError(
            f"{len(texts)} texts: give at most {_MOST_TEXTS}, or use `aitia concept fit` for more"
        )
    rows = [_row(text, f"{side} text {number}") for number, text in enumerate(texts, 1)]
    return records_from_rows(rows, f"{side} texts", shape="mixed")


def _row(text: str, place: str) -> dict[str, Any]:
    if not text.startswith("{"):
        return {"text": text}
    try:
        found = json.loads(text)
    except ValueError:
        return {"text": text}
    if not isinstance(found, dict):
        raise AitiaError(f"{place}: a row in JSON must be an object")
    return found


def concept_of_rows(rows: ExploredRows, store: ActivationStore, question: Mapping[str, Any]) -> Concept:
    """A direction from other rows to chosen ones, by their stored mean response activations; no model is needed.

    Of one row it is the difference of the row from the mean of others ("more like this"). Of several, it is fitted and
    held out as between texts. Others are rows at even distances unless they are given. (Ours.)

    Args:
        rows: the rows.
        store: of them.
        question: `positive`, positions; `negative`, positions of rows that do not show it, or none; `site`.

    Returns:
        The concept; it has a held-out AUC where two or more rows are on either side.

    Raises:
        AitiaError: no row is chosen, or rows are alike.
    """
    positive = whole_numbers(question.get("positive") or [], "positive")
    negative = whole_numbers(question.get("negative") or [], "negative")
    if not positive:
        raise AitiaError("choose at least one row that shows the concept")
    if {*positive} & {*negative}:
        raise AitiaError("a row is on both sides; take it off one of them")
    if not negative:
        spaced = np.unique(np.linspace(0, len(rows) - 1, min(_OTHERS, len(rows))).astype(int)).tolist()
        negative = [each for each in spaced if each not in set(positive)]
    if not negative:
        raise AitiaError("there is no other row to compare with")
    rows.chosen([*positive, *negative])
    sites = _sites(store, question)
    vectors = {site: stored_vectors(store, "response", site, [*positive, *negative]) for site in sites}
    above = {site: each[: len(positive)] for site, each in vectors.items()}
    below = {site: each[len(positive) :] for site, each in vectors.items()}
    recipe, separation = str(question.get("recipe") or DEFAULT_RECIPE), None
    if recipe not in DIRECTIONS:
        raise AitiaError(f"`recipe` {recipe!r:.60}: choose among {', '.join(DIRECTIONS)}")
    if len(positive) > 1 and len(negative) > 1:
        fitted = fit_direction(above, below, rows.ids([*positive, *negative]), recipe=recipe, seed=_SEED)
        site, direction = fitted.site, fitted.direction
        separation = Separation(
            auc=fitted.auc_by_site[site],
            effect_size=fitted.effect_size_by_site[site],
            positives=len(positive),
            negatives=len(negative),
            auc_by_site=fitted.auc_by_site,
        )
    else:
        site, recipe = sites[-1], "difference"
        direction = above[site].mean(axis=0) - below[site].mean(axis=0)
    length = float(np.linalg.norm(direction))
    if not np.isfinite(length) or length == 0:
        raise AitiaError(f"the chosen rows do not differ from the others at {site}; choose others")
    model = store.manifest["model"]
    names = rows.ids(positive[:1])
    return Concept(
        name=_name(
            question, f"like {names[0]}" + (f" and {len(positive) - 1} more" if len(positive) > 1 else "")
        ),
        site=site,
        direction=np.asarray(direction / length, dtype=np.float32),
        model_name=str(model["name"]),
        model_fingerprint=str(model["fingerprint"]),
        base_fingerprint=str(model["base_fingerprint"]),
        dtype=str(model["dtype"]),
        recipe={"recipe": f"rows-{recipe}", "positive": rows.ids(positive), "negative": len(negative)},
        separation=separation,
    )


def _store_of(rows: ExploredRows) -> ActivationStore:
    if rows.store is None or rows.lacking is not None:
        raise AitiaError(f"no concept can be asked: {rows.lacking or 'there is no store'}")
    return rows.store


def _sites(store: ActivationStore, question: Mapping[str, Any]) -> tuple[str, ...]:
    site = question.get("site")
    if not site:
        return store.sites
    if site not in store.sites:
        raise AitiaError(f"site {site!r:.60} was not scanned; the store holds {', '.join(store.sites)}")
    return (site,)


def _methods(store: ActivationStore, question: Mapping[str, Any]) -> list[str]:
    there = available_methods(store)
    if not there:
        raise AitiaError(
            f"{store.path}: holds no activation that a scorer of the fast family reads; scan again"
        )
    asked = question.get("methods") or [DEFAULT_METHOD if DEFAULT_METHOD in there else there[0]]
    if not isinstance(asked, Sequence) or isinstance(asked, str) or not set(asked) <= set(there):
        raise AitiaError(f"`methods`: choose among {', '.join(there)}, which this store allows")
    return list(dict.fromkeys(asked))


def _defining(question: Mapping[str, Any]) -> dict[str, Any]:
    """What makes a question another one; its name and its scorers do not."""
    return {
        name: value
        for name, value in question.items()
        if name not in ("name", "methods") and value not in (None, "")
    }


def _name(question: Mapping[str, Any], usual: str) -> str:
    name = question.get("name")
    return name.strip()[:80] if isinstance(name, str) and name.strip() else usual
