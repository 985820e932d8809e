"""A ranking that was read from a file: its store and concept found again, and what they give made again."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from aitia.attribution.ranking.controls import (
    ControlKind,
    control_directions,
    score_controls,
)
from aitia.attribution.ranking.prepared import direction_scores, row_scores, token_shares
from aitia.attribution.scanning.null_directions import ISOTROPIC, MATCHED
from aitia.attribution.scanning.places import found_places, places_of
from aitia.attribution.scanning.store import ActivationStore
from aitia.attribution.scorers import RankingContext, find_scorer
from aitia.concepts import Concept, load_concept
from aitia.errors import AitiaError, ConceptError, StoreError
from aitia.records import TokenizedRecord

CONCEPT_FILES = "*.concept.safetensors"
_AGREEMENT = 1e-3
"""How far scores that are made again may differ, as a share of the largest; ours. Other kernels differ by less."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where the file of a ranking lies, and where its parts lay when it was written.

    Attributes:
        file: the ranking's.
        places: `store` and `concept` -> their places, as a store keeps those of its own parts.
    """

    file: Path
    places: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def store(self, saved: Mapping[str, Any]) -> ActivationStore:
        """The store that the ranking was made from.

        Args:
            saved: the ranking's provenance.

        Returns:
            The store, whose rows and model are those that were ranked.

        Raises:
            StoreError: it is not found, or another store is there.
        """
        there, looked = self._stores(saved)
        faults: list[str] = []
        for place in there:
            try:
                store = ActivationStore.open(place)
                require_store_of(saved, store)
                return store
            except StoreError as error:
                faults.append(str(error))
        raise StoreError(
            f"{self.file}: the store that it was made from is not found ({'; '.join(faults) or _looked(looked)}); give "
            "it to `Ranking.with_parts`, or make the ranking again with `aitia rank`"
        )

    def concept(self, saved: Mapping[str, Any]) -> Concept:
        """The concept that the ranking is about: where it lay, or beside the ranking or its store.

        Args:
            saved: the ranking's provenance.

        Returns:
            The concept, with the fingerprint that the ranking names.

        Raises:
            ConceptError: it is not found.
        """
        there, looked = found_places(self.places.get("concept", ()), self.file.parent)
        stores, _ = self._stores(saved)
        beside = [self.file.parent, *(Path(store).parent for store in stores)]
        for path in [
            *map(Path, there),
            *(each for folder in beside for each in sorted(folder.glob(CONCEPT_FILES))),
        ]:
            try:
                found = load_concept(path)
            except ConceptError:
                continue
            if found.fingerprint == saved["concept"]["fingerprint"]:
                return found
        raise ConceptError(
            f"{self.file}: the concept {saved['concept']['name']!r} is not found ({_looked(looked)}, and for "
            f"{CONCEPT_FILES} in {', '.join(dict.fromkeys(map(str, beside)))}); put its file beside the ranking, or "
            "give it to `Ranking.with_parts`"
        )

    def _stores(self, saved: Mapping[str, Any]) -> tuple[list[str], list[str]]:
        plain = [saved["store"], os.path.abspath(saved["store"])]
        return found_places(self.places.get("store") or plain, self.file.parent)


def require_store_of(saved: Mapping[str, Any], store: ActivationStore) -> None:
    """Refuse a store of other rows, or of another model, than a ranking's.

    Args:
        saved: the ranking's provenance.
        store: to look at.

    Raises:
        StoreError: it is another one.
    """
    wrong = [
        each
        for each in ("data", "model")
        if store.manifest[each]["fingerprint"] != saved[each]["fingerprint"]
    ]
    if wrong:
        raise StoreError(f"{store.path}: its {' and '.join(wrong)} are not those of the ranking")


def find_parts(
    origin: Origin | None,
    saved: Mapping[str, Any],
    store: ActivationStore | Path | str | None = None,
    concept: Concept | Path | str | None = None,
) -> tuple[ActivationStore, Concept]:
    """The store and the concept of a ranking.

    Args:
        origin: the ranking's file; none where it was made in memory.
        saved: its provenance.
        store: the store, or its folder, where a person gives it.
        concept: the concept, or its file, likewise.

    Returns:
        Both, with the fingerprints that the ranking names.

    Raises:
        AitiaError: neither given nor in a file's reach.
        StoreError: the store is not found, or is another one.
        ConceptError: the concept is not found, or is another one.
    """
    if origin is None and (store is None or concept is None):
        raise AitiaError(
            "the ranking has neither a file nor its parts; give `store` and `concept`, or rank again"
        )
    if store is None:
        assert origin is not None
        opened = origin.store(saved)
    else:
        opened = store if isinstance(store, ActivationStore) else ActivationStore.open(store)
        require_store_of(saved, opened)
    if concept is None:
        assert origin is not None
        return opened, origin.concept(saved)
    about = concept if isinstance(concept, Concept) else load_concept(concept)
    if about.fingerprint != saved["concept"]["fingerprint"]:
        raise ConceptError(f"concept {about.name!r} is not the one that the ranking is about")
    return opened, about


def places_of_parts(folder: Path, store: Path | None, concept: Path | None) -> dict[str, list[str]]:
    """The places of a ranking's parts, as a file in `folder` keeps them; parts in memory have none."""
    found = {"store": places_of(store, folder), "concept": places_of(concept, folder)}
    return {name: places for name, places in found.items() if places}


