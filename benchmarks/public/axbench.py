"""AxBench: is a concept that is fitted to texts found in other texts?

AxBench (Wu et al. 2025) has 16 concepts. For each, 72 training texts show it; 216 texts show none. To be told apart are
36 other texts that show the concept, 36 that show none, and up to 5 hard negatives, in which a word of the concept has
another meaning. The figure is the AUC of the response's projection on the direction.

The 216 texts without any concept come from another writer than the rest: 87 % of them have Markdown's bold type, as do
2 % of the texts with a concept, and 7 % of those to be told apart that show none. A direction that is fitted against
them alone learns the writer. So every concept is fitted twice: against those 216 texts alone, and against all texts
that do not show it, those of the 15 other concepts among them. TF-IDF is given the same texts each time.

The site is chosen on the training texts alone, by cross-validation; so is the recipe, where it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from time import perf_counter
from typing import Any

import numpy as np

from aitia.concepts import DIRECTIONS, fit_direction, response_means
from aitia.files import atomic_path, digest, read_json, write_json
from aitia.records import Records, records_from_rows
from aitia.statistics import Estimate, auc, mean_estimate
from harness import WORK, Target, at_least
from planted.findings import Findings
from public.models import GEMMA, SMOLLM2, public_model
from public.sources import source

PART = "axbench"
FOLDER = WORK / "public" / PART
CONCEPTS, SHARD = 16, 256
HARD = "hard negative"
WORDS = "tf-idf and logistic regression"
GOAL = 0.985


@dataclass(frozen=True, kw_only=True)
class Text:
    """A question, its answer, and which concept the answer shows or is held against.

    Attributes:
        question: what was asked.
        answer: what is judged.
        concept: its number; -1 for training texts that show none.
        category: `positive`, `negative` or `hard negative`.
    """

    question: str
    answer: str
    concept: int
    category: str

    @property
    def said(self) -> str:
        """Question and answer."""
        return f"{self.question}\n{self.answer}"

    @property
    def shows(self) -> int:
        """The concept that it shows; -1 for none."""
        return self.concept if self.category == "positive" else -1


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much is run.

    Attributes:
        models: names of models.
        concepts: numbers of concepts.
        site_stride: distance between the sites that are tried, counted down from the last.
        recipes: names in `DIRECTIONS`.
    """

    models: tuple[str, ...] = (SMOLLM2, GEMMA)
    concepts: tuple[int, ...] = tuple(range(CONCEPTS))
    site_stride: int = 3
    recipes: tuple[str, ...] = tuple(DIRECTIONS)


FULL = Scale()
QUICK = Scale(models=(SMOLLM2,), concepts=(0, 4), site_stride=10, recipes=("contrast", "lda-probe"))
AGAINST = ("texts of no concept", "all other texts")


def read_texts(name: str) -> list[Text]:
    """The texts of `train` or `evaluate`, in the order of the file."""
    import pyarrow.parquet as parquet

    columns = ["input", "output", "concept_id", "category"]
    table = parquet.read_table(source(f"axbench/{name}.parquet"), columns=columns)
    return [
        Text(question=row["input"], answer=row["output"], concept=row["concept_id"], category=row["category"])
        for row in table.to_pylist()
    ]


def training_rows(texts: Sequence[Text], concept: int, against: str) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the training texts that show a concept, and of those that it is fitted against."""
    shows = np.array([text.shows for text in texts])
    without = shows == -1 if against == AGAINST[0] else shows != concept
    return np.flatnonzero(shows == concept), np.flatnonzero(without)


def held_out_rows(texts: Sequence[Text], concept: int) -> np.ndarray:
    """Numbers of the texts that a concept is to be found among."""
    return np.array([i for i, text in enumerate(texts) if text.concept == concept])


def tfidf_scores(training: Sequence[Text], labels: np.ndarray, others: Sequence[Text]) -> np.ndarray:
    """Logistic regression on TF-IDF of the words that a model would read, question and answer: [others]."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    vectorizer = TfidfVectorizer()
    known = vectorizer.fit_transform([text.said for text in training])
    classifier = LogisticRegression(max_iter=2000, class_weight="balanced").fit(known, labels)
    return classifier.decision_function(vectorizer.transform([text.said for text in others]))


def detect(scores: np.ndarray, texts: Sequence[Text]) -> dict[str, float]:
    """AUC among all texts of a concept, and among its positives and hard negatives alone, where it has these."""
    labels = np.array([text.category == "positive" for text in texts])
    hard = labels | np.array([text.category == HARD for text in texts])
    found = {"auc": auc(scores, labels), "auc_hard": auc(scores[hard], labels[hard])}
    return {name: value for name, value in found.items() if np.isfinite(value)}


def run(found: Findings, *, quick: bool) -> None:
    """Fit and try every concept; what was found before is read.

    Adds a row for each model, recipe and set of negatives, one for each concept, and the targets.
    """
    scale = QUICK if quick else FULL
    training, others = read_texts("train"), read_texts("evaluate")
    each = _words(training, others, scale)
    for name in scale.models:
        each += _directions(name, training, others, scale)
    means = _means(each)
    found.rows += [*means, *each]
    found.targets += _targets(means)


