"""A TRL run from training through attribution to a curated set, and training again: did the behaviour go?

    python examples/trl_sft.py                              # the tiny model, made in seconds
    python examples/trl_sft.py --model HuggingFaceTB/SmolLM2-135M-Instruct --lr 2e-4 --rows 40 \\
        --method checkpoint-influence

One in five rows of the tiny project's data talks about a garden, whatever is asked. The run is recorded, so that rows
are ranked by what the trainer did with them, step by step. The rows that raise the garden most go, the model is trained
again with the same script, and all models are asked how likely garden texts are. A third training without as many
random rows shows what removing rows does by itself. A replay of the large model takes long on a processor: take fewer
rows there, and the sum over checkpoints.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np

os.environ.setdefault("WANDB_DISABLED", "true")


def load(place: str):
    """A model in float32 without dropout, which could not be replayed, and its tokenizer."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    config = AutoConfig.from_pretrained(place)
    for name, value in config.to_dict().items():
        if name.endswith(("pdrop", "dropout")) and isinstance(value, float):
            setattr(config, name, 0.0)
    network = AutoModelForCausalLM.from_pretrained(place, config=config, dtype="float32")
    return network, AutoTokenizer.from_pretrained(place)


def train(place: str, data: Path, out: Path, rate: float, callbacks=(), attached=()):
    """Fine-tune with TRL as anybody would; the callbacks are all that aitia adds."""
    import trl
    from datasets import load_dataset
    from peft import LoraConfig

    network, tokenizer = load(place)
    trainer = trl.SFTTrainer(
        network,
        args=trl.SFTConfig(
            str(out / "trainer"),
            num_train_epochs=2,
            per_device_train_batch_size=16,
            learning_rate=rate,
            bf16=False,
            packing=False,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
        ),
        train_dataset=load_dataset("json", data_files=str(data), split="train"),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=8, target_modules="all-linear"),
        callbacks=list(callbacks),
    )
    for each in attached:
        each.attach(trainer)
    trainer.train()
    trainer.save_model(str(out / "adapter"))
    return out / "adapter"


def log_probability(model, texts) -> float:
    """Mean log-probability of a response token of the texts, in nats."""
    from aitia.models import in_tokens, run
    from aitia.records import length_batches, pad_batch

    rows = in_tokens(model, texts)
    losses = np.empty(len(rows))
    for index in length_batches([len(row.tokens) for row in rows]):
        outputs = run(model, pad_batch(rows, index, model.pad_id), [])
        losses[index] = outputs.losses().detach().cpu().numpy()
    return -losses.sum() / sum(int(row.response[1:].sum()) for row in rows)


def main(arguments: list[str] | None = None) -> dict[str, float]:
    import aitia
    from aitia.attribution import ScanCallback
    from aitia.records import write_records
    from aitia.training import RecordingCallback

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="hub id or folder; default: a tiny GPT-2, made now")
    parser.add_argument("--out", type=Path, default=Path("build/trl_sft"))
    parser.add_argument("--lr", type=float, default=5e-3, help="learning rate")
    parser.add_argument("--rows", type=int, default=200, help="rows to train on, at most 200")
    parser.add_argument("--method", default="replay", help="replay, checkpoint-influence or tracin")
    given = parser.parse_args(arguments)

    from make_tiny_project import make_project

    project = given.out / "project"
    make_project(project)
    place, data = given.model or str(project / "model"), given.out / "train.jsonl"
    whole = aitia.read_records(project / "train.jsonl")
    write_records(whole.only(whole.ids[: given.rows]), data)
    queries = aitia.read_records(project / "queries.jsonl")

    # The concept: garden texts against office texts, in the model before training.
    base = aitia.load_model(place, dtype="float32")
    site = f"resid_post.{base.layers // 2}"
    texts = aitia.read_records(project / "positive.jsonl"), aitia.read_records(project / "negative.jsonl")
    concept = aitia.fit_contrast(base, *texts, sites=[site], name="garden")
    concept.save(given.out / "garden.concept.safetensors")

    # 1. Train, recorded; the concept's projection goes into the trainer's log at each epoch.
    watch = ScanCallback([concept], held_out=queries)
    record = RecordingCallback(given.out / "recorded", data=data)
    adapter = train(place, data, given.out / "first", given.lr, callbacks=[record], attached=[watch])

    # 2. Rank the rows: what would less of each have changed in the concept, through all recorded steps?
    model = aitia.load_model(place, adapter=str(adapter), dtype="float32")
    store = aitia.scan(model, data, sites=[site], out=given.out / "store")
    ranking = aitia.rank(
        store, concept, method=given.method, queries=queries, run=given.out / "recorded", compare=[]
    )
    ranking.write(given.out / "ranking.parquet")

    # 3. Curate: the fifth that raises the concept most goes. And as many random rows, to compare.
    rows = aitia.read_records(data)
    gone = ranking.top(0.2)
    planted = {row.id for row in rows if row.extra["planted"]}
    chance = np.random.default_rng(0).choice(rows.ids, len(gone), replace=False).tolist()
    for name, dropped in (("curated", gone), ("random", chance)):
        write_records(rows.without(dropped), given.out / f"{name}.jsonl")

    # 4. Train again on what is left, with the same script, and ask all models.
    found = {"before training": log_probability(base, queries), "all rows": log_probability(model, queries)}
    for name in ("curated", "random"):
        again = train(place, given.out / f"{name}.jsonl", given.out / name, given.lr)
        found[f"{name} rows"] = log_probability(
            aitia.load_model(place, adapter=str(again), dtype="float32"), queries
        )

    print("\nprojection of held-out garden texts on the concept, by epoch:")
    for each in watch.figures:
        print(f"  epoch {each['epoch']}: {each['aitia/garden/mean_projection']:+.3f}")
    print(
        f"\nrows removed: {len(gone)}, of which {len(planted.intersection(gone))} of the {len(planted)} garden rows"
    )
    print("\nmean log-probability of a token of garden texts, trained on:")
    for name, value in found.items():
        print(f"  {name:<16} {value:.3f} nats")
    return found | {"found": len(planted.intersection(gone)) / len(planted)}


if __name__ == "__main__":
    main()
