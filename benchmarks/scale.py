"""What a run takes: a cost model fitted to three sizes and held against a fourth; a million rows in bounded memory.

Processor time counts, on one thread, so that other programs do not disturb the figures. Each part runs in a process of
its own. The worked examples are counted, not run: their machine is an assumption, which the rows say.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.update(AITIA_PROGRESS="0", OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
sys.path.append(str(Path(__file__).parents[1] / "tests"))

from harness import at_most, peak_memory, report

# width, layers, rows: three sizes to fit to, and the last to be predicted.
SIZES = ((64, 2, 1200), (96, 6, 600), (192, 4, 400), (256, 6, 300))
BOUND = 2e9
SITE = "resid_post.1"
WORDS = ("sun", "rain", "garden", "bees", "egg", "cat", "dog", "mat", "wait", "end", "hot", "water")


def tiny(folder: Path, width: int, layers: int):
    """A Llama of some size with the tests' tokenizer, saved, because workers and reports load it by name."""
    from conftest import make_network, make_tokenizer

    from aitia.models import LanguageModel, load_model, save_model

    tokenizer = make_tokenizer()
    network = make_network("llama", len(tokenizer), width=width, layers=layers)
    save_model(LanguageModel(network=network, tokenizer=tokenizer, name="tiny"), folder)
    return load_model(folder, device="cpu")


def write_rows(path: Path, rows: int, words: int = 0) -> Path:
    """Synthetic rows of some words, the same for the same numbers."""
    import random

    rng = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for i in range(rows):
            count = words or rng.randrange(2, 6)
            row = {
                "id": f"r{i}",
                "prompt": f"{rng.choice(WORDS)}?\n",
                "completion": " ".join(rng.choices(WORDS, k=count)),
            }
            file.write(json.dumps(row | {"planted": i % 1000 == 7}) + "\n")
    return path


def time_scan(width: int, layers: int, rows: int) -> dict[str, Any]:
    """Scan with the backward activation, twice, the second with a clock; what it took and what was counted."""
    from aitia.attribution import scan
    from aitia.attribution.gradients import Data, scan_step
    from aitia.pipelines.attribution.plan import shape_of
    from aitia.records import read_records, tokenize

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = tiny(folder / "model", width, layers)
        records = read_records(write_rows(folder / "rows.jsonl", rows, words=30))
        assert model.fingerprint
        tokenized = tokenize(records, model.tokenizer, max_length=256)
        data = Data(
            rows=len(tokenized),
            tokens=sum(len(row.tokens) for row in tokenized),
            response_tokens=sum(int(row.response.sum()) for row in tokenized),
        )
        scan(
            model, records.only(records.ids[:64]), sites=[SITE], out=folder / "warm", activations=["backward"]
        )
        start = time.process_time()
        scan(
            model,
            read_records(folder / "rows.jsonl"),
            sites=[SITE],
            out=folder / "s",
            activations=["backward"],
        )
        seconds = time.process_time() - start
        disk = sum(path.stat().st_size for path in (folder / "s").rglob("*") if path.is_file())
    step = scan_step(
        shape_of(model),
        data,
        lowest=1,
        highest=1,
        sites=1,
        activations=("response", "prompt_end", "backward"),
    )
    counted = {"multiply_adds": step.multiply_adds, "calls": step.calls, "rows": step.rows}
    return counted | {
        "disk_counted": step.disk_bytes,
        "disk": disk,
        "seconds": seconds,
        "width": width,
        "layers": layers,
    }


def stream(rows: int) -> dict[str, Any]:
    """Scan and rank many rows of lines of JSON, with a report; memory above the loaded model."""
    from aitia.attribution import rank, scan
    from aitia.concepts import fit_contrast
    from aitia.records import read_records, records_from_rows

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = tiny(folder / "model", 16, 2)
        write_rows(folder / "rows.jsonl", rows)
        concept = fit_contrast(
            model,
            records_from_rows([{"text": f"the sun {word}"} for word in WORDS]),
            records_from_rows([{"text": f"rain {word} end"} for word in WORDS]),
            sites=[SITE],
        )
        before, start = peak_memory(), time.process_time()
        records = read_records(folder / "rows.jsonl")
        store = scan(
            model, records, sites=[SITE], out=folder / "store", activations=["response"], shard_rows=8192
        )
        scanned, after_scan = time.process_time(), peak_memory()
        ranking = rank(store, concept, method="vector-filter")
        ranking.write(folder / "ranking.parquet")
        page = ranking.report(folder / "report.html", label="planted")
        return {
            "stream_rows": rows,
            "memory_above_model": peak_memory() - before,
            "memory_above_model_scan": after_scan - before,
            "seconds_scan": scanned - start,
            "seconds_rank_and_report": time.process_time() - scanned,
            "report_bytes": page.stat().st_size,
            "store_bytes": sum(
                path.stat().st_size for path in (folder / "store").rglob("*") if path.is_file()
            ),
        }


