"""Influence by aitia, kronfluence, bergson, dattri and dattri-llm on one workload, side by side in one run.

Two workloads: a small GPT-2 with all its weights, and SmolLM2-135M with a LoRA on real rows. Each system runs
in a process of its own, the peers in an environment of their own, in turn, for some rounds; what counts is
the median over the rounds. Curvature is always counted, reading the model is not. The bare passes (`floor`)
are those that any method with gradients of activations must make.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from peers.environment import peers_python, peers_variables
from peers.real_rows import REAL_ROWS, write_real_rows
from peers.workload import Workload, write_folder

from aitia.statistics import spearman
from harness import WORK, Target, at_least, at_most, report

RUNNERS = Path(__file__).parent / "peers"
CONTESTANTS = {
    "floor": ("floor", [], False),
    "aitia EK-FAC": ("aitia", ["ekfac"], False),
    "aitia EK-FAC, float32 products": ("aitia", ["ekfac", "--precision=float32"], False),
    "kronfluence EK-FAC": ("kronfluence", ["ekfac", "--batch=16"], True),
    "bergson EK-FAC": ("bergson", ["ekfac", "--batch=16"], True),
    "dattri-llm EK-FAC": ("dattri_llm", ["ekfac"], True),
    "aitia identity": ("aitia", ["identity"], False),
    "aitia identity, float32 products": ("aitia", ["identity", "--precision=float32"], False),
    "kronfluence identity": ("kronfluence", ["identity", "--batch=16"], True),
    "dattri-llm identity": ("dattri_llm", ["identity"], True),
    "dattri LoGra": ("dattri", ["logra"], True),
    "aitia concept": ("aitia", ["concept"], False),
} | {
    f"aitia forward only{at}{of}": ("aitia", ["forward", "--batch=32", *depth, *dtype], False)
    for at, depth in (("", []), (", to 5/7 of the layers", [f"--depth={5 / 7}"]))
    for of, dtype in (("", []), (", bfloat16 model", ["--dtype=bfloat16"]))
}
FORWARD = tuple(name for name in CONTESTANTS if "forward only" in name)
FASTER = {"kronfluence": 3.0, "bergson": 2.3, "dattri-llm": 2.5}
"""Peer -> how many times faster EK-FAC scores are meant to be than its own."""
ON_REAL_ROWS = (
    "floor",
    "aitia EK-FAC",
    "aitia EK-FAC, float32 products",
    "kronfluence EK-FAC",
    "bergson EK-FAC",
    "dattri-llm EK-FAC",
    "aitia identity",
    "kronfluence identity",
    "dattri-llm identity",
    *FORWARD,
)


def run(name: str, workload: Workload, folder: Path, *extra: str) -> dict[str, Any]:
    """Run a contestant in a process of its own: its line of JSON, with the scores' file as `out`."""
    runner, arguments, peer = CONTESTANTS[name]
    out = WORK / "scores" / f"{''.join(c if c.isalnum() else '-' for c in name)}.npz"
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
    one, other = (np.atleast_2d(np.load(line["out"])["scores"]) for line in (first, second))
    return {
        "pearson": float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(one, other, strict=True)])),
        "spearman": float(np.mean([spearman(a, b) for a, b in zip(one, other, strict=True)])),
    }


def race(
    workload: Workload, folder: Path, names: Sequence[str], rounds: int
) -> dict[str, list[dict[str, Any]]]:
    """The named contestants, in turn, `rounds` times: name -> its line of each round."""
    peers_python()
    lines: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            lines[name].append(run(name, workload, folder))
    return lines


def ratio(lines: dict[str, list[dict[str, Any]]], name: str, to: str, key: str = "compute_seconds") -> float:
    """Median over the rounds of one contestant's figure over another's."""
    return statistics.median(a[key] / b[key] for a, b in zip(lines[name], lines[to], strict=True))


