"""The second workload: SmolLM2-135M with a LoRA, on real rows; the demo's model, adapter and texts.

Every row is a conversation in the model's own template, its first `length` tokens, all of which are trained
on: so every system sees the same numbers whatever it thinks of padding and masks.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from peers.workload import Workload, write_mark, written_for

REAL_ROWS = Workload(
    network="smollm2-lora", layers=30, width=576, vocabulary=49152, length=56, rows=160, queries=8, steps=0
)


def write_real_rows(workload: Workload, folder: Path) -> None:
    """Save the base model (`model`), the adapter (`adapter`) and the tokenised rows, once.

    Raises:
        AitiaError: The packages of the demo are not installed.
        SystemExit: Too few of the demo's rows are long enough.
    """
    from datasets import Dataset

    from aitia.pipelines.attribution.demo import tuned_model, write_texts
    from aitia.records import read_records, tokenize

    if written_for(folder, workload):
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    data, *_ = write_texts(folder / "texts")
    model = tuned_model(folder.parent.resolve() / "real-rows-parts", data)
    (folder / "model").symlink_to(Path(model.name).resolve())
    (folder / "adapter").symlink_to(Path(model.adapter or "").resolve())
    model.tokenizer.save_pretrained(folder / "adapter")  # bergson looks for it there
    queries = read_records(folder / "texts" / "queries.jsonl")
    for name, records, count in (("train", data, workload.rows), ("query", queries, workload.queries)):
        tokenized = tokenize(records, model.tokenizer, max_length=model.context_length)
        rows = [
            row.tokens[: workload.length].tolist() for row in tokenized if len(row.tokens) >= workload.length
        ]
        if len(rows) < count:
            raise SystemExit(f"{name}: only {len(rows)} rows have {workload.length} tokens")
        columns = {"input_ids": rows[:count], "labels": rows[:count], "length": [workload.length] * count}
        Dataset.from_dict(columns).save_to_disk(folder / name)
    write_mark(workload, folder)
