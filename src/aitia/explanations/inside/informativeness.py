"""Informativeness of a mechanism: bits of interventional behaviour that an explanation predicts beyond the trivial.

Every alignment admits a trivial explanation: what is there decides the answer (the input is copied there, or the
answer is), so that after a swap the answer is the source's. Swapping a whole layer never refutes it. So the swaps of
`mixtures` are predicted by someone who knows no mechanism but all answers: the model's before the swap, and on each
input that took part. The bits that an explanation adds to that are its informativeness. The measure is ours.

For one variable, with answers y_t, hints h_t and the explanation's predictions e_t:

    q(y | h)  = the frequencies of the answers among trials with the same hints
    gain      = max over w in [0, 1] of mean_t log2 [ (1 - w) q(y_t | h_t) + w e_t(y_t) ] / q(y_t | h_t)

Whatever is a function of the hints gains exactly 0: within one cell it is one distribution, and none gives the cell's
answers more probability than their own frequencies (Gibbs). The model itself gains mean_t -log2 q(y_t | h_t).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from aitia.errors import ExplanationError
from aitia.explanations.core.alignment import Alignment
from aitia.explanations.core.explanation import Explanation
from aitia.explanations.inside.mixtures import Swaps, overlap

TRIALS_PER_CELL = 16
"""Least trials that a cell of hints holds on average; with fewer, hints differ only by which of them agree."""
_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True, eq=False)
class Gain:
    """What an explanation says about one variable's swaps beyond the trivial.

    Attributes:
        name: the variable.
        bits: [t] gained in each trial.
        room: [t] what the model itself would gain.
        weight: how far the explanation is relied upon, w, from 0 to 1.
        alone: [t] whether nothing but the variable was set.
        unanswered: share of the trials that it says nothing of, or something that cannot be observed; they gain 0.
    """

    name: str
    bits: np.ndarray
    room: np.ndarray
    weight: float
    alone: np.ndarray
    unanswered: float


def trivial_predictions(hints: np.ndarray, answers: np.ndarray, groups: np.ndarray, k: int) -> np.ndarray:
    """[t] the probability of each answer, for someone who knows the hints and all frequencies.

    Args:
        hints: [t, h] labels that are known.
        answers: [t] labels.
        groups: [t] trials of different groups are never counted together.
        k: number of outcomes.

    Returns:
        [t], above 0.
    """
    cells = np.column_stack([groups, hints])
    _, cell = np.unique(cells, axis=0, return_inverse=True)
    if (cell.max() + 1) * (k - 1) * TRIALS_PER_CELL <= len(answers):
        return _share(cell.ravel(), answers)
    return _by_agreement(hints, answers, groups, k)


def _share(cell: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """[t] how often each answer occurs among the trials of its cell."""
    _, both = np.unique(np.column_stack([cell, answers]), axis=0, return_inverse=True)
    both = both.ravel()
    return np.bincount(both)[both] / np.bincount(cell)[cell]


def _by_agreement(hints: np.ndarray, answers: np.ndarray, groups: np.ndarray, k: int) -> np.ndarray:
    """The same where labels are many: cells are which hints agree, answers are which hint they are, if any."""
    # An answer that is no hint has the frequency of such answers, times its own among them.
    first = np.stack([(hints == hints[:, [i]]).argmax(axis=1) for i in range(hints.shape[1])], axis=1)
    _, cell = np.unique(np.column_stack([groups, first]), axis=0, return_inverse=True)
    hit = hints == answers[:, None]
    which = np.where(hit.any(axis=1), hit.argmax(axis=1), hints.shape[1])
    share = _share(cell.ravel(), which)
    other = which == hints.shape[1]
    if not other.any():
        return share
    frequency = np.bincount(answers[other], minlength=k) / other.sum()
    known = np.zeros((len(answers), k), dtype=bool)
    np.put_along_axis(known, hints, True, axis=1)
    left = np.where(known, 0.0, frequency).sum(axis=1)
    return np.where(other, share * frequency[answers] / np.where(left > 0, left, 1.0), share)


def reliance(stated: np.ndarray, trivial: np.ndarray) -> float:
    """The weight w that gives the answers most probability under (1 - w) trivial + w stated; 0 where none helps.

    The log-likelihood is concave in w, so its derivative is halved in on.

    Args:
        stated: [t] the explanation's probability of each answer.
        trivial: [t] the trivial one's, above 0.

    Returns:
        w, from 0 to 1.
    """
    extra = stated - trivial

    def slope(weight: float) -> float:
        with np.errstate(divide="ignore"):
            return float((extra / (trivial + weight * extra)).mean())

    if slope(0.0) <= _ROUNDING:
        return 0.0
    if (stated > 0).all() and slope(1.0) >= 0:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) > 0 else (low, middle)
    return low


def gain(explanation: Explanation, swaps: Swaps, *, shuffle: np.random.Generator | None = None) -> Gain:
    """What an explanation adds to the trivial prediction of one variable's swaps.

    Args:
        explanation: the one in question.
        swaps: with the model's answers.
        shuffle: with it, every variable's value comes from another input drawn once for all trials: a random
            program with the same variables, whose values have the same frequencies.

    Returns:
        The bits, trial by trial.
    """
    inputs = explanation.phenomenon.inputs
    states = explanation.states(inputs)
    if shuffle is not None:
        orders = {name: shuffle.permutation(len(inputs)) for name in states}
        states = {name: each[orders[name]] for name, each in states.items()}
    t, k = len(swaps.answers), len(explanation.phenomenon.outcomes)
    stated = np.full(t, np.nan)
    for i, names in enumerate(swaps.sets):
        rows = np.flatnonzero(swaps.group == i)
        if len(rows):
            given = {name: states[name][swaps.sources[name][rows]] for name in names}
            try:
                predicted, _ = explanation.run(inputs[swaps.bases[rows]], given)
            except ExplanationError:  # together these values lead it to what cannot be observed
                continue
            stated[rows] = predicted[np.arange(len(rows)), swaps.answers[rows]]
    unanswered = float(np.isnan(stated).mean())
    trivial = trivial_predictions(swaps.hints, swaps.answers, np.where(swaps.alone, 0, 1), k)
    stated = np.where(np.isnan(stated), trivial, stated)
    weight = reliance(stated, trivial)
    bits = np.log2((1 - weight) * trivial + weight * stated) - np.log2(trivial) if weight else np.zeros(t)
    return Gain(
        name=swaps.name,
        bits=bits,
        room=-np.log2(trivial),
        weight=weight,
        alone=swaps.alone,
        unanswered=unanswered,
    )


def counted(gains: Sequence[Gain], aligned: Mapping[str, Alignment], widths: Mapping[str, int]) -> list[Gain]:
    """The gains that are added up: of variables whose places overlap only the one that says most.

    So a variable that is named twice, or cut out of another, adds nothing.

    Args:
        gains: of all aligned variables.
        aligned: variable -> its place.
        widths: site -> its number of components.

    Returns:
        Some of the gains, largest first.
    """
    kept: list[Gain] = []
    for each in sorted(gains, key=lambda one: -float(one.bits.mean())):
        place = aligned[each.name]
        if not any(overlap(place, aligned[other.name], widths[place.site]) for other in kept):
            kept.append(each)
    return kept
