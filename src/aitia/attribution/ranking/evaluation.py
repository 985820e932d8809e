"""A ranking held against labels: how well each of its scorers finds labelled rows, and what it adds to confounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aitia.attribution.ranking.labelled import CONFOUNDS
from aitia.attribution.ranking.ranking import Ranking
from aitia.errors import AitiaError
from aitia.statistics import Estimate, confound_adjusted_gain, retrieval_figures


@dataclass(frozen=True, kw_only=True)
class ScorerFigures:
    """How well one scorer of a ranking finds labelled rows.

    Attributes:
        figures: `auc`, `auprc`, `mrr`, `precision@k`, `recall@k` -> estimate.
        gain: what its scores add in AUC to a logistic model of the confounds, cross-validated; none for a confound,
            and where there are no confounds or too few rows.
    """

    figures: dict[str, Estimate]
    gain: Estimate | None = None


@dataclass(frozen=True, kw_only=True)
class RankingEvaluation:
    """Every scorer of a ranking, held against labels.

    Attributes:
        scorers: name -> figures, the deciding scorer first.
        confounds: the scorers that gains are adjusted for.
        confounds_auc: cross-validated AUC of a logistic model of the confounds alone; none without gains.
        labelled: how many rows are.
        rows: n.
    """

    scorers: dict[str, ScorerFigures]
    confounds: tuple[str, ...]
    confounds_auc: float | None
    labelled: int
    rows: int


def evaluate_ranking(
    ranking: Ranking,
    labels: np.ndarray,
    *,
    ks: Sequence[int] = (),
    confounds: Sequence[str] | None = None,
    folds: int = 5,
    seed: int = 0,
) -> RankingEvaluation:
    """Hold every scorer of a ranking against labels.

    Args:
        ranking: n rows, with the scores of several scorers.
        labels: [n] bool, in the ranking's order.
        ks: numbers of top rows for precision and recall, beside the number of labelled rows.
        confounds: scorers of the ranking to adjust for; default: those of `CONFOUNDS` that it has.
        folds: of the cross-validation.
        seed: of folds and intervals.

    Returns:
        Figures of every scorer.

    Raises:
        AitiaError: the labels are not one of true and false a row, all rows are labelled or none is, or the ranking
            has no such confound.
    """
    labels = np.asarray(labels)
    if labels.shape != (len(ranking),) or labels.dtype != bool:
        raise AitiaError(
            f"labels of shape {labels.shape}: give true or false for each of {len(ranking)} rows"
        )
    count = int(labels.sum())
    if count in (0, len(labels)):
        raise AitiaError(f"{count} of {len(labels)} rows are labelled: there is nothing to tell apart")
    chosen = (
        tuple(name for name in CONFOUNDS if name in ranking.scores) if confounds is None else tuple(confounds)
    )
    missing = [name for name in chosen if name not in ranking.scores]
    if missing:
        raise AitiaError(
            f"the ranking has no scores by {missing[0]}; it has {', '.join(ranking.scores)}. Rank again with "
            f"`compare={missing[0]}`"
        )
    columns = {name: ranking.scores[name] for name in chosen}
    adjustable = bool(columns) and min(count, len(labels) - count) >= folds
    found, before = {}, None
    for name, scores in ranking.scores.items():
        gain = None
        if adjustable and name not in columns:
            gain, before = confound_adjusted_gain(scores, columns, labels, folds=folds, seed=seed)
        figures = retrieval_figures(scores, labels, tuple(ks), seed=seed)
        found[name] = ScorerFigures(figures=figures, gain=gain)
    return RankingEvaluation(
        scorers=found, confounds=chosen, confounds_auc=before, labelled=count, rows=len(labels)
    )
