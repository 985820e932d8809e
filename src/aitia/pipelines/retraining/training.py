"""`aitia train`: a recorded training run from one configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from aitia.models import load_model
from aitia.pipelines.attribution.configuration import LossPart, ReadingPart, parse_configuration
from aitia.pipelines.parts import Part, whole
from aitia.pipelines.retraining.counterfactual_configuration import BaseModelPart
from aitia.records import ReadingSettings, read_records
from aitia.records.losses import LossSettings
from aitia.training import STATE_GIGABYTES, LoraSettings, RecordedRun, read_run, train


class RowsPart(ReadingPart, LossPart):
    """The training data, and what training does with a row."""

    path: Path = Field(
        description="JSONL, JSON, CSV, Parquet, or a saved datasets folder; or a pattern of files."
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
        AitiaError: see `aitia.training.train`; a row that does not fit its loss is named.
    """
    data, part = (
        read_records(configuration.data.path, configuration.data.take(ReadingSettings)),
        configuration.model,
    )
    loss = configuration.data.take(LossSettings)
    model = load_model(part.name, device=part.device, dtype=part.dtype, download=part.download)
    tuned = train(
        model,
        data,
        configuration.training,
        configuration.out,
        loss=loss,
        state_gigabytes=configuration.state_gigabytes,
    )
    run = read_run(configuration.out)
    losses = run.losses
    summary = {
        "read": str(data.reading.under(loss.columns)),
        "loss": str(loss),
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
