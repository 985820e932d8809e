"""Training that is recorded: settings, the optimizer's step and its derivative, the trainer, and the run's folder."""

from aitia.training.loop import Step, TrainingLoop, flatten
from aitia.training.recording import RUN, RecordedRun, open_run, read_run
from aitia.training.settings import LoraSettings
from aitia.training.trainable import Trainable, linear_maps, make_trainable, trainable, usual_modules
from aitia.training.trainer import STATE_GIGABYTES, finetune_lora, train, train_smooth
from aitia.training.updates import State, preconditioner, pull_back

__all__ = [
    "RUN",
    "STATE_GIGABYTES",
    "LoraSettings",
    "RecordedRun",
    "State",
    "Step",
    "Trainable",
    "TrainingLoop",
    "finetune_lora",
    "flatten",
    "linear_maps",
    "make_trainable",
    "open_run",
    "preconditioner",
    "pull_back",
    "read_run",
    "train",
    "train_smooth",
    "trainable",
    "usual_modules",
]
