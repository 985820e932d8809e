"""Faithfulness: does the explanation give the model's answers, hold its values, and answer to the same causes?

* fidelity: its answers are the model's;
* probing agreement: its variables' values can be read off the model where it says they live;
* interchange-intervention accuracy: a variable, and the site it is aligned with, are set to what they are on another
  input, and both must give the same new answer (interchange interventions, after Geiger et al. 2021).

Where a map has an inverse, the site is also set to what a chosen value is written as. What the explanation calls inert
is disturbed, and nothing may change.

The notion of explanatory faithfulness is Ayonrinde and Jaburi's (2025); the formulas are our reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from aitia.explanations.core.alignment import FittedMap
from aitia.explanations.core.explanation import Explanation
from aitia.explanations.core.model import ModelUnderStudy
from aitia.explanations.core.predictive import agreement


@dataclass(frozen=True, kw_only=True, eq=False)
class Trials:
    """Interventions on one variable or site, t of them.

    Attributes:
        hits: [t] between 0 and 1, whether the model's answer and its other aligned variables, where they could be
            read right before, then are what the explanation says; NaN: it abstained.
        answers: the same for the answer alone.
        still: [t] whether the model's answer stayed what it was.
        moved: [t] whether the model's answer or the explanation's did not.
        predicted: [t] the explanation's answers; -1 where it abstained.
        answered: [t] the model's answers.
        follows: [t] whether the model's answer is that of the source; None where values come from no source.
        natural: share of the set activations that the model has on some input.
    """

    hits: np.ndarray
    answers: np.ndarray
    still: np.ndarray
    moved: np.ndarray
    predicted: np.ndarray
    answered: np.ndarray
    follows: np.ndarray | None = None
    natural: float = 1.0

    @property
    def score(self) -> float:
        """Share of hits among the trials that it gave an answer to; NaN where there are none."""
        answered = self.hits[~np.isnan(self.hits)]
        return float(answered.mean()) if len(answered) else float("nan")

    @property
    def floor(self) -> float:
        """The largest of three blind scores: nothing changes, the answer is the source's, its own in random order.

        That the answer becomes the source's is what any claim says of a place that everything passes through.
        """
        kept = self.predicted >= 0
        if not kept.any():
            return float("nan")
        k = int(max(self.predicted.max(), self.answered.max())) + 1
        shares = [
            np.bincount(each[kept], minlength=k) / kept.sum() for each in (self.predicted, self.answered)
        ]
        blind = [self.still] if self.follows is None else [self.still, self.follows]
        return max(*(float(each[kept].mean()) for each in blind), float(shares[0] @ shares[1]))


@dataclass(frozen=True, kw_only=True, eq=False)
class Reading:
    """How well one variable can be read off the model.

    Attributes:
        score: chance-corrected, up to 1; NaN where the variable is constant.
        distances: [n] how far the value read is from the explanation's, in units of what chance gives.
        right: [n] whether it is the same value.
    """

    score: float
    distances: np.ndarray = field(repr=False)
    right: np.ndarray = field(repr=False)


def chance_distances(
    read: np.ndarray, states: np.ndarray, mass: np.ndarray, *, discrete: bool
) -> np.ndarray | None:
    """[n] d(read(x), state(x)) / E d(read(x), state(x')), x' drawn apart from x; None where the variable is constant.

    For discrete values d counts disagreement, and 1 less the mean is Cohen's kappa; for real ones d is the
    squared difference.

    Returns:
        [n], 0 where the reading is right and about 1 by chance; or None.
    """
    if discrete:
        distances = (read != states).astype(float)
        kinds = np.union1d(read, states)
        apart = 1 - float(sum((mass @ (read == kind)) * (mass @ (states == kind)) for kind in kinds))
    else:
        distances = np.square(read - states).astype(float)
        apart = float(mass @ np.square(read) + mass @ np.square(states) - 2 * (mass @ read) * (mass @ states))
    return distances / apart if apart > 1e-12 else None


def fit_maps(explanation: Explanation, model: ModelUnderStudy) -> dict[str, FittedMap]:
    """Each aligned variable's map to this model, fitted on the fit split where it is not given."""
    phenomenon, aligned = explanation.phenomenon, explanation.aligned
    fit = phenomenon.fit_indices
    states, traced = {}, {}
    if len(fit) and any(each.fitted for each in aligned.values()):
        inputs = phenomenon.inputs[fit]
        states = explanation.states(inputs)
        traced = model.trace(inputs, sorted({each.site for each in aligned.values() if each.fitted}))
    maps = {}
    for name, each in aligned.items():
        known = each.fitted and name in states
        found = each.resolve(each.part(traced[each.site]) if known else None, states[name] if known else None)
        if found is not None:
            maps[name] = found
    return maps


def fidelity(explanation: Explanation, indices: np.ndarray) -> np.ndarray:
    """[n] whether its likeliest answer is the model's, ties drawn at random; NaN where it abstains."""
    phenomenon = explanation.phenomenon
    marginals = explanation.predict(phenomenon.inputs[indices]).marginals
    return agreement(marginals, phenomenon.observed[indices])


def probing_agreement(
    explanation: Explanation, model: ModelUnderStudy, indices: np.ndarray
) -> dict[str, Reading]:
    """How well each variable with a map can be read off the model, on some inputs of the domain."""
    maps = fit_maps(explanation, model)
    aligned = explanation.aligned
    if not maps:
        return {}
    inputs = explanation.phenomenon.inputs[indices]
    states = explanation.states(inputs)
    if not states:
        return {}
    traced = model.trace(inputs, sorted({aligned[name].site for name in maps}))
    mass = explanation.phenomenon.normalised_weights(indices)
    readings = {}
    for name, each in maps.items():
        read = each.read(aligned[name].part(traced[aligned[name].site]))
        discrete = explanation.variables[name].values is not None
        read = as_values(read, discrete=discrete)
        right = same_value(read, states[name], discrete=discrete)
        distances = chance_distances(read, states[name], mass, discrete=discrete)
        readings[name] = Reading(
            score=float("nan") if distances is None else 1 - float(mass @ distances),
            distances=np.full(len(indices), np.nan) if distances is None else distances,
            right=right,
        )
    return readings


def intervention_pairs(
    indices: np.ndarray,
    sources: np.ndarray | None = None,
    *,
    limit: int,
    seed: int,
    mass: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Bases and sources of interchange interventions: the intervention distribution.

    Args:
        indices: [n] inputs that are run, drawn by their mass.
        sources: [m] inputs that values are taken from, drawn evenly; default: those that are run, by their mass.
        limit: most pairs; if there are no more, and none weighs more than another, all are made.
        seed: of the draw.
        mass: [n] how much each of the inputs counts; default: all the same.

    Returns:
        Bases [t], sources [t], and whether they are all the pairs there are.
    """
    generator, n = np.random.default_rng(seed), len(indices)
    givers = indices if sources is None else sources
    if n * len(givers) <= limit and (mass is None or np.allclose(mass, 1 / n)):
        return np.repeat(indices, len(givers)), np.tile(givers, n), True
    bases = generator.choice(indices, size=limit, p=mass)
    return bases, generator.choice(givers, size=limit, p=mass if sources is None else None), False


def interchange(
    explanation: Explanation, model: ModelUnderStudy, bases: np.ndarray, sources: np.ndarray
) -> dict[str, Trials]:
    """Set each aligned variable to its value on a source, and its site to the source's activation there.

    Args:
        explanation: whose variables.
        model: where; usually the phenomenon's own.
        bases: [t] indices of the inputs that are run.
        sources: [t] indices of the inputs that the values come from.

    Returns:
        Variable -> its trials.
    """
    inputs, aligned = explanation.phenomenon.inputs, explanation.aligned
    states = explanation.states(inputs[sources])
    if not aligned or not states:
        return {}
    traced = model.trace(inputs[sources], sorted({each.site for each in aligned.values()}))
    maps = fit_maps(explanation, model)
    given = explanation.phenomenon.observe(model, inputs[sources])
    trials = {}
    for name, each in aligned.items():
        part = each.part(np.asarray(traced[each.site], dtype=float))
        trials[name] = _set(explanation, model, maps, bases, name, states[name], part, given)
    return trials


def writing(
    explanation: Explanation, model: ModelUnderStudy, bases: np.ndarray, *, seed: int
) -> dict[str, Trials]:
    """Set each variable whose map has an inverse to a value drawn evenly, and its site to what that is written as."""
    maps = fit_maps(explanation, model)
    states = explanation.states(explanation.phenomenon.inputs)
    generator = np.random.default_rng(seed)
    trials = {}
    for name, each in maps.items():
        if each.write is None or name not in states:
            continue
        values = generator.choice(np.unique(states[name]), size=len(bases))
        part = np.asarray(each.write(values), dtype=float)
        trials[name] = _set(explanation, model, maps, bases, name, values, part)
    return trials


def disturb_inert(
    explanation: Explanation, model: ModelUnderStudy, bases: np.ndarray, sources: np.ndarray
) -> dict[str, np.ndarray]:
    """For each site called inert, [t] whether the model's answer moved when it was set to a source's activation."""
    phenomenon = explanation.phenomenon
    inputs = phenomenon.inputs
    before = phenomenon.observe(model, inputs[bases])
    moved = {}
    for site, components in explanation.inert.items():
        here = np.array(model.trace(inputs[bases], [site])[site], dtype=float)
        there = model.trace(inputs[sources], [site])[site]
        chosen = slice(None) if components is None else list(components)
        here[:, chosen] = there[:, chosen]
        outputs, _ = model.intervene(inputs[bases], {site: here})
        moved[site] = phenomenon.labels(outputs, len(bases)) != before
    return moved


def _set(
    explanation: Explanation,
    model: ModelUnderStudy,
    maps: Mapping[str, FittedMap],
    bases: np.ndarray,
    name: str,
    values: np.ndarray,
    part: np.ndarray,
    given: np.ndarray | None = None,
) -> Trials:
    """Set one variable to values [t] and the aligned part of its site to `part` [t, d], and compare the answers."""
    phenomenon, aligned = explanation.phenomenon, explanation.aligned
    inputs, site = phenomenon.inputs[bases], aligned[name].site
    n = len(bases)
    predicted, states = explanation.run(inputs)
    probabilities, after = explanation.run(inputs, {name: values})
    others = {other: aligned[other].site for other in maps if other != name and other in after}
    untouched = model.trace(inputs, sorted({site, *others.values()}))
    natural = np.asarray(untouched[site], dtype=float)
    new = aligned[name].put(natural, part)
    outputs, traced = model.intervene(inputs, {site: new}, sorted(set(others.values())))
    answered = phenomenon.labels(outputs, n)
    before = phenomenon.observe(model, inputs)
    answers = agreement(probabilities, answered)
    hits = answers.copy()

    def right(other: str, activations: np.ndarray, state: np.ndarray) -> np.ndarray:
        read = maps[other].read(aligned[other].part(activations))
        return same_value(read, state, discrete=explanation.variables[other].values is not None)

    for other, where in others.items():
        # What could not be read right to begin with is probing agreement's concern.
        hits *= right(other, traced[where], after[other]) | ~right(other, untouched[where], states[other])
    likeliest = [np.nan_to_num(each, nan=-1).argmax(axis=1) for each in (predicted, probabilities)]
    return Trials(
        hits=hits,
        answers=answers,
        still=answered == before,
        moved=(answered != before) | (likeliest[0] != likeliest[1]),
        predicted=np.where(np.isnan(hits), -1, likeliest[1]),
        answered=answered,
        follows=None if given is None else answered == given,
        natural=_share_seen(new, natural),
    )


def as_values(read: np.ndarray, *, discrete: bool) -> np.ndarray:
    """What a map reads; of a variable with finitely many values the nearest whole number, which a linear map is not."""
    return np.rint(read) if discrete and np.issubdtype(np.asarray(read).dtype, np.floating) else read


def same_value(read: np.ndarray, states: np.ndarray, *, discrete: bool) -> np.ndarray:
    """[n] whether values read off the model are those of the explanation; real ones to a twentieth of their range."""
    return (
        as_values(read, discrete=True) == states
        if discrete
        else np.isclose(read, states, rtol=0, atol=0.05 * np.ptp(states))
    )


def _share_seen(rows: np.ndarray, among: np.ndarray) -> float:
    """Share of rows that occur among others, to nine decimals."""
    seen = {row.tobytes() for row in among.round(9) + 0.0}
    return float(np.mean([row.tobytes() in seen for row in rows.round(9) + 0.0]))


def mean_score(trials: Mapping[str, Trials]) -> float:
    """Mean over the variables of their share of hits; NaN where none was answered."""
    scores = [each.score for each in trials.values()]
    return float(np.mean(scores)) if scores and not np.isnan(scores).all() else float("nan")
