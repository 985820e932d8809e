"""How well scores find labelled rows: the field's figures, each with its interval.

Intervals are percentile bootstraps within labelled and other rows apart, so that their numbers stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from aitia.statistics.intervals import Estimate
from aitia.statistics.ranking import auc

Figure = Callable[[np.ndarray, np.ndarray], float]


def average_precision(scores: np.ndarray, labels: np.ndarray) -> float:
    """Area under the precision-recall curve (AUPRC) in its step form, as scikit-learn has it; ties share a step.

    Args:
        scores: [n] finite, higher for what should be labelled.
        labels: [n] bool.

    Returns:
        0 to 1; the share of labelled rows is what no information gets. NaN where nothing is labelled.
    """
    labels = np.asarray(labels, dtype=bool)
    if not labels.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(labels[order])
    # Rows of equal score come in one step: precision counts at the last of them.
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    gained = np.diff(np.append(0, hits[ends])) / labels.sum()
    return float(gained @ (hits[ends] / (ends + 1)))


def recall_at(k: int) -> Figure:
    """Share of the labelled rows that are among the k highest-scored rows, in expectation over the order of ties."""

    def recall(scores: np.ndarray, labels: np.ndarray) -> float:
        return _expected_hits(scores, labels, k) / labels.sum() if labels.any() else float("nan")

    return recall


def precision_at(k: int) -> Figure:
    """Share of labelled rows among the k highest-scored ones, in expectation over the order of ties."""

    def precision(scores: np.ndarray, labels: np.ndarray) -> float:
        return _expected_hits(scores, labels, k) / min(k, len(scores))

    return precision


def reciprocal_rank(scores: np.ndarray, labels: np.ndarray) -> float:
    """1 / rank of the first labelled row (MRR for one query); among ties the labelled rows come last."""
    labels = np.asarray(labels, dtype=bool)
    if not labels.any():
        return float("nan")
    best = scores[labels].max()
    return 1.0 / float((scores > best).sum() + (~labels & (scores == best)).sum() + 1)


def retrieval_figures(
    scores: np.ndarray, labels: np.ndarray, ks: tuple[int, ...] = (), *, draws: int = 1000, seed: int = 0
) -> dict[str, Estimate]:
    """AUC, AUPRC, MRR, and precision and recall at each k and at the number of labelled rows.

    Args:
        scores: [n]; rows that are not finite count as lowest.
        labels: [n] bool.
        ks: further numbers of rows to look at.
        draws: resamplings for the intervals.
        seed: of the resamplings.

    Returns:
        `auc`, `auprc`, `mrr`, `precision@k`, `recall@k` -> estimate with a 95 % interval; NaN where one side is empty.
    """
    scores = np.where(np.isfinite(scores), scores, -np.inf).astype(float)
    lowest = scores[np.isfinite(scores)].min(initial=0.0) - 1
    scores, labels = np.where(np.isfinite(scores), scores, lowest), np.asarray(labels, dtype=bool)
    wanted: dict[str, Figure] = {"auc": auc, "auprc": average_precision, "mrr": reciprocal_rank}
    for k in sorted({*ks, int(labels.sum())} - {0}):
        wanted |= {f"precision@{k}": precision_at(k), f"recall@{k}": recall_at(k)}
    sides = [np.flatnonzero(labels), np.flatnonzero(~labels)]
    generator = np.random.default_rng(seed)
    found: dict[str, list[float]] = {name: [] for name in wanted}
    for _ in range(draws if all(map(len, sides)) else 0):
        rows = np.concatenate([generator.choice(side, len(side)) for side in sides])
        for name, figure in wanted.items():
            found[name].append(figure(scores[rows], labels[rows]))
    return {name: _estimate(figure(scores, labels), found[name]) for name, figure in wanted.items()}


def confound_adjusted_gain(
    scores: np.ndarray,
    confounds: Mapping[str, np.ndarray],
    labels: np.ndarray,
    *,
    folds: int = 5,
    repeats: int = 5,
    draws: int = 1000,
    seed: int = 0,
) -> tuple[Estimate, float]:
    """What scores add in AUC to a logistic model of the confounds, cross-validated.

    Two models are fitted to the same folds, of the confounds alone and of confounds and scores; the gain is the
    difference of the AUCs of their held-out predictions. Every column enters by its ranks, so that units and outliers
    do not matter. The interval resamples rows, labelled and others apart, and so holds the fitted models fixed.
    (Ours, after the confound control of subliminal-learning audits.)

    Args:
        scores: [n].
        confounds: name -> [n], such as loss, length, and the similarity of words.
        labels: [n] bool.
        folds: of the cross-validation.
        repeats: cross-validations with other folds, whose predictions are averaged.
        draws: resamplings for the interval.
        seed: of folds and resamplings.

    Returns:
        The gain, and the AUC of the confounds alone.

    Raises:
        ValueError: fewer labelled or other rows than folds.
    """
    labels = np.asarray(labels, dtype=bool)
    if min(labels.sum(), (~labels).sum()) < folds:
        raise ValueError(f"{labels.sum()} of {len(labels)} rows are labelled: too few for {folds} folds")
    base = np.stack([_ranks(column) for column in confounds.values()], axis=1)
    more = np.column_stack([base, _ranks(scores)])
    alone, together = (_held_out(x, labels, folds, repeats, seed) for x in (base, more))
    sides = [np.flatnonzero(labels), np.flatnonzero(~labels)]
    generator = np.random.default_rng(seed)
    gains = []
    for _ in range(draws):
        rows = np.concatenate([generator.choice(side, len(side)) for side in sides])
        gains.append(auc(together[rows], labels[rows]) - auc(alone[rows], labels[rows]))
    before = auc(alone, labels)
    return _estimate(auc(together, labels) - before, gains), before


def _held_out(x: np.ndarray, labels: np.ndarray, folds: int, repeats: int, seed: int) -> np.ndarray:
    """[n] log-odds that models fitted without a row give it, each fold's turned to ranks, averaged."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    total = np.zeros(len(labels))
    for repeat in range(repeats):
        parts = StratifiedKFold(folds, shuffle=True, random_state=seed + repeat)
        for train, test in parts.split(x, labels):
            model = LogisticRegression(class_weight="balanced").fit(x[train], labels[train])
            total[test] += model.decision_function(x[test])
    return total / repeats


def _ranks(values: np.ndarray) -> np.ndarray:
    """[n] ranks, ties sharing theirs, from -1 to 1."""
    from scipy.stats import rankdata

    clean = np.where(np.isfinite(values), values, -np.inf)
    return 2 * (rankdata(clean) - 0.5) / len(clean) - 1


def _expected_hits(scores: np.ndarray, labels: np.ndarray, k: int) -> float:
    k = min(k, len(scores))
    edge = np.partition(scores, -k)[-k]
    above, tied = scores > edge, scores == edge
    return float(labels[above].sum() + labels[tied].mean() * (k - above.sum()))


def _estimate(value: float, drawn: list[float]) -> Estimate:
    found = np.array([each for each in drawn if np.isfinite(each)])
    low, high = np.quantile(found, [0.025, 0.975]) if len(found) else (np.nan, np.nan)
    return Estimate(value=float(value), low=float(low), high=float(high))
