"""A language model as aitia uses it: network, tokenizer, sites, and fingerprints."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from aitia.models.fingerprint import base_fingerprint, model_fingerprint, tokenizer_fingerprint
from aitia.models.sites import decoder_blocks, site_names

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(kw_only=True)
class LanguageModel:
    """A decoder-only language model in evaluation mode, its parameters frozen.

    Attributes:
        network: a `transformers` causal language model, or a PEFT model around one.
        tokenizer: its tokenizer.
        name: hub id or folder it came from, for people and for reloading.
        adapter: folder of the PEFT adapter on it, if any.
        known_base_fingerprint: of the base before the adapter was put on it, where that was seen.
    """

    network: Any
    tokenizer: Any
    name: str
    adapter: str | None = None
    known_base_fingerprint: str | None = None
    blocks: nn.ModuleList = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.blocks = decoder_blocks(self.network)
        self.network.eval()
        self.network.requires_grad_(False)
        _fuse_activations(self.network)

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
        """The largest number of tokens that the model takes."""
        return int(getattr(self.config, "max_position_embeddings", None) or self.tokenizer.model_max_length)

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

    @cached_property
    def plain_unembedding(self) -> nn.Linear | None:
        """The unembedding, if it is a frozen linear layer whose output is the logits as they are; else none.

        Models that cap or scale their logits are found by trying one token.
        """
        import torch
        from torch import nn

        head = self.network.get_output_embeddings()
        if type(head) is not nn.Linear or head.weight.requires_grad:
            return None
        inputs: list[torch.Tensor] = []
        handle = head.register_forward_pre_hook(lambda _module, given: inputs.append(given[0]))
        try:
            with torch.no_grad():
                token = torch.full((1, 1), self.pad_id, device=self.device)
                logits = self.network(input_ids=token, use_cache=False).logits
                same = torch.equal(head(inputs[0]), logits)
        finally:
            handle.remove()
        return head if same else None

    @cached_property
    def fingerprint(self) -> str:
        """Fingerprint of all weights, the adapter's among them: the same bits come out."""
        return model_fingerprint(self.network)

    @cached_property
    def base_fingerprint(self) -> str:
        """Fingerprint of the base's weights, whatever its precision and adapter: the same base model."""
        return self.known_base_fingerprint or base_fingerprint(self.network)

    @cached_property
    def tokenizer_fingerprint(self) -> str:
        """Fingerprint of the tokenizer and its chat template."""
        return tokenizer_fingerprint(self.tokenizer)


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
