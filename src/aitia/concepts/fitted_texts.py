"""The texts that a concept was fitted to, found again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from aitia.concepts.concept import Concept
from aitia.errors import AitiaError, ConceptError
from aitia.records import Records, read_records


def fitted_texts(concept: Concept) -> tuple[Records, Records]:
    """The positive and the negative texts that a concept names, if they are still there as they were.

    Returns:
        Positive and negative texts, in the order in which they were fitted.

    Raises:
        ConceptError: it names none, or they are not found, or they have changed.
    """
    return _side(concept, "positive"), _side(concept, "negative")


def _side(concept: Concept, side: str) -> Records:
    named = concept.recipe.get(side)
    if not isinstance(named, Mapping) or "source" not in named:
        raise ConceptError(f"concept {concept.name!r} does not say what its {side} texts were")
    place = Path(str(named["source"]))
    if not place.exists():
        raise ConceptError(f"the {side} texts of concept {concept.name!r} were not found ({place})")
    try:
        texts = read_records(place, on_error="skip", **named.get("reading", {}))
    except AitiaError as error:
        raise ConceptError(f"the {side} texts of concept {concept.name!r} cannot be read: {error}") from error
    if texts.fingerprint != named.get("fingerprint"):
        raise ConceptError(
            f"{place}: the {side} texts of concept {concept.name!r} have changed since it was fitted"
        )
    return texts
