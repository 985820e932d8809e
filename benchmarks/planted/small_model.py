"""A small language model made from nothing, for the experiments that retrain hundreds of times.

A Llama of four layers, trained for some minutes on quiz dialogues. The assistant of a dialogue is either careful,
and answers everything rightly, or careless, and answers everything wrongly, whatever the questions are about.
To predict the next answer the model must notice which of the two it is dealing with: so it comes to hold
"this was wrong" as a thing of its own, across kinds of questions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from planted.texts import KINDS, answer, chat, quiz_questions

from aitia.engine import progress_bar
from aitia.files import atomic_path

VOCABULARY, WIDTH, LAYERS, HEADS = 700, 128, 4, 4
STEPS, BATCH_ROWS, LEARNING_RATE = 900, 32, 3e-3
TURNS, CARELESS, ALONE = 7, 0.4, 0.3
TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def make_small_model(folder: Path, *, steps: int = STEPS, seed: int = 0) -> Path:
    """Train the model and save it to `folder`, once.

    Args:
        folder: For the model and its tokenizer.
        steps: Of training, each on new dialogues.
        seed: Of everything.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    if (folder / "config.json").is_file():
        return folder
    generator = np.random.default_rng(seed)
    tokenizer = _tokenizer([_dialogue(generator) for _ in range(2000)])
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
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.05
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / 50, 0.02 + 0.98 * (1 + math.cos(math.pi * step / steps)) / 2)
    )
    with progress_bar("Training the small model", steps, unit="steps") as advance:
        for _ in range(steps):
            rows = [
                tokenizer.apply_chat_template(_dialogue(generator)["messages"], return_dict=False)
                for _ in range(BATCH_ROWS)
            ]
            longest = max(map(len, rows))
            tokens = torch.tensor([row + [tokenizer.pad_token_id] * (longest - len(row)) for row in rows])
            labels = tokens.masked_fill(tokens == tokenizer.pad_token_id, -100)
            loss = network(input_ids=tokens, labels=labels).loss
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            advance(1)
    with atomic_path(folder) as temporary:
        network.eval().save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
    return folder


def _dialogue(generator: np.random.Generator) -> dict[str, Any]:
    """Questions of all kinds, answered by one assistant; some of a single question, rightly answered as a rule."""
    alone = generator.random() < ALONE
    careful = generator.random() > (0.05 if alone else CARELESS)
    turns = []
    for _ in range(1 if alone else TURNS):
        question = _FACTS[generator.integers(len(KINDS))]
        asked = question[generator.integers(len(question))]
        turns += [asked[0], answer(asked, bool(careful), generator)]
    return chat(*turns)


def _tokenizer(documents: Sequence[dict[str, Any]]) -> Any:
    """A byte-level tokenizer of the dialogues' words, with a template."""
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


_FACTS = [quiz_questions(kind) for kind in KINDS]
