"""Influence by aitia, kronfluence, bergson and dattri on one workload, side by side in one run.

Each runs in a process of its own, the peers in an environment of their own, in turn, for some rounds; what
counts is the median over the rounds. Curvature is always counted, reading the model is not. The bare
passes (`floor`) are those that any method with gradients of activations must make.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from harness import WORK, Target, at_least, at_most, report
from peers.environment import peers_python, peers_variables
from peers.workload import Workload, write_folder
from scipy.stats import spearmanr

RUNNERS = Path(__file__).parent / "peers"
CONTESTANTS = {
    "floor": ("floor", [], False),
    "aitia EK-FAC": ("aitia", ["ekfac"], False),
    "kronfluence EK-FAC": ("kronfluence", ["ekfac", "--batch=16"], True),
    "bergson EK-FAC": ("bergson", ["ekfac", "--batch=16"], True),
    "aitia identity": ("aitia", ["identity"], False),
    "kronfluence identity": ("kronfluence", ["identity", "--batch=16"], True),
    "dattri LoGra": ("dattri", ["logra"], True),
    "aitia concept": ("aitia", ["concept"], False),
    "aitia forward only": ("aitia", ["forward"], False),
}


def run(name: str, workload: Workload, folder: Path, *extra: str) -> dict[str, Any]:
    """Run a contestant in a process of its own: its line of JSON, with the scores' file as `out`."""
    runner, arguments, peer = CONTESTANTS[name]
    out = WORK / "scores" / f"{name.replace(' ', '-')}.npz"
    out.parent.mkdir(parents=True, exist_ok=True)
    python = peers_python() if peer else Path(sys.executable)
    command = [str(python), str(RUNNERS / f"run_{runner}.py"), *arguments, "--folder", str(folder)]
    command += [*workload.arguments(), *extra] + (["--out", str(out)] if runner != "floor" else [])
    print(f"running: {name}", file=sys.stderr)
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=peers_variables())
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1]) | {"out": str(out)}


def agreement(first: dict[str, Any], second: dict[str, Any]) -> dict[str, float]:
    """Mean over the queries of the scores' correlations."""
    one, other = (np.load(line["out"])["scores"] for line in (first, second))
    return {
        "pearson": float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(one, other, strict=True)])),
        "spearman": float(np.mean([spearmanr(a, b).statistic for a, b in zip(one, other, strict=True)])),
    }


