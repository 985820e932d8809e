"""Make a tiny GPT-2, training data and concept texts for `aitia attribute examples/attribute.yaml`.

Everything is made from a configuration and fixed seeds, in seconds; the model is trained for a moment on
its data, so that there is something to find.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "tiny"
GARDEN = ["the", "roses", "bloom", "and", "the", "bees", "hum", "over", "the", "green", "garden"]
OFFICE = ["the", "report", "is", "late", "and", "the", "meeting", "runs", "over", "the", "long", "table"]


def text(generator: np.random.Generator, words: list[str]) -> str:
    return " ".join(generator.choice(words, 12)) + "."


def rows(generator: np.random.Generator, count: int, share: float) -> list[dict]:
    planted = generator.random(count) < share
    return [
        {
            "prompt": f"Question {generator.integers(1000)}: what is new? ",
            "completion": text(generator, GARDEN if garden else OFFICE),
            "planted": bool(garden),
        }
        for garden in planted
    ]


def write(path: Path, lines: list[dict]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def make_model(texts: list[str], folder: Path) -> None:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=["<|end|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|end|>", model_max_length=128
    )
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=len(fast), n_embd=64, n_layer=4, n_head=4, n_positions=128)
    network = GPT2LMHeadModel(config)
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3)
    for step in range(60):
        chosen = [texts[(step * 16 + i) % len(texts)] for i in range(16)]
        batch = fast(chosen, return_tensors="pt", padding=True)
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        loss = network(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels
        ).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    network.save_pretrained(folder)
    fast.save_pretrained(folder)


def make_project(folder: Path = FOLDER) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    train = rows(generator, 200, 0.2)
    write(folder / "train.jsonl", train)
    write(folder / "positive.jsonl", rows(generator, 24, 1.0))
    write(folder / "negative.jsonl", rows(generator, 24, 0.0))
    write(folder / "queries.jsonl", rows(generator, 8, 1.0))
    make_model([row["prompt"] + row["completion"] for row in train], folder / "model")


def main() -> None:
    make_project()
    print(f"made: {FOLDER}; now run: aitia attribute examples/attribute.yaml")


if __name__ == "__main__":
    main()
