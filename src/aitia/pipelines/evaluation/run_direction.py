"""The direction that the rankings of a run go through, intervened on in the run's own models."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from aitia.adapters import try_direction
from aitia.concepts import load_concept
from aitia.counterfactual import JudgedResponses
from aitia.errors import AitiaError
from aitia.explanations import Direction
from aitia.pipelines.retraining.counterfactual import load_part, make_behaviours
from aitia.pipelines.retraining.counterfactual_configuration import read_counterfactual_configuration
from aitia.pipelines.retraining.counterfactual_inputs import make_judge, read_inputs
from aitia.pipelines.retraining.counterfactual_rankings import kept_parts
from aitia.records import read_records

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
    inputs = read_inputs(configuration)
    if configuration.data.chosen is not None:
        inputs = inputs.with_data(read_records(folder / "train.jsonl"))
    load = partial(load_part, configuration.model)
    adapter, concept_file = kept_parts(folder, configuration, inputs, load(None).fingerprint)
    for path in (adapter, concept_file):
        if not path.exists():
            return Direction(reason=f"{path} is not there any more; run the same configuration again")
    concept = load_concept(concept_file)
    judge = None if configuration.judge is None else make_judge(configuration.judge, folder)
    made = {each.name: each for each in make_behaviours(configuration, inputs, concept, judge)}
    return try_direction(partial(load, adapter), partial(load, None), concept, made[behaviour])
