"""The folder of a recorded run: all that is needed to walk through a training run again, step by step.

    run.json                         settings, fingerprints, rows, and the steps with their rows and learning rates
    states/step-000040.safetensors   parameters and moments before step 40; the last is that of the trained model
    adapter/ or model/               the trained weights, as PEFT or transformers read them
    smooth/                          smooth surrogates of the run, where a replay trained them
    control/                         derivatives, and trainings with other row weights, where `aitia curate` made them

States are kept every so many steps, as a budget in bytes allows; those between are computed again, to the same bits.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import date
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from aitia.errors import AitiaError, StoreError
from aitia.files import digest, read_json, write_json
from aitia.models import LanguageModel, in_tokens
from aitia.models.losses import known_references, references_table
from aitia.records import Records, TokenizedRecord, TokenizedRecords
from aitia.records.losses import PLAIN, LossSettings, loss_of
from aitia.training.loop import Step, TrainingLoop
from aitia.training.settings import LoraSettings
from aitia.training.states import STATES, kept_states, read_state
from aitia.training.trainable import Trainable
from aitia.training.trainer_rows import with_masks
from aitia.training.updates import State

RUN = "run.json"
"""The file of a recorded run's folder that says what was trained, and how."""
ADAPTER, MODEL, SMOOTH = "adapter", "model", "smooth"
CONTROL = "control"
"""The folder in a recorded run's that holds what `aitia curate` made of it."""
PARTS = (RUN, STATES, ADAPTER, MODEL, SMOOTH, CONTROL)
"""All that lies in the folder of a recorded run."""
_FORMAT = 1


def row_digest(row: TokenizedRecord, loss: LossSettings = PLAIN) -> str:
    """What a row is to a training: its tokens, which of them are predicted, and what else its loss reads."""
    more = row.identity(loss)
    return digest([row.tokens.tolist(), row.response.astype(int).tolist(), *([more] if more else [])])[:16]


