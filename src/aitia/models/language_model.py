"""A language model as aitia uses it: network, tokenizer, sites, and fingerprints."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from aitia.models.loading.fingerprint import (
    base_fingerprint,
    model_fingerprint,
    tokenizer_fingerprint,
    unadapted_fingerprint,
)
from aitia.models.probing import require_supported
from aitia.models.sites import decoder_blocks, site_names

if TYPE_CHECKING:
    import torch
    from torch import nn


# What configurations call the number of tokens that a model takes, most telling first.
_CONTEXT_FIELDS = (
    "max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len", "seq_length", "n_ctx",
    "context_length", "model_max_length",
)  # fmt: skip
# Beyond its original context, such a rotary embedding turns every token by an angle that depends on the longest row.
_LENGTH_DEPENDENT_ROTARY = ("dynamic", "longrope")


@dataclass(kw_only=True)
class LanguageModel:
    """A decoder-only language model in evaluation mode, its parameters frozen.

    A network with weights is tried on a few tokens when it is taken up (`aitia.models.probing`).

    Attributes:
        network: a `transformers` causal language model, or a PEFT model around one.
        tokenizer: its tokenizer.
        name: hub id or folder it came from, for people and for reloading.
        adapter: folder of the PEFT adapter on it, if any.
        blocks: the transformer blocks.
        observed: the linear layers of the blocks, once `aitia.models.linear_layers.observed_layers` has seen them used.
        known_base_fingerprint: of the base before the adapter was put on it, where that was seen.

    Raises:
        ModelError: the network is not what this package can work with; the message names what is not supported.
    """

    network: Any
    tokenizer: Any
    name: str
    adapter: str | None = None
    known_base_fingerprint: str | None = None
    blocks: nn.ModuleList = field(init=False, repr=False)
    observed: tuple[Any, ...] | None = field(default=None, init=False, repr=False, compare=False)
    _plain: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.blocks = decoder_blocks(self.network)
        self.network.eval()
        self.network.requires_grad_(False)
        _fuse_activations(self.network)
        self._plain = require_supported(self.network, list(self.blocks), self.name)

    @property
    def dtype(self) -> str:
        """The precision of the weights, as in `float32`."""
        return str(self.network.dtype).removeprefix("torch.")

    @property
    def layers(self) -> int:
        """The number of transformer blocks."""
        return len(self.blocks)

    @property
    def sites(self) -> tuple[str, ...]:
        """The names of all sites, bottom first."""
        return site_names(self.layers)

    @property
    def config(self) -> Any:
        """The configuration of the language part."""
        return self.network.config.get_text_config()

    @property
    def width(self) -> int:
        """The size d of the residual stream."""
        return int(self.config.hidden_size)

    @property
    def context_length(self) -> int:
        """The largest number of tokens that the model takes, by its configuration, else by its tokenizer.

        A model that names no limit, as one that is recurrent, has that of its tokenizer, which may be none
        (a very large number). With rotary embeddings that change with the longest row of a batch it is the
        original context, up to which they do not.
        """
        given = (getattr(self.config, name, None) for name in _CONTEXT_FIELDS)
        limit = next((int(value) for value in given if isinstance(value, int) and value > 0), None)
        limit = limit or int(self.tokenizer.model_max_length)
        return min([limit, *_original_contexts(self.config)])

    @property
    def device(self) -> torch.device:
        """Where the token embeddings live, which is where inputs must go."""
        return self.network.get_input_embeddings().weight.device

    @property
    def pad_id(self) -> int:
        """The token that fills short rows; any will do, since nothing ever looks at it."""
        for token in (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id):
            if token is not None:
                return int(token)
        return 0

    @property
    def plain_unembedding(self) -> nn.Linear | None:
        """The unembedding, if it is a frozen linear layer whose output is the logits as they are; else none.

        Models that cap or scale their logits are found by trying a few tokens.
        """
        from torch import nn

        head = self.network.get_output_embeddings()
        return head if self._plain and type(head) is nn.Linear and not head.weight.requires_grad else None

    @cached_property
    def fingerprint(self) -> str:
        """Fingerprint of all weights, the adapter's among them: the same bits come out."""
        return model_fingerprint(self.network)

    @cached_property
    def unadapted_fingerprint(self) -> str:
        """The `fingerprint` of the same model without its adapter."""
        return unadapted_fingerprint(self.network)

    @cached_property
    def base_fingerprint(self) -> str:
        """Fingerprint of the base's weights, whatever its precision and adapter: the same base model."""
        return self.known_base_fingerprint or base_fingerprint(self.network)

    @cached_property
    def tokenizer_fingerprint(self) -> str:
        """Fingerprint of the tokenizer and its chat template."""
        return tokenizer_fingerprint(self.tokenizer)


def _original_contexts(config: Any) -> list[int]:
    """The original contexts of rotary embeddings that change with the length of what they are given."""
    rotary = getattr(config, "rope_parameters", None) or {}
    kinds = [rotary, *(part for part in rotary.values() if isinstance(part, dict))]
    return [
        int(kind.get("original_max_position_embeddings") or config.max_position_embeddings)
        for kind in kinds
        if kind.get("rope_type") in _LENGTH_DEPENDENT_ROTARY
    ]


def _fuse_activations(network: nn.Module) -> None:
    """Put PyTorch's own tanh GELU in the place of the one that `transformers` makes of eight operations.

    They are one function, to rounding; PyTorch's takes half the time. GPT-2 and its kin have it.
    """
    from torch import nn
    from transformers.activations import NewGELUActivation

    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child) is NewGELUActivation:
                setattr(module, name, nn.GELU(approximate="tanh"))
