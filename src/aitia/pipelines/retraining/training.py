"""`aitia train`: a recorded training run from one configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from aitia.errors import AitiaError
from aitia.models import load_model
from aitia.pipelines.attribution.configuration import ReadingPart, parse_configuration
from aitia.pipelines.parts import Part, whole
from aitia.pipelines.retraining.counterfactual_configuration import BaseModelPart
from aitia.records import ReadingSettings, Records, read_records
from aitia.training import STATE_GIGABYTES, LoraSettings, RecordedRun, read_run, train


class RowsPart(ReadingPart):
    """The training data."""

    path: Path = Field(
        description="JSONL, JSON, CSV, Parquet, or a saved datasets folder; or a pattern of files."
    )
    weight: str | None = Field(
        None, description="A column of numbers that the rows' losses are multiplied with; default: 1 each."
    )


class TrainConfiguration(Part):
    """Everything `aitia train` needs to know."""

    out: Path = Field(description="Folder of the recorded run.")
    model: BaseModelPart
    data: RowsPart
    training: Annotated[LoraSettings, whole] = LoraSettings()
    state_gigabytes: Annotated[
        float,
        Field(
            ge=0, description="What the kept states may take on disk; those that do not fit are recomputed."
        ),
    ] = STATE_GIGABYTES


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What `train_from` made.

    Attributes:
        run: the recorded run.
        summary: what is told of it.
    """

    run: RecordedRun
    summary: dict[str, Any]


def read_train_configuration(path: Path | str) -> TrainConfiguration:
    """Read and check a configuration file; paths in it become absolute.

    Returns:
        The configuration.

    Raises:
        AitiaError: the file is missing, is not YAML, or a field is wrong; each wrong field is named.
    """
    return parse_configuration(path, TrainConfiguration, "out, model and data")


def train_from(configuration: TrainConfiguration) -> TrainResult:
    """Train and record; a run that was stopped goes on, and one that is finished is read.

    Returns:
        The run and its summary.

    Raises:
        AitiaError: see `aitia.training.train`; a weight that is no number is named with its row.
    """
    data, part = (
        read_records(configuration.data.path, configuration.data.take(ReadingSettings)),
        configuration.model,
    )
    weights = None if configuration.data.weight is None else _weights(data, configuration.data.weight)
    model = load_model(part.name, device=part.device, dtype=part.dtype, download=part.download)
    tuned = train(
        model,
        data,
        configuration.training,
        configuration.out,
        weights=weights,
        state_gigabytes=configuration.state_gigabytes,
    )
    run = read_run(configuration.out)
    losses = run.losses
    summary = {
        "read": str(data.reading),
        "run": str(configuration.out),
        "trained": str(run.trained),
        "rows": len(run.ids),
        "steps": len(run.steps),
        "states": len(run.kept),
        "first_loss": losses[0],
        "last_loss": losses[-1],
        "fingerprint": tuned.fingerprint,
    }
    return TrainResult(run=run, summary=summary)


def _weights(data: Records, column: str) -> np.ndarray:
    """The column's numbers.

    Returns:
        [n].

    Raises:
        AitiaError: a row has none; it is named.
    """
    found = data.column(column)
    for place, value in enumerate(found):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise AitiaError(f"{data[place].location}: its {column!r} is {value!r}, not a number")
    return np.array(found, dtype=np.float64)
