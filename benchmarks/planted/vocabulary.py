"""A language model whose vocabulary is cut to what some texts need.

Of the 49,152 tokens of SmolLM2 the suites use a tenth, and the unembedding over all of them would cost half of a
training. What is left out is only what the model could have said besides: the texts are cut into the same
tokens as before, since a byte-pair merge that never happens in them never mattered to them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from aitia.files import atomic_path


def cut_vocabulary(source: Path, texts: Iterable[str], out: Path) -> Path:
    """Write a model with the tokens that the texts need, and all special tokens and single bytes.

    Args:
        source: folder of a model with a byte-level byte-pair tokenizer, embeddings tied.
        texts: what it is to read and write.
        out: folder, made unless it is there.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

    if (out / "config.json").is_file():
        return out
    texts = list(texts)
    tokenizer = AutoTokenizer.from_pretrained(source)
    described = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
    needed = {token for tokens in tokenizer(texts)["input_ids"] for token in tokens}
    needed |= {each["id"] for each in described["added_tokens"]}
    kept = _with_parts(described["model"], needed)
    number = {old: new for new, old in enumerate(kept)}
    _renumber(described, number)
    network: Any = AutoModelForCausalLM.from_pretrained(source, dtype="float32")
    rows = torch.tensor(kept)
    weight = network.get_input_embeddings().weight.data[rows].clone()
    network.resize_token_embeddings(len(kept), mean_resizing=False)
    network.get_input_embeddings().weight.data.copy_(weight)
    for configuration in (network.config, network.generation_config):
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            setattr(configuration, name, number[getattr(configuration, name)])
    with atomic_path(out) as temporary:
        network.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        (Path(temporary) / "tokenizer.json").write_text(json.dumps(described), encoding="utf-8")
        small = PreTrainedTokenizerFast.from_pretrained(temporary)
        for before, after in zip(tokenizer(texts)["input_ids"], small(texts)["input_ids"], strict=True):
            if [number[token] for token in before] != after:
                raise RuntimeError("the cut tokenizer cuts a text into other tokens than the whole one")
    return out


def _with_parts(model: dict[str, Any], needed: set[int]) -> list[int]:
    """The needed tokens, those that they are merged from, and all single bytes, in their old order."""
    ids = model["vocab"]
    parts = {ids[a + b]: (ids[a], ids[b]) for a, b in reversed(model["merges"])}
    kept = {token for text, token in ids.items() if len(text) == 1}
    waiting = list(needed)
    while waiting:
        token = waiting.pop()
        if token not in kept:
            kept.add(token)
            waiting += parts.get(token, ())
    return sorted(kept)


def _renumber(described: dict[str, Any], number: dict[int, int]) -> None:
    model = described["model"]
    model["vocab"] = {text: number[token] for text, token in model["vocab"].items() if token in number}
    known = model["vocab"]
    model["merges"] = [pair for pair in model["merges"] if {*pair, pair[0] + pair[1]} <= known.keys()]
    for each in described["added_tokens"]:
        each["id"] = number[each["id"]]
