"""Claims about states: every distinction between two values of a variable is tested, by intervention and by decoding.

That a place holds a count from 0 to 4 says more than that it holds a parity: it says that 0 and 2 differ there. For
each pair of values the place is set from inputs with the one value and with the other, on the same bases. Where the
explanation says that the answers differ, they must; where it says that they do not, they must not. A pair on which no
answer depends is decoded: cross-validated, beside the same labels shuffled among the inputs (a control task, after
Hewitt and Liang 2019). A pair that no answer shows and no decoder finds is not held there. The scheme is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from aitia.explanations.core.explanation import Explanation
from aitia.explanations.core.model import ModelUnderStudy
from aitia.explanations.core.settings import Settings
from aitia.explanations.inside.mixtures import set_together
from aitia.statistics import wilson

SHOWN, HELD, REFUTED, ABSENT, OPEN = "shown", "held", "refuted", "absent", "open"
"""Answers depend on it as claimed; none does, but it can be read; they depend on it otherwise than claimed; it is not
there; it could not be decided."""
MOST_VALUES = 12
"""Most values of a variable that are held against each other; of more, this number is drawn."""
MOST_ROWS = 400
"""Most inputs that a decoder is tried on."""
_SHUFFLES = 20
_FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class Distinction:
    """Two values of a variable, and what became of the claim that they differ.

    Attributes:
        variable: the variable.
        values: the two values.
        outcome: shown, held, refuted, absent or open.
        idle: whether no answer depends on the pair, as it says: one value can take the other's place without effect.
        agreement: share of bases on which the model's answers differ where it says so, and only there.
        decoded: balanced accuracy of the decoder, from 0 to 1, and the control's mean; None where it was not needed
            or could not be tried.
        why: in a few words.
    """

    variable: str
    values: tuple[int, int]
    outcome: str
    idle: bool
    agreement: float
    decoded: tuple[float, float] | None
    why: str


def distinctions(
    explanation: Explanation,
    model: ModelUnderStudy,
    indices: np.ndarray,
    givers: np.ndarray,
    *,
    mass: np.ndarray,
    settings: Settings,
) -> list[Distinction]:
    """Every pair of values of every aligned variable with finitely many, tested.

    Args:
        explanation: whose variables.
        model: where.
        indices: [n] inputs that bases are drawn from, by `mass`.
        givers: [m] inputs that values are taken from.
        mass: [n] summing to one.
        settings: how many interventions, which share must come out, and the seed.

    Returns:
        One entry a pair.
    """
    phenomenon, aligned = explanation.phenomenon, explanation.aligned
    states = explanation.states(phenomenon.inputs)
    names = [name for name in aligned if name in states and explanation.variables[name].values is not None]
    if not names:
        return []
    sites = sorted({aligned[name].site for name in names})
    traced = {
        site: np.asarray(each, dtype=float) for site, each in model.trace(phenomenon.inputs, sites).items()
    }
    generator = np.random.default_rng(settings.seed)
    found: list[Distinction] = []
    for name in names:
        known = np.unique(states[name][givers])
        values = np.sort(generator.permutation(known)[:MOST_VALUES])
        count = max(settings.interventions // max(len(values), 1), 16)
        bases = generator.choice(indices, size=count, p=mass)
        said, done = [], []
        for value in values:
            sources = generator.choice(givers[states[name][givers] == value], size=count)
            probabilities, _ = explanation.run(phenomenon.inputs[bases], {name: states[name][sources]})
            said.append(np.nan_to_num(probabilities, nan=-1).argmax(axis=1))
            done.append(set_together(explanation, model, bases, {name: sources}, traced))
        part = aligned[name].part(traced[aligned[name].site])
        for i, j in combinations(range(len(values)), 2):
            differs = said[i] != said[j]
            alike = differs == (done[i] != done[j])
            pair = (int(values[i]), int(values[j]))
            found.append(
                _judged(name, pair, differs, alike, part, states[name], settings=settings, rng=generator)
            )
    return found


def _judged(
    name: str,
    pair: tuple[int, int],
    differs: np.ndarray,
    alike: np.ndarray,
    part: np.ndarray,
    states: np.ndarray,
    *,
    settings: Settings,
    rng: np.random.Generator,
) -> Distinction:
    agreement = float(alike.mean())
    wrong = wilson(float(alike.sum()), len(alike), settings.level).high < settings.mechanism
    idle = not (differs.any() or wrong)
    fields: dict[str, Any] = {
        "variable": name,
        "values": pair,
        "idle": idle,
        "agreement": agreement,
        "decoded": None,
    }
    if differs.any() and not wrong:
        shown = agreement >= settings.mechanism
        return Distinction(
            outcome=SHOWN if shown else OPEN, why="" if shown else "too close to call", **fields
        )
    said = "answers differ otherwise than it says" if wrong else "no answer depends on it"
    rows = [np.flatnonzero(states == value) for value in pair]
    if coincide(part[rows[0]], part[rows[1]]):
        why = f"{said}, and inputs of both values have the same activations"
        return Distinction(outcome=ABSENT, why=why, **fields)
    decoded = decode(part, rows, rng)
    if decoded is not None:
        score, controls = decoded
        fields["decoded"] = (score, float(controls.mean()))
        # Few inputs prove no absence: the accuracy must lie clearly below halfway from chance to certainty.
        n = min(sum(map(len, rows)), MOST_ROWS)
        if wilson(score * n, n, settings.level).high < (1 + controls.mean()) / 2:
            return Distinction(outcome=ABSENT, why=f"{said}, and it cannot be decoded", **fields)
        if score > np.quantile(controls, settings.level) and not wrong:
            return Distinction(outcome=HELD, why=said, **fields)
    if wrong:
        return Distinction(outcome=REFUTED, why=said, **fields)
    left = "decoding leaves it open" if decoded else "too few inputs have these values to decode them"
    return Distinction(outcome=OPEN, why=f"{said}; {left}", **fields)


def interchangeable(found: Sequence[Distinction]) -> dict[str, list[list[int]]]:
    """Variable -> the sets of its values that take each other's place without effect, two or more in each."""
    groups: dict[str, list[set[int]]] = {}
    for each in found:
        if each.idle:
            sets = groups.setdefault(each.variable, [])
            met = [one for one in sets if one & set(each.values)]
            groups[each.variable] = [one for one in sets if one not in met] + [set(each.values).union(*met)]
    return {name: sorted(sorted(one) for one in sets) for name, sets in groups.items()}


