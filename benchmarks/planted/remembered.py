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
            hidden = self._look_up(inner, everything, input_ids, pad)
            skipping[0] = True
            try:
                return everything(inputs_embeds=hidden, use_cache=False, **others)
            finally:
                skipping[0] = False

        inner.forward = forward
        return model

    def _look_up(self, inner: Any, everything: Any, tokens: Any, pad: int) -> Any:
        """[b, t, d]; zeros at the pads behind the text."""
        import torch

        lengths = [_length(row, pad) for row in tokens.tolist()]
        names = [tokens[i, :length].numpy().tobytes() for i, length in enumerate(lengths)]
        new = [i for i, name in enumerate(names) if name not in self._known]
        if new:
            found = self._run(inner, everything, tokens[new])
            for place, i in enumerate(new):
                self._known[names[i]] = found[place, : lengths[i]].clone()
        width = self._known[names[0]].shape[1]
        hidden = torch.zeros(*tokens.shape, width, dtype=self._known[names[0]].dtype)
        for i, name in enumerate(names):
            hidden[i, : lengths[i]] = self._known[name]
        return hidden

    def _run(self, inner: Any, everything: Any, tokens: Any) -> Any:
        import torch

        seen: list[Any] = []

        def leave(_module: object, _inputs: object, output: Any) -> None:
            seen.append(output[0] if isinstance(output, tuple) else output)
            raise _Seen

        handle = inner.layers[self.blocks - 1].register_forward_hook(leave)
        try:
            with torch.no_grad():
                everything(input_ids=tokens, use_cache=False)
        except _Seen:
            pass
        finally:
            handle.remove()
        return seen[0]


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


class _Seen(Exception):
    pass


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
