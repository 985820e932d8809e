"""`aitia plan`: what the steps of a configuration would take, whichever job it is of."""

from __future__ import annotations

from pathlib import Path

from aitia.attribution.gradients import Machine, RunPlan
from aitia.errors import AitiaError
from aitia.pipelines.attribution.attribute import plan_attribute
from aitia.pipelines.attribution.configuration import read_configuration, read_mapping
from aitia.pipelines.retraining.counterfactual import plan_counterfactual
from aitia.pipelines.retraining.counterfactual_configuration import read_counterfactual_configuration


def plan_file(
    path: Path | str,
    *,
    choose: str | None = None,
    machine: Machine | None = None,
    workers: int = 0,
    rows: int = 0,
) -> RunPlan:
    """Plan the job of a configuration file. A configuration of `aitia counterfactual` is known by its `behaviours`.

    Args:
        path: the file.
        choose: one of `data.sets` of `aitia counterfactual`, in the place of `data.choose`.
        machine: of each worker; default: this one, by multiplying matrices for a moment.
        workers: how many; 0 for what the configuration says, or one.
        rows: plan for this many rows like those of the data, from the start; 0 for as many as there are.

    Returns:
        The plan.

    Raises:
        AitiaError: the file is missing, is not YAML, or a field is wrong; or what it names cannot be read.
    """
    if "behaviours" in read_mapping(path, "model, data, concept and out"):
        configuration = read_counterfactual_configuration(path, choose=choose)
        return plan_counterfactual(configuration, machine=machine, workers=workers, rows=rows)
    if choose is not None:
        raise AitiaError(
            f"{path}: a configuration of `aitia attribute` has no data.sets to choose {choose!r} from; leave it out"
        )
    return plan_attribute(read_configuration(path), machine=machine, workers=workers, rows=rows)
