"""Sampling a model's own responses to prompts, in batches, reproducibly."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from aitia.models.language_model import LanguageModel
from aitia.models.probing import SHARED, probe_tokens


def generate_responses(
    model: LanguageModel,
    prompts: Sequence[np.ndarray],
    *,
    max_new_tokens: int = 64,
    temperature: float = 1.0,
    seed: int = 0,
    batch_rows: int = 16,
    on_batch: Callable[[int], None] | None = None,
) -> list[np.ndarray]:
    """Sample one response to each prompt.

    Prompts of similar length are batched together; each batch draws from a generator seeded by `seed`
    and the batch's place, so the result depends on the prompts and the settings alone. Of the folder's
    `generation_config.json` only the end-of-turn tokens count. Where a model reads the padding to the left of a
    prompt, as some recurrent ones do, a batch holds prompts of one length only.

    Args:
        model: the model.
        prompts: token ids [t] of each prompt, generation prompt included.
        max_new_tokens: longest response, in tokens.
        temperature: 1 samples from the model as it is; 0 takes the likeliest token.
        seed: of the sampling.
        batch_rows: prompts run at once.
        on_batch: called with the number of prompts done after each batch.

    Returns:
        Token ids of each response, in the order of the prompts, its end-of-turn token included where the
        model wrote one. A response has at least one token.
    """
    import torch
    from transformers import GenerationConfig

    order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), i))
    responses: list[np.ndarray] = [np.empty(0, dtype=np.int64)] * len(prompts)
    ends = _end_tokens(model)
    sampling = {"temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature > 0 else {}
    settings = GenerationConfig(
        do_sample=temperature > 0,
        max_new_tokens=max_new_tokens,
        min_new_tokens=1,
        pad_token_id=model.pad_id,
        eos_token_id=sorted(ends) or None,
        **sampling,
    )
    for start, stop in _batches([len(prompts[i]) for i in order], model, batch_rows):
        chosen = order[start:stop]
        longest = max(len(prompts[i]) for i in chosen)
        tokens = torch.full((len(chosen), longest), model.pad_id)
        attention = torch.zeros((len(chosen), longest), dtype=torch.long)
        for row, i in enumerate(chosen):
            tokens[row, longest - len(prompts[i]) :] = torch.from_numpy(prompts[i].astype(np.int64))
            attention[row, longest - len(prompts[i]) :] = 1
        with torch.no_grad(), torch.random.fork_rng(), _settings_alone(model) as network:
            torch.manual_seed(seed * 1_000_003 + start)
            output = network.generate(
                input_ids=tokens.to(model.device),
                attention_mask=attention.to(model.device),
                generation_config=settings,
            )
        for row, i in enumerate(chosen):
            responses[i] = _up_to_end(output[row, longest:].cpu().numpy(), ends)
        if on_batch is not None:
            on_batch(len(chosen))
    return responses


@contextmanager
def _settings_alone(model: LanguageModel) -> Iterator[Any]:
    """The network to generate with, its folder's own settings (penalties, beams, ...) put aside meanwhile.

    Transformers fills what a caller leaves open from them.

    Yields:
        The network.
    """
    from transformers import GenerationConfig

    network = _without_wrapper(model)
    kept, network.generation_config = network.generation_config, GenerationConfig()
    try:
        yield network
    finally:
        network.generation_config = kept


def _without_wrapper(model: LanguageModel) -> Any:
    """The `transformers` network, which has an adapter's layers in it all the same."""
    network = model.network
    return network.get_base_model() if hasattr(network, "get_base_model") else network


def _batches(lengths: Sequence[int], model: LanguageModel, batch_rows: int) -> Iterator[tuple[int, int]]:
    """Start and stop of each batch of prompts, whose lengths rise."""
    uneven = len(set(lengths)) > 1 and not _passes_over_padding(model)
    start = 0
    while start < len(lengths):
        stop = min(start + batch_rows, len(lengths))
        if uneven:
            stop = min(stop, bisect_right(lengths, lengths[start]))
        yield start, stop
        start = stop


def _passes_over_padding(model: LanguageModel) -> bool:
    """Whether padding to the left of a prompt changes nothing, tried on a few tokens."""
    import torch

    prompt = probe_tokens(model.network)[:1, :SHARED]
    padding = torch.full((1, 3), model.pad_id, device=prompt.device)
    padded = torch.cat([padding, prompt], dim=1)
    logits = []
    for tokens, pads in ((prompt, 0), (padded, padding.shape[1])):
        attention = torch.ones_like(tokens)
        attention[:, :pads] = 0
        with torch.no_grad(), _settings_alone(model) as network:
            made = network.generate(
                input_ids=tokens,
                attention_mask=attention,
                max_new_tokens=1,
                do_sample=False,
                pad_token_id=model.pad_id,
                output_logits=True,
                return_dict_in_generate=True,
            )
        logits.append(made.logits[0].float())
    tolerance = 1e-3 if model.network.dtype == torch.float32 else 1e-1
    return bool((logits[0] - logits[1]).abs().max() <= tolerance * logits[0].abs().max())


def _end_tokens(model: LanguageModel) -> set[int]:
    configured = _without_wrapper(model).generation_config.eos_token_id
    ends = configured if isinstance(configured, list) else [configured]
    return {int(token) for token in [*ends, model.tokenizer.eos_token_id] if token is not None}


def _up_to_end(tokens: np.ndarray, ends: set[int]) -> np.ndarray:
    """The tokens up to and with the first end-of-turn token; what follows is padding."""
    for position, token in enumerate(tokens):
        if int(token) in ends:
            return tokens[: position + 1]
    return tokens
