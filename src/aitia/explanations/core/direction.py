"""A direction that a behaviour is said to go through, and what became of the behaviour when it was intervened on.

The direction is projected out of the activations at its site (ablation, as Arditi et al. 2024, arXiv 2406.11717, do for
refusal), in the trained model and in the one before. What of the training's effect is then gone went through it. The
model is also steered: a step along the direction is added, and taken away. Directions that mean nothing, of the same
length, are the controls. The formula is ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, kw_only=True, eq=False)
class DirectionEffects:
    """A behaviour after interventions on one direction, one number a held-out text.

    Attributes:
        removed: [n] of the trained model, with the direction projected out.
        removed_before: [n] likewise, of the model before training.
        raised: [n] of the trained model, with a step along the direction added.
        lowered: [n] with it taken away.
    """

    removed: np.ndarray
    removed_before: np.ndarray
    raised: np.ndarray
    lowered: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class DirectionTrial:
    """What intervening on a direction did, beside null directions.

    Attributes:
        behaviour: what was measured.
        trained: [n] of the trained model as it is.
        before: [n] of the model before training as it is.
        step: length of what was added, in the activations' own units.
        own: of the direction.
        controls: kind of control, as "random directions" -> what each of them did.
    """

    behaviour: str
    trained: np.ndarray
    before: np.ndarray
    step: float
    own: DirectionEffects
    controls: Mapping[str, Sequence[DirectionEffects]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class Direction:
    """The direction that an explanation says a behaviour goes through.

    Attributes:
        name: of the concept, for people.
        site: where it lives.
        trial: what intervening on it did; none where nobody did.
        reason: why nobody did.
    """

    name: str = ""
    site: str = ""
    trial: DirectionTrial | None = None
    reason: str = "the model is not at hand"


def added(trial: DirectionTrial, counts: np.ndarray | None = None) -> np.ndarray:
    """What training added to the behaviour: the mean over texts, or [r] over texts drawn so often: counts [r, n]."""
    return _mean(trial.trained - trial.before, counts)


def share_gone(
    trial: DirectionTrial, effects: DirectionEffects, counts: np.ndarray | None = None
) -> np.ndarray:
    """Share of what training added that is gone when nothing can pass along the direction, in either model.

    1 - mean(removed - removed_before) / mean(trained - before).

    Returns:
        An array over the resamples [...], or a single number; NaN where training added nothing.
    """
    left = _mean(effects.removed - effects.removed_before, counts)
    with np.errstate(divide="ignore", invalid="ignore"):
        return 1 - left / added(trial, counts)


def steered(trial: DirectionTrial, effects: DirectionEffects, counts: np.ndarray | None = None) -> np.ndarray:
    """Half the difference between a step along the direction and one against it, in units of what training added."""
    half = _mean(effects.raised - effects.lowered, counts) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        return half / added(trial, counts)


def _mean(items: np.ndarray, counts: np.ndarray | None) -> np.ndarray:
    return np.asarray(items.mean()) if counts is None else counts @ items / counts.sum(axis=1)
