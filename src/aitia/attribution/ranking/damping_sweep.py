"""How much a ranking hangs on the damping, and which damping is the more trustworthy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aitia.attribution.gradients.curvature import Curvature, Damping
from aitia.attribution.gradients.training_gradients import query_gradients
from aitia.attribution.influence.store_influence import StoreInfluence
from aitia.attribution.ranking.ranking import Ranking
from aitia.attribution.scorers.influence import find_damped_scorer
from aitia.attribution.scorers.labels import label_values
from aitia.errors import AitiaError
from aitia.records import Records, TokenizedRecords
from aitia.statistics import auc, spearman

DAMPINGS = (0.001, 0.01, 0.1, 1.0, 10.0)


@dataclass(frozen=True, kw_only=True)
class DampingResult:
    """One damping of a sweep.

    Attributes:
        damping: a multiple of each layer's mean eigenvalue.
        spearman: rank correlation with the ranking at the damping that was asked for.
        split_half: rank correlation of the rankings that two halves of the queries give, where there are
            two: what the ranking owes to the queries' chance. Higher is better.
        auc: at finding labelled rows, where labels are given.
    """

    damping: float
    spearman: float
    split_half: float | None
    auc: float | None


def damping_sweep(
    influence: StoreInfluence,
    method: str,
    *,
    values: Sequence[float] = DAMPINGS,
    labels: np.ndarray | None = None,
) -> list[DampingResult]:
    """Rank at several dampings, in one stream over the rows.

    Args:
        influence: model, rows, queries, curvature and the damping to compare with.
        method: `concept-influence` or `influence`.
        values: multiples of each layer's mean eigenvalue.
        labels: [n] bool, to measure against.

    Returns:
        One result a damping, in their order.

    Raises:
        AitiaError: no damping given, or a curvature of identities, which none changes.
    """
    import torch

    if not values:
        raise AitiaError("a sweep needs at least one damping")
    if not influence.curvature.settings.passes:
        raise AitiaError(
            "without curvature there is nothing to damp; fit another kind than identity, as ekfac"
        )
    measurement, layers = influence.measured(find_damped_scorer(method).form)
    queries = tuple(influence.queries)
    halves = [queries[0::2], queries[1::2]] if len(queries) > 1 else [queries]
    gradients = [
        query_gradients(influence.model, TokenizedRecords(records=half), measurement, layers)
        for half in halves
    ]
    dampings = [
        influence.curvature.in_its_units(influence.damping),
        *(Damping(value=value) for value in values),
    ]
    directions = {
        layer.name: torch.cat(
            [
                -influence.curvature.layers[layer.name].precondition(found[layer.name], damping)
                for damping in dampings
                for found in gradients
            ]
        )
        for layer in layers
    }
    scores = influence.stream(directions, layers).reshape(len(dampings), len(halves), -1)
    whole = np.average(scores, axis=1, weights=[len(half) for half in halves])
    return [
        DampingResult(
            damping=float(value),
            spearman=spearman(whole[place], whole[0]),
            split_half=spearman(*scores[place]) if len(halves) == 2 else None,
            auc=None if labels is None else auc(whole[place], labels),
        )
        for place, value in enumerate(values, start=1)
    ]


def sweep_of_ranking(
    ranking: Ranking,
    *,
    queries: Records | Path | str | None,
    curvature: Curvature | Path | str | None,
    damping: Damping,
    label: str | None = None,
    **cutting: Any,
) -> list[dict[str, float | None]]:
    """The sweep for a ranking by an influence method, as rows for a table.

    Args:
        ranking: made by `rank` in this process.
        queries: it was made with.
        curvature: it was made with.
        damping: it was made with.
        label: a true-or-false column to measure against.
        cutting: of the queries, as `rank` was given it.

    Returns:
        One row a damping: `damping`, and what changed against the ranking's own.

    Raises:
        AitiaError: the ranking is by a method that has no damping.
    """
    find_damped_scorer(ranking.method)
    assert ranking.store is not None
    assert ranking.concept is not None
    influence = StoreInfluence.prepare(ranking.store, ranking.concept, queries, curvature, damping, **cutting)
    labels = None if label is None else label_values(ranking.store.load_records(), label, ranking.ids)
    return [asdict(result) for result in damping_sweep(influence, ranking.method, labels=labels)]
