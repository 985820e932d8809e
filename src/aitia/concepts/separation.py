"""Held-out separation: does a direction fitted on some texts tell the others apart?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from aitia.concepts.directions import DirectionMethod, contrast_weights
from aitia.errors import ConceptError
from aitia.statistics import effect_size

SATURATED_AUC = 0.99
"""Held-out AUC from which sites count as equal: it has no room left to tell them apart."""
NULLS = 64
"""Null directions at each site whose AUC saturates."""


def held_out_projections(
    positive: np.ndarray,
    negative: np.ndarray,
    groups: Sequence[str],
    method: DirectionMethod,
    *,
    folds: int = 5,
    seed: int = 0,
) -> np.ndarray:
    """Project each text on a direction that was fitted without it.

    Texts of one group (answers to the same prompt) are held out together. Projections of a fold are
    centred on the midpoint of its fit set's class means, so that folds can be pooled.

    Args:
        positive: [n, d] activations.
        negative: [m, d] activations.
        groups: n + m group names, positives first.
        method: fits a direction.
        folds: number of folds; fewer where there are fewer groups.
        seed: of the split.

    Returns:
        [n + m], positives first.

    Raises:
        ConceptError: fewer than two groups of texts on a side.
    """
    activations = np.concatenate([positive, negative])
    labels = np.repeat([True, False], [len(positive), len(negative)])
    projections = np.full(len(labels), np.nan)
    for fit, test in _splits(activations, labels, groups, folds, seed):
        first, second = activations[fit][labels[fit]], activations[fit][~labels[fit]]
        direction = method(first, second)
        midpoint = (first.mean(axis=0) + second.mean(axis=0)) / 2
        projections[test] = (activations[test] - midpoint) @ direction
    return projections


def null_effect_sizes(
    positive: np.ndarray,
    negative: np.ndarray,
    groups: Sequence[str],
    *,
    count: int = NULLS,
    folds: int = 5,
    seed: int = 0,
) -> np.ndarray:
    """Effect sizes on held-out texts of directions that mean nothing, matched to the covariance within the two sides.

    Each null direction is a contrast of random parts of the texts, every text taken less the mean of its side. So it
    has the covariance that texts of one side have, and knows no label. In each fold it is made of the other folds'
    texts, with the same weights throughout, and its effect size is taken on the held-out texts as that of the concept.

    Args:
        positive: [n, d] activations.
        negative: [m, d] activations.
        groups: n + m group names, positives first; as for `held_out_projections`.
        count: how many, c.
        folds: number of folds; fewer where there are fewer groups.
        seed: of the split and of the directions.

    Returns:
        [c] differences of the sides' means over their pooled standard deviation; of either sign.

    Raises:
        ConceptError: fewer than two groups of texts on a side.

    Source: ours.
    """
    activations = np.concatenate([positive, negative]).astype(np.float64)
    labels = np.repeat([True, False], [len(positive), len(negative)])
    weights = contrast_weights(len(labels), count=count, seed=seed)
    projections = np.full((count, len(labels)), np.nan)
    for fit, test in _splits(activations, labels, groups, folds, seed):
        means = [activations[fit][labels[fit] == side].mean(axis=0) for side in (True, False)]
        centred = activations[fit] - np.where(labels[fit][:, None], *means)
        directions = weights[:, fit] @ centred
        directions /= np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-12)
        projections[:, test] = directions @ (activations[test] - (means[0] + means[1]) / 2).T
    return np.array([effect_size(each, labels) for each in projections])


def choose_site(
    aucs: Mapping[str, float],
    effects: Mapping[str, float],
    nulls: Callable[[str], np.ndarray],
) -> tuple[str, dict[str, float]]:
    """The site where a concept separates best.

    It is the one with the highest held-out AUC, ties going to the larger effect size. Where two sites or more reach
    `SATURATED_AUC`, AUC no longer tells them apart; then it is the one among these whose effect size is the largest
    multiple of what null directions get at the same site, in root mean square. An effect size alone would favour sites
    where any direction along which texts vary separates the two sides.

    Args:
        aucs: site -> held-out AUC.
        effects: site -> effect size of the held-out projections.
        nulls: gives the effect sizes of null directions at a site, [c].

    Returns:
        The site, and site -> that multiple; empty where AUC chose.

    Source: ours.
    """
    equal = [site for site, auc in aucs.items() if auc >= SATURATED_AUC]
    if len(equal) < 2:
        return max(aucs, key=lambda site: (round(aucs[site], 6), effects[site])), {}
    multiples = {
        site: effects[site] / max(float(np.sqrt(np.mean(nulls(site) ** 2))), 1e-12) for site in equal
    }
    return max(equal, key=lambda site: multiples[site]), multiples


def _splits(
    activations: np.ndarray, labels: np.ndarray, groups: Sequence[str], folds: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Fit and held-out positions, with both sides in the first and groups kept together."""
    from sklearn.model_selection import StratifiedGroupKFold

    names = np.asarray(groups, dtype=object)
    smaller = min(len(set(names[labels])), len(set(names[~labels])))
    if smaller < 2:
        raise ConceptError(
            "a concept needs at least two different prompts (or texts) on each side to be held out against "
            f"each other; the smaller side has {smaller}"
        )
    splitter = StratifiedGroupKFold(n_splits=min(folds, smaller), shuffle=True, random_state=seed)
    for fit, test in splitter.split(activations, labels.astype(int), names):
        if len(set(labels[fit])) == 2:
            yield fit, test
