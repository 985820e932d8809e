"""The first thing on which two explanations differ: an input, an intervention, or a place that only one speaks of."""

from __future__ import annotations

import numpy as np

from aitia.errors import ExplanationError
from aitia.explanations.core.alignment import Alignment
from aitia.explanations.core.explanation import Explanation
from aitia.explanations.inside.mixtures import set_together
from aitia.explanations.metrics.study import Evaluation

MOST_PAIRS = 256
"""Most interventions that are tried on a place of which both speak."""


def first_distinction(first: Evaluation, second: Evaluation) -> str:
    """Where two explanations of one phenomenon part, and what the model does there, in a sentence or two.

    Answers are compared first, then interventions on places of which both speak, then the places.

    Args:
        first: the one, with its settings.
        second: the other.

    Returns:
        The sentence; it says so where nothing that is tried here tells them apart.
    """
    return _by_answer(first, second) or _by_intervention(first, second) or _by_place(first, second)


def _by_answer(first: Evaluation, second: Evaluation) -> str:
    phenomenon = first.phenomenon
    inputs = phenomenon.inputs[first.test]
    said = [_answers(each.explanation, inputs) for each in (first, second)]
    apart = np.flatnonzero(said[0] != said[1])
    if len(apart) == 0:
        return ""
    i = apart[0]
    here = f"On input {_shown(inputs[i])}"
    place = int(np.asarray(first.test)[i])
    model = phenomenon.outcomes[int(phenomenon.observed[place])]
    return f"{here} {_two(first, second, int(said[0][i]), int(said[1][i]))}; the model says {model}."


def _by_intervention(first: Evaluation, second: Evaluation) -> str:
    phenomenon = first.phenomenon
    pairs = [
        (name, other)
        for name, place in first.explanation.aligned.items()
        for other, there in second.explanation.aligned.items()
        if _same(place, there)
    ]
    if not pairs:
        return ""
    bases, sources, _ = first.pairs
    chosen = np.random.default_rng(first.settings.seed).permutation(len(bases))[:MOST_PAIRS]
    bases, sources = bases[chosen], sources[chosen]
    for name, other in pairs:
        said = []
        for study, variable in ((first, name), (second, other)):
            states = study.explanation.states(phenomenon.inputs[sources])
            if variable not in states:
                break
            said.append(_answers(study.explanation, phenomenon.inputs[bases], {variable: states[variable]}))
        apart = np.flatnonzero(said[0] != said[1]) if len(said) == 2 else np.zeros(0, dtype=int)
        if len(apart):
            i = apart[:1]
            place = first.explanation.aligned[name]
            traced = {place.site: np.asarray(_trace(first, place.site), dtype=float)}
            model = set_together(first.explanation, phenomenon.model, bases[i], {name: sources[i]}, traced)
            return (
                f"Where {_where(place)} is set to what it is on input {_shown(phenomenon.inputs[sources[i[0]]])}, "
                f"on input {_shown(phenomenon.inputs[bases[i[0]]])} "
                f"{_two(first, second, int(said[0][i[0]]), int(said[1][i[0]]))}; "
                f"the model says {phenomenon.outcomes[model[0]]}."
            )
    return ""


def _by_place(first: Evaluation, second: Evaluation) -> str:
    alone = [
        (own.explanation, other.explanation, name, place)
        for own, other in ((first, second), (second, first))
        for name, place in own.explanation.aligned.items()
        if not any(_same(place, each) for each in other.explanation.aligned.values())
    ]
    if not alone:
        return "Nothing that was tried here tells them apart."
    own, other, name, place = alone[0]
    return (
        f"Answers do not tell them apart. Only {own.name} says what happens where {_where(place)} is set "
        f"({name}); {other.name} says nothing of it."
    )


def _trace(study: Evaluation, site: str) -> np.ndarray:
    return study.phenomenon.model.trace(study.phenomenon.inputs, [site])[site]


def _answers(
    explanation: Explanation, inputs: np.ndarray, given: dict[str, np.ndarray] | None = None
) -> np.ndarray:
    """[n] the likeliest answer; -1 where it says nothing, or what cannot be observed."""
    try:
        probabilities = explanation.run(inputs, given)[0] if given else explanation.predict(inputs).marginals
    except ExplanationError:
        return np.full(len(inputs), -1)
    likeliest = np.nan_to_num(probabilities, nan=-1).argmax(axis=1)
    return np.where(np.isnan(probabilities).any(axis=1), -1, likeliest)


def _same(first: Alignment, second: Alignment) -> bool:
    if first.site != second.site or (first.subspace is None) != (second.subspace is None):
        return False
    return first.subspace is None or np.array_equal(np.asarray(first.subspace), np.asarray(second.subspace))


def _where(place: Alignment) -> str:
    if place.subspace is None:
        return f"all of {place.site}"
    subspace = np.asarray(place.subspace)
    if subspace.ndim == 2:
        return f"a subspace of {place.site} with {subspace.shape[1]} dimensions"
    listed = ", ".join(str(each) for each in subspace[:6].tolist()) + (", …" if len(subspace) > 6 else "")
    return f"{place.site} [{listed}]"


def _two(first: Evaluation, second: Evaluation, one: int, other: int) -> str:
    names = first.phenomenon.outcomes
    said = [names[each] if each >= 0 else "nothing" for each in (one, other)]
    return f"{first.explanation.name} says {said[0]} and {second.explanation.name} says {said[1]}"


def _shown(row: np.ndarray) -> str:
    text = " ".join(f"{each:g}" if isinstance(each, float) else str(each) for each in np.ravel(row).tolist())
    return text if len(text) <= 60 else f"{text[:59]}…"