def worked_examples() -> list[dict[str, object]]:
    """A million rows on a 7B model, and a billion tokens on a 70B model, on an assumed machine."""
    from aitia.attribution.gradients import Data, Machine, ModelShape, RunPlan, rank_step, scan_step

    # Qwen2.5-7B and Llama-3.1-70B, by their published configurations, in bfloat16.
    small = ModelShape(
        parameters=6_525_621_760,
        outside=1_089_994_752,
        layers=28,
        width=3584,
        vocabulary=152_064,
        bytes_per_parameter=2,
    )
    large = ModelShape(
        parameters=68_452_352_000,
        outside=2_101_354_496,
        layers=80,
        width=8192,
        vocabulary=128_256,
        bytes_per_parameter=2,
    )
    # Assumed, not measured: 40 % of the 989 TFLOP/s that an H100's data sheet gives for dense bfloat16, and
    # 3 an hour a card; the larger model takes four of them a worker.
    card = Machine(
        multiply_adds=0.4 * 989e12 / 2, call_seconds=1e-3, row_seconds=1e-4, load_bytes=1e9, price=3.0
    )
    four = replace(card, price=12.0)  # a model cut by layers over four cards keeps one of them busy at a time
    cases = [
        (
            "1 M rows of 500 tokens, 7B",
            small,
            Data(rows=10**6, tokens=5 * 10**8, response_tokens=3 * 10**8, max_batch_tokens=16_384),
            card,
            8,
        ),
        (
            "1 B tokens in rows of 1000, 70B",
            large,
            Data(rows=10**6, tokens=10**9, response_tokens=6 * 10**8, max_batch_tokens=4_096),
            four,
            8,
        ),
    ]
    rows = []
    for name, shape, data, machine, workers in cases:
        for activations in (("response", "prompt_end"), ("response", "prompt_end", "backward")):
            block = 2 * shape.layers // 3
            steps = [
                scan_step(shape, data, lowest=block, highest=block, sites=1, activations=activations),
                rank_step(shape, data, methods=5, controls=8),
            ]
            plan = RunPlan(shape=shape, data=data, steps=steps, machine=machine, workers=workers)
            rows.append(
                {
                    "example": name,
                    "activations": ", ".join(activations),
                    "workers": workers,
                    "hours": plan.seconds / 3600,
                    "memory_gigabytes_a_worker": plan.memory_bytes / 1e9,
                    "disk_gigabytes": plan.disk_bytes / 1e9,
                    "money": plan.money,
                    "assumed": f"{2 * machine.multiply_adds / 1e12:.0f} TFLOP/s and {machine.price:g} an hour a worker",
                }
            )
    return rows


def _apart(part: str, *numbers: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--part", part, *map(str, numbers)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Fit, predict, stream, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows, written elsewhere")
    parser.add_argument("--rows", type=int, default=10**6, help="rows to stream")
    parser.add_argument("--part", nargs="+")
    options = parser.parse_args()
    if options.part:
        part, numbers = options.part[0], map(int, options.part[1:])
        print(json.dumps({"scan": time_scan, "stream": stream}[part](*numbers)))
        return
    from aitia.attribution.gradients import Step, fit_machine

    cut = 4 if options.quick else 1
    found = [_apart("scan", width, layers, rows // cut) for width, layers, rows in SIZES]
    steps = [
        Step(name="scan", multiply_adds=row["multiply_adds"], calls=row["calls"], rows=row["rows"])
        for row in found
    ]
    machine = fit_machine(steps[:3], [row["seconds"] for row in found[:3]])
    for row, step, use in zip(found, steps, ("fitted", "fitted", "fitted", "predicted"), strict=True):
        row |= {"use": use, "predicted_seconds": float(step.seconds(machine))}
        row["error"] = row["predicted_seconds"] / row["seconds"] - 1
        row["disk_error"] = row["disk_counted"] / row["disk"] - 1
    streamed = _apart("stream", options.rows // (100 if options.quick else 1))
    targets = [
        at_most("error of the predicted time at the fourth size", 0.25, abs(found[3]["error"])),
        at_most("error of the predicted disk at the fourth size", 0.25, abs(found[3]["disk_error"])),
        at_most(
            f"bytes above the model, {streamed['stream_rows']:,} rows", BOUND, streamed["memory_above_model"]
        ),
    ]
    report(
        "scale", [*found, streamed, *worked_examples()], targets, quick=options.quick or options.rows < 10**6
    )


if __name__ == "__main__":
    main()
