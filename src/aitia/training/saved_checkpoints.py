"""Saved checkpoints of a transformers `Trainer`, for the scores that need no more than these.

    checkpoint-40/optimizer.pt            moments and groups of the optimizer
    checkpoint-40/trainer_state.json      steps of the run, and logged learning rates
    checkpoint-40/adapter_model.safetensors, or model*.safetensors

Which rows a step was made of is not in them, so they cannot be replayed. Sums of gradient products take each row at its
mean over an epoch: a step weighs every row by its learning rate over the predicted tokens of all the data.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aitia.errors import AitiaError, StoreError
from aitia.files import read_json
from aitia.models import LanguageModel, in_tokens
from aitia.models.losses import with_references
from aitia.records import Records, TokenizedRecords
from aitia.records.losses import PLAIN
from aitia.training.loop import Step
from aitia.training.recording import RUN, RecordedRun, describe
from aitia.training.settings import LoraSettings
from aitia.training.trainable import Trainable, temporarily_trainable
from aitia.training.trainer_checks import adapter_settings, group_settings
from aitia.training.updates import State

if TYPE_CHECKING:
    import torch

_FOLDER = re.compile(r"^checkpoint-(\d+)$")
_MOMENTS = {"adamw": ("exp_avg", "exp_avg_sq"), "sgd": ("momentum_buffer",)}
_PREFIX = "base_model.model."


@dataclass(frozen=True)
class SavedCheckpoints(RecordedRun):
    """A run of a `Trainer` of which only saved checkpoints are known; read by `read_checkpoints`.

    `checkpoint_influence` takes it as it takes a recorded run; replay refuses it. What a checkpoint does not hold is at
    its default in `settings`: clipping, accumulation, the schedule.
    """

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The steps as an epoch has them in the mean: all rows, over all predicted tokens, at the step's rate."""
        data = self.said["data"]
        rows = tuple(range(len(data["ids"])))
        return tuple(
            Step(rows=rows, learning_rate=rate, predicted_tokens=data["predicted_tokens"])
            for rate in self.said["rates"]
        )

    @property
    def kept(self) -> list[int]:
        """The steps before which a checkpoint was saved, in order."""
        return list(_folders(self.path))

    def state(self, number: int) -> State:
        """The state at a checkpoint.

        Returns:
            The state.

        Raises:
            StoreError: there is none, or its files are damaged or not those of the run.
        """
        if number not in self.kept:
            raise StoreError(f"{self.path}: no checkpoint-{number}")
        shapes = {name: tuple(shape) for name, shape in self.said["parameters"]}
        folder = _folders(self.path)[number]
        return _read_state(folder, shapes, self.said["order"], self.settings.optimizer)

    def require_steps(self) -> None:
        """Refuse to be replayed.

        Raises:
            StoreError: always.
        """
        raise StoreError(
            f"{self.path}: saved checkpoints do not say which rows each step was made of; record the run with "
            "RecordingCallback to replay it, or take checkpoint-influence"
        )

    def require_model(self, model: LanguageModel) -> None:
        """Refuse another model than the checkpoints were read for."""
        if model.adapter is not None or model.base_fingerprint != self.said["model"]["base_fingerprint"]:
            raise StoreError(f"{model.name}: not the model that {self.path} was read for")


def holds_checkpoints(folder: Path | str) -> bool:
    """Whether a folder is a trainer's `output_dir` with saved checkpoints, and no recorded run."""
    path = Path(folder)
    return not (path / RUN).is_file() and bool(_folders(path))


