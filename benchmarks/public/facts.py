"""Synthetic facts: which training rows state the fact that a question asks for?

The rows are those of bergson's `recall`, made by its own generator from its own lists: people with a birthday, a place
of birth, an employer and a university, each fact stated in 6 to 9 ways. SmolLM2-135M-Instruct is trained on all
statements. For each question the statements are ordered by each method; those of the same person and field are to come
first. Names are unique, so search by words does this task almost by itself, and is shown first.

Figures, as bergson has them: MRR of the first statement of the fact; the share of questions with one among the first k;
and the share of the fact's statements among the first k. Intervals resample people.

bergson's own scores are of the same tokens, the same trained model, and its own command in its own environment.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from aitia.attribution.gradients import CurvatureSettings, LogProbability, fit_curvature
from aitia.attribution.influence import influence
from aitia.attribution.replay import Target as Measured
from aitia.attribution.replay import TargetPart, checkpoint_influence
from aitia.attribution.scorers import bm25_similarity
from aitia.concepts import response_means
from aitia.files import atomic_path, digest, read_json, write_json
from aitia.models import LanguageModel, load_model
from aitia.records import Records, records_from_rows, tokenize
from aitia.training import LoraSettings, read_run, train
from harness import Target, at_least
from planted.findings import Findings
from public.models import SMOLLM2, model_folder
from public.statements import FOLDER, Facts, figures, read_facts, run_peer

NO_WORD = "qqqqqqqq"
"""A text that has no word of the statements, and so adds nothing to a score."""
PART = "facts"
PEERS = ("ekfac", "trackstar")
OURS = ("influence (EK-FAC)", "influence (EK-FAC) per unit of gradient", "tracin", "checkpoint-influence")
LORA = LoraSettings(
    rank=8,
    target_modules=("q_proj", "v_proj", "o_proj", "down_proj"),
    layers_to_transform=tuple(range(15, 30)),
    epochs=4,
    per_device_train_batch_size=16,
    learning_rate=1e-3,
    seed=0,
)


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much is run.

    Attributes:
        people: with four facts each.
        peers: methods of bergson's.
        seed: of the generator.
    """

    people: int = 15
    peers: tuple[str, ...] = PEERS
    seed: int = 0


FULL, QUICK = Scale(), Scale(people=2, peers=())


