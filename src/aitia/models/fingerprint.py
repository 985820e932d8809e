"""Fingerprints: does this file belong to this model?

A fingerprint is a SHA-256 over every parameter's name, shape, type and checksums of its exact bits.
It is meant to catch mix-ups, not forgery: two parameters that differ in one bit differ in it.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from aitia.files import digest

if TYPE_CHECKING:
    import torch
    from torch import nn

_CHUNKS = 64
_ADAPTER_PREFIX = "base_model.model."


def _is_adapter_parameter(name: str) -> bool:
    return "lora_" in name or ".adapter_" in name or "modules_to_save" in name or "ia3_" in name


def _parameter_checksums(parameter: torch.Tensor) -> list[int]:
    """Wrap-around sums of the parameter's bits, read as integers, over up to 64 chunks."""
    import torch

    word = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[parameter.element_size()]
    words = parameter.detach().contiguous().view(word).flatten()
    size = -(-words.numel() // _CHUNKS)
    return [int(chunk.sum(dtype=torch.int64)) for chunk in words.split(max(size, 1))]


def model_fingerprint(network: nn.Module, *, adapter: bool = True) -> str:
    """The fingerprint of a network's parameters.

    Args:
        network: any module; a PEFT wrapper's names are reduced to those of the model inside.
        adapter: count the adapter's parameters. Without them, a base model and the same model with an
            adapter have the same fingerprint.

    Returns:
        64 hexadecimal digits. Independent of the device.
    """
    lines = []
    for name, parameter in network.named_parameters():
        if not adapter and _is_adapter_parameter(name):
            continue
        plain = (
            name.removeprefix(_ADAPTER_PREFIX).replace(".base_layer.", ".").replace(".original_module.", ".")
        )
        dtype = str(parameter.dtype).removeprefix("torch.")
        lines.append(f"{plain} {tuple(parameter.shape)} {dtype} {_parameter_checksums(parameter)}")
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def tokenizer_fingerprint(tokenizer: object) -> str:
    """The fingerprint of a tokenizer: its vocabulary, its rules where it has a backend, its chat template."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = backend.to_str() if backend is not None else sorted(tokenizer.get_vocab().items())  # type: ignore[attr-defined]
    return digest([rules, getattr(tokenizer, "chat_template", None)])
