"""Frozen lower blocks, run once for each text.

Where adapters sit in the upper blocks only, the lower ones give the same activations for the same text in every
one of hundreds of trainings. Here they are kept. In a causal model with padding on the right, an activation does not
depend on what follows, so texts are known by their tokens alone.
"""

from __future__ import annotations

import copy
from typing import Any

from aitia.models import LanguageModel


class LowerBlocks:
    """The activations that leave the lower blocks of one model, text by text, in one precision.

    Args:
        blocks: how many of the model's blocks are frozen in every use.
    """

    def __init__(self, blocks: int) -> None:
        self.blocks = blocks
        self._known: dict[bytes, Any] = {}

    def skip_in(self, model: LanguageModel) -> LanguageModel:
        """Let a Llama model start from what is remembered; generation runs all blocks as ever.

        Args:
            model: changed in place; the same weights in the lower blocks at every call.
        """
        whole = getattr(model.network, "get_base_model", lambda: model.network)()
        inner, pad = whole.model, model.pad_id
        everything, skipping = inner.forward, [False]

        for block in inner.layers[: self.blocks]:
            block.forward = _unless(skipping, block.forward)

        def forward(
            input_ids: Any = None, use_cache: bool | None = None, inputs_embeds: Any = None, **others: Any
        ) -> Any:
            if input_ids is None or use_cache is not False:
                return everything(
                    input_ids=input_ids, use_cache=use_cache, inputs_embeds=inputs_embeds, **others
                )
            texts = [input_ids[i, : _length(row, pad)] for i, row in enumerate(input_ids.tolist())]
            names = [text.numpy().tobytes() for text in texts]
            if any(name not in self._known for name in names):
                return self._remembered(inner, names, everything, input_ids=input_ids, **others)
            hidden = self._looked_up(names, input_ids.shape)
            skipping[0] = True
            try:
                return everything(inputs_embeds=hidden, use_cache=False, **others)
            finally:
                skipping[0] = False

        inner.forward = forward
        return model

    def _looked_up(self, names: list[bytes], shape: Any) -> Any:
        """[b, t, d]; zeros at the pads behind the text."""
        import torch

        first = self._known[names[0]]
        hidden = torch.zeros(*shape, first.shape[1], dtype=first.dtype)
        for i, name in enumerate(names):
            known = self._known[name]
            hidden[i, : len(known)] = known
        return hidden

    def _remembered(self, inner: Any, names: list[bytes], everything: Any, **given: Any) -> Any:
        """Run all blocks, and remember what leaves the lower ones."""
        lengths = [len(name) // given["input_ids"].element_size() for name in names]

        def remember(_module: object, _inputs: object, output: Any) -> None:
            hidden = output[0] if isinstance(output, tuple) else output
            for i, name in enumerate(names):
                self._known[name] = hidden[i, : lengths[i]].detach().clone()

        handle = inner.layers[self.blocks - 1].register_forward_hook(remember)
        try:
            return everything(use_cache=False, **given)
        finally:
            handle.remove()


def same_weights(model: LanguageModel) -> LanguageModel:
    """A copy of a frozen model that shares its weights, to put an adapter on."""
    network = model.network
    shared = {id(each): each for each in (*network.parameters(), *network.buffers())}
    return LanguageModel(
        network=copy.deepcopy(network, shared),
        tokenizer=model.tokenizer,
        name=model.name,
        adapter=model.adapter,
    )


def _unless(skipping: list[bool], run: Any) -> Any:
    def forward(hidden_states: Any, *arguments: Any, **named: Any) -> Any:
        return hidden_states if skipping[0] else run(hidden_states, *arguments, **named)

    return forward


def _length(row: list[int], pad: int) -> int:
    """Up to the first of the pads at the end, and with it: it may be the text's own end."""
    length = len(row)
    while length > 1 and row[length - 2] == pad:
        length -= 1
    return length