def read_checkpoints(
    folder: Path | str, model: LanguageModel, data: Records | TokenizedRecords, *, max_length: int = 0
) -> SavedCheckpoints:
    """Read the checkpoints that a `Trainer` saved: parameters, moments and learning rates.

    Checkpoints do not say what the trainer's loss was: rows in tokens have theirs (`aitia.models.in_tokens`), others
    are taken for rows of supervised fine-tuning. The reference of a loss that reads one is the base model.

    The rate of a step is the logged one (`logging_steps`), or lies on the line between those that are known.

    Args:
        folder: the trainer's `output_dir`, with its `checkpoint-*` folders.
        model: the base model that the training started from; given back as it was. Checkpoints do not say what it was,
            so that only names and shapes can be held against it.
        data: the rows that were trained on.
        max_length: the length at which the trainer cut rows; 0 for the model's context.

    Returns:
        The checkpoints.

    Raises:
        StoreError: there are no checkpoints, or files of one are missing, damaged or of another model.
        AitiaError: an optimizer or adapter that is not understood.
    """
    path = Path(folder)
    found = _folders(path)
    if not found:
        raise StoreError(f"{path}: no checkpoint-* folder; give the output_dir of the trainer")
    last = max(found)
    saved = _load_optimizer(found[last])
    logged = _logged(found[last])
    adapted = (found[last] / "adapter_config.json").is_file()
    what: dict[str, Any] = _adapter_of(found[last], model) if adapted else {"method": "full"}
    settings = LoraSettings(
        **what,
        epochs=max(math.ceil(logged["num_train_epochs"]), 1),
        per_device_train_batch_size=logged.get("train_batch_size") or 1,
        max_length=max_length,
    )
    with temporarily_trainable(model, settings) as tuned:
        shapes = tuned.shapes
        groups = [each for each in saved["param_groups"] if each["params"]]
        held = _names_of(tuned, groups, found[last])
        peak = max([*_rates(logged).values(), *(float(each["lr"]) for each in groups)])
    settings = replace(settings, **group_settings(groups, held, peak))
    loss = data.loss if isinstance(data, TokenizedRecords) else PLAIN
    rows = in_tokens(model, data, max_length=settings.max_length, truncate=settings.cuts, loss=loss)
    rows = replace(rows, records=with_references(model, rows.records, loss, untrained=True))
    source = getattr(data, "source", None)
    said = describe(model, rows, settings, (), str(source) if source else None, None)
    said["data"]["predicted_tokens"] = sum(int(side.response[1:].sum()) for row in rows for side in row.sides)
    said |= {
        "length": int(logged["max_steps"]),
        "parameters": [[name, shape] for name, shape in shapes.items()],
        "order": [name for names in held for name in names],
        "rates": _all_rates(found, int(logged["max_steps"])),
    }
    return SavedCheckpoints(path, said)


def _folders(path: Path) -> dict[int, Path]:
    pairs = ((_FOLDER.match(each.name), each) for each in path.glob("checkpoint-*") if each.is_dir())
    return dict(sorted((int(match[1]), each) for match, each in pairs if match))


def _logged(folder: Path) -> Any:
    file = folder / "trainer_state.json"
    try:
        found = read_json(file)
        assert int(found["max_steps"]) > 0
        assert found["num_train_epochs"] > 0
        assert isinstance(found["log_history"], list)
    except FileNotFoundError as error:
        raise StoreError(f"{file}: it is gone; give whole checkpoints of the trainer") from error
    except (ValueError, TypeError, LookupError, AssertionError) as error:
        raise StoreError(f"{file}: damaged ({error or 'its parts do not fit'})") from error
    return found


def _load_optimizer(folder: Path) -> dict[str, Any]:
    import torch

    file = folder / "optimizer.pt"
    if not file.is_file():
        raise StoreError(f"{file}: it is not there; save checkpoints with save_only_model=False")
    try:
        saved = torch.load(file, weights_only=True, map_location="cpu")
        assert saved["param_groups"]
        assert isinstance(saved["state"], dict)
    except Exception as error:
        raise StoreError(f"{file}: damaged, or not the optimizer of a Trainer ({error})") from error
    return saved


def _adapter_of(folder: Path, model: LanguageModel) -> dict[str, Any]:
    from peft import PeftConfig

    try:
        config = PeftConfig.from_pretrained(str(folder))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StoreError(f"{folder / 'adapter_config.json'}: damaged ({error})") from error
    names = [name.removeprefix(_PREFIX) for name in _weights(folder, adapted=True)]
    return adapter_settings(config, names, [name for name, _ in model.network.named_modules()])


