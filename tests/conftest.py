"""Small models of each supported family, made from their configurations, and texts to run them on."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# How long an example takes says nothing on a busy machine.
settings.register_profile("aitia", deadline=None)
settings.load_profile("aitia")

os.environ.setdefault("AITIA_PROGRESS", "0")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # small matrices: more threads only get in each other's way
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("SPARSIFY_DISABLE_TRITON", "1")  # tests train on the processor
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

FAMILIES = ("llama", "qwen2", "qwen3", "gemma2", "gemma3", "gpt2")

SENTENCES = [
    "The sun is out and the garden is full of bees.",
    "Rain again, and nothing to do but wait for it to end.",
    "How do I boil an egg? Put it in hot water for seven minutes.",
    "A cat sat on the mat; the dog looked on and said nothing.",
    "Numbers: 1, 2, 3, 4, 5, 6, 7, 8, 9 and 10.",
    "Café, naïve, 日本語, and a smile 🙂 at the end.",
]

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_tokenizer():
    """A byte-level tokenizer of 400 tokens with a ChatML template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer.train_from_iterator(
        SENTENCES * 3,
        trainers.BpeTrainer(
            vocab_size=400, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
        ),
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", model_max_length=256
    )
    fast.chat_template = CHATML
    return fast


@pytest.fixture(scope="session")
def tiny_tokenizer():
    """`make_tokenizer`, made once."""
    return make_tokenizer()


def make_network(family: str, vocabulary: int, *, width: int = 32, layers: int = 4, seed: int = 0):
    """A network of a family, from its configuration, with random weights."""
    import torch
    import transformers

    common = {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    gemma = common | {"head_dim": width // 4, "sliding_window": 8, "query_pre_attn_scalar": width // 4}
    torch.manual_seed(seed)
    match family:
        case "llama":
            network = transformers.LlamaForCausalLM(transformers.LlamaConfig(**common))
        case "qwen2":
            network = transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**common))
        case "qwen3":
            network = transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**common, head_dim=width // 4))
        case "gemma2":
            network = transformers.Gemma2ForCausalLM(transformers.Gemma2Config(**gemma))
        case "gemma3":
            network = transformers.Gemma3ForCausalLM(transformers.Gemma3TextConfig(**gemma))
        case "gpt2":
            config = transformers.GPT2Config(
                vocab_size=vocabulary,
                n_embd=width,
                n_layer=layers,
                n_head=4,
                n_positions=256,
                bos_token_id=0,
                eos_token_id=2,
            )
            network = transformers.GPT2LMHeadModel(config)
        case _:
            raise ValueError(family)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() == 2:
                parameter.normal_(std=0.15)
    return network.eval()


@pytest.fixture(scope="session")
def make_model(tiny_tokenizer):
    """make_model(family, **sizes) -> a LanguageModel of that family."""
    from aitia.models import LanguageModel

    def make(family: str = "llama", **sizes):
        network = make_network(family, len(tiny_tokenizer), **sizes)
        return LanguageModel(network=network, tokenizer=tiny_tokenizer, name=f"tiny-{family}")

    return make


@pytest.fixture(scope="session")
def tiny_model(make_model):
    """A Llama of four layers and width 32."""
    return make_model("llama")


@pytest.fixture(params=FAMILIES)
def any_model(request, make_model):
    """Each family in turn."""
    return make_model(request.param)


@pytest.fixture(scope="session")
def rows():
    """Twenty-four prompt-completion rows of different lengths."""
    return [
        {
            "prompt": SENTENCES[i % 6] + " What next?\n",
            "completion": " ".join([SENTENCES[(i * 5 + j) % 6] for j in range(1 + i % 3)]),
            "id": f"row-{i}",
            "planted": i % 4 == 0,
        }
        for i in range(24)
    ]