def make_again(
    method: str,
    ids: np.ndarray,
    scores: np.ndarray,
    saved: Mapping[str, Any],
    store: ActivationStore,
    concept: Concept,
) -> dict[str, Any]:
    """Make shares of tokens and controls again, where the method needs the store and the concept alone.

    Args:
        method: that decides the order.
        ids: [n] of the rows.
        scores: [n] by the method.
        saved: the ranking's provenance.
        store: that it was made from.
        concept: that it is about.

    Returns:
        The fields of a ranking that its file does not keep: `token_shares`, `direction_scores` and `controls`; and
        `lacking`, which says why they are not there, or None.

    Raises:
        StoreError: the store lacks the rows, or gives them other scores.
    """
    scorer = find_scorer(method)
    needs = scorer.needs()
    asked = [name for name in ("queries", "run", "labels", "texts") if getattr(needs, name)]
    if asked or not scorer.through_concept:
        why = (
            f"reads {' and '.join(asked)} too, which the file does not keep"
            if asked
            else "takes no direction"
        )
        return {"token_shares": _no_shares, "lacking": f"{method} {why}"}
    places = {str(name): place for place, name in enumerate(store.column("id"))}
    if not {*map(str, ids)} <= set(places):
        raise StoreError(
            f"{store.path}: lacks rows that were ranked; make the ranking again with `aitia rank`"
        )
    at = np.array([places[str(name)] for name in ids], dtype=np.int64)
    seed = int(saved["controls"]["seed"])
    context = RankingContext(store=store, concept=concept, seed=seed)
    prepared = scorer.prepare(context.for_scorer(scorer))
    again = row_scores(prepared, len(store))[at]
    if np.abs(again - scores).max(initial=0.0) > _AGREEMENT * np.abs(scores).max(initial=0.0):
        raise StoreError(
            f"{store.path}: gives other scores than those of the ranking; make it again with `aitia rank`"
        )
    whole = direction_scores(method, prepared, len(store))

    def score(directions: np.ndarray) -> np.ndarray:
        return whole(directions)[:, at]

    wanted = {ControlKind(name): int(count) for name, count in saved["controls"]["asked"].items()}
    kind = MATCHED if ControlKind.MATCHED in wanted else ISOTROPIC
    directions, reason = control_directions(store, concept, kind, wanted, seed)
    controls, _ = score_controls(
        directions, score, prepared.directions_at_once(), asked=wanted, reason=reason
    )
    shares = token_shares(method, prepared)
    return {"token_shares": shares, "direction_scores": score, "controls": tuple(controls), "lacking": None}


def _no_shares(_row: TokenizedRecord) -> None:
    return None


def _looked(places: Sequence[str]) -> str:
    return f"looked at {', '.join(places)}" if places else "it was in memory"
