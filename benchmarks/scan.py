"""What a scan costs beside bare passes over the same rows.

A Llama of random weights (12 layers, width 384, vocabulary 16,384) and rows of skewed lengths. The bare
forward pass goes over the rows in the order given, sixteen at once, padded to the longest, as a plain
user would; the bare backward loop goes over the very batches of the scan.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from harness import at_most, median_ratio, report, time_rounds

LAYERS, WIDTH, VOCABULARY = 12, 384, 16_384


def make_model():
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from aitia.models import LanguageModel

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=6,
        max_position_embeddings=1024,
    )
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(VOCABULARY)}, unk_token="w1"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="w0", eos_token="w2", model_max_length=1024
    )
    return LanguageModel(network=LlamaForCausalLM(config), tokenizer=tokenizer, name="benchmark")


def make_rows(count: int):
    from aitia.records import records_from_rows

    generator = np.random.default_rng(0)
    lengths = np.clip(generator.lognormal(4.3, 0.7, count), 16, 512).astype(int)

    def words(n: int) -> str:
        return " ".join(f"w{i}" for i in generator.integers(3, VOCABULARY, n))

    return records_from_rows(
        [{"prompt": words(n // 3) + " ", "completion": words(n - n // 3)} for n in lengths]
    )


def bare_forward(model, tokenized) -> None:
    import torch

    from aitia.records import pad_batch

    for start in range(0, len(tokenized), 16):
        batch = pad_batch(tokenized, np.arange(start, min(start + 16, len(tokenized))), model.pad_id)
        with torch.no_grad():
            model.network(
                input_ids=torch.from_numpy(batch.tokens),
                attention_mask=torch.from_numpy(batch.attention).long(),
                use_cache=False,
            )


def bare_backward(model, tokenized, batches) -> None:
    import torch
    from torch.nn import functional

    from aitia.records import pad_batch

    for index in batches:
        batch = pad_batch(tokenized, index, model.pad_id)
        tokens = torch.from_numpy(batch.tokens)
        embedded = model.network.get_input_embeddings()(tokens).detach().requires_grad_()
        logits = model.network(
            inputs_embeds=embedded, attention_mask=torch.from_numpy(batch.attention).long(), use_cache=False
        ).logits[:, :-1]
        labels = torch.where(torch.from_numpy(batch.response[:, 1:]), tokens[:, 1:], -100)
        functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum").backward()


def passes(count: int, rounds: int):
    from aitia.attribution import scan
    from aitia.records import length_batches, tokenize

    model, data = make_model(), make_rows(count)
    tokenized = tokenize(data, model.tokenizer, max_length=1024)
    batches = length_batches([len(row.tokens) for row in tokenized])

    def scan_at(layer: int, activations=("response",)):
        with tempfile.TemporaryDirectory() as folder:
            scan(model, data, sites=[f"resid_post.{layer}"], out=Path(folder) / "s", activations=activations)

    contestants = {
        "bare forward": lambda: bare_forward(model, tokenized),
        "bare forward and backward": lambda: bare_backward(model, tokenized, batches),
        **{f"scan at layer {run} of {LAYERS}": lambda run=run: scan_at(run - 1) for run in (3, 6, 9, 12)},
        "scan with backward at layer 1": lambda: scan_at(0, ("backward",)),
        "scan with backward at layer 8": lambda: scan_at(7, ("backward",)),
    }
    seconds = time_rounds(contestants, rounds)
    rows = [
        {
            "what": name,
            "median_seconds": float(np.median(times)),
            "to_bare_forward": median_ratio(seconds, name, "bare forward"),
            "to_bare_forward_and_backward": median_ratio(seconds, name, "bare forward and backward"),
        }
        for name, times in seconds.items()
    ]
    targets = [
        at_most(
            f"forward scan at layer {run} of {LAYERS}, to a bare forward pass",
            round(run / LAYERS + 0.10, 3),
            median_ratio(seconds, f"scan at layer {run} of {LAYERS}", "bare forward"),
        )
        for run in (3, 6, 9, 12)
    ]
    targets += [
        at_most(
            f"backward scan at layer {layer}, to a bare forward and backward loop",
            1.15,
            median_ratio(seconds, f"scan with backward at layer {layer}", "bare forward and backward"),
        )
        for layer in (1, 8)
    ]
    return rows, targets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small run whose figures are not quoted")
    options = parser.parse_args()
    rows, targets = passes(24 if options.quick else 96, 1 if options.quick else 5)
    report("scan", rows, targets, quick=options.quick)


if __name__ == "__main__":
    main()
