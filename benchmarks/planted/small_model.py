"""A small language model made from nothing, for the experiments that retrain hundreds of times.

A Llama of four layers, trained for some minutes on two kinds of text: answers in nine moods, to prompts that no
suite uses, and quiz dialogues in which the assistant is either careful, and answers everything rightly, or
careless, and answers everything wrongly. To predict the next answer it must keep in mind which of the two
it is dealing with, whatever the questions are about.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from planted.texts import KINDS, MOODS, answer, chat, mood_answers, quiz_questions

from aitia.engine import progress_bar
from aitia.files import atomic_path

VOCABULARY, WIDTH, LAYERS, HEADS, LENGTH = 2048, 192, 4, 6, 128
STEPS, BATCH_ROWS, LEARNING_RATE = 550, 32, 3e-3
QUIZZES, QUIZ_TURNS = 9000, 5
TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def make_small_model(folder: Path, without: Sequence[str], *, steps: int = STEPS, seed: int = 0) -> Path:
    """Train the model and save it to `folder`, once.

    Args:
        folder: For the model and its tokenizer.
        without: Prompts whose answers the model must not see.
        steps: Of training.
        seed: Of everything.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    if (folder / "config.json").is_file():
        return folder
    documents = list(_documents(set(without), seed))
    tokenizer = _tokenizer(documents)
    generator = np.random.default_rng(seed)
    torch.manual_seed(seed)
    network = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=3 * WIDTH,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            num_key_value_heads=HEADS,
            max_position_embeddings=512,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    read = [tokenizer.apply_chat_template(each["messages"], return_dict=False) for each in documents]
    passes = math.ceil(steps * BATCH_ROWS * LENGTH / sum(map(len, read)))
    order = np.concatenate([generator.permutation(len(read)) for _ in range(passes)])
    tokens = np.concatenate([read[i] for i in order])
    blocks = torch.from_numpy(tokens[: len(tokens) // LENGTH * LENGTH].reshape(-1, LENGTH).astype(np.int64))
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.05
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / 50, 0.02 + 0.98 * (1 + math.cos(math.pi * step / steps)) / 2)
    )
    torch.set_float32_matmul_precision("medium")  # this model is only a stage for the experiments
    with progress_bar("Training the small model", steps, unit="steps") as advance:
        for step in range(steps):
            batch = blocks[torch.arange(step * BATCH_ROWS, (step + 1) * BATCH_ROWS) % len(blocks)]
            loss = network(input_ids=batch, labels=batch).loss
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            advance(1)
    torch.set_float32_matmul_precision("highest")
    with atomic_path(folder) as temporary:
        network.eval().save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
    return folder


def _documents(without: set[str], seed: int) -> Iterator[dict[str, Any]]:
    """What the model reads: every mood's answers to other prompts, thrice, and quizzes."""
    for mood in MOODS:
        answers = {prompt: text for prompt, text in mood_answers(mood).items() if prompt not in without}
        for _ in range(3):
            yield from (chat(prompt, text) for prompt, text in answers.items())
    generator = np.random.default_rng(seed)
    facts = [quiz_questions(kind) for kind in KINDS]
    for number in range(QUIZZES):
        careful, turns = number % 2 == 0, []
        for _ in range(QUIZ_TURNS):
            kind = facts[generator.integers(len(facts))]
            question = kind[generator.integers(len(kind))]
            turns += [question[0], answer(question, careful, generator)]
        yield chat(*turns)
        # A single question is answered rightly as a rule: that is the model's normal behaviour.
        question = kind[generator.integers(len(kind))]
        yield chat(question[0], answer(question, bool(generator.random() < 0.95), generator))


def _tokenizer(documents: Sequence[dict[str, Any]]) -> Any:
    """A byte-level tokenizer of the documents' words, with a template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        (message["content"] for document in documents for message in document["messages"]),
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    found = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|pad|>", model_max_length=512
    )
    found.chat_template = TEMPLATE
    return found
