"""Small tokenizers of the kinds that models have."""

import pytest

SENTENCES = [
    "The sun is out and the garden is full of bees.",
    "How do I boil an egg? Put it in hot water for seven minutes.",
    "A cat sat on the mat; the dog looked on and said nothing.",
    "ababab abab baba 12 + 30 = 42",
]
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Like Gemma's: begins with BOS, trims, renames the assistant, refuses a system turn.
GEMMA = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{{ '<|im_start|>' + ('model' if m.role == 'assistant' else m.role) + '\n' }}"
    "{{ m.content | trim + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>model\n' }}{% endif %}"
)
# Like Qwen3's: an empty thought stands before the last answer, and before no other.
THINKING = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.role == 'assistant' and loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.fixture(scope="session")
def make_tokenizer():
    """make_tokenizer(template) -> byte-level BPE; `front` puts BOS before a text, `ends` EOS after it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    def make(template=None, *, trim=True, front=False, ends=False, end="</s>"):
        tokenizer = Tokenizer(models.BPE())
        # Without the usual pattern, so that tokens may join letters, spaces and line breaks at will.
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.train_from_iterator(
            SENTENCES * 3,
            trainers.BpeTrainer(
                vocab_size=360,
                special_tokens=["<s>", "</s>", "<|im_start|>", "<|im_end|>"],
                initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                show_progress=False,
            ),
        )
        byte_level = processors.ByteLevel(trim_offsets=trim)
        around = ("<s> " if front else "") + "$A" + (" </s>" if ends else "")
        special = processors.TemplateProcessing(single=around, special_tokens=[("<s>", 0), ("</s>", 1)])
        tokenizer.post_processor = processors.Sequence([byte_level, special])
        fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token=end)
        fast.chat_template = template
        return fast

    return make


@pytest.fixture(scope="session")
def byte_fallback_tokenizer():
    """Like Llama 2's: spaces are `▁`, one stands before the text, unknown characters become bytes."""
    from tokenizers import Tokenizer, models, normalizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(SENTENCES * 3, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


@pytest.fixture(scope="session")
def chatml(make_tokenizer):
    return make_tokenizer(CHATML, end="<|im_end|>")


@pytest.fixture(scope="session")
def gemma(make_tokenizer):
    return make_tokenizer(GEMMA)


@pytest.fixture(scope="session")
def thinking(make_tokenizer):
    return make_tokenizer(THINKING)