def race(workload: Workload, rounds: int) -> tuple[list[dict[str, Any]], list[Target]]:
    """All contestants, in turn."""
    folder = WORK / f"workload-{'-'.join(argument.split('=')[1] for argument in workload.arguments())}"
    write_folder(workload, folder)
    peers_python()
    lines: dict[str, list[dict[str, Any]]] = {name: [] for name in CONTESTANTS}
    for _ in range(rounds):
        for name in CONTESTANTS:
            lines[name].append(run(name, workload, folder))
    last = {name: found[-1] for name, found in lines.items()}

    def ratio(name: str, to: str, key: str = "compute_seconds") -> float:
        return statistics.median(a[key] / b[key] for a, b in zip(lines[name], lines[to], strict=True))

    rows = [
        {
            "system": name,
            "compute_seconds": statistics.median(line["compute_seconds"] for line in found),
            "to_floor": ratio(name, "floor"),
            "process_seconds": statistics.median(line["process_seconds"] for line in found),
            "peak_memory_mb": max(line["peak_memory_mb"] for line in found),
        }
        for name, found in lines.items()
    ]
    to_kronfluence = agreement(last["aitia EK-FAC"], last["kronfluence EK-FAC"])
    to_bergson = agreement(last["aitia EK-FAC"], last["bergson EK-FAC"])
    identity = agreement(last["aitia identity"], last["kronfluence identity"])
    rows += [
        {"agreement": "aitia and kronfluence, EK-FAC", **to_kronfluence},
        {"agreement": "aitia and bergson, EK-FAC", **to_bergson},
        {"agreement": "aitia and kronfluence, identity", **identity},
        {
            "agreement": "stored and exact scores of a concept",
            "spearman": last["aitia concept"]["spearman_of_store"],
            "bytes_per_row": last["aitia concept"]["bytes_per_row"],
        },
    ]
    further = statistics.median(
        line["phases"]["further_concept"] / line["compute_seconds"] for line in lines["aitia concept"]
    )
    forward = statistics.median(
        peer["compute_seconds"] / ours["compute_seconds"]
        for peer, ours in zip(lines["kronfluence EK-FAC"], lines["aitia forward only"], strict=True)
    )
    targets = [
        at_most("EK-FAC, times the bare forward and backward", 3.0, ratio("aitia EK-FAC", "floor")),
        at_least("EK-FAC, times faster than kronfluence", 3.0, ratio("kronfluence EK-FAC", "aitia EK-FAC")),
        at_least("EK-FAC, times faster than bergson", 2.3, ratio("bergson EK-FAC", "aitia EK-FAC")),
        at_most("EK-FAC, peak memory", 1000, last["aitia EK-FAC"]["peak_memory_mb"], unit=" MB"),
        at_most("identity, times the bare forward and backward", 1.3, ratio("aitia identity", "floor")),
        at_most("a further concept from the store, share of the first", 0.03, further),
        at_least("Spearman of stored to exact scores", 0.98, last["aitia concept"]["spearman_of_store"]),
        at_least("forward-only, times faster than kronfluence EK-FAC", 40, forward),
        at_least("Pearson with kronfluence, EK-FAC", 0.999, to_kronfluence["pearson"]),
        at_least("Pearson with bergson, EK-FAC", 0.999, to_bergson["pearson"]),
        at_least("Pearson with kronfluence, identity", 0.999, identity["pearson"]),
    ]
    return rows, targets


def memory(base: Workload, multiples: tuple[int, ...]) -> tuple[list[dict[str, Any]], list[Target]]:
    """Peak memory as the number of rows grows."""
    rows = []
    for multiple in multiples:
        sizes = {argument.split("=")[0][2:]: int(argument.split("=")[1]) for argument in base.arguments()}
        workload = Workload(**(sizes | {"rows": base.rows * multiple}))
        folder = WORK / f"workload-memory-{workload.rows}"
        write_folder(workload, folder)
        line = run("aitia EK-FAC", workload, folder)
        rows.append({"rows": workload.rows, "peak_memory_mb": line["peak_memory_mb"]})
    growth = rows[-1]["peak_memory_mb"] / rows[0]["peak_memory_mb"]
    return rows, [at_most(f"peak memory at {multiples[-1]} times the rows, to that at one", 1.15, growth)]


def starting() -> tuple[list[dict[str, Any]], list[Target]]:
    """How long importing and helping take: the median of five."""
    codes = {
        "import aitia": [sys.executable, "-c", "import aitia"],
        "aitia --help": [str(Path(sys.executable).with_name("aitia")), "--help"],
    }
    bare = [sys.executable, "-c", "pass"]

    def seconds(command: list[str]) -> float:
        found = []
        for _ in range(5):
            start = perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            found.append(perf_counter() - start)
        return statistics.median(found)

    interpreter = seconds(bare)
    rows = [{"what": name, "seconds": seconds(command)} for name, command in codes.items()]
    rows.append({"what": "the interpreter alone", "seconds": interpreter})
    return rows, [
        at_most("import aitia, beyond the interpreter", 0.3, rows[0]["seconds"] - interpreter, unit=" s"),
        at_most("aitia --help", 1.0, rows[1]["seconds"], unit=" s"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small run whose figures are not quoted")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    small = Workload(rows=64, queries=2)
    rows, targets = race(small if options.quick else Workload(), 1 if options.quick else options.rounds)
    for part in (memory(Workload(rows=128), (1, 4) if options.quick else (1, 4, 16)), starting()):
        rows, targets = rows + part[0], targets + part[1]
    report("influence", rows, targets, quick=options.quick)


if __name__ == "__main__":
    main()
