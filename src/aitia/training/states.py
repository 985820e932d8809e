"""The states of a recorded run on disk: parameters and moments before the steps at which they were kept."""

from __future__ import annotations

import json
import math
from pathlib import Path

from aitia.errors import StoreError
from aitia.tensor_files import open_tensors, save_tensors
from aitia.training.updates import State

STATES = "states"
_PARTS = ("parameters", "first", "second")


def write_state(path: Path, number: int, state: State, losses: list[float]) -> None:
    """Keep the state before a step, and the losses of the steps before it."""
    parts = {name: getattr(state, name) for name in _PARTS}
    save_tensors(state_file(path, number), parts, {"losses": json.dumps(losses)})


def read_state(path: Path, number: int) -> tuple[State, list[float]]:
    """A kept state, and the losses of the steps before it.

    Returns:
        The state, and the losses.

    Raises:
        StoreError: the file is damaged, or gone.
    """
    file = state_file(path, number)
    mend = "delete it and train into the same folder again"
    try:
        with open_tensors(file, "pt", damaged=_Damaged) as found:
            state = State(**{name: found[name] for name in _PARTS})
            losses = [float(each) for each in json.loads(found.metadata["losses"])]
    except FileNotFoundError as error:
        raise StoreError(f"{file}: this state is gone; {mend}") from error
    except _Damaged as error:
        raise StoreError(f"{file}: damaged ({error}); {mend}") from error
    return state, losses


class _Damaged(Exception):
    pass


def state_file(path: Path, number: int) -> Path:
    """The file of the state before a step."""
    return path / STATES / f"step-{number:06d}.safetensors"


def remove_states_after(path: Path, number: int) -> None:
    """Remove the kept states after a step from which a run is taken up again; it will make them again."""
    for each in kept_states(path):
        if each > number:
            state_file(path, each).unlink()


def kept_states(path: Path) -> list[int]:
    """The steps before which the state was kept, in order."""
    names = (each.name for each in (path / STATES).glob("step-*.safetensors"))
    return sorted(int(name[5:].partition(".")[0]) for name in names)


def spacing(steps: int, state_bytes: int, budget: float) -> int:
    """How many steps lie between kept states so that all of them fit into a budget of bytes: 1 where every state does.

    A replay holds that many states in memory; at the root of the number of steps both are least together.

    Returns:
        Steps between kept states.
    """
    kept = max(int(budget // max(state_bytes, 1)) - 1, 1)  # the last state is always kept
    return max(math.ceil(steps / kept), 1)
