"""Load a model, train an adapter, load the model with it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from aitia.attribution.gradients import Cost
from aitia.models import LanguageModel
from aitia.pipelines.steps.records import ReadRecords
from aitia.pipelines.steps.step import Place, Results, Step
from aitia.pipelines.steps.workload import Workload, training_cost
from aitia.records.losses import PLAIN, LossSettings
from aitia.training import RUN, LoraSettings, finetune_lora, open_run, train

Load = Callable[[Path | None], LanguageModel]
"""Loads the base model, with the adapter in a folder if one is given. Picklable, for other processes."""


@dataclass(kw_only=True, eq=False, repr=False)
class ModelStep(Step[LanguageModel]):
    """A model in memory."""

    @abstractmethod
    def at_hand(self) -> bool:
        """Whether it can be loaded now, without training anything."""

    @abstractmethod
    def load_now(self) -> LanguageModel:
        """Load it."""

    @cached_property
    def loaded(self) -> LanguageModel:
        """The model, loaded when it is first asked for."""
        return self.load_now()

    @cached_property
    def fingerprint(self) -> str:
        """Fingerprint of the model's weights, the adapter's among them."""
        return self.loaded.fingerprint

    def run(self, results: Results) -> LanguageModel:  # noqa: ARG002
        """See `Step.run`."""
        return self.loaded


@dataclass(kw_only=True, eq=False, repr=False)
class LoadModel(ModelStep):
    """The model that a job is about, loaded once.

    Attributes:
        load: loads it.
    """

    name: str = "model"
    load: Callable[[], LanguageModel]

    def at_hand(self) -> bool:
        """See `ModelStep.at_hand`."""
        return True

    def load_now(self) -> LanguageModel:
        """See `ModelStep.load_now`."""
        return self.load()

    def depends(self) -> object:
        """See `Step.depends`."""
        return [self.fingerprint, self.loaded.tokenizer_fingerprint]


@dataclass(kw_only=True, eq=False, repr=False)
class BaseModel(Step[Load]):
    """The model that every training starts from: how to load a fresh one, because training changes the one it gets.

    Attributes:
        load: loads it.
    """

    name: str = "base"
    load: Load

    @cached_property
    def fingerprints(self) -> tuple[str, str]:
        """Fingerprints of its weights and of its tokenizer; the weights are let go again."""
        model = self.load(None)
        return model.fingerprint, model.tokenizer_fingerprint

    @property
    def fingerprint(self) -> str:
        """Fingerprint of its weights."""
        return self.fingerprints[0]

    def depends(self) -> object:
        """See `Step.depends`."""
        return self.fingerprints

    def run(self, results: Results) -> Load:  # noqa: ARG002
        """See `Step.run`."""
        return self.load


def training_identity(settings: LoraSettings, loss: LossSettings) -> object:
    """What a training depends on beside its rows, for naming results; the plain loss is left out, as it was before."""
    return settings.identity() if loss.plain else [settings.identity(), loss.said]


@dataclass(kw_only=True, eq=False, repr=False)
class Training(Step[Path]):
    """A training on all rows of the data, whose result is a folder.

    Attributes:
        base: the model that it starts from.
        data: what it is trained on.
        settings: how.
        loss: what training does with a row.
        out: the folder.
    """

    base: BaseModel
    data: ReadRecords
    settings: LoraSettings
    loss: LossSettings = PLAIN
    out: Place

    def depends(self) -> object:
        """See `Step.depends`."""
        return training_identity(self.settings, self.loss)

    def read(self) -> Path:
        """See `Step.read`. What is wrong with the folder is found when it is used."""
        return self.out.path()

    def cost(self, work: Workload) -> tuple[Cost, ...]:
        """See `Step.cost`."""
        return (training_cost(work, self.name, self.settings),)


@dataclass(kw_only=True, eq=False, repr=False)
class TrainAdapter(Training):
    """A low-rank adapter, in PEFT's format."""

    name: str = "adapter"

    def done(self) -> bool:
        """See `Step.done`."""
        return self.out.may_be_there() and (self.out.path() / "adapter_config.json").is_file()

    def run(self, results: Results) -> Path:
        """See `Step.run`."""
        finetune_lora(
            results[self.base](None), results[self.data], self.settings, self.out.path(), loss=self.loss
        )
        return self.out.path()


@dataclass(kw_only=True, eq=False, repr=False)
class RecordRun(Training):
    """The same training, recorded, for the scorers that go through it."""

    name: str = "run"

    def done(self) -> bool:
        """See `Step.done`."""
        folder = self.out.path() if self.out.may_be_there() else None
        return folder is not None and (folder / RUN).is_file() and open_run(folder).finished

    def run(self, results: Results) -> Path:
        """See `Step.run`. A run that was stopped goes on."""
        train(results[self.base](None), results[self.data], self.settings, self.out.path(), loss=self.loss)
        return self.out.path()


@dataclass(kw_only=True, eq=False, repr=False)
class LoadTuned(ModelStep):
    """The base model with the adapter that was trained, or without one.

    Attributes:
        base: the base model.
        adapter: none to take the base as it is.
    """

    name: str = "model"
    base: BaseModel
    adapter: TrainAdapter | None

    def at_hand(self) -> bool:
        """See `ModelStep.at_hand`."""
        return self.adapter is None or self.adapter.done()

    def load_now(self) -> LanguageModel:
        """See `ModelStep.load_now`."""
        return self.base.load(None if self.adapter is None else self.adapter.out.path())

    def depends(self) -> object:
        """See `Step.depends`."""
        return []

    def run(self, results: Results) -> LanguageModel:  # noqa: ARG002
        """See `Step.run`. The model is not kept here: trainings that come later need the memory."""
        found, _ = self.loaded, self.fingerprint
        del self.loaded
        return found