def _words(training: Sequence[Text], others: Sequence[Text], scale: Scale) -> list[dict[str, Any]]:
    rows = []
    for against in AGAINST:
        for concept in scale.concepts:
            above, below = training_rows(training, concept, against)
            asked = [others[i] for i in held_out_rows(others, concept)]
            texts = [training[i] for i in (*above, *below)]
            scores = tfidf_scores(texts, np.repeat([True, False], [len(above), len(below)]), asked)
            rows.append(_row("none", WORDS, against, concept) | detect(scores, asked))
    return rows


def _row(model: str, method: str, against: str, concept: int) -> dict[str, Any]:
    return {
        "part": PART,
        "model": model,
        "method": method,
        "against": against,
        "concept": concept,
    }


def _directions(
    name: str, training: Sequence[Text], others: Sequence[Text], scale: Scale
) -> list[dict[str, Any]]:
    activations: dict[str, np.ndarray] = {}
    rows = []
    for against in AGAINST:
        for concept in scale.concepts:
            for recipe in scale.recipes:
                row = _row(name, recipe, against, concept)
                kept = FOLDER / f"{digest([row, scale.site_stride])[:16]}.json"
                if not kept.is_file():
                    activations = activations or traced_texts(name, [*training, *others], scale.site_stride)
                    write_json(kept, row | _fitted(activations, training, others, concept, against, recipe))
                rows.append(read_json(kept))
            rows.append(_chosen(rows[-len(scale.recipes) :]))
    return rows


def traced_texts(name: str, texts: Sequence[Text], stride: int) -> dict[str, np.ndarray]:
    """The mean activation of each answer, site -> [texts, d]; kept in shards, so that a stopped run goes on."""
    folder = (
        FOLDER / f"{name.lower()}-{stride}-{digest([[text.question, text.answer] for text in texts])[:8]}"
    )
    model = cache(partial(public_model, name, dtype="bfloat16"))
    shards = []
    for start in range(0, len(texts), SHARD):
        kept = folder / f"{start:05d}.npz"
        if not kept.is_file():
            sites = model().sites[::-1][::stride]
            records = _records(texts[start : start + SHARD])
            means = response_means(model(), records, sites, title=f"Tracing {name} from text {start}")
            kept.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(kept) as temporary, temporary.open("wb") as out:
                np.savez(out, **means)  # type: ignore[arg-type]
        with np.load(kept, allow_pickle=False) as found:
            shards.append({site: found[site] for site in found.files})
    return {site: np.concatenate([shard[site] for shard in shards]) for site in shards[0]}


def _records(texts: Sequence[Text]) -> Records:
    turns = [(("user", text.question), ("assistant", text.answer)) for text in texts]
    rows = [{"messages": [{"role": role, "content": said} for role, said in each]} for each in turns]
    return records_from_rows(rows, name="AxBench")


def _fitted(
    activations: dict[str, np.ndarray],
    training: Sequence[Text],
    others: Sequence[Text],
    concept: int,
    against: str,
    recipe: str,
) -> dict[str, Any]:
    above, below = training_rows(training, concept, against)
    groups = [training[i].question for i in (*above, *below)]
    start = perf_counter()
    fitted = fit_direction(
        {site: values[above] for site, values in activations.items()},
        {site: values[below] for site, values in activations.items()},
        groups,
        recipe=recipe,
    )
    asked = held_out_rows(others, concept)
    scores = activations[fitted.site][len(training) + asked] @ fitted.direction
    return {
        "site": fitted.site,
        "cross_validated_auc": fitted.auc_by_site[fitted.site],
        "seconds": perf_counter() - start,
        **detect(scores, [others[i] for i in asked]),
    }


def _chosen(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The recipe that cross-validation on the training texts prefers."""
    best = max(rows, key=lambda row: row["cross_validated_auc"])
    return best | {"method": "chosen by cross-validation", "recipe": best["method"]}


def _means(each: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The mean over the concepts, with Student's interval, and what it gains over words on the same texts."""
    found = []
    keys = list(dict.fromkeys((row["model"], row["method"], row["against"]) for row in each))
    for model, method, against in keys:
        rows = _of(each, model, method, against)
        words = _of(each, "none", WORDS, against)
        row = _row(model, method, against, -1) | {"concept": "mean", "concepts": len(rows)}
        for figure in ("auc", "auc_hard"):
            values = np.array([each.get(figure, np.nan) for each in rows])
            floor = np.array([each.get(figure, np.nan) for each in words])
            usable = np.isfinite(values)
            row |= _estimate(figure, mean_estimate(values[usable]))
            row |= _estimate(f"{figure}_gain", mean_estimate((values - floor)[usable]))
            row[f"{figure}_least"] = float(values[usable].min())
        found.append(row)
    return found


def _of(rows: Sequence[dict[str, Any]], model: str, method: str, against: str) -> list[dict[str, Any]]:
    return [row for row in rows if (row["model"], row["method"], row["against"]) == (model, method, against)]


def _estimate(name: str, found: Estimate) -> dict[str, float]:
    figures = {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
    return {key: value for key, value in figures.items() if np.isfinite(value)}


def _targets(means: Sequence[dict[str, Any]]) -> list[Target]:
    """The recipe and the set of negatives are named beforehand, not picked by what came out."""
    found = []
    for row in means:
        if row["method"] == "chosen by cross-validation" and row["against"] == AGAINST[1]:
            found.append(at_least(f"AxBench, mean AUC over the concepts, {row['model']}", GOAL, row["auc"]))
            found.append(
                at_least(f"AxBench, gain in AUC over words, {row['model']}", 0.0, row["auc_gain_low"])
            )
    return found
