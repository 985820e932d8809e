"""Does a behaviour go through a direction? Ablate it, steer along it, and measure, on held-out texts.

Beside it stand null directions: random ones, and those that were fitted to shuffled labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from aitia.concepts import Concept, random_directions, require_concept_fits
from aitia.counterfactual import Behaviour, ConceptProjection
from aitia.engine import progress_bar
from aitia.errors import AitiaError
from aitia.explanations import Direction, DirectionEffects, DirectionTrial
from aitia.models import Edit, LanguageModel, edited, moved_by, projected_out

if TYPE_CHECKING:
    import torch

Measure = Callable[[Edit | None], np.ndarray]
"""A behaviour [n] of one model, with the activations at a site edited."""


def try_direction(
    load_trained: Callable[[], LanguageModel],
    load_before: Callable[[], LanguageModel],
    concept: Concept,
    behaviour: Behaviour,
    *,
    multiple: float = 1.0,
    controls: int = 8,
    seed: int = 0,
) -> Direction:
    """Ablate and steer along a concept's direction and measure a behaviour, for `Explanation.direction`.

    Args:
        load_trained: gives the model that shows the behaviour.
        load_before: gives it as it was before training; the first is given up before it is called.
        concept: direction and site.
        behaviour: measured each time.
        multiple: length of a step, in typical projections of a token on the direction.
        controls: random directions, beside the concept's shuffled ones.
        seed: of their draw.

    Returns:
        The direction with its trial; without one where the behaviour is the direction's own projection.

    Raises:
        ConceptError: the concept belongs to another model.
    """
    if isinstance(behaviour, ConceptProjection) and behaviour.concept.fingerprint == concept.fingerprint:
        reason = (
            f"the {behaviour.name} is the projection on this very direction, and goes with it whatever the model "
            "does; ask about another behaviour"
        )
        return Direction(name=concept.name, site=concept.site, reason=reason)

    def measuring(load: Callable[[], LanguageModel]) -> Measure:
        model = load()
        require_concept_fits(concept, model)

        def measure(edit: Edit | None) -> np.ndarray:
            with edited(model, concept.site, edit or _as_it_is):
                return np.asarray(behaviour.values(model), dtype=float)

        return measure

    assert concept.shuffled is not None
    trial = direction_trial(
        lambda: measuring(load_trained),
        lambda: measuring(load_before),
        concept.direction,
        {
            "random directions": random_directions(concept.width, count=controls, seed=seed),
            "shuffled labels": concept.shuffled,
        },
        behaviour=behaviour.name,
        multiple=multiple,
    )
    return Direction(name=concept.name, site=concept.site, trial=trial)


def direction_trial(
    trained: Callable[[], Measure],
    before: Callable[[], Measure],
    direction: np.ndarray,
    controls: Mapping[str, np.ndarray],
    *,
    behaviour: str,
    multiple: float = 1.0,
) -> DirectionTrial:
    """The interventions themselves, on anything that can be measured with its activations edited.

    Args:
        trained: gives the measure of the trained model.
        before: of the model before training; called when all is done with the first.
        direction: [k, d]; all of its span is ablated, and steps go along its sum.
        controls: kind -> [c, k, d] null directions.
        behaviour: its name.
        multiple: length of a step, for every direction alike, in typical projections on `direction`.

    Raises:
        AitiaError: activations have no projection on the direction.
    """
    directions = [direction, *(each for kind in controls.values() for each in kind)]
    measure = trained()
    plain, size = _with_projection(measure, _unit(direction))
    if not size > 0:
        raise AitiaError(
            "no token's activations have a projection on the direction: there is nothing to ablate"
        )
    step = multiple * size
    moved, removed_before = [], []
    with progress_bar("Intervening", 4 * len(directions), unit="interventions") as advance:
        for each in directions:
            edits = (projected_out(each), *(moved_by(end * step * _unit(each)) for end in (1, -1)))
            for edit in edits:
                moved.append(measure(edit))
                advance(1)
        del measure  # two models at once may be one too many for the memory
        measure = before()
        plain_before = measure(None)
        for each in directions:
            removed_before.append(measure(projected_out(each)))
            advance(1)
    effects = iter(
        DirectionEffects(removed=removed, removed_before=untrained, raised=raised, lowered=lowered)
        for removed, raised, lowered, untrained in zip(
            moved[0::3], moved[1::3], moved[2::3], removed_before, strict=True
        )
    )
    return DirectionTrial(
        behaviour=behaviour,
        trained=plain,
        before=plain_before,
        step=step,
        own=next(effects),
        controls={kind: [next(effects) for _ in each] for kind, each in controls.items()},
    )


def _with_projection(measure: Measure, unit: np.ndarray) -> tuple[np.ndarray, float]:
    """The behaviour as it is, and the median size of a token's projection; a mean would be that of a few tokens."""
    import torch

    seen: list[np.ndarray] = []
    vector = torch.tensor(unit, dtype=torch.float32)

    def watch(hidden: torch.Tensor) -> torch.Tensor:
        seen.append((hidden.detach().float() @ vector.to(hidden.device)).abs().flatten().cpu().numpy())
        return hidden

    return measure(watch), float(np.median(np.concatenate(seen)))


def _as_it_is(hidden: torch.Tensor) -> torch.Tensor:
    return hidden


def _unit(direction: np.ndarray) -> np.ndarray:
    """[d] the sum of directions [k, d], of unit length."""
    total = np.atleast_2d(np.asarray(direction, dtype=float)).sum(axis=0)
    return total / np.linalg.norm(total)
