"""Fingerprints: does this file belong to this model?

Two questions have two fingerprints, each a SHA-256 over every weight's name, shape and checksums:

- `model_fingerprint`: would the same bits come out? It counts the exact bits and the precision of all weights,
  an adapter's among them. Resuming, caches and stores of gradients compare it.
- `base_fingerprint`: is it the same base model? It leaves an adapter out and rounds each weight to bfloat16 first, so
  that one checkpoint has one identity in float32 and in bfloat16. Concepts, autoencoders and stores of activations
  compare it. A checkpoint loaded in float16 loses range and is another: float16 is no rounding of bfloat16's.

Weights are the parameters and the persistent buffers of numbers (a router's bias, say), tied ones once. Neither
device, folder, day nor machine counts. A model with a padded vocabulary or with an adapter merged into it has other
weights, and is another base. Fingerprints catch mix-ups, not forgery; two weights that differ in one bit, or in the
order of their numbers, differ in it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from aitia.files import digest

if TYPE_CHECKING:
    import torch
    from torch import nn

_CHUNK = 1 << 18  # what is summed at once: its words, as 64-bit integers, stay in a processor's cache
_ADAPTER = re.compile(r"(^|\.)(lora_|ia3_|hada_|lokr_|modules_to_save\.|trainable_tokens_)")
_WRAPPERS = re.compile(r"\.(base_layer|original_module|token_adapter)(?=\.)")


def weights_of(network: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Each parameter and persistent floating-point buffer with its name, tied ones once."""
    yield from network.named_parameters()
    seen: set[int] = set()
    for prefix, module in network.named_modules():
        for name, buffer in module.named_buffers(recurse=False):
            kept = name not in module._non_persistent_buffers_set
            if kept and buffer.is_floating_point() and id(buffer) not in seen:
                seen.add(id(buffer))
                yield f"{prefix}.{name}" if prefix else name, buffer


def model_fingerprint(network: nn.Module) -> str:
    """The fingerprint of exact bits and precision of all weights: 64 hexadecimal digits.

    A PEFT wrapper's names are reduced to those of the model inside.

    Returns:
        64 hexadecimal digits.
    """
    return _fingerprint(network, base=False, adapter=True)


def base_fingerprint(network: nn.Module) -> str:
    """The fingerprint of the weights without an adapter's, each rounded to bfloat16: 64 hexadecimal digits."""
    return _fingerprint(network, base=True, adapter=False)


def unadapted_fingerprint(network: nn.Module) -> str:
    """The `model_fingerprint` that a network has without its adapter: 64 hexadecimal digits."""
    return _fingerprint(network, base=False, adapter=False)


def _fingerprint(network: nn.Module, *, base: bool, adapter: bool) -> str:
    lines = []
    for name, weight in weights_of(network):
        if not adapter and _ADAPTER.search(name):
            continue
        plain = _WRAPPERS.sub("", name.removeprefix("base_model.model."))
        kind = "" if base else str(weight.dtype).removeprefix("torch.")
        lines.append(f"{plain} {tuple(weight.shape)} {kind} {_checksums(weight, rounded=base)}")
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def _checksums(weight: torch.Tensor, *, rounded: bool) -> list[int]:
    """Wrap-around sums of the weight's words, read as integers, each times an odd number that its place gives."""
    import torch

    places = 2 * torch.arange(min(_CHUNK, weight.numel()), device=weight.device) + 1
    sums = []
    for chunk in weight.detach().contiguous().flatten().split(_CHUNK):
        values = chunk.to(torch.bfloat16) if rounded and chunk.is_floating_point() else chunk
        word = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[values.element_size()]
        # Not in place: what is 64 bits wide already would be the weight itself.
        sums.append((values.view(word).to(torch.int64) * places[: len(values)]).sum())
    return torch.stack(sums).tolist() if sums else []


def tokenizer_fingerprint(tokenizer: object) -> str:
    """The fingerprint of a tokenizer: its vocabulary, its rules where it has a backend, its chat template.

    How it last cut or padded a batch is no part of it.

    Returns:
        64 hexadecimal digits.
    """
    import json

    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        rules = sorted(tokenizer.get_vocab().items())  # type: ignore[attr-defined]
    else:
        rules = json.loads(backend.to_str()) | {"truncation": None, "padding": None}
    return digest([rules, getattr(tokenizer, "chat_template", None)])