def coincide(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether a row of one array [n, d] is, to rounding, a row of the other: then no map can tell them apart."""
    scale = max(float(np.abs(first).max(initial=0.0)), float(np.abs(second).max(initial=0.0)), 1e-300)
    rows = {row.tobytes() for row in (first / scale).round(9) + 0.0}
    return any(row.tobytes() in rows for row in (second / scale).round(9) + 0.0)


def decode(
    part: np.ndarray, rows: Sequence[np.ndarray], rng: np.random.Generator
) -> tuple[float, np.ndarray] | None:
    """How well two values are told apart from activations that the decoder was not fitted on.

    The decoder is the better of two: nearest mean, and nearest neighbour.

    Args:
        part: [n, d] activations.
        rows: the indices of the inputs with the one value, and with the other.
        rng: of folds, shuffles, and of rows where there are too many.

    Returns:
        Balanced accuracy, and that of the shuffled labels [s]; None where a value has fewer than four inputs.
    """
    if min(map(len, rows)) < 4:
        return None
    chosen = [rng.permutation(each)[: MOST_ROWS // 2] for each in rows]
    activations = part[np.concatenate(chosen)]
    labels = np.repeat([0, 1], [len(each) for each in chosen])
    distances = np.square(activations[:, None] - activations[None]).sum(axis=-1)
    controls = [_accuracy(activations, distances, rng.permutation(labels), rng) for _ in range(_SHUFFLES)]
    return _accuracy(activations, distances, labels, rng), np.array(controls)


def _accuracy(
    activations: np.ndarray, distances: np.ndarray, labels: np.ndarray, rng: np.random.Generator
) -> float:
    """Cross-validated balanced accuracy of the better decoder."""
    folds = np.zeros(len(labels), dtype=int)
    for label in (0, 1):
        places = np.flatnonzero(labels == label)
        folds[rng.permutation(places)] = np.arange(len(places)) % min(_FOLDS, len(places))
    by_mean, by_neighbour = np.zeros(len(labels), dtype=int), np.zeros(len(labels), dtype=int)
    for fold in np.unique(folds):
        out, fit = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        means = np.stack([activations[fit[labels[fit] == label]].mean(axis=0) for label in (0, 1)])
        by_mean[out] = np.square(activations[out, None] - means[None]).sum(axis=-1).argmin(axis=1)
        by_neighbour[out] = labels[fit][distances[np.ix_(out, fit)].argmin(axis=1)]
    right = [
        np.mean([(guess[labels == label] == label).mean() for label in (0, 1)])
        for guess in (by_mean, by_neighbour)
    ]
    return float(max(right))
