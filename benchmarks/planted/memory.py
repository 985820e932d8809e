"""Peak memory of a training and of its replay, each in a fresh process, with states kept at the root of the steps.

`memory_of(suite)` starts the two processes, and a third that loads the model and no more. What a process needs at its
peak is read from /proc at its end (`harness.peak_memory`); a figure of one process that does both would be the larger
of the two. Run alone it is one of these processes: `python -m planted.memory ACT SUITE WORK RUN`, in benchmarks/.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from aitia.attribution.replay import EPSILON_ROOT, margin_target, replay
from aitia.models import in_tokens
from aitia.training import TrainingLoop, read_run, temporarily_trainable, train
from harness import Target, at_most, peak_memory
from planted.findings import Findings
from planted.subject import subject
from planted.suites import SUITES

BENCHMARKS = Path(__file__).parents[1]
ACTS = ("loading", "training", "replay")
MEMORY = 2.0
"""The most that a replay may need, over its training."""


def memory_of(suite: str, work: Path) -> dict[str, int]:
    """Bytes at the peak of each act."""
    found = {}
    with TemporaryDirectory() as folder:
        for act in ACTS:
            command = [
                sys.executable,
                "-m",
                "planted.memory",
                act,
                suite,
                str(work.resolve()),
                f"{folder}/run",
            ]
            done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=BENCHMARKS)
            found[act] = int(json.loads(done.stdout.splitlines()[-1])["peak"])
    return found


def add_memory(suite: str, memory: Mapping[str, int], found: Findings) -> None:
    """A row an act, and the goal."""
    for act, peak in memory.items():
        found.add(suite=suite, memory_of=act, gigabytes=peak / 1e9)
    found.targets.append(_target(suite, memory))


def _target(suite: str, memory: Mapping[str, int]) -> Target:
    return at_most(
        f"{suite}: peak memory of a replay over its training's", MEMORY, memory["replay"] / memory["training"]
    )


def _act(act: str, suite_name: str, work: Path, out: Path) -> None:
    model, suite = subject(work), SUITES[suite_name](0)
    settings = replace(model.training, epsilon_root=EPSILON_ROOT)
    base = model.untouched_float32()
    if act == "training":
        with temporarily_trainable(base, settings) as trainable:
            loop = TrainingLoop(trainable=trainable, data=in_tokens(base, suite.data), settings=settings)
            steps, state = len(loop.steps), loop.start().bytes
        # One more than the root, since the state before the first step is kept, and the last.
        kept = math.ceil(math.sqrt(steps)) + 1
        train(base, suite.data, settings, out, state_gigabytes=kept * state / 1e9, progress=False)
    elif act == "replay":
        replay(
            read_run(out),
            base,
            suite.data,
            [margin_target(suite.positive, suite.negative)],
            progress=False,
        )
    print(json.dumps({"peak": peak_memory()}))


if __name__ == "__main__":
    _act(sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
