"""What ranking a thousand concepts on a stored hundred thousand rows costs, in time and memory.

The store holds random activations of width 576; the ranking runs in a process of its own.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from harness import at_most, peak_memory, report


def synthetic_store(folder: Path, rows: int, width: int):
    """A store of random activations, written by the store itself."""
    import pyarrow as pa

    from aitia.attribution import ActivationStore

    generator = np.random.default_rng(0)
    shards = -(-rows // 2048)
    manifest = {
        "model": {"base_fingerprint": "", "name": "synthetic"},
        "data": {"rows": rows, "source": None, "fingerprint": "", "skipped": []},
        "settings": {"sites": ["resid_post.0"], "activations": ["response"]},
        "shards": shards,
    }
    table = pa.table(
        {
            "id": [str(i) for i in range(rows)],
            "content": [f"{i:016x}" for i in range(rows)],
            "row": np.arange(rows),
            "location": [f"row {i}" for i in range(rows)],
            "prompt_tokens": np.ones(rows, dtype=np.int32),
            "response_tokens": np.ones(rows, dtype=np.int32),
        }
    )
    store = ActivationStore.create_or_resume(folder, manifest, table)
    for number in range(shards):
        positions = np.arange(number * 2048, min((number + 1) * 2048, rows))
        values = generator.standard_normal((len(positions), width), dtype=np.float32)
        store.write_shard(number, {"position": positions, "response.resid_post.0": values})
    return store


def many_concepts(folder: Path, concepts: int) -> None:
    """Rank many concepts down to their top 100 rows; print seconds, and memory above the start's."""
    from time import perf_counter

    import torch

    from aitia.attribution import ActivationStore
    from aitia.attribution.scorers import score_vectors

    store = ActivationStore.open(folder)
    vectors = np.random.default_rng(1).standard_normal((concepts, 576), dtype=np.float32)
    score_vectors(store, vectors[:1], "resid_post.0", "vector-filter")
    before, start = peak_memory(), perf_counter()
    scores = score_vectors(store, vectors, "resid_post.0", "vector-filter")
    scored = perf_counter()
    top = torch.topk(torch.from_numpy(scores), 100, dim=1).indices
    done = perf_counter()
    assert top.shape == (concepts, 100)
    print(scored - start, done - scored, peak_memory() - before)


def ranking(rows: int, concepts: int):
    with tempfile.TemporaryDirectory() as folder:
        synthetic_store(Path(folder) / "store", rows, 576)
        size = sum(path.stat().st_size for path in (Path(folder) / "store").rglob("*") if path.is_file())
        printed = subprocess.run(
            [sys.executable, __file__, "--many-concepts", str(Path(folder) / "store"), str(concepts)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    scored, ordered, memory = map(float, printed.split())
    row = {
        "what": f"{concepts} concepts on {rows} rows",
        "score_seconds": scored,
        "top_100_seconds": ordered,
        "memory_gb": memory / 1e9,
        "store_gb": size / 1e9,
    }
    targets = [
        at_most("scores and top 100 of 1,000 concepts on 100,000 rows", 5.0, scored + ordered, unit=" s"),
        at_most("memory above the store's size", 1.0, (memory - size) / 1e9, unit=" GB"),
    ]
    return [row], targets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small run whose figures are not quoted")
    parser.add_argument("--many-concepts", nargs=2, metavar=("STORE", "COUNT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.many_concepts:
        many_concepts(Path(options.many_concepts[0]), int(options.many_concepts[1]))
        return
    rows, targets = ranking(10_000 if options.quick else 100_000, 100 if options.quick else 1_000)
    report("ranking", rows, targets, quick=options.quick)


if __name__ == "__main__":
    main()
