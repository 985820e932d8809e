"""The long form: `make fuzz`. Prints counts, and writes benchmarks/results/fuzz.json."""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "benchmarks")]
os.environ.update(AITIA_PROGRESS="0", OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

from fuzz.hostile import hostile  # noqa: E402
from fuzz.readers import READERS  # noqa: E402
from fuzz.test_fuzz import prepare, strike  # noqa: E402
from hypothesis import HealthCheck, Phase, given, settings  # noqa: E402

MEMORY = 1 << 30


def fuzz(name: str, inputs: int) -> dict[str, object]:
    """Break one kind of file many times; what came of it."""
    reader, folder = READERS[name], Path(tempfile.mkdtemp(prefix="aitia-fuzz-"))
    counts = {"inputs": 0, "refused": 0}
    failures: dict[str, str] = {}
    slowest = 0.0
    try:
        path, target, seed = prepare(reader, folder)
        # A reader may take a gigabyte more than it did with a good file; beyond that it is stopped.
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))

        @settings(
            max_examples=inputs,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(hostile(target.name, seed))
        def try_one(content: bytes) -> None:
            nonlocal slowest
            counts["inputs"] += 1
            start = time.process_time()
            try:
                counts["refused"] += strike(reader, path, target, content)
            except Exception as error:
                place = traceback.extract_tb(error.__traceback__)[-1]
                key = f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}"
                failures.setdefault(
                    key, f"{error!s:.300}\ninput: {content[:300]!r}\n{traceback.format_exc()[-1500:]}"
                )
            slowest = max(slowest, time.process_time() - start)

        try_one()
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        shutil.rmtree(folder, ignore_errors=True)
    row = {"file": name, **counts, "failures": len(failures), "slowest_seconds": round(slowest, 3)}
    print(row, flush=True)
    for key, text in failures.items():
        print(f"--- {key}\n{text}", flush=True)
    return row


def main() -> None:
    """Break every kind of file, print what came of it, and write the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=55_000, help="in all")
    parser.add_argument("--only", nargs="*", default=list(READERS), help="kinds of file")
    options = parser.parse_args()
    each = -(-options.inputs // len(READERS))
    rows = [fuzz(name, each) for name in options.only]
    from harness import at_least, at_most, report

    tried = sum(int(str(row["inputs"])) for row in rows)
    report(
        "fuzz",
        rows,
        [
            at_least("hostile inputs", 50_000, tried),
            at_most("failures other than our own errors", 0, sum(int(str(row["failures"])) for row in rows)),
        ],
        quick=options.inputs < 50_000 or len(rows) < len(READERS),
    )
    sys.exit(any(row["failures"] for row in rows))


if __name__ == "__main__":
    main()
