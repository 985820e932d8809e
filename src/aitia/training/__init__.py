"""Training that is recorded: settings, the optimizer's step and its derivative, the trainer, and the run's folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aitia.training.loop import Step, TrainingLoop, flatten
from aitia.training.recording import CONTROL, RUN, RecordedRun, open_run, read_run
from aitia.training.saved_checkpoints import SavedCheckpoints, holds_checkpoints, read_checkpoints
from aitia.training.settings import LoraSettings
from aitia.training.trainable import Trainable, as_language_model, make_trainable, temporarily_trainable
from aitia.training.trainer import STATE_GIGABYTES, finetune_lora, train, train_smooth, train_weighted
from aitia.training.updates import State, preconditioner, pull_back

if TYPE_CHECKING:
    from aitia.training.trainer_callback import RecordingCallback

__all__ = [
    "CONTROL",
    "RUN",
    "STATE_GIGABYTES",
    "LoraSettings",
    "RecordedRun",
    "RecordingCallback",
    "SavedCheckpoints",
    "State",
    "Step",
    "Trainable",
    "TrainingLoop",
    "as_language_model",
    "finetune_lora",
    "flatten",
    "holds_checkpoints",
    "make_trainable",
    "open_run",
    "preconditioner",
    "pull_back",
    "read_checkpoints",
    "read_run",
    "temporarily_trainable",
    "train",
    "train_smooth",
    "train_weighted",
]


def __getattr__(name: str) -> object:
    """Import what needs transformers where it is first used, so that training settings stay light."""
    if name != "RecordingCallback":
        raise AttributeError(f"module 'aitia.training' has no attribute {name!r}")
    from aitia.training.trainer_callback import RecordingCallback

    return RecordingCallback
