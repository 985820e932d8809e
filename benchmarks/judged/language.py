"""A decision of a language model at one site, so that thousands of interventions on it can be afforded.

The model is SmolLM2-135M-Instruct. It reads the first words of an answer in some mood, then "... The mood of this is",
and the decision is whether it holds " happy" or " sad" for the likelier next word. Interventions set the residual
stream at the last token. In a causal model nothing before that token is moved by them, so keys and values of the
earlier tokens are worked out once, and every intervention runs one token through the blocks above: the very numbers of
a whole pass (`tests/benchmarks/test_judged.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from aitia.explanations import Phenomenon
from aitia.files import digest
from aitia.models import LanguageModel, LanguageModelUnderStudy, load_model, site_layer
from aitia.pipelines.attribution.demo import base_model, mood_answers

MOODS, BEYOND = ("happy", "depressed"), ("nostalgic", "scared")
WORDS = (" happy", " sad")
ASKED = "... The mood of this is"
TEXT_TOKENS = 16
SITE = "resid_post.24"
"""Five blocks are above it; from about here on a linear probe reads the decision."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DecisionAtSite:
    """A Llama-like model's logits [n, k] of a few next words, for known inputs, with one site at the last token.

    Attributes:
        name: for people.
        fingerprint: of weights, site and words.
        sites: the one site.
        places: an input's bytes -> its row in what follows.
        activations: [n, d] at the site.
        keys: of each block above, [n, heads, t - 1, size] (after the rotation), and
        values: likewise.
        upper: what runs the blocks above: activations [n, d], keys and values -> logits [n, k].
        source: what random weights are drawn from; none for networks of random weights.
        drawn: seed -> network of random weights that was made already.
    """

    name: str
    fingerprint: str
    sites: tuple[str, ...]
    places: Mapping[bytes, int] = field(repr=False)
    activations: np.ndarray = field(repr=False)
    keys: Sequence[Any] = field(repr=False)
    values: Sequence[Any] = field(repr=False)
    upper: Any = field(repr=False)
    source: tuple[LanguageModel, np.ndarray, tuple[int, ...]] | None = field(default=None, repr=False)
    drawn: dict[int, DecisionAtSite] = field(default_factory=dict, repr=False)

    def run(self, inputs: np.ndarray) -> np.ndarray:
        """Logits [n, k]."""
        return self.intervene(inputs, {})[0]

    def trace(self, inputs: np.ndarray, sites: Sequence[str]) -> dict[str, np.ndarray]:
        """Activations [n, d] at the site."""
        rows = self._rows(inputs)
        return dict.fromkeys(sites, self.activations[rows])

    def intervene(
        self, inputs: np.ndarray, values: Mapping[str, np.ndarray], sites: Sequence[str] = ()
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Logits when the site at the last token is set, and activations there."""
        import torch

        rows = self._rows(inputs)
        hidden = np.asarray(values.get(self.sites[0], self.activations[rows]), dtype=np.float32)
        chosen = torch.from_numpy(rows)
        with torch.no_grad():
            logits = self.upper(
                torch.tensor(hidden),
                [each[chosen] for each in self.keys],
                [each[chosen] for each in self.values],
            )
        return logits.numpy(), dict.fromkeys(sites, hidden)

    def randomised(self, seed: int) -> DecisionAtSite | None:
        """The same architecture with random weights; each seed's is made once."""
        if self.source is None:
            return None
        if seed not in self.drawn:
            model, inputs, words = self.source
            other = LanguageModelUnderStudy(model=model).randomised(seed).model
            made = decision_at_site(
                other, inputs, self.sites[0], words, name=f"{self.name}, random weights {seed}"
            )
            self.drawn[seed] = replace(made, source=None)
        return self.drawn[seed]

    def _rows(self, inputs: np.ndarray) -> np.ndarray:
        return np.array([self.places[row.tobytes()] for row in np.ascontiguousarray(inputs)])


def decision_at_site(
    model: LanguageModel, inputs: np.ndarray, site: str, words: tuple[int, ...], *, name: str, batch: int = 32
) -> DecisionAtSite:
    """Run the whole model once on all inputs, and keep what interventions at the site need.

    Args:
        model: of the Llama architecture.
        inputs: [n, t] token ids, all that will ever be asked about, all of one length.
        site: as in `resid_post.24`.
        words: token ids whose logits are the outputs.
        name: for people.
        batch: rows run at once.
    """
    import torch

    above = range(site_layer(site, model.layers) + 1, model.layers)
    streams, keys, values = [], [[] for _ in above], [[] for _ in above]
    seen = []
    handle = model.blocks[above.start - 1].register_forward_hook(
        lambda _block, _inputs, output: seen.append(output[0] if isinstance(output, tuple) else output)
    )
    with torch.no_grad():
        for start in range(0, len(inputs), batch):
            tokens = torch.from_numpy(inputs[start : start + batch].astype(np.int64))
            kept = model.network.model(input_ids=tokens, use_cache=True).past_key_values
            streams.append(seen.pop()[:, -1].float().numpy())
            for place, layer in enumerate(above):
                keys[place].append(kept.layers[layer].keys[:, :, :-1].clone())
                values[place].append(kept.layers[layer].values[:, :, :-1].clone())
    handle.remove()
    return DecisionAtSite(
        name=name,
        fingerprint=digest([model.fingerprint, site, list(words)]),
        sites=(site,),
        places={row.tobytes(): i for i, row in enumerate(np.ascontiguousarray(inputs))},
        activations=np.concatenate(streams),
        keys=[torch.cat(each) for each in keys],
        values=[torch.cat(each) for each in values],
        upper=_Upper(model, above, inputs.shape[1] - 1, words),
        source=(model, inputs, words),
    )


class _Upper:
    """The blocks above a site, for one token at the end; it keeps those and nothing else of the model."""

    def __init__(self, model: LanguageModel, above: range, position: int, words: tuple[int, ...]) -> None:
        import torch

        network = model.network.model
        self.blocks = [network.layers[layer] for layer in above]
        self.norm = network.norm
        self.head = model.network.get_output_embeddings().weight[list(words)].detach().clone()
        probe = torch.zeros((1, 1, model.width))
        self.cos, self.sin = network.rotary_emb(probe, position_ids=torch.tensor([[position]]))

    def __call__(self, hidden: Any, keys: Sequence[Any], values: Sequence[Any]) -> Any:
        for block, key, value in zip(self.blocks, keys, values, strict=True):
            hidden = hidden + self._attention(block.self_attn, block.input_layernorm(hidden), key, value)
            hidden = hidden + block.mlp(block.post_attention_layernorm(hidden))
        return self.norm(hidden) @ self.head.T

    def _attention(self, attention: Any, hidden: Any, keys: Any, values: Any) -> Any:
        import torch

        n, size = len(hidden), attention.head_dim
        query = self._rotated(attention.q_proj(hidden).view(n, -1, 1, size))
        keys = torch.cat([keys, self._rotated(attention.k_proj(hidden).view(n, -1, 1, size))], dim=2)
        values = torch.cat([values, attention.v_proj(hidden).view(n, -1, 1, size)], dim=2)
        shared = query.shape[1] // keys.shape[1]
        keys, values = (each.repeat_interleave(shared, dim=1) for each in (keys, values))
        weights = (query @ keys.transpose(2, 3) * attention.scaling).softmax(dim=-1)
        return attention.o_proj((weights @ values).reshape(n, -1))

    def _rotated(self, vectors: Any) -> Any:
        """Rotary position embedding at the last position."""
        import torch

        first, second = vectors.chunk(2, dim=-1)
        return vectors * self.cos + torch.cat([-second, first], dim=-1) * self.sin


def mood_phenomenon(folder: Path, count: int = 144) -> tuple[Phenomenon, int, int]:
    """Whether the model calls a text happy or sad, over answers in two moods; answers in two others lie beyond.

    Args:
        folder: where the converted model is kept.
        count: of texts, half of either mood; a sixth as many lie beyond.

    Returns:
        The phenomenon, and how many numbers the model holds below and above the site.
    """
    model = load_model(base_model(folder), device="cpu", dtype="float32")
    inside = np.concatenate([_texts(model, mood, count // 2) for mood in MOODS])
    beyond = np.concatenate([_texts(model, mood, count // 12) for mood in BEYOND])
    words = tuple(model.tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in WORDS)
    everything = np.unique(np.concatenate([inside, beyond]), axis=0)
    decision = decision_at_site(model, everything, SITE, words, name="SmolLM2-135M-Instruct, happy or sad")
    upper = sum(parameter.numel() for block in decision.upper.blocks for parameter in block.parameters())
    upper += decision.upper.head.numel() + model.width
    whole = sum(parameter.numel() for parameter in model.network.parameters())
    phenomenon = Phenomenon(
        name="which mood a language model sees",
        model=decision,
        inputs=inside,
        outcomes=[word.strip() for word in WORDS],
        beyond=beyond,
        exhaustive=False,
        seed=0,
    )
    return phenomenon, whole - upper, upper


def _texts(model: LanguageModel, mood: str, count: int) -> np.ndarray:
    """[count, t] token ids: the first of an answer in the mood, then the question."""
    asked = model.tokenizer(ASKED, add_special_tokens=False)["input_ids"]
    rows: dict[bytes, list[int]] = {}
    for _, answer in sorted(mood_answers(mood).items()):
        row = model.tokenizer(answer, add_special_tokens=False)["input_ids"][:TEXT_TOKENS] + asked
        if len(row) == TEXT_TOKENS + len(asked):
            rows.setdefault(np.array(row).tobytes(), row)
    return np.array(list(rows.values())[:count], dtype=np.int64)
