"""Held-out separation: does a direction fitted on some texts tell the others apart?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aitia.concepts.directions import DirectionMethod
from aitia.errors import ConceptError


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
    from sklearn.model_selection import StratifiedGroupKFold

    activations = np.concatenate([positive, negative])
    labels = np.repeat([1, 0], [len(positive), len(negative)])
    names = np.asarray(groups, dtype=object)
    smaller = min(len(set(names[labels == 1])), len(set(names[labels == 0])))
    if smaller < 2:
        raise ConceptError(
            "a concept needs at least two different prompts (or texts) on each side to be held out against "
            f"each other; the smaller side has {smaller}"
        )
    splitter = StratifiedGroupKFold(n_splits=min(folds, smaller), shuffle=True, random_state=seed)
    projections = np.full(len(labels), np.nan)
    for fit, test in splitter.split(activations, labels, names):
        if len(set(labels[fit])) < 2:
            continue
        first, second = activations[fit][labels[fit] == 1], activations[fit][labels[fit] == 0]
        direction = method(first, second)
        midpoint = (first.mean(axis=0) + second.mean(axis=0)) / 2
        projections[test] = (activations[test] - midpoint) @ direction
    return projections