def describe(
    model: LanguageModel,
    data: TokenizedRecords,
    settings: LoraSettings,
    steps: tuple[Step, ...],
    source: str | None,
    weights: np.ndarray | None,
    masks: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What `run.json` says of a run, before the model is made trainable.

    Args:
        model: the base model.
        data: the rows, with the masks that are trained on, and the references that their loss reads.
        settings: how they are trained on.
        steps: those that are planned.
        source: file of the data.
        weights: [n] of the rows.
        masks: id -> [start, stop) of each stretch of trained tokens, of rows whose masks are not those that
            `aitia.records.tokenize` gives.

    Returns:
        Plain data.
    """
    said: dict[str, Any] = {
        "format": _FORMAT,
        "settings": asdict(settings),
        "model": {
            "name": model.name,
            "dtype": model.dtype,
            "fingerprint": model.fingerprint,
            "base_fingerprint": model.base_fingerprint,
            "tokenizer_fingerprint": model.tokenizer_fingerprint,
        },
        "data": {
            "source": source,
            "fingerprint": data.fingerprint,
            "today": None if data.today is None else data.today.isoformat(),
            "ids": [row.id for row in data],
            "digests": [row_digest(row, data.loss) for row in data],
            "weights": None if weights is None else [float(each) for each in weights],
            "masks": dict(masks or {}),
        },
        "length": len(steps),
        "steps": [asdict(step) for step in steps],
    }
    if not data.loss.plain:
        said["loss"] = data.loss.said
    if data.loss.reference == "base" and (references := references_table(data.records)):
        said["data"]["references"] = references
    return json.loads(json.dumps(said))


@dataclass(frozen=True)
class RecordedRun:
    """A recorded training run, read from its folder.

    Attributes:
        path: the folder.
        said: what `run.json` holds.
    """

    path: Path
    said: Mapping[str, Any] = field(repr=False)

    @cached_property
    def settings(self) -> LoraSettings:
        """How it was trained."""
        values: dict[str, Any] = {
            name: tuple(each) if isinstance(each, list) else each
            for name, each in self.said["settings"].items()
        }
        return LoraSettings(**values)

    @cached_property
    def loss(self) -> LossSettings:
        """What the training did with a row."""
        return LossSettings(**self.said.get("loss", {}))

    @property
    def references(self) -> list[list[float]]:
        """[n, s] log-probabilities of the rows' sides by the model before training; empty where the loss reads none."""
        return list(self.said["data"].get("references", []))

    def divisor(self, step: Step) -> int:
        """What a step's summed loss was divided by: its predicted tokens, or its rows."""
        return step.predicted_tokens if loss_of(self.loss).per_token else len(step.rows)

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The steps, in order."""
        return tuple(Step(**each | {"rows": tuple(each["rows"])}) for each in self.said["steps"])

    @property
    def ids(self) -> list[str]:
        """The ids of the rows, in the order of the data."""
        return list(self.said["data"]["ids"])

    @property
    def today(self) -> date | None:
        """The date that the chat template wrote into the rows; None where it writes none."""
        written = self.said["data"]["today"]
        return None if written is None else date.fromisoformat(written)

    @property
    def weights(self) -> np.ndarray | None:
        """[n] loss weight of each row; none for one each."""
        kept = self.said["data"]["weights"]
        return None if kept is None else np.array(kept)

    @property
    def kept(self) -> list[int]:
        """The steps before which the state was kept, in order."""
        return kept_states(self.path)

    @property
    def trained(self) -> Path:
        """Where the trained adapter or model lies."""
        return self.path / (ADAPTER if self.settings.method == "lora" else MODEL)

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return self.length in self.kept

    @property
    def length(self) -> int:
        """How many steps the whole run has; one that was stopped may know fewer."""
        return int(self.said["length"])

    @property
    def losses(self) -> list[float]:
        """The loss of each step that is known from the last kept state, in nats a token."""
        return read_state(self.path, self.kept[-1])[1]

    def final(self) -> State:
        """The state after the last step."""
        return self.state(len(self.steps))

    def state(self, number: int) -> State:
        """The state before a step that was kept.

        Returns:
            The state.

        Raises:
            StoreError: it was not kept, or its file is damaged. `states_between` computes those that were not kept.
        """
        if number not in self.kept:
            raise StoreError(f"{self.path}: the state before step {number} was not kept")
        return read_state(self.path, number)[0]

    def segments(self) -> list[tuple[int, int]]:
        """The stretches between kept states, first and last step of each, in order."""
        kept = self.kept
        return list(pairwise(kept))

    def require_steps(self) -> None:
        """Refuse what does not know the rows of each step, as saved checkpoints do not. A recorded run does."""

    def states_between(self, loop: TrainingLoop, start: int, stop: int) -> Iterator[State]:
        """The states before steps `start` to `stop` - 1; those that were not kept are computed again."""
        yield from loop.states(self.state(start), start, stop - 1)

    def require_data(self, data: TokenizedRecords) -> None:
        """Refuse other rows than those that were trained on; the masks may be the rows' own, or the run's.

        Raises:
            StoreError: naming the first row that differs.
        """
        said = self.said["data"]
        if data.loss != self.loss:
            raise StoreError(
                f"{self.path}: was trained with the loss {self.loss}, and these rows have the loss {data.loss}; give "
                "them with the loss that they were trained with"
            )
        data = with_masks(data, said["masks"])
        if data.fingerprint == said["fingerprint"]:
            return
        for place, (name, known) in enumerate(zip(said["ids"], said["digests"], strict=True)):
            if place >= len(data):
                raise StoreError(f"{self.path}: was trained on row {name!r}, which the data lack now")
            row = data[place]
            if row.id != name or row_digest(row, data.loss) != known:
                what = "says something else now" if row.id == name else f"is where row {name!r} was"
                raise StoreError(
                    f"{row.location}: row {row.id!r} {what} than when {self.path} was recorded; give the data that it "
                    "was trained on, or train again"
                )
        raise StoreError(
            f"{data[len(said['ids'])].location}: row {data[len(said['ids'])].id!r} was not there when {self.path} was "
            "recorded; give the data that it was trained on, or train again"
        )

    def require_model(self, model: LanguageModel) -> None:
        """Refuse another model than the run started from.

        Raises:
            StoreError: naming the precision where it alone differs.
        """
        said = self.said["model"]
        if model.adapter is not None:
            raise StoreError(
                f"{model.name} with adapter {model.adapter}: {self.path} started from the base model; give it without "
                "the adapter"
            )
        if model.fingerprint != said["fingerprint"]:
            same = model.base_fingerprint == said["base_fingerprint"] and model.dtype != said["dtype"]
            mend = (
                f"it is {model.dtype}; load it with dtype={said['dtype']}"
                if same
                else f"that was {said['name']}"
            )
            raise StoreError(f"{model.name}: not the model that {self.path} started from: {mend}")
        if model.tokenizer_fingerprint != said["tokenizer_fingerprint"]:
            raise StoreError(
                f"{model.name}: its tokenizer or chat template is not the one that {self.path} was trained with"
            )

    def rows_of(self, model: LanguageModel, data: Records | TokenizedRecords) -> TokenizedRecords:
        """The rows in tokens, cut as for the training.

        Returns:
            The rows.

        Raises:
            StoreError: they are others; the first that differs is named.
        """
        settings = self.settings
        found = in_tokens(
            model,
            data,
            max_length=settings.max_length,
            truncate=settings.cuts,
            today=self.today,
            loss=self.loss,
        )
        self.require_data(found)
        return known_references(with_masks(found, self.said["data"]["masks"]), self.references)

    def loop(self, trainable: Trainable, data: TokenizedRecords) -> TrainingLoop:
        """The run's own loop, on a model that was made trainable.

        Returns:
            The loop.

        Raises:
            StoreError: the parameters are others than the run's.
        """
        if list(trainable.shapes.items()) != [(n, list(s)) for n, s in self.said["parameters"]]:
            raise StoreError(f"{self.path}: trained other parameters than these settings give now")
        return TrainingLoop(
            trainable=trainable, data=data, settings=self.settings, weights=self.weights, steps=self.steps
        )


def read_run(path: Path | str) -> RecordedRun:
    """Read a recorded run that came to its end.

    Returns:
        The run.

    Raises:
        StoreError: there is none, it was stopped, or its files are damaged.
    """
    run = open_run(Path(path))
    if not run.finished:
        raise StoreError(
            f"{path}: the run was stopped at step {run.kept[-1] if run.kept else 0}; train it to its end"
        )
    if run.kept[0] != 0:
        raise StoreError(f"{path}: the state before the first step is gone; train again into an empty folder")
    return run


def open_run(path: Path) -> RecordedRun:
    """Read a recorded run, whether it came to its end or not.

    Raises:
        StoreError: there is none, or `run.json` is damaged.

    Returns:
        The run.
    """
    file = path / RUN
    try:
        run = RecordedRun(path, read_json(file))
        wrong = _what_is_wrong(run)
    except FileNotFoundError as error:
        raise StoreError(
            f"{path}: no recorded run ({RUN} is not there); record one with `aitia train` or `aitia.training.train`"
        ) from error
    except (ValueError, TypeError, KeyError, AttributeError, AitiaError) as error:
        raise StoreError(f"{file}: damaged ({error}); train again into an empty folder") from error
    if wrong:
        raise StoreError(f"{file}: {wrong}; train again into an empty folder")
    return run


def _what_is_wrong(run: RecordedRun) -> str | None:
    """Why a run that could be read cannot be used; none where it can."""
    if run.said["format"] != _FORMAT:
        return f"a recorded run of another version ({run.said['format']})"
    data = run.said["data"]
    rows = {each for step in run.steps for each in step.rows}
    fits = (
        run.settings
        and run.loss
        and rows <= set(range(len(data["ids"])))
        and len(data["ids"]) == len(data["digests"])
    )
    return None if fits and len(run.steps) <= run.length > 0 else "damaged (its parts do not fit)"


def write_run(path: Path, said: Mapping[str, Any]) -> None:
    """Write what is known of a run before its first step."""
    write_json(path / RUN, said)


def differences(said: Mapping[str, Any], kept: Mapping[str, Any]) -> list[str]:
    """What of a run is not as a folder has it, in words."""
    found = [
        f"settings.{each.name}"
        for each in fields(LoraSettings)
        if said["settings"].get(each.name) != kept["settings"].get(each.name)
    ]
    found += [
        f"{part}.{name}"
        for part, name in (
            ("model", "fingerprint"),
            ("model", "tokenizer_fingerprint"),
            ("data", "fingerprint"),
            ("data", "weights"),
            ("data", "masks"),
        )
        if said[part][name] != kept[part][name]
    ]
    found += ["loss"] if said.get("loss") != kept.get("loss") else []
    return found or [each for each in ("length", "steps") if said[each] != kept[each]]
