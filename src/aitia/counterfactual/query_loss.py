"""Query loss difference (QLD): how much worse a model does on queries when what a method ranks highest is missing.

By rows, whole rows are left out of the training; by tokens, single terms of the rows' losses.

Source: the leaderboard of bergson 2.5.1, which takes the top 1 % and compares with a random removal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from aitia.counterfactual.removal import TOP, Removal
from aitia.counterfactual.retraining import RunResult
from aitia.errors import AitiaError
from aitia.records import TokenizedRecords
from aitia.statistics import Estimate, bootstrap_estimate


def loss_difference(without: np.ndarray, reference: np.ndarray, *, seed: int = 0) -> Estimate:
    """The rise of the queries' loss over a reference training, averaged over seeds and queries.

    Args:
        without: [s, q] loss of each query after training without what is ranked highest, a row a seed.
        reference: [r, q] loss of the same queries after the trainings that are compared with.
        seed: of the resamplings.

    Returns:
        The difference in the unit of the losses, with a 95 % interval that resamples queries and holds the trainings
        as they are. Above zero: what is missing helped with the queries.

    Raises:
        AitiaError: the losses are not of the same queries.
    """
    without, reference = np.atleast_2d(without), np.atleast_2d(reference)
    if without.shape[1] != reference.shape[1] or not without.size:
        raise AitiaError(
            f"losses of {without.shape[1]} queries and of {reference.shape[1]}: give both for the same queries"
        )
    each = without.mean(axis=0) - reference.mean(axis=0)
    return bootstrap_estimate(len(each), lambda rows: float(each[rows].mean()), seed=seed)


def query_loss_difference(
    removals: Sequence[Removal],
    results: Sequence[RunResult],
    behaviour: str,
    method: str,
    share: float,
    *,
    against: str = "random",
    end: str = TOP,
    seed: int = 0,
) -> Estimate:
    """QLD of a method: the loss of queries after its removal, less that after random removal of as many rows.

    Args:
        removals: as planned.
        results: one each, in their order.
        behaviour: a log-probability of the queries, as `LikelihoodMargin` without `normal` measures it.
        method: whose top is removed.
        share: of the rows that are removed.
        against: `random`, another method, or `all` for training on all rows.
        end: which end of the method's ranking is removed.
        seed: of the interval.

    Returns:
        The difference in nats a token, with its 95 % interval over queries. Above zero, interval and all: the method
        finds rows that the queries need.

    Raises:
        AitiaError: no such removal was planned.
    """
    other = ("all", TOP, 0.0) if against == "all" else (against, TOP, share)
    kept, compared = (
        -_by_query(removals, results, behaviour, *which) for which in ((method, end, share), other)
    )
    return loss_difference(kept, compared, seed=seed)


def without_top_tokens(
    data: TokenizedRecords, scores: Sequence[np.ndarray], share: float
) -> TokenizedRecords:
    """Take the highest-scored tokens out of the rows' losses, for QLD by tokens; the rows' texts stay whole.

    Training on the result and on one with random scores, and `loss_difference` of the two, gives the per-token QLD.

    Args:
        data: n rows.
        scores: [t] a row, each token's score as what is predicted, as `replay` with `by_token` gives them; those of
            tokens that are not trained on do not count.
        share: of the tokens that are trained on, between 0 and 1.

    Returns:
        The rows with fewer response tokens; a row that has none left is left out.

    Raises:
        AitiaError: a share out of range, scores that do not fit the rows or are not finite, or nothing is left.
    """
    if not 0 < share < 1:
        raise AitiaError(f"share {share:g} of the tokens: must lie between 0 and 1")
    if len(scores) != len(data):
        raise AitiaError(f"scores of {len(scores)} rows for {len(data)} rows: give an array for each")
    masks = [row.response & (np.arange(len(row.response)) > 0) for row in data]  # nothing predicts the first
    for row, mask, values in zip(data, masks, scores, strict=True):
        if np.shape(values) != mask.shape or not np.isfinite(values[mask]).all():
            raise AitiaError(f"{row.location}: give one finite score for each of its {len(mask)} tokens")
    flat = np.concatenate([values[mask] for values, mask in zip(scores, masks, strict=True)])
    stays = np.ones(len(flat), dtype=bool)
    stays[np.argsort(-flat, kind="stable")[: round(share * len(flat))]] = False
    parts = np.split(stays, np.cumsum([mask.sum() for mask in masks])[:-1])
    found = []
    for row, mask, part in zip(data, masks, parts, strict=True):
        response = np.zeros_like(row.response)
        response[mask] = part
        if response.any():
            found.append(replace(row, response=response))
    if not found:
        raise AitiaError(f"a share of {share:g} leaves no token to train on; give a smaller one")
    return replace(data, records=tuple(found))


def _by_query(
    removals: Sequence[Removal],
    results: Sequence[RunResult],
    behaviour: str,
    method: str,
    end: str,
    share: float,
) -> np.ndarray:
    """The values of each query after a removal, a row a seed: [s, q]."""
    found = {
        removal.seed: result.values_of(behaviour)
        for removal, result in zip(removals, results, strict=True)
        if (removal.method, removal.end, removal.share) == (method, end, share)
    }
    if not found:
        raise AitiaError(f"no removal of the {end} {share:g} by {method} was planned")
    return np.array(list(found.values()))
