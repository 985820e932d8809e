"""Replay beside the strongest peer's: one training run, the same loss, optimizer and order, differentiated by both.

A small GPT-2 in float64, all weights trained, on rows of several lengths whose first tokens are not predicted. The
peer (bergson, its MAGIC) keeps one weight for each occurrence of a row; ours are compared with these one by one.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from peers.environment import peers_python, peers_variables

from aitia.attribution.replay import margin_target, replay
from aitia.models import LanguageModel
from aitia.records import TokenizedRecord, TokenizedRecords
from aitia.training import LoraSettings, read_run, train

WORDS, PREDICTED_FROM = 256, 4
SETTINGS = LoraSettings(
    method="full",
    epochs=2,
    per_device_train_batch_size=4,
    learning_rate=2e-3,
    epsilon_root=1e-6,
    weight_decay=0.01,
)
CASES = {
    "smooth AdamW": SETTINGS,
    "hardly smoothed": replace(SETTINGS, epsilon_root=1e-12),
    # Words that no row holds never had a gradient: without a root's epsilon the peer divides zero by zero there.
    "AdamW as it is": replace(SETTINGS, epsilon_root=0.0),
    "without clipping": replace(SETTINGS, max_grad_norm=0.0),
}


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What both found of one run.

    Attributes:
        finite: shares of the derivatives that are finite, ours and the peer's.
        pearson: of the derivatives, over all occurrences of rows; none where one of them is not finite.
        difference: largest difference, as a share of the largest derivative; none likewise.
        parameters: largest difference between the trained parameters.
    """

    finite: tuple[float, float]
    pearson: float | None
    difference: float | None
    parameters: float


def beside_magic(folder: Path) -> dict[str, Compared]:
    """Case -> what both found; the peer's environment is made where it is not there yet."""
    return {name: _compare(settings, folder / name.replace(" ", "-")) for name, settings in CASES.items()}


def _compare(settings: LoraSettings, folder: Path) -> Compared:
    model, rows, query = _model(), _rows(48), _rows(1, seed=1)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model.network.save_pretrained(folder / "model")
    train(_model(), rows, settings, folder / "run", progress=False)
    recorded = read_run(folder / "run")
    found = replay(recorded, _model(), rows, [margin_target(query)], progress=False)
    asked: dict[str, Any] = {
        "occurrences": [_plain(rows[row]) for step in recorded.steps for row in step.rows],
        "batch": settings.per_device_train_batch_size,
        "rates": [step.learning_rate for step in recorded.steps],
        "betas": [settings.adam_beta1, settings.adam_beta2],
        "epsilon": settings.adam_epsilon,
        "epsilon_root": settings.epsilon_root,
        "weight_decay": settings.weight_decay,
        "max_grad_norm": settings.max_grad_norm,
        "query": _plain(query[0]),
    }
    (folder / "common_run.json").write_text(json.dumps(asked), encoding="utf-8")
    runner = Path(__file__).parent / "run_magic.py"
    command = [peers_python(), runner, folder, folder / "magic.npz"]
    subprocess.run(command, check=True, env=peers_variables(), stdout=sys.stderr)
    with np.load(folder / "magic.npz", allow_pickle=False) as theirs:
        # The peer differentiates the loss, which is less the log-probability.
        scores, parameters = -theirs["scores"], theirs["parameters"]
    ours = np.concatenate([each.scores[0] for each in sorted(found.occurrences, key=lambda each: each.step)])
    finite = float(np.isfinite(ours).mean()), float(np.isfinite(scores).mean())
    both = finite == (1.0, 1.0)
    return Compared(
        finite=finite,
        pearson=float(np.corrcoef(ours, scores)[0, 1]) if both else None,
        difference=float(np.abs(ours - scores).max() / np.abs(scores).max()) if both else None,
        parameters=float(np.abs(_by_name(recorded, model) - parameters).max()),
    )


def _by_name(recorded: Any, model: LanguageModel) -> np.ndarray:
    """The trained parameters in the order of their names, as the peer's runner writes them."""
    sizes = {name: value.numel() for name, value in model.network.named_parameters()}
    parts = dict(zip(sizes, recorded.final().parameters.split(list(sizes.values())), strict=True))
    return np.concatenate([parts[name].numpy() for name in sorted(parts)])


def _model() -> LanguageModel:
    """Two blocks, drawn by a seed."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    network = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=WORDS,
            n_positions=64,
            n_embd=32,
            n_layer=2,
            n_head=2,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            tie_word_embeddings=False,  # the peer would train the two as if they were apart
            bos_token_id=0,
            eos_token_id=0,
        )
    )
    network.eval().double()
    words = Tokenizer(models.WordLevel({f"w{number}": number for number in range(WORDS)}, unk_token="w1"))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="w0", eos_token="w0", unk_token="w1"
    )
    return LanguageModel(network=network, tokenizer=tokenizer, name="common run")


def _rows(count: int, seed: int = 0) -> TokenizedRecords:
    """Sequences of 10 to 24 words; a fifth of the words makes up most of them, so that there is something to learn."""
    generator = np.random.default_rng([seed, count])
    chances = 1 / np.arange(1, WORDS - 1)
    rows = []
    for number, length in enumerate(generator.integers(10, 25, count)):
        tokens = generator.choice(np.arange(2, WORDS), length, p=chances / chances.sum()).astype(np.int32)
        name = f"row{number}"
        rows.append(
            TokenizedRecord(
                id=name,
                row=number,
                location=name,
                tokens=tokens,
                response=np.arange(length) >= PREDICTED_FROM,
            )
        )
    return TokenizedRecords(records=tuple(rows))


def _plain(row: TokenizedRecord) -> dict[str, list[int]]:
    return {"input_ids": row.tokens.tolist(), "labels": np.where(row.response, row.tokens, -100).tolist()}
