"""What the benchmark of groups works on: a dictionary of features, planted suites, and data with nothing planted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path

import numpy as np

from aitia.attribution import ActivationStore, scan
from aitia.concepts import (
    Concept,
    FeatureMatrix,
    SaeSettings,
    SparseAutoencoder,
    fit_concept,
    load_concept,
    load_sae,
    save_sae,
    train_sae,
)
from aitia.files import atomic_path, digest
from aitia.models import load_model, trace
from aitia.records import Records, length_batches, pad_batch, records_from_rows, tokenize
from aitia.training import LoraSettings, finetune_lora
from planted.suites import LONGEST_WHOLE, Suite
from planted.texts import MOODS, mood_answers, told

SITE = "resid_post.16"
LORA = LoraSettings(
    rank=8,
    target_modules=("q_proj", "v_proj", "o_proj", "down_proj"),
    layers_to_transform=tuple(range(10, 20)),
    learning_rate=2e-3,
    epochs=2,
    per_device_train_batch_size=8,
)
PROMPTS = (128, 48, 24, 60)
"""Of a planted suite: to train on, to fit the concept to, to ask, to hold out."""
ROWS = 135
SAE = SaeSettings(features=256, k=16, epochs=16)
CLEAN_ROWS = PROMPTS[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class Traced:
    """Activations of the untouched model on answers in nine moods.

    Attributes:
        tokens: [t, d] at every token, row after row.
        starts: [n + 1] where each row starts, and the last one ends.
        response: [t] bool.
        moods: [n].
        ids: [n].
    """

    tokens: np.ndarray
    starts: np.ndarray
    response: np.ndarray
    moods: np.ndarray
    ids: np.ndarray

    @cached_property
    def activations(self) -> np.ndarray:
        """[n, d] what projection-difference-prompt reads: mean over the response less the token before it."""
        found = []
        for start, stop in zip(self.starts[:-1], self.starts[1:], strict=True):
            row, inside = self.tokens[start:stop].astype(np.float32), self.response[start:stop]
            found.append(row[inside].mean(axis=0) - row[np.flatnonzero(inside)[0] - 1])
        return np.stack(found)

    def features(self, sae: SparseAutoencoder) -> np.ndarray:
        """[n, m] the share of response tokens on which each feature fires."""
        import torch

        found = []
        for start, stop in zip(self.starts[:-1], self.starts[1:], strict=True):
            row = self.tokens[start:stop][self.response[start:stop]].astype(np.float32)
            found.append((sae.encode(torch.from_numpy(row)) > 0).float().mean(dim=0).numpy())
        return np.stack(found)


def mood_texts() -> Records:
    """135 answers in each of nine moods, drawn at random."""
    rows = []
    for mood in MOODS:
        answers = mood_answers(mood, whole=True)
        prompts = [prompt for prompt in sorted(answers) if len(answers[prompt]) <= LONGEST_WHOLE]
        order = np.random.default_rng(0).permutation(len(prompts))[:ROWS]
        for number, i in enumerate(order):
            rows.append(told(prompts[i], answers[prompts[i]], mood=mood) | {"id": f"{mood}-{number}"})
    return records_from_rows(rows)


def traced(base: Path, work: Path) -> Traced:
    """One pass of the untouched model, in bfloat16, over `mood_texts`; kept and found again."""
    texts = mood_texts()
    file = work / f"tokens-{digest([texts.fingerprint, SITE])[:12]}.npz"
    if not file.is_file():
        model = load_model(base, dtype="bfloat16")
        rows = tokenize(texts, model.tokenizer, max_length=model.context_length)
        found: list[np.ndarray] = [np.empty(0)] * len(rows)
        for index in length_batches([len(row.tokens) for row in rows], max_tokens=1024):
            hidden = trace(model, pad_batch(rows, index, model.pad_id), [SITE])[SITE]
            for number, i in enumerate(index):
                kept = hidden[number, : len(rows[int(i)].tokens)]
                found[int(i)] = kept.float().numpy().astype(np.float16)
        with atomic_path(file) as temporary, open(temporary, "wb") as stream:
            np.savez(
                stream,
                acts=np.concatenate(found),
                off=np.cumsum([0, *(len(row) for row in found)]),
                resp=np.concatenate([row.response for row in rows]),
                mood=np.array(texts.column("mood")),
                ids=np.array(texts.ids),
            )
    with np.load(file, allow_pickle=False) as kept:
        return Traced(
            tokens=kept["acts"],
            starts=kept["off"],
            response=kept["resp"],
            moods=kept["mood"],
            ids=kept["ids"],
        )


def dictionary(texts: Traced, work: Path, settings: SaeSettings = SAE) -> SparseAutoencoder:
    """A sparse autoencoder of the response tokens; kept and found again."""
    folder = work / f"sae-{digest([texts.ids.tolist(), repr(settings)])[:12]}"
    if not folder.is_dir():
        tokens = texts.tokens[texts.response].astype(np.float32)
        save_sae(train_sae(tokens, site=SITE, settings=settings), folder)
    return load_sae(folder)


def scanned(suite: Suite, base: Path, work: Path) -> tuple[ActivationStore, Concept]:
    """Train on a suite's data, and scan its rows; adapter, store and concept are kept and found again."""
    named = digest([suite.data.fingerprint, LORA.identity(), SITE])[:12]
    folder = work / f"{suite.name}-{named}"
    adapter = folder / "adapter"
    if not (adapter / "adapter_config.json").is_file():
        finetune_lora(load_model(base, dtype="bfloat16"), suite.data, LORA, adapter)
    model = load_model(base, adapter=adapter, dtype="float32")
    if (folder / "concept.safetensors").is_file():
        concept = load_concept(folder / "concept.safetensors")
    else:
        concept = fit_concept(model, suite.positive, suite.negative, name="depressed tone", sites=[SITE])
        concept.save(folder / "concept.safetensors")
    store = scan(
        model,
        suite.data,
        sites=[SITE],
        out=folder / "store",
        activations=("response", "prompt_end", "backward"),
    )
    return store, concept


@dataclass(frozen=True, kw_only=True, eq=False)
class Clean:
    """Data with nothing planted, and a concept that has nothing to do with it.

    Attributes:
        mood: of all of its rows.
        concept: the two other moods between which the direction lies.
        matrix: features by rows.
        activations: [n, d].
        direction: [d].
    """

    mood: str
    concept: tuple[str, str]
    matrix: FeatureMatrix
    activations: np.ndarray
    direction: np.ndarray


def clean_sets(texts: Traced, sae: SparseAutoencoder) -> list[Clean]:
    """128 rows in one mood, asked about the difference of two others: every choice, 9 x 28."""
    import scipy.sparse as sparse

    features, activations = texts.features(sae), texts.activations
    found = []
    for mood in MOODS:
        rows = np.flatnonzero(texts.moods == mood)[:CLEAN_ROWS]
        matrix = FeatureMatrix(
            values=sparse.csr_array(features[rows]),
            ids=tuple(str(name) for name in texts.ids[rows]),
            pooling="share",
            site=SITE,
            sae=sae.fingerprint,
        )
        for first, second in combinations([other for other in MOODS if other != mood], 2):
            direction = activations[texts.moods == first].mean(axis=0) - activations[
                texts.moods == second
            ].mean(axis=0)
            found.append(
                Clean(
                    mood=mood,
                    concept=(first, second),
                    matrix=matrix,
                    activations=activations[rows],
                    direction=direction / np.linalg.norm(direction),
                )
            )
    return found
