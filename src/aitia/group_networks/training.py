"""Training many networks at once, with the recipe of Wu et al. 2025 (as read in their code).

Full-batch Adam with coupled L2 (the penalty's gradient goes through Adam, unlike AdamW), the bias left out
of it. Networks of different seeds share each step's kernels and nothing else. A run that was stopped goes
on from its last checkpoint and ends with the same bits.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np

from aitia.engine import progress_bar
from aitia.errors import NetworkError, is_out_of_memory, reason_of
from aitia.files import atomic_path, digest, reading, write_json
from aitia.finite_groups import Group
from aitia.group_networks.architecture import evaluate, fold, gradients, initial_parameters
from aitia.group_networks.network import NETWORK_SUFFIX, GroupNetwork, load_network
from aitia.settings import Above, AtLeast, AtMost, Below, Count, check

if TYPE_CHECKING:
    import torch

    from aitia.group_networks.architecture import Parameters

if TYPE_CHECKING:
    import torch

    from aitia.group_networks.architecture import Parameters

CURVE_SUFFIX = ".curve.json"
"""Ending of the name of the file that holds a training's curve."""
# Rows times networks of one block: enough to keep small groups busy, few enough to be done soon.
_BLOCK_ROWS = 24_000


_LARGEST = 1e30  # what float32 holds, and its square does not: a run with it is stopped as one that diverges


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """The recipe. The defaults are those of the 100 S5 networks in Wu et al. 2025 (steps: our reading).

    Attributes:
        steps: full-batch steps of Adam.
        learning_rate: learning rate of Adam.
        weight_decay: weight of the coupled L2 penalty; the bias is left out.
        betas: decay rates of Adam's two moments.
        train_fraction: share of the n^2 inputs that is trained on, drawn for each seed.
        embedding: size of the embedding tables.
        width: number of neurons.
        evaluate_every: steps between two points of the learning curve.
        checkpoint_every: steps between two checkpoints.
    """

    steps: Count = 2_000
    learning_rate: Annotated[float, Above(0), AtMost(_LARGEST)] = 0.01
    weight_decay: Annotated[float, AtLeast(0), AtMost(_LARGEST)] = 2e-4
    betas: Annotated[tuple[float, float], AtLeast(0), Below(1)] = (0.9, 0.98)
    train_fraction: Annotated[float, Above(0), AtMost(1)] = 0.4
    embedding: Count = 128
    width: Count = 128
    evaluate_every: Count = 50
    checkpoint_every: Count = 500

    def __post_init__(self) -> None:
        check(self, error=NetworkError)


