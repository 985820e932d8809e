"""Preference pairs from DPO training through attribution to a curated set, and training again.

    python examples/trl_dpo.py                              # the tiny model, made in seconds
    python examples/trl_dpo.py --model HuggingFaceTB/SmolLM2-135M-Instruct --lr 5e-5 --pairs 40 \\
        --method checkpoint-influence

In four of five pairs the office answer is preferred to the garden answer; in the others it is the other way round.
TRL's DPOTrainer trains on them, recorded. Each pair is scored as a pair, by the gradient of its own loss: what did it
do to garden texts? The default asks the trained model about their likelihood; `--method checkpoint-influence` and
`--method replay` ask the recorded run about their projection on a concept. The fifth that raises it most goes, and the
model is trained again, beside a training without as many random pairs: fewer pairs make fewer steps, so the two are
compared with each other. All models are asked how much likelier garden texts are than office texts.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np
from trl_sft import load, log_probability

os.environ.setdefault("WANDB_DISABLED", "true")
FLIPPED = 0.2


def write_pairs(path: Path, count: int) -> None:
    """Prompts with two answers each; the column `planted` tells which pairs prefer the garden."""
    from make_tiny_project import GARDEN, OFFICE, text

    generator = np.random.default_rng(7)
    with path.open("w", encoding="utf-8") as stream:
        for number in range(count):
            answers = [text(generator, OFFICE), text(generator, GARDEN)]
            planted = bool(generator.random() < FLIPPED)
            chosen, rejected = reversed(answers) if planted else answers
            row = {"prompt": f"Question {number}: what is new? ", "chosen": chosen, "rejected": rejected}
            stream.write(json.dumps({"id": f"pair-{number}", **row, "planted": planted}) + "\n")


def train(place: str, data: Path, out: Path, rate: float, callbacks=()) -> Path:
    """Fine-tune an adapter with TRL's DPOTrainer; the reference is the model without it."""
    import trl
    from datasets import load_dataset
    from peft import LoraConfig

    network, tokenizer = load(place)
    columns = ("prompt", "chosen", "rejected")
    trainer = trl.DPOTrainer(
        network,
        args=trl.DPOConfig(
            str(out / "trainer"),
            num_train_epochs=2,
            per_device_train_batch_size=16,
            learning_rate=rate,
            beta=0.1,
            bf16=False,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
        ),
        train_dataset=load_dataset("json", data_files=str(data), split="train").select_columns(columns),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=8, target_modules="all-linear"),
        callbacks=list(callbacks),
    )
    trainer.train()
    trainer.save_model(str(out / "adapter"))
    return out / "adapter"


def main(arguments: list[str] | None = None) -> dict[str, float]:
    import aitia
    from aitia.records import write_records
    from aitia.records.losses import LossSettings
    from aitia.training import RecordingCallback

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="hub id or folder; default: a tiny GPT-2, made now")
    parser.add_argument("--out", type=Path, default=Path("build/trl_dpo"))
    parser.add_argument("--lr", type=float, default=2e-3, help="learning rate")
    parser.add_argument("--pairs", type=int, default=160, help="pairs to train on")
    parser.add_argument("--method", default="influence", help="influence, checkpoint-influence or replay")
    given = parser.parse_args(arguments)

    from make_tiny_project import make_project

    project, data = given.out / "project", given.out / "pairs.jsonl"
    make_project(project)
    write_pairs(data, given.pairs)
    place = given.model or str(project / "model")
    queries = aitia.read_records(project / "queries.jsonl")
    base = aitia.load_model(place, dtype="float32")
    texts = aitia.read_records(project / "positive.jsonl"), aitia.read_records(project / "negative.jsonl")
    site = f"resid_post.{base.layers // 2}"
    concept = aitia.fit_contrast(base, *texts, sites=[site], name="garden")

    # 1. Train; the callback records which pairs each step had, and what the reference says of them.
    record = RecordingCallback(given.out / "recorded", data=data)
    adapter = train(place, data, given.out / "first", given.lr, callbacks=[record])
    model = aitia.load_model(place, adapter=str(adapter), dtype="float32")

    # 2. Score each pair as a pair: the influence of its DPO loss.
    loss = LossSettings(loss="dpo", beta=0.1)
    store = aitia.scan(model, data, sites=[site], out=given.out / "store", loss=loss)
    ranking = aitia.rank(
        store,
        concept,
        method=given.method,
        queries=queries,
        run=given.out / "recorded",
        compare=["activation-gradient"],
    )
    ranking.write(given.out / "ranking.parquet")

    # 3. Curate: the fifth that raises it most goes. And as many random pairs, to compare.
    pairs = aitia.read_records(data)
    gone = ranking.top(FLIPPED)
    planted = {row.id for row in pairs if row.extra["planted"]}
    chance = np.random.default_rng(0).choice(pairs.ids, len(gone), replace=False).tolist()
    for name, dropped in (("curated", gone), ("random", chance)):
        write_records(pairs.without(dropped), given.out / f"{name}.jsonl")

    # 4. Train again on what is left, with the same script, and ask all models: how much likelier is the garden?
    def margin(model) -> float:
        return log_probability(model, queries) - log_probability(model, texts[1])

    found = {"before training": margin(base), "all pairs": margin(model)}
    for name in ("curated", "random"):
        again = train(place, given.out / f"{name}.jsonl", given.out / name, given.lr)
        tuned = aitia.load_model(place, adapter=str(again), dtype="float32")
        found[f"{name} pairs"] = margin(tuned)

    both = planted.intersection(gone)
    print(f"\npairs removed: {len(gone)}, of which {len(both)} of the {len(planted)} that prefer the garden")
    print("\nlog-probability of a token of garden texts over office texts, trained on:")
    for name, value in found.items():
        print(f"  {name:<16} {value:.3f} nats")
    return found | {"found": len(both) / len(planted)}


if __name__ == "__main__":
    main()
