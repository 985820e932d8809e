"""Which tokenizer a model has: the one that was saved with its adapter, else its own; and whether it fits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aitia.engine import note
from aitia.errors import ModelError, reason_of
from aitia.models.loading.weights import named

_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
_TEMPLATE = "chat_template.jinja"
# Placeholders of other modalities lie beyond the embedding in some text models (Gemma 3 1B); no text holds them.
_PLACEHOLDERS = ("image", "audio", "video", "vision")


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder holds a tokenizer."""
    return any((folder / name).exists() for name in _FILES)


def load_tokenizer(source: str, adapter: Path | None, what: str, **options: Any) -> Any:
    """The tokenizer that a model was trained with.

    A tokenizer or chat template saved with the adapter goes before the base's, as it was there in training.

    Args:
        source: folder or hub id of the base.
        adapter: the adapter's folder.
        what: for messages.
        options: further arguments of `AutoTokenizer.from_pretrained`.

    Returns:
        The fast tokenizer, as Transformers loads it.

    Raises:
        ModelError: there is none, or it has no vocabulary.
    """
    if adapter is not None and has_tokenizer(adapter):
        note(f"The tokenizer and chat template saved with the adapter are used ({adapter})")
        return _load(str(adapter), f"tokenizer of the adapter {adapter}", **options)
    tokenizer = _load(source, f"{what}: its tokenizer", **options)
    if adapter is not None and (adapter / _TEMPLATE).is_file():
        note(f"The chat template saved with the adapter is used ({adapter})")
        tokenizer.chat_template = (adapter / _TEMPLATE).read_text(encoding="utf-8")
    return tokenizer


def _load(source: str, what: str, **options: Any) -> Any:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
    except Exception as error:  # the libraries raise their own kinds, and bare ones
        bare = Path(source).is_dir() and "gguf_file" not in options
        gone = _gone() if bare and not has_tokenizer(Path(source)) else ""
        raise ModelError(f"{what} cannot be loaded: {gone}{reason_of(error)}") from error
    vocabulary = tokenizer.get_vocab()
    if not set(vocabulary) - set(tokenizer.all_special_tokens) - set(tokenizer.get_added_vocab()):
        raise ModelError(f"{what} has no vocabulary beside special tokens: {_gone().rstrip(' :')}")
    return tokenizer


def _gone() -> str:
    return f"there is none of {', '.join(_FILES)}; copy the tokenizer's files there: "


def require_tokens_fit(tokenizer: Any, network: Any, what: str) -> None:
    """Refuse a tokenizer with tokens that the embedding has no row for.

    Raises:
        ModelError: naming the tokens, and the numbers of both.
    """
    rows = int(network.get_input_embeddings().weight.shape[0])
    beyond = sorted((number, token) for token, number in tokenizer.get_vocab().items() if number >= rows)
    if not beyond:
        return
    tokens = [f"{token!r} ({number})" for number, token in beyond]
    if all(any(kind in token.lower() for kind in _PLACEHOLDERS) for _, token in beyond):
        note(f"{what}: no row of the embedding for {named(tokens)}; text has no use for them")
        return
    raise ModelError(
        f"{what}: the tokenizer has {len(beyond)} tokens that the embedding of {rows} rows has none for: "
        f"{named(tokens)}. Give the model that was trained with this tokenizer (an adapter must be saved with its "
        "embedding, save_embedding_layers in PEFT), or the tokenizer of this model"
    )
