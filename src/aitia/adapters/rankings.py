"""Rankings as explanations: how a behaviour changes as training data changes, put to the test by removals.

The phenomenon is what became of the behaviour after each removal and retraining, in a few bins. A ranking explains it
as a linear datamodel (Ilyas et al. 2022): the change is a share of what is removed, plus a share of the influence that
goes with it. Both shares, and the spread, are fitted to some removals; the others judge them. The phenomenon and the
bins are ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from aitia.attribution import Ranking
from aitia.attribution.scorers import goes_through_concept
from aitia.counterfactual import RunResult
from aitia.errors import AitiaError, ExplanationError
from aitia.explanations import Direction, Explanation, FunctionModel, Phenomenon, Premise
from aitia.explanations.core import REAL_BITS, Tap
from aitia.files import digest

BINS = 5
EVERY_ROW, THESE_ROWS, SCORES = "every row", "these rows", "scores"


def removal_phenomenon(
    name: str,
    removed: np.ndarray,
    behaviour: np.ndarray,
    trainings: Sequence[int],
    *,
    bins: int = BINS,
    fit_share: float = 0.5,
    seed: int = 0,
) -> Phenomenon:
    """What became of a behaviour after each removal, as a phenomenon.

    Inputs are the removals: which rows went, and the seed of the training in the last column. Those of the same rows
    lie on the same side of the split.

    Args:
        name: of the behaviour, for people.
        removed: [c, n] bool, the rows that were taken out before each training.
        behaviour: [c] what was measured after it.
        trainings: [c] the training's seed.
        bins: how many outcomes; of equal width, between the extremes of the fit split.
        fit_share: share of the removals for fitting.
        seed: of the split.

    Returns:
        The phenomenon: inputs [r, rows + 1], and bins of the behaviour's value as outcomes.

    Raises:
        ExplanationError: fewer than four different removals, or a behaviour that is not finite or never differs.
    """
    removed, behaviour = np.asarray(removed, dtype=bool), np.asarray(behaviour, dtype=float)
    if not np.isfinite(behaviour).all():
        wrong = int((~np.isfinite(behaviour)).argmax())
        raise ExplanationError(f"{name}: what was measured after removal {wrong} is not finite")
    inputs = np.column_stack([removed, trainings]).astype(np.int64)
    inputs, first = np.unique(inputs, axis=0, return_index=True)
    behaviour = behaviour[first]
    _, kinds = np.unique(inputs[:, :-1], axis=0, return_inverse=True)
    if kinds.max() + 1 < 4:
        raise ExplanationError(
            f"{name}: {kinds.max() + 1} different removals; to fit and to judge takes four"
        )
    drawn = np.random.default_rng(seed).permutation(kinds.max() + 1)
    for_fit = np.isin(kinds, drawn[: max(2, round(fit_share * len(drawn)))])
    low, high = behaviour[for_fit].min(), behaviour[for_fit].max()
    if not high > low:
        raise ExplanationError(f"{name}: it is {low:g} after every removal; there is nothing to explain")
    edges = np.linspace(low, high, bins + 1)[1:-1]
    values = {row.tobytes(): value for row, value in zip(inputs, behaviour, strict=True)}

    def look_up(_parameters: Mapping[str, Any], given: np.ndarray, _site: Tap) -> np.ndarray:
        try:
            return np.array([values[row.tobytes()] for row in np.ascontiguousarray(given)])
        except KeyError:
            raise ExplanationError(f"{name}: no model was trained without these rows") from None

    model = FunctionModel(name=f"training, then {name} ({digest(behaviour.tolist())[:8]})", function=look_up)
    ends = [f"{each:.3g}" for each in edges]
    outcomes = [
        f"below {ends[0]}",
        *(f"{a} to {b}" for a, b in pairwise(ends)),
        f"above {ends[-1]}",
    ]
    return Phenomenon(
        name=f"{name} as training data changes",
        model=model,
        inputs=inputs,
        outcomes=outcomes,
        observable=lambda outputs: np.searchsorted(edges, outputs),
        fit=np.flatnonzero(for_fit),
        test=np.flatnonzero(~for_fit),
        exhaustive=False,
        seed=seed,
    )


def retraining_phenomenon(ids: Sequence[str], results: Sequence[RunResult], behaviour: str) -> Phenomenon:
    """What became of a behaviour after each training on some of the rows, for `explain_ranking` and `aitia.evaluate`.

    Args:
        ids: [n] of all rows, in the order of the ranking's scores.
        results: of `retrain`; those that kept no row are left out, since nothing was trained there.
        behaviour: which.

    Returns:
        The phenomenon: inputs [r, rows + 1], and bins of the behaviour's value as outcomes.

    Raises:
        AitiaError: the behaviour was not measured, or a training kept a row that is not among the ids.
        ExplanationError: fewer than four different removals, or a behaviour that never differs.
    """
    place = {name: i for i, name in enumerate(ids)}
    made = [result for result in results if result.run.kept]
    removed = np.ones((len(made), len(ids)), dtype=bool)
    for row, result in zip(removed, made, strict=True):
        if unknown := set(result.run.kept) - place.keys():
            raise AitiaError(f"a training kept row {min(unknown)!r}, which is not among the {len(ids)} ids")
        row[[place[each] for each in result.run.kept]] = False
    measured = np.array([result.mean(behaviour) for result in made])
    return removal_phenomenon(behaviour, removed, measured, [result.run.seed for result in made])


def explain_ranking(
    ranking: Ranking, phenomenon: Phenomenon, name: str = "", *, direction: Direction | None = None
) -> Explanation:
    """The hypothesis that a behaviour comes from the rows that a ranking blames, for `aitia.evaluate`.

    Args:
        ranking: of the rows that the phenomenon removes, in their order.
        phenomenon: what became of the behaviour, by `retraining_phenomenon` or `removal_phenomenon`.
        name: default: the method's.
        direction: with what came of intervening on it; default: the concept's, not intervened on.

    Returns:
        The explanation, which predicts the behaviour from the scores of the rows that are left.

    Raises:
        ExplanationError: the ranking has another number of rows.
    """
    if direction is None and ranking.concept is not None and goes_through_concept(ranking.method):
        direction = Direction(name=ranking.concept.name, site=ranking.concept.site)
    bits = None if ranking.concept is None else float(ranking.concept.direction.size * REAL_BITS)
    return ranking_explanation(
        phenomenon, name or ranking.method, ranking.score, bits=bits, direction=direction
    )


def ranking_explanation(
    phenomenon: Phenomenon,
    name: str,
    scores: np.ndarray | None,
    *,
    bits: float | None = None,
    shuffles: int = 8,
    direction: Direction | None = None,
) -> Explanation:
    """The hypothesis that a behaviour comes from the rows that a ranking blames.

    Args:
        phenomenon: of `removal_phenomenon`.
        name: of the ranking.
        scores: [n] of the rows; None for the baseline that every row counts alike.
        bits: what the scores are declared to cost; default: a real number for each row. Since the scores themselves are
            what the program reads, the description length charges for them where that is more.
        shuffles: how many other rankings, the same scores on other rows, are tried as variants.
        direction: that the behaviour is said to go through, for a ranking that comes of one; with what came of
            ablating it and steering along it, where that was tried (`aitia.try_direction`).

    Returns:
        The explanation, which predicts the behaviour from the scores of the rows that are left.

    Raises:
        ExplanationError: scores of another length.
    """
    rows = phenomenon.inputs.shape[1] - 1
    if scores is not None and len(scores) != rows:
        raise ExplanationError(f"{name}: {len(scores)} scores for {rows} rows")
    blamed = None if scores is None else _standard(np.asarray(scores, dtype=float))
    fit = phenomenon.inputs[phenomenon.fit_indices]
    measured = np.asarray(phenomenon.model.run(fit), dtype=float)
    design = _design(fit, blamed)
    weights = np.linalg.lstsq(design, measured, rcond=None)[0]
    freedom = max(len(fit) - design.shape[1], 1)
    spread = float(np.sqrt(np.square(measured - design @ weights).sum() / freedom))
    edges = _edges(phenomenon, measured)

    def program(premises: Mapping[str, Any], inputs: np.ndarray, _variable: Tap) -> np.ndarray:
        shares = _design(inputs, premises.get(SCORES))
        expected = premises["all rows"] + shares[:, 1] * premises[EVERY_ROW]
        if SCORES in premises:
            expected = expected + shares[:, 2] * premises.get(THESE_ROWS, 0.0)
        return _binned(expected, max(spread, 1e-9), edges)

    def parameter(value: float) -> Premise:
        return Premise(kind="parameter", value=float(value), bits=REAL_BITS)

    premises = {"all rows": parameter(weights[0]), EVERY_ROW: parameter(weights[1])}
    if blamed is not None:
        generator = np.random.default_rng(0)
        premises |= {
            THESE_ROWS: parameter(weights[2]),
            SCORES: Premise(
                kind="fact",
                value=blamed,
                bits=float(rows * REAL_BITS if bits is None else bits),
                variants=[generator.permutation(blamed) for _ in range(shuffles)],
            ),
        }
    return Explanation(
        name=name, phenomenon=phenomenon, program=program, premises=premises, direction=direction
    )


def _standard(scores: np.ndarray) -> np.ndarray:
    """Scores less their mean, so that the number of rows removed is not counted twice, in units of their spread."""
    return (scores - scores.mean()) / max(float(scores.std()), 1e-300)


def _design(inputs: np.ndarray, scores: np.ndarray | None) -> np.ndarray:
    """[c, 2 or 3] a constant, the share of rows removed, and the share of influence that went with them."""
    removed = inputs[:, :-1]
    columns = [np.ones(len(inputs)), removed.mean(axis=1)]
    return np.column_stack(columns if scores is None else [*columns, removed @ scores / removed.shape[1]])


def _edges(phenomenon: Phenomenon, measured: np.ndarray) -> np.ndarray:
    return np.linspace(measured.min(), measured.max(), len(phenomenon.outcomes) + 1)[1:-1]


def _binned(expected: np.ndarray, spread: float, edges: np.ndarray) -> np.ndarray:
    """[c, k] a normal distribution about each expectation, bin by bin."""
    from scipy.special import ndtr

    below = ndtr((edges - expected[:, None]) / spread)
    padded = np.column_stack([np.zeros(len(expected)), below, np.ones(len(expected))])
    return np.diff(padded, axis=1)