def table(workload: Workload, lines: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """A row for each contestant."""
    return [
        {
            "workload": workload.network,
            "system": name,
            "compute_seconds": statistics.median(line["compute_seconds"] for line in found),
            "to_floor": ratio(lines, name, "floor"),
            "process_seconds": statistics.median(line["process_seconds"] for line in found),
            "peak_memory_mb": max(line["peak_memory_mb"] for line in found),
        }
        for name, found in lines.items()
    ]


def agreements(
    workload: Workload, lines: dict[str, list[dict[str, Any]]]
) -> tuple[list[dict[str, Any]], list[Target]]:
    """How far the systems agree on the scores."""
    pairs = (
        ("aitia EK-FAC", "kronfluence EK-FAC"),
        ("aitia EK-FAC", "bergson EK-FAC"),
        ("aitia EK-FAC", "dattri-llm EK-FAC"),
        ("aitia EK-FAC, float32 products", "kronfluence EK-FAC"),
        ("aitia identity", "kronfluence identity"),
        ("aitia identity", "dattri-llm identity"),
        (FORWARD[0], FORWARD[1]),
    )
    rows: list[dict[str, Any]] = [
        {"workload": workload.network, "agreement": f"{one} and {other}"}
        | agreement(lines[one][-1], lines[other][-1])
        for one, other in pairs
    ]
    return rows, [
        at_least(f"{workload.network}: Pearson of {row['agreement']}", 0.999, row["pearson"]) for row in rows
    ]


def forward_only(lines: dict[str, list[dict[str, Any]]], where: str = "") -> list[Target]:
    """How much faster a scan with one projection is than EK-FAC scores, with the site at two depths.

    At 5/7 of the layers is where the paper has its concepts in Qwen2.5-7B (Kowal et al. 2026).
    """
    return [
        at_least(
            f"{where}{name}, times faster than kronfluence EK-FAC".replace("aitia ", ""),
            40,
            ratio(lines, "kronfluence EK-FAC", name),
        )
        for name in FORWARD
    ]


def small_network(workload: Workload, rounds: int) -> tuple[list[dict[str, Any]], list[Target]]:
    """All contestants on the small GPT-2."""
    folder = WORK / f"workload-{'-'.join(argument.split('=')[1] for argument in workload.arguments())}"
    write_folder(workload, folder)
    lines = race(workload, folder, tuple(CONTESTANTS), rounds)
    concept = lines["aitia concept"]
    further = statistics.median(
        line["phases"]["further_concept"] / line["compute_seconds"] for line in concept
    )
    compared, agreeing = agreements(workload, lines)
    compared.append(
        {
            "workload": workload.network,
            "agreement": "stored and exact scores of a concept",
            "spearman": concept[-1]["spearman_of_store"],
            "bytes_per_row": concept[-1]["bytes_per_row"],
        }
    )
    targets = []
    for of in ("", ", float32 products"):
        ekfac, identity = f"aitia EK-FAC{of}", f"aitia identity{of}"
        targets += [
            at_most(f"EK-FAC{of}, times the bare forward and backward", 3.0, ratio(lines, ekfac, "floor")),
            *(
                at_least(f"EK-FAC{of}, times faster than {peer}", goal, ratio(lines, f"{peer} EK-FAC", ekfac))
                for peer, goal in FASTER.items()
            ),
            at_most(f"EK-FAC{of}, peak memory", 1000, lines[ekfac][-1]["peak_memory_mb"], unit=" MB"),
            at_most(
                f"identity{of}, times the bare forward and backward", 1.3, ratio(lines, identity, "floor")
            ),
        ]
    targets += [
        at_most("a further concept from the store, share of the first", 0.03, further),
        at_least("Spearman of stored to exact scores", 0.98, concept[-1]["spearman_of_store"]),
        *forward_only(lines),
    ]
    return table(workload, lines) + compared, targets + agreeing


def real_rows(workload: Workload, rounds: int) -> tuple[list[dict[str, Any]], list[Target]]:
    """The contestants that know adapters, on SmolLM2-135M with a LoRA and real rows."""
    folder = WORK / f"workload-{workload.network}-{workload.rows}"
    write_real_rows(workload, folder)
    lines = race(workload, folder, ON_REAL_ROWS, rounds)
    compared, agreeing = agreements(workload, lines)
    name = workload.network
    targets = [
        at_most(
            f"{name}: EK-FAC, times the bare forward and backward", 3.0, ratio(lines, "aitia EK-FAC", "floor")
        ),
        *(
            at_least(
                f"{name}: EK-FAC, times faster than {peer}",
                goal,
                ratio(lines, f"{peer} EK-FAC", "aitia EK-FAC"),
            )
            for peer, goal in FASTER.items()
        ),
        at_most(
            f"{name}: identity, times the bare forward and backward",
            1.3,
            ratio(lines, "aitia identity", "floor"),
        ),
        *forward_only(lines, f"{name}: "),
    ]
    return table(workload, lines) + compared, targets + agreeing


def memory(base: Workload, multiples: tuple[int, ...]) -> tuple[list[dict[str, Any]], list[Target]]:
    """Peak memory as the number of rows grows."""
    rows = []
    for multiple in multiples:
        workload = replace(base, rows=base.rows * multiple)
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
    rounds = 1 if options.quick else options.rounds
    rows, targets = small_network(Workload(rows=64, queries=2) if options.quick else Workload(), rounds)
    real = replace(REAL_ROWS, rows=8, queries=2) if options.quick else REAL_ROWS
    for part in (
        real_rows(real, 1),
        memory(Workload(rows=128), (1, 4) if options.quick else (1, 4, 16)),
        starting(),
    ):
        rows, targets = rows + part[0], targets + part[1]
    report("influence", rows, targets, quick=options.quick)


if __name__ == "__main__":
    main()
