"""What a ranking adds where rows are labelled: over scores that know no concept, and over null directions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, get_args

import numpy as np

from aitia.attribution.ranking.controls import DirectionScores
from aitia.attribution.scanning.activation_products import RowsAlikeError
from aitia.attribution.scanning.null_directions import MATCHED, NullKind, null_directions
from aitia.attribution.scorers.baselines import tfidf_similarity, training_loss
from aitia.attribution.scorers.confounds import gradient_norms
from aitia.attribution.scorers.registry import find_scorer
from aitia.concepts import fitted_texts
from aitia.errors import ConceptError
from aitia.records import Records
from aitia.report import LabelFigures, NullFigure
from aitia.statistics import auc, confound_adjusted_gain, exceedance_p_value, retrieval_figures

if TYPE_CHECKING:
    from aitia.attribution.ranking.ranking import Ranking

CONFOUNDS = ("training-loss", "loss-gap", "gradient-norm", "response-length", "tf-idf")
"""Scorers that know no concept; what a scorer adds to those of them that a ranking has is its adjusted gain."""

_FOLDS = 5
_DRAWS, _FEW_DRAWS, _MANY_ROWS = 1000, 200, 20_000
_NUMBERS_AT_ONCE = 2**26


def label_figures(ranking: Ranking, labels: np.ndarray, records: Records) -> LabelFigures | None:
    """How well the deciding scores find labelled rows, what they add to confounds, and what null directions get.

    Confounds that the ranking lacks are computed where that costs no pass of a model: loss and gradient norm with
    stored backward activations, length, and words where the concept's texts are at hand. `loss-gap` enters where it
    was compared.

    Args:
        ranking: made by `rank` in this process.
        labels: [n] bool.
        records: its rows, in any order.

    Returns:
        Plain data for the report; none where all rows are labelled or none is.
    """
    count, n = int(labels.sum()), len(ranking)
    if count in (0, n):
        return None
    draws = _DRAWS if n <= _MANY_ROWS else _FEW_DRAWS
    gain = before = None
    columns = {} if ranking.method in CONFOUNDS else confound_scores(ranking, records)
    if ranking.method in CONFOUNDS:
        reason = f"{ranking.method} is itself a confound"
    elif min(count, n - count) < _FOLDS:
        reason = f"{count} of {n} rows are labelled, and {_FOLDS} folds need {_FOLDS} rows of either side"
    else:
        reason = ""
        gain, before = confound_adjusted_gain(ranking.score, columns, labels, folds=_FOLDS, draws=draws)
    nulls = [null_figure(ranking, labels, kind) for kind in get_args(NullKind)]
    return LabelFigures(
        auc=retrieval_figures(ranking.score, labels, draws=draws)["auc"],
        gain=gain,
        confounds=tuple(columns),
        confounds_auc=before,
        no_gain=reason,
        nulls=tuple(each for each in nulls if each is not None),
    )


def confound_scores(ranking: Ranking, records: Records) -> dict[str, np.ndarray]:
    """The confounds of a ranking, by name: those it has, and those that cost no pass of a model.

    Args:
        ranking: made by `rank` in this process, so that its store and concept are at hand.
        records: its rows, in any order.

    Returns:
        Name -> [n], in the ranking's order; `response-length` at least.
    """
    store, concept = ranking.store, ranking.concept
    assert store is not None
    assert concept is not None
    found = {name: ranking.scores[name] for name in CONFOUNDS if name in ranking.scores}
    found.setdefault("response-length", ranking.response_tokens.astype(np.float64))
    if "backward" in store.activations:
        found.setdefault("training-loss", training_loss(store))
        found.setdefault("gradient-norm", gradient_norms(store, concept.site))
    if "tf-idf" not in found:
        try:
            texts = fitted_texts(concept)
        except ConceptError:
            return found
        rows = records.only([str(name) for name in ranking.ids])
        found["tf-idf"] = tfidf_similarity(rows, *texts)
    return found


def null_figure(ranking: Ranking, labels: np.ndarray, kind: NullKind) -> NullFigure | None:
    """How often null directions find labelled rows as well as the ranking does, by its own method.

    Args:
        ranking: made by `rank` in this process.
        labels: [n] bool.
        kind: of the null directions.

    Returns:
        The p-value and how far null directions go; none where each would cost a pass over rows or queries, where no
        direction enters the scores, or where rows are too few or too alike for matched ones.
    """
    needs, score, concept = find_scorer(ranking.method).needs(), ranking.direction_scores, ranking.concept
    if score is None or needs.queries or needs.run or ranking.store is None or concept is None:
        return None
    store, seed = ranking.store, int(ranking.provenance["controls"]["seed"])

    def draw(count: int, among: np.ndarray | None) -> np.ndarray:
        return null_directions(
            store,
            concept.site,
            concept.width,
            kind=kind,
            count=count,
            seed=seed,
            among=among,
            tokens=concept.tokens,
        )

    try:
        p_value, away = hold_against_nulls(
            score,
            draw,
            ranking.score,
            labels,
            draws=ranking.nulls.null_draws,
            halves=kind == MATCHED,
            seed=seed,
        )
    except RowsAlikeError:
        return None
    reach = 0.5 + float(np.quantile(away, 0.95))
    return NullFigure(kind=kind, draws=len(away), p_value=p_value, reach=reach)


def hold_against_nulls(
    score: DirectionScores,
    draw: Callable[[int, np.ndarray | None], np.ndarray],
    own: np.ndarray,
    labels: np.ndarray,
    *,
    draws: int,
    halves: bool = True,
    seed: int = 0,
) -> tuple[float, np.ndarray]:
    """A p-value of scores at finding labelled rows, against directions that mean nothing.

    The statistic is |AUC - 1/2|: a direction without meaning has no sign. Directions that are made of rows fit the
    noise of these rows, and so find labels among them worse than among new ones. Where `halves` is true, they are made
    of one half of the rows and held against the scores on the other half, and the halves change places. The p-value is
    the mean over both.

    Args:
        score: gives the rows' scores under directions, [c, d] to [c, n].
        draw: gives a number of null directions, [c, d], made of the rows of a [n] mask, or of none.
        own: [n] scores to be tested.
        labels: [n] bool.
        draws: null directions.
        halves: whether directions are made of one half of the rows and tried on the other.
        seed: of the halves, labelled and other rows apart.

    Returns:
        The p-value, and [draws] the nulls' |AUC - 1/2|.

    Raises:
        RowsAlikeError: fewer than two labelled or other rows, which make no halves.
    """
    whole = np.ones(len(labels), dtype=bool)
    parts: list[tuple[np.ndarray | None, np.ndarray, int]] = [(None, whole, draws)]
    if halves:
        first, generator = np.zeros(len(labels), dtype=bool), np.random.default_rng(seed)
        for side in (np.flatnonzero(labels), np.flatnonzero(~labels)):
            if len(side) < 2:
                raise RowsAlikeError(
                    f"{labels.sum()} of {len(labels)} rows are labelled: no halves with both sides"
                )
            first[generator.permutation(side)[: len(side) // 2]] = True
        parts = [(first, ~first, draws - draws // 2), (~first, first, draws // 2)]
    step, away, more = max(1, _NUMBERS_AT_ONCE // len(labels)), [], []
    for made_of, tried, count in parts:
        real = abs(auc(own[tried], labels[tried]) - 0.5)
        directions = draw(count, made_of)
        for start in range(0, count, step):
            for scores in score(directions[start : start + step]):
                away.append(abs(auc(scores[tried], labels[tried]) - 0.5))
                more.append(away[-1] - real)
    return exceedance_p_value(0.0, more), np.array(away)
