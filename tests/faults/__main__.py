"""The long form: `make faults`. Prints counts, and writes benchmarks/results/faults.json."""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "benchmarks")]
os.environ.update(AITIA_PROGRESS="0", OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

from conftest import SENTENCES, make_network, make_tokenizer  # noqa: E402
from faults import injection  # noqa: E402
from faults.injection import Outcome  # noqa: E402
from faults.jobs import Job, make_jobs  # noqa: E402

from harness import at_least, at_most, report  # noqa: E402

TRIES = {"killed": 30, "disk full": 25, "damaged": 300, "two at once": 15, "clock turned": 15}


def tiny_rows() -> list[dict[str, object]]:
    """Twelve rows of different lengths."""
    return [
        {
            "prompt": SENTENCES[i % 6] + " What next?\n",
            "completion": " ".join(SENTENCES[(i * 5 + j) % 6] for j in range(1 + i % 3)),
            "id": f"row-{i}",
        }
        for i in range(12)
    ]


def full_tmpfs(job: Job, expected: dict[str, str], folder: Path, size: int) -> Outcome | None:
    """The job on a disk that is too small, then on the same made larger; none where mounting is not allowed."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        return None
    try:
        said = folder.with_suffix(".said")
        code = injection.wait_for(injection.run_child(lambda: job.run(folder / "job"), said))
        message = said.read_text()
        if code != injection.REFUSED or "No space left" not in message:
            return Outcome(struck=1, wrong=f"exit {code}: {message}")
        subprocess.run(["mount", "-o", "remount,size=64m", str(folder)], check=True)
        again = injection.wait_for(injection.run_child(lambda: job.run(folder / "job"), said))
        good = again == injection.DONE and job.result(folder / "job") == expected
        return Outcome(struck=1, refused=1, messages=(message,), wrong="" if good else said.read_text())
    finally:
        subprocess.run(["umount", str(folder)], check=False)


def main() -> None:
    """Run every fault on every job, print what came of it, and write the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a twentieth of the tries, written elsewhere")
    options = parser.parse_args()
    from aitia.models import LanguageModel

    tokenizer = make_tokenizer()
    network = make_network("llama", len(tokenizer), width=16, layers=3)
    model = LanguageModel(network=network, tokenizer=tokenizer, name="tiny-llama")
    jobs = make_jobs(model, tiny_rows())
    rng, start, rows, said = random.Random(0), time.monotonic(), [], set()
    work = Path(tempfile.mkdtemp(prefix="aitia-faults-"))
    try:
        for name, job in jobs.items():
            finished = work / "undisturbed" / name
            expected, seconds, largest = injection.undisturbed(job, finished)
            for fault, strike in _strikes(job, finished, expected, seconds, largest, rng).items():
                found = []
                for number in range(max(TRIES[fault] // (20 if options.quick else 1), 1)):
                    found.append(strike(work / f"{number}"))
                    shutil.rmtree(work / f"{number}", ignore_errors=True)
                rows.append(_row(name, fault, found))
                said |= {
                    message.replace(str(work), "")[:160] for outcome in found for message in outcome.messages
                }
            pages = sum(-(-path.stat().st_size // 4096) for path in finished.rglob("*") if path.is_file())
            mounted = full_tmpfs(job, expected, work / "disk", 4096 * max(pages // 2, 1))
            shutil.rmtree(work / "disk", ignore_errors=True)
            if mounted is not None:
                rows.append(_row(name, "small disk (tmpfs)", [mounted]))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    tries, wrong = sum(row["tries"] for row in rows), sum(row["wrong"] for row in rows)
    kills = sum(row["struck"] for row in rows if row["fault"] == "killed")
    print(f"{tries - wrong} of {tries} faults survived; {kills} kills; {time.monotonic() - start:.0f} s")
    report(
        "faults",
        rows,
        [
            at_least("kills of scan, curvature, gradient store and retraining", 100, kills),
            at_most("wrong results, unclear errors or things left half-written", 0, wrong),
        ],
        quick=options.quick,
    )
    print(json.dumps(sorted(said)[:12], indent=1))
    sys.exit(wrong > 0)


def _strikes(
    job: Job, finished: Path, expected: dict[str, str], seconds: float, largest: int, rng: random.Random
) -> dict[str, Callable[[Path], Outcome]]:
    return {
        "killed": lambda folder: injection.kill_at_random(job, folder, expected, rng, seconds),
        "disk full": lambda folder: injection.fill_the_disk(job, folder, expected, rng, largest),
        "damaged": lambda folder: injection.damage(job, finished, folder, expected, rng),
        "two at once": lambda folder: injection.run_two_at_once(job, folder, expected, rng, seconds),
        "clock turned": lambda folder: injection.turn_the_clock(job, folder, expected, rng, seconds),
    }


def _row(job: str, fault: str, found: list[Outcome]) -> dict[str, object]:
    wrong = [outcome.wrong for outcome in found if outcome.wrong]
    row = {
        "job": job,
        "fault": fault,
        "tries": len(found),
        "struck": sum(outcome.struck for outcome in found),
        "refused": sum(outcome.refused for outcome in found),
        "wrong": len(wrong),
    }
    print(json.dumps(row), flush=True)
    for text in wrong[:3]:
        print(text, flush=True)
    return row


if __name__ == "__main__":
    main()
