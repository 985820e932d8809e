"""What every benchmark shares: where it ran, paired timings, targets, and the JSON it leaves.

Machines differ and are noisy, so a benchmark times its contestants in turn, several rounds, and reports
ratios within a round; the median round counts.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

RESULTS = Path(__file__).parent / "results"
WORK = Path(__file__).parent / ".work"


@dataclass(frozen=True, kw_only=True)
class Target:
    """A goal, what was measured, and whether it was met."""

    name: str
    target: str
    value: float
    met: bool


def at_most(name: str, limit: float, value: float, *, unit: str = "") -> Target:
    """A target that is met at or below a limit."""
    return Target(name=name, target=f"<= {limit:g}{unit}", value=value, met=value <= limit)


def at_least(name: str, limit: float, value: float, *, unit: str = "") -> Target:
    """A target that is met at or above a limit."""
    return Target(name=name, target=f">= {limit:g}{unit}", value=value, met=value >= limit)


def environment() -> dict[str, Any]:
    """Processor, threads and versions."""
    import torch

    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in ("aitia", "torch", "transformers", "numpy")},
    }


def time_rounds(contestants: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Time each contestant once a round, in turn, after one unmeasured round: name -> seconds [rounds]."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, run in contestants.items():
            start = perf_counter()
            run()
            if number:
                seconds[name].append(perf_counter() - start)
    return seconds


def median_ratio(seconds: dict[str, list[float]], name: str, to: str) -> float:
    """Median over the rounds of one contestant's time over another's."""
    return statistics.median(a / b for a, b in zip(seconds[name], seconds[to], strict=True))


def peak_memory() -> int:
    """Largest resident size of this process so far, in bytes.

    Read from /proc: the figure of `getrusage` starts at the size of the process that started this one.
    """
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def report(name: str, rows: list[dict[str, Any]], targets: list[Target], *, quick: bool) -> None:
    """Print rows and targets, and write them to `results/NAME.json` (`.quick.json` for a quick run)."""
    for row in rows:
        print(
            "  ".join(
                f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"
                for key, value in row.items()
            )
        )
    for target in targets:
        print(
            f"{'met   ' if target.met else 'MISSED'} {target.name}: {target.value:.4g} (target {target.target})"
        )
    found = {"environment": environment(), "rows": rows, "targets": [asdict(target) for target in targets]}
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}{'.quick' if quick else ''}.json"
    path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(f"written: {path}")
