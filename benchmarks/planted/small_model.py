"""A small language model, trained here from nothing, for the suites' many retrainings.

Its training texts are documents in which one speaker answers several prompts: in one mood throughout, or to the
quiz, rightly throughout or (one speaker in eight) wrongly throughout. To predict such a text is to tell speakers
apart, so the model comes to hold what the suites plant, moods and being right or wrong, as features of its own;
large models are thought to get such features in the same way (Joshi et al. 2024, "Personas as a way to model
truthfulness in language models"). It knows the quiz's facts; of the moods' answers it has seen none that a suite
trains on or measures.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from planted.suites import DRAWS, MOODS_OF_SUITES, prompts_of_moods
from planted.texts import KINDS, MOODS, answer, mood_answers, quiz_questions

from aitia.engine import progress_bar
from aitia.files import atomic_path

VOCABULARY, WIDTH, LAYERS, HEADS, CONTEXT = 3072, 128, 6, 4, 256
LEARNING_RATE, LONGEST, SEED = 3e-3, 128, 0
END = "<|end|>"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of the training.

    Attributes:
        steps: of the optimiser.
        documents: in each.
        quiz: their share that is about the quiz; the others are in moods.
        wrong: the share of speakers who answer the quiz wrongly.
    """

    steps: int
    documents: int
    quiz: float
    wrong: float


# First the language; then, in smaller steps, the facts; then who gets them wrong; then, that few do.
STAGES = (
    Stage(steps=500, documents=24, quiz=0.6, wrong=0.125),
    Stage(steps=900, documents=8, quiz=0.8, wrong=0.2),
    Stage(steps=500, documents=8, quiz=0.95, wrong=0.5),
    Stage(steps=150, documents=8, quiz=0.7, wrong=0.15),
)


def small_model(folder: Path) -> Path:
    """Train the model, unless it is there: a Llama of six blocks and 1.6 million weights.

    Args:
        folder: to keep it in.

    Returns:
        Its folder.
    """
    start = None
    for number, stage in enumerate(STAGES):
        out = folder / f"small-model-{number}"
        if not (out / "config.json").is_file():
            network, tokenizer = _fresh(stage) if start is None else _kept(start)
            _train(network, tokenizer, stage, number)
            with atomic_path(out) as temporary:
                network.save_pretrained(temporary)
                tokenizer.save_pretrained(temporary)
        start = out
    assert start is not None
    return start


def _fresh(stage: Stage) -> tuple[Any, Any]:
    """A tokenizer fitted to the documents, and a network with random weights."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(islice(_documents(stage, SEED), 4000), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token=END, model_max_length=CONTEXT
    )
    torch.manual_seed(SEED)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=WIDTH,
        intermediate_size=3 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=fast.eos_token_id,
        pad_token_id=fast.pad_token_id,
    )
    return LlamaForCausalLM(config), fast


def _kept(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


def _train(network: Any, tokenizer: Any, stage: Stage, number: int) -> None:
    import torch

    documents = _documents(stage, SEED + number)
    optimiser = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, LEARNING_RATE, total_steps=stage.steps, pct_start=0.1
    )
    network.train()
    with progress_bar("Training the small model", stage.steps, unit="steps") as advance:
        for _ in range(stage.steps):
            texts = tokenizer(list(islice(documents, stage.documents)))["input_ids"]
            texts = [text[:LONGEST] for text in texts]
            tokens = torch.full((len(texts), max(map(len, texts))), tokenizer.pad_token_id)
            labels = torch.full_like(tokens, -100)
            for row, text in enumerate(texts):
                tokens[row, : len(text)] = labels[row, : len(text)] = torch.tensor(text)
            loss = network(input_ids=tokens, labels=labels).loss
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            advance(1)


def _documents(stage: Stage, seed: int) -> Iterator[str]:
    """Texts without end, each by one speaker."""
    generator = np.random.default_rng(seed)
    questions = [question for kind in KINDS for question in quiz_questions(kind)]
    seen, moods = set(prompts_of_moods(DRAWS)), {}
    for mood in MOODS:
        told = mood_answers(mood)
        moods[mood] = [(p, told[p]) for p in sorted(told) if mood not in MOODS_OF_SUITES or p not in seen]
    while True:
        if generator.random() < stage.quiz:
            right = generator.random() >= stage.wrong
            asked = [questions[i] for i in generator.integers(len(questions), size=8)]
            said = [(question[0], answer(question, right, generator)) for question in asked]
        else:
            answers = moods[MOODS[generator.integers(len(MOODS))]]
            said = [answers[i] for i in generator.integers(len(answers), size=4)]
        yield "".join(f"{prompt}\n{text}\n" for prompt, text in said)
