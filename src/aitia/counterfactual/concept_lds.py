"""Concept-LDS: do scores predict what training on other subsets does to a concept?

The linear datamodelling score (Park et al. 2023) asks for the rank correlation, over random subsets of the
training data, of the predicted with the measured output of a model trained on the subset. Here the output
is a behaviour, as a rule the concept's projection. The prediction is additive: the sum of the kept rows' scores.
Training is noisy, so the measured side is averaged over seeds, and how well it agrees with itself bounds
what any method could reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from aitia.counterfactual.retraining import RetrainingRun, RunResult
from aitia.errors import AitiaError
from aitia.statistics import Estimate, bootstrap_estimate


@dataclass(frozen=True, kw_only=True)
class ConceptLds:
    """The score of one method.

    Attributes:
        correlation: Spearman's, predicted with measured, with a 95 % interval over subsets.
        ceiling: the largest correlation that the noise over seeds lets an exact prediction have.
        subsets: how many.
        seeds: trained for each.
    """

    correlation: Estimate
    ceiling: float
    subsets: int
    seeds: int


def draw_subsets(rows: int, subsets: int, *, share: float = 0.5, seed: int = 0) -> np.ndarray:
    """Random subsets of equal size: [subsets, rows] bool, true where a row is kept.

    Returns:
        [subsets, rows] bool.

    Raises:
        AitiaError: fewer than three subsets, or a share out of range.
    """
    if subsets < 3 or not 0 < share < 1:
        raise AitiaError(
            f"{subsets} subsets of {share:g} of the rows: give at least 3, of a share between 0 and 1"
        )
    generator = np.random.default_rng(seed)
    kept = np.zeros((subsets, rows), dtype=bool)
    for row in kept:
        row[generator.choice(rows, round(share * rows), replace=False)] = True
    return kept


def subset_cells(ids: Sequence[str], kept: np.ndarray, seeds: Sequence[int]) -> list[RetrainingRun]:
    """The training runs, subset by subset and within it seed by seed."""
    names = np.asarray(ids)
    return [RetrainingRun(kept=tuple(names[row].tolist()), seed=seed) for row in kept for seed in seeds]


def measured_changes(results: Sequence[RunResult], subsets: int, behaviour: str) -> np.ndarray:
    """The behaviour of each run, as `subset_cells` ordered them: [subsets, seeds]."""
    return np.array([result.mean(behaviour) for result in results]).reshape(subsets, -1)


def concept_lds(scores: np.ndarray, kept: np.ndarray, measured: np.ndarray, *, seed: int = 0) -> ConceptLds:
    """Hold scores against retraining.

    Args:
        scores: [n]; positive: training on the row raises the behaviour.
        kept: [m, n] bool.
        measured: [m, s] the behaviour after training on each subset with each seed.
        seed: of the bootstrap over subsets.

    Returns:
        The correlation with its interval, and the ceiling that noise between seeds sets.
    """
    predicted, mean = kept @ np.asarray(scores, dtype=np.float64), measured.mean(axis=1)
    return ConceptLds(
        correlation=bootstrap_estimate(
            len(kept), lambda rows: _spearman(predicted[rows], mean[rows]), seed=seed
        ),
        ceiling=noise_ceiling(measured),
        subsets=len(kept),
        seeds=measured.shape[1],
    )


def noise_ceiling(measured: np.ndarray) -> float:
    """The correlation with the mean over seeds that a prediction without error would be expected to have.

    From the mean Spearman correlation r between single seeds, the reliability of the mean of s seeds is
    s r / (1 + (s - 1) r) (Spearman and Brown), and the ceiling its square root; NaN for one seed, 0 where
    seeds do not agree at all.

    Args:
        measured: [m, s].

    Returns:
        From 0 to 1; NaN with fewer than two seeds.
    """
    seeds = measured.shape[1]
    if seeds < 2:
        return float("nan")
    pairs = [_spearman(measured[:, i], measured[:, j]) for i, j in combinations(range(seeds), 2)]
    between = max(float(np.mean(pairs)), 0.0)
    return float(np.sqrt(seeds * between / (1 + (seeds - 1) * between)))


def _spearman(first: np.ndarray, second: np.ndarray) -> float:
    from scipy.stats import rankdata

    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(np.corrcoef(rankdata(first), rankdata(second))[0, 1])