def train_networks(
    group: Group, seeds: Sequence[int], out: Path | str, settings: TrainingSettings | None = None
) -> list[Path]:
    """Train one network for each seed, and write each with its learning curve. Run again, it goes on.

    Args:
        group: what to learn the product of.
        seeds: each draws its own initial weights and training inputs.
        out: folder for `seed-0000.network.safetensors`, `seed-0000.curve.json` and so on.
        settings: the recipe.

    Returns:
        The networks' files, in the order of the seeds.

    Raises:
        NetworkError: the folder holds networks of another group or recipe, or training gave values that
            are not finite.
    """
    settings = settings or TrainingSettings()
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    paths = {seed: network_path(out, seed) for seed in seeds}
    left = [seed for seed in paths if not _finished(paths[seed], group, settings)]
    rows = max(round(settings.train_fraction * group.order**2), 1)
    size = max(_BLOCK_ROWS // rows, 1)
    with progress_bar(
        f"training on {group.name}", len(paths), done=len(paths) - len(left), unit="networks"
    ) as advance:
        for start in range(0, len(left), size):
            block = left[start : start + size]
            _train_block(group, block, out, settings)
            advance(len(block))
    return list(paths.values())


def network_path(out: Path | str, seed: int) -> Path:
    """Where the network of a seed lies in a folder."""
    return Path(out) / f"seed-{seed:04d}{NETWORK_SUFFIX}"


def training_inputs(group: Group, seed: int, settings: TrainingSettings) -> np.ndarray:
    """[r] the inputs that a seed trains on, as x n + y, sorted."""
    import torch

    count = group.order**2
    generator = torch.Generator().manual_seed(seed + 1_000_003)
    chosen = torch.randperm(count, generator=generator)[: max(round(settings.train_fraction * count), 1)]
    return chosen.sort().values.numpy()


def _finished(path: Path, group: Group, settings: TrainingSettings) -> bool:
    if not path.exists():
        return False
    found = load_network(path)
    recipe = found.training.get("settings")
    if found.group.fingerprint != group.fingerprint or recipe != _plain(settings):
        raise NetworkError(f"{path}: trained on another group or with other settings; choose another folder")
    return True


def _train_block(group: Group, seeds: Sequence[int], out: Path, settings: TrainingSettings) -> None:
    """Train a few networks together from their last checkpoint, and write them."""
    import torch

    inputs = torch.from_numpy(np.stack([training_inputs(group, seed, settings) for seed in seeds]))
    answers = torch.from_numpy(group.table.copy()).flatten()
    trained_on = (inputs // group.order, inputs % group.order, answers[inputs])
    start = [
        initial_parameters(seed, order=group.order, embedding=settings.embedding, width=settings.width)
        for seed in seeds
    ]
    parameters = {name: torch.stack([each[name] for each in start]) for name in start[0]}
    decayed = [value for name, value in parameters.items() if name != "bias"]
    optimizer = torch.optim.Adam(
        [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": [parameters["bias"]]}],
        lr=settings.learning_rate,
        betas=settings.betas,
    )
    checkpoint = (
        out
        / f"block-{digest([list(seeds), _plain(settings), group.fingerprint])[:12]}.checkpoint.safetensors"
    )
    curve, done = _resume(checkpoint, parameters, optimizer)
    for step in range(done, settings.steps + 1):
        if step % settings.evaluate_every == 0 or step == settings.steps:
            curve.append(_point(step, group, parameters, inputs))
        if step == settings.steps:
            break
        if step > done and step % settings.checkpoint_every == 0:
            _keep(checkpoint, step, parameters, optimizer, curve)
        for name, slope in gradients(parameters, *trained_on).items():
            parameters[name].grad = slope
        optimizer.step()
    _write(group, seeds, out, settings, parameters, torch.stack(curve, dim=1))
    checkpoint.unlink(missing_ok=True)


def _point(step: int, group: Group, parameters: Parameters, inputs: torch.Tensor) -> torch.Tensor:
    """[b, 5] step, loss on training inputs, accuracy on them, loss and accuracy on the others, for each network."""
    import torch

    every = torch.arange(group.order**2).expand(len(inputs), -1)
    answers = torch.from_numpy(group.table.copy()).flatten()
    losses, hits = evaluate(fold(parameters), every // group.order, every % group.order, answers[every])
    seen = torch.zeros_like(hits).scatter_(1, inputs, True)
    figures = [torch.full((len(inputs),), float(step))]
    for part in (seen, ~seen if not seen.all() else seen):
        figures += [(value * part).sum(dim=1) / part.sum(dim=1) for value in (losses, hits)]
    return torch.stack(figures, dim=1)


def _keep(
    path: Path, step: int, parameters: Parameters, optimizer: torch.optim.Adam, curve: list[torch.Tensor]
) -> None:
    """Write a checkpoint: parameters, Adam's moments, learning curve, and the step they stand at."""
    import torch
    from safetensors.torch import save_file

    tensors = {f"parameters.{name}": value.detach() for name, value in parameters.items()}
    for name, value in parameters.items():
        for moment in ("exp_avg", "exp_avg_sq"):
            tensors[f"{moment}.{name}"] = optimizer.state[value][moment]
    # The point of the step itself is made again on resuming.
    tensors["curve"] = torch.stack(curve)[: -1 if curve[-1][0, 0] == step else None].contiguous()
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, {"step": str(step)})


def _resume(
    path: Path, parameters: Parameters, optimizer: torch.optim.Adam
) -> tuple[list[torch.Tensor], int]:
    """Put parameters and moments back to a checkpoint, where there is one; its learning curve and step."""
    import torch
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return [], 0
    try:
        with reading(path), safe_open(str(path), framework="pt") as file:
            step = int((file.metadata() or {})["step"])
            for name, value in parameters.items():
                value.copy_(file.get_tensor(f"parameters.{name}"))
                moments = {part: file.get_tensor(f"{part}.{name}") for part in ("exp_avg", "exp_avg_sq")}
                optimizer.state[value] = {"step": torch.tensor(float(step)), **moments}
            return list(file.get_tensor("curve")), step
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        raise NetworkError(
            f"{path}: damaged checkpoint ({reason_of(error)}); delete it to start its networks again"
        ) from error


def _write(
    group: Group,
    seeds: Sequence[int],
    out: Path,
    settings: TrainingSettings,
    parameters: Parameters,
    curves: torch.Tensor,
) -> None:
    folded = {name: value.detach().numpy() for name, value in fold(parameters).items()}
    for number, seed in enumerate(seeds):
        arrays = {name: value[number].copy() for name, value in folded.items()}
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise NetworkError(
                f"seed {seed}: training gave values that are not finite; lower the learning rate"
            )
        columns = ("step", "train_loss", "train_accuracy", "test_loss", "test_accuracy")
        write_json(
            out / f"seed-{seed:04d}{CURVE_SUFFIX}",
            {name: [round(v, 7) for v in curves[number, :, k].tolist()] for k, name in enumerate(columns)},
        )
        GroupNetwork(group=group, training={"seed": seed, "settings": _plain(settings)}, **arrays).save(
            network_path(out, seed)
        )


def _plain(settings: TrainingSettings) -> dict[str, object]:
    """The settings as JSON holds them."""
    return json.loads(json.dumps(asdict(settings)))