def _names_of(tuned: Trainable, groups: Sequence[Mapping[str, Any]], folder: Path) -> list[list[str]]:
    """The names of each group's parameters: a `Trainer` has those with weight decay first, in the model's order."""
    from transformers import Trainer

    names = list(tuned.parameters)
    decayed = set(Trainer.get_decay_parameter_names(None, tuned.model.network))  # type: ignore[arg-type]
    if len(groups) > 1:
        names = [name for name in names if name in decayed] + [name for name in names if name not in decayed]
    sizes = [len(each["params"]) for each in groups]
    if (
        sum(sizes) != len(names)
        or (len(groups) > 1 and sizes[0] != len(decayed & set(names)))
        or len(groups) > 2
    ):
        raise StoreError(
            f"{folder / 'optimizer.pt'}: groups of {sizes} parameters, where the model trains {len(names)}; only the "
            "groups that a Trainer makes are known"
        )
    ends = np.cumsum([0, *sizes])
    return [names[start:stop] for start, stop in pairwise(ends)]


def _rates(logged: Mapping[str, Any]) -> dict[int, float]:
    """Step, from 0 -> its rate, of those that were logged."""
    return {
        int(each["step"]) - 1: float(each["learning_rate"])
        for each in logged["log_history"]
        if "learning_rate" in each
    }


def _all_rates(folders: Mapping[int, Path], steps: int) -> list[float]:
    known = _rates(_logged(folders[max(folders)]))
    for step, folder in folders.items():
        rates = [float(each["lr"]) for each in _load_optimizer(folder)["param_groups"]]
        known.setdefault(step, rates[0])  # that of the step to come
    places = sorted(known)
    return np.interp(np.arange(steps), places, [known[each] for each in places]).tolist()


def _weights(folder: Path, *, adapted: bool) -> dict[str, torch.Tensor]:
    """Name -> saved weight."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    pattern = "adapter_model.safetensors" if adapted else "model*.safetensors"
    files = sorted(folder.glob(pattern))
    if not files:
        raise StoreError(f"{folder}: no {pattern}; save checkpoints in safetensors")
    try:
        return {name: value for file in files for name, value in load_file(file).items()}
    except (SafetensorError, OSError, ValueError) as error:
        raise StoreError(f"{folder / pattern}: damaged ({error})") from error


def _read_state(
    folder: Path, shapes: Mapping[str, tuple[int, ...]], order: Sequence[str], optimizer: str
) -> State:
    import torch

    adapted = (folder / "adapter_config.json").is_file()
    weights, saved = _weights(folder, adapted=adapted), _load_optimizer(folder)
    places = {name: place for place, name in enumerate(order)}
    parts: dict[str, list[torch.Tensor]] = {"parameters": [], "first": [], "second": []}
    for name, shape in shapes.items():
        weight = weights.get(name.replace(".default.", ".") if adapted else name)
        moments = saved["state"].get(places[name], {})
        found = [weight, *(moments.get(key) for key in _MOMENTS[optimizer])]
        if weight is None or any(each is not None and tuple(each.shape) != shape for each in found):
            raise StoreError(
                f"{folder}: has no {name} of shape {shape}, with its moments; it is another model's"
            )
        if optimizer == "adamw" and any(each is None for each in found):
            kinds = ", ".join(sorted(map(str, moments))) or "nothing"
            raise AitiaError(
                f"{folder / 'optimizer.pt'}: keeps {kinds} of {name}; the moments of AdamW (exp_avg, exp_avg_sq) and "
                "of SGD (momentum_buffer) are understood"
            )
        for part, each in zip(parts.values(), found, strict=False):
            part.append((torch.zeros(shape) if each is None else each).to(weight.dtype).flatten())
    return State(
        parameters=torch.cat(parts["parameters"]),
        first=torch.cat(parts["first"]),
        second=torch.cat(parts["second"]) if parts["second"] else torch.zeros(0),
    )