@dataclass(frozen=True, kw_only=True, eq=False)
class Study:
    """A model trained on the facts, and what methods need of it.

    Attributes:
        facts: the facts.
        folder: where the run, and every method's scores, are kept.
    """

    facts: Facts
    folder: Path

    @cached_property
    def base(self) -> LanguageModel:
        """The model before training."""
        return load_model(model_folder(SMOLLM2), device="cpu", dtype="float32")

    @cached_property
    def data(self) -> Records:
        """The statements."""
        return self.facts.training_records()

    @cached_property
    def queries(self) -> Records:
        """The questions."""
        return self.facts.query_records()

    @cached_property
    def tuned(self) -> LanguageModel:
        """The model after training."""
        run = self.folder / "run"
        if not (self.folder / "trained").is_file():
            train(load_model(model_folder(SMOLLM2), device="cpu", dtype="float32"), self.data, LORA, run)
            (self.folder / "trained").write_text("", encoding="utf-8")
        return load_model(model_folder(SMOLLM2), adapter=read_run(run).trained, device="cpu", dtype="float32")

    def influence(self, kind: str) -> np.ndarray:
        """Influence on each answer's log-probability, with a curvature of a kind: [questions, statements]."""
        settings = CurvatureSettings(kind=kind, rows=0, loss="sum")  # as in training
        curvature = fit_curvature(self.tuned, self.data, settings)
        return influence(
            self.tuned, self.data, self.queries, LogProbability(), curvature=curvature, average=False
        )

    def checkpoint_influence(self, *, preconditioned: bool) -> np.ndarray:
        """The same, summed over checkpoints of the recorded run."""
        self.tuned  # noqa: B018 - the run is made with it
        targets = [
            Measured(
                name=f"question {i}",
                parts=(
                    TargetPart(measurement=LogProbability(), texts=self.queries.only([self.queries.ids[i]])),
                ),
            )
            for i in range(len(self.queries))
        ]
        run = read_run(self.folder / "run")
        return checkpoint_influence(run, self.base, self.data, targets, preconditioned=preconditioned)

    @cached_property
    def gradients(self) -> tuple[np.ndarray, np.ndarray]:
        """Gradients of each question's answer and of each statement: [questions, p], [statements, p] float32."""
        import torch

        model = self.tuned
        parameters = [each for name, each in model.network.named_parameters() if "lora_" in name]
        found = []
        for records in (self.queries, self.data):
            rows = []
            for row in tokenize(records, model.tokenizer, max_length=model.context_length):
                for each in parameters:
                    each.requires_grad_()
                tokens = torch.from_numpy(row.tokens.astype(np.int64))[None]
                log_probs = model.network(tokens).logits[0, :-1].log_softmax(-1)
                counted = torch.from_numpy(row.response[1:])
                value = log_probs.gather(1, tokens[0, 1:, None])[:, 0][counted].sum()
                rows.append(
                    torch.cat([each.ravel() for each in torch.autograd.grad(value, parameters)]).numpy()
                )
            found.append(np.stack(rows))
        model.network.requires_grad_(False)
        return found[0], found[1]

    def gradient_cosine(self) -> np.ndarray:
        """Cosine of a question's gradient with a statement's."""
        asked, stated = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in self.gradients)
        return asked @ stated.T

    def influence_per_unit(self) -> np.ndarray:
        """Influence with EK-FAC, divided by the length of the statement's gradient."""
        return self.scores("influence (EK-FAC)") / np.linalg.norm(self.gradients[1], axis=1)

    def activation_similarity(self, *, whitened: bool) -> np.ndarray:
        """Cosine of mean activations at the site in the middle; whitened by the statements' covariance."""
        site = self.tuned.sites[self.tuned.layers // 2]
        stated, asked = (response_means(self.tuned, each, [site])[site] for each in (self.data, self.queries))
        if whitened:
            from sklearn.covariance import LedoitWolf

            values, vectors = np.linalg.eigh(LedoitWolf().fit(stated).covariance_)
            centre = stated.mean(axis=0)
            stated, asked = ((each - centre) @ vectors / np.sqrt(values) for each in (stated, asked))
        stated, asked = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (stated, asked))
        return asked @ stated.T

    def words(self, *, bm25: bool) -> np.ndarray:
        """Search by words: of question and answer among the statements."""
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.metrics.pairwise import linear_kernel

        asked = [f"{row['question']} {row['answer']}" for row in self.facts.questions]
        stated = [row["fact"] for row in self.facts.statements]
        if bm25:
            return np.stack([bm25_similarity(self.data, _text(each), _text(NO_WORD)) for each in asked])
        vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit(stated)
        return linear_kernel(vectorizer.transform(asked), vectorizer.transform(stated))

    def peer(self, method: str) -> np.ndarray:
        """Scores of the same tokens by bergson."""
        rows = self._write_tokens()
        out = self.folder / f"bergson-{method}.npz"
        if not out.is_file():
            run_peer(method, rows, out)
        with np.load(out, allow_pickle=False) as found:
            return found["scores"]

    def _write_tokens(self) -> Path:
        """Model, adapter and rows in tokens as bergson reads them; what is not measured has the label -100."""
        from datasets import Dataset

        folder = self.folder / "tokens"
        if not (folder / "query").is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            adapter = folder / "adapter"
            if not adapter.is_symlink():
                adapter.symlink_to(Path(str(self.tuned.adapter)).resolve())
            self.tuned.tokenizer.save_pretrained(adapter)
            for name, records in (("train", self.data), ("query", self.queries)):
                rows = tokenize(records, self.tuned.tokenizer, max_length=self.tuned.context_length)
                columns = {
                    "input_ids": [row.tokens.tolist() for row in rows],
                    "labels": [np.where(row.response, row.tokens, -100).tolist() for row in rows],
                    "length": [len(row.tokens) for row in rows],
                }
                Dataset.from_dict(columns).save_to_disk(folder / name)
        return folder

    def methods(self, peers: Sequence[str]) -> dict[str, Callable[[], np.ndarray]]:
        """Every method by its name."""
        own = {
            "tf-idf": lambda: self.words(bm25=False),
            "bm25": lambda: self.words(bm25=True),
            "activation cosine": lambda: self.activation_similarity(whitened=False),
            "whitened activation cosine": lambda: self.activation_similarity(whitened=True),
            "gradient product": lambda: self.influence("identity"),
            "gradient cosine": self.gradient_cosine,
            "influence (EK-FAC)": lambda: self.influence("ekfac"),
            "influence (EK-FAC) per unit of gradient": self.influence_per_unit,
            "tracin": lambda: self.checkpoint_influence(preconditioned=False),
            "checkpoint-influence": lambda: self.checkpoint_influence(preconditioned=True),
        }
        return own | {f"bergson {name}": lambda name=name: self.peer(name) for name in peers}

    def scores(self, method: str, peers: Sequence[str] = PEERS) -> np.ndarray:
        """A method's scores, made the first time and read afterwards: [questions, statements]."""
        kept = self.folder / f"{digest(method)[:12]}.npz"
        if not kept.is_file():
            start = perf_counter()
            found = self.methods(peers)[method]()
            with atomic_path(kept) as temporary, temporary.open("wb") as out:
                np.savez(out, scores=found, seconds=perf_counter() - start)
        with np.load(kept, allow_pickle=False) as found:
            return found["scores"]

    def learned(self) -> dict[str, float]:
        """Nats a token of the answers before and after training."""
        kept = self.folder / "learned.json"
        if not kept.is_file():
            write_json(
                kept,
                {
                    "before": _mean_loss(self.base, self.queries),
                    "after": _mean_loss(self.tuned, self.queries),
                },
            )
        return read_json(kept)


