"""The direction that the rankings of a run go through, intervened on in the run's own models."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from aitia.adapters import try_direction
from aitia.counterfactual import JudgedResponses
from aitia.errors import AitiaError
from aitia.explanations import Direction
from aitia.pipelines.retraining.counterfactual import counterfactual_steps, load_part
from aitia.pipelines.retraining.counterfactual_configuration import read_counterfactual_configuration
from aitia.pipelines.retraining.counterfactual_inputs import read_inputs
from aitia.pipelines.retraining.retraining_steps import MakeBehaviours
from aitia.pipelines.steps.concept import MakeConcept
from aitia.pipelines.steps.models import TrainAdapter
from aitia.pipelines.steps.step import find_step

CONFIGURATION = "configuration.yaml"


def run_direction(folder: Path, behaviour: str) -> Direction:
    """Ablate the run's concept and steer along it, in the model trained on all rows, and measure a behaviour.

    Args:
        folder: of the run, which names its model in `configuration.yaml` and keeps adapter and concept in `parts`.
        behaviour: which of those that the run measured.

    Returns:
        The direction; where its models or texts are not at hand any more, the reason in the place of a trial.
    """
    if not (folder / CONFIGURATION).is_file():
        return Direction(reason=f"the folder has no {CONFIGURATION}, which names the model")
    try:
        return _tried(folder, behaviour)
    except (AitiaError, OSError) as error:
        return Direction(reason=f"the run's model and texts are not at hand: {error}")


def _tried(folder: Path, behaviour: str) -> Direction:
    configuration = read_counterfactual_configuration(folder / CONFIGURATION)
    if behaviour != JudgedResponses.name:  # no judge need be made
        behaviours = configuration.behaviours.model_copy(update={"judged": None})
        configuration = configuration.model_copy(update={"judge": None, "behaviours": behaviours})
    elif configuration.judge is not None and configuration.judge.endpoint is not None:
        return Direction(reason="an endpoint judges the behaviour, and would have to be asked and paid again")
    steps = counterfactual_steps(configuration, read_inputs(configuration), folder=folder)
    adapter, concept = find_step(steps, TrainAdapter), find_step(steps, MakeConcept)
    for kept in (adapter, concept):
        if not kept.done():
            return Direction(
                reason=f"{kept.out.path()} is not there any more; run the same configuration again"
            )
    measured = find_step(steps, MakeBehaviours).kept() or []
    made = {each.name: each for each in measured}
    load = partial(load_part, configuration.model)
    return try_direction(partial(load, adapter.read()), partial(load, None), concept.read(), made[behaviour])