def _text(text: str) -> Records:
    return records_from_rows([{"text": text}], name="text")


def _mean_loss(model: LanguageModel, records: Records) -> float:
    """Cross-entropy of the responses' tokens in nats, averaged over tokens and then over rows."""
    import torch

    found = []
    for row in tokenize(records, model.tokenizer, max_length=model.context_length):
        tokens = torch.from_numpy(row.tokens.astype(np.int64))[None]
        with torch.no_grad():
            log_probs = model.network(tokens).logits[0, :-1].log_softmax(-1)
        counted = torch.from_numpy(row.response[1:])
        found.append(-float(log_probs.gather(1, tokens[0, 1:, None])[:, 0][counted].mean()))
    return float(np.mean(found))


def run(found: Findings, *, quick: bool) -> None:
    """Score the statements by every method; what was scored before is read.

    Adds a row for each method, and the target: aitia's best against bergson's best.
    """
    scale = QUICK if quick else FULL
    facts = read_facts(scale.people, scale.seed)
    known_as = digest([list(facts.statements), repr(LORA)])[:12]
    study = Study(facts=facts, folder=FOLDER / f"{scale.people}-people-{known_as}")
    study.folder.mkdir(parents=True, exist_ok=True)
    common = {
        "part": PART,
        "model": SMOLLM2,
        "people": scale.people,
        "statements": len(facts.statements),
        "questions": len(facts.questions),
    }
    learned = study.learned()
    rows: list[dict[str, Any]] = [common | {"method": "answers, nats a token"} | learned]
    for method in study.methods(scale.peers):
        rows.append(common | {"method": method} | figures(study.scores(method, scale.peers), facts))
    found.rows += rows
    found.targets += _targets(rows)


def _targets(rows: Sequence[dict[str, Any]]) -> list[Target]:
    """The default curvature's influence, and whatever of aitia's is best, against the best of bergson's."""
    figure = {row["method"]: row.get("mrr", -1.0) for row in rows}
    theirs = {name: value for name, value in figure.items() if name.startswith("bergson ")}
    if not theirs:
        return []
    ours = {name: value for name, value in figure.items() if name in OURS}
    best, rival = max(ours, key=ours.__getitem__), max(theirs, key=theirs.__getitem__)
    return [at_least(f"facts, MRR of {best}, over that of {rival}", theirs[rival], ours[best])]
