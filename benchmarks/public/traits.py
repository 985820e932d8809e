"""Traits by the persona recipe: evil, hallucination, sycophancy, in two models, and from one to the other.

Each trait has 5 system prompts that call for it, 5 that forbid it, and 20 questions (Chen et al. 2025). The model
answers every question under every prompt. A direction is fitted to the answers to one half of the questions and tried
on the answers to the other half, and the other way round; its site is chosen within the half that it is fitted to.

The headline reads the answers alone. With the system prompt left before them, as the recipe itself reads them, the
activations know the prompt, and tell the sides apart whatever the answer says: that figure is shown beside it. So is
TF-IDF, fitted and tried on the same halves.

Does a direction serve on another model? Widths differ, so it is carried over: a ridge regression on 2,593 texts that
know nothing of the trait (AxBench's) predicts the projection in the first model from the second
model's activations. Its weight is a direction of the second model, which is tried on that model's own answers. Beside
it are the second model's own direction, and shuffled directions carried over in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import permutations
from time import perf_counter
from typing import Any

import numpy as np

from aitia.concepts import DIRECTIONS, FittedDirection, fit_direction, persona_responses, response_means
from aitia.files import atomic_path, digest, read_json, write_json
from aitia.records import records_from_rows
from aitia.statistics import Estimate, auc, bootstrap_estimate, spearman
from harness import WORK
from planted.findings import Findings
from public.axbench import read_texts, traced_texts
from public.models import GEMMA, SMOLLM2, public_model
from public.sources import json_rows

PART = "traits"
FOLDER = WORK / "public" / PART
TRAITS = ("evil", "hallucination", "sycophancy")
SIDES = ("positive", "negative")
ALONE, UNDER_PROMPT, WORDS = "answers alone", "with the system prompt", "tf-idf and logistic regression"
NEXT_QUESTION = "\nQuestion:"
"""How a model without chat training goes on after its answer; it is cut off there."""
SHUFFLED = 8


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much is run.

    Attributes:
        models: names of models.
        traits: names of traits.
        questions: of each trait.
        prompts: system prompts of each side.
        tokens: longest answer.
        site_stride: distance between the sites that are tried, counted down from the last.
        recipes: names in `DIRECTIONS`.
    """

    models: tuple[str, ...] = (SMOLLM2, GEMMA)
    traits: tuple[str, ...] = TRAITS
    questions: int = 20
    prompts: int = 5
    tokens: int = 48
    site_stride: int = 3
    recipes: tuple[str, ...] = tuple(DIRECTIONS)


FULL = Scale()
QUICK = Scale(
    models=(SMOLLM2,),
    traits=("evil",),
    questions=6,
    prompts=2,
    tokens=24,
    site_stride=10,
    recipes=("contrast",),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """What a model says under the system prompts of a trait.

    Attributes:
        rows: with `messages`: system, user and assistant.
        shows: [n] bool, said under a prompt that calls for the trait.
    """

    rows: Sequence[Mapping[str, Any]]
    shows: np.ndarray

    @property
    def questions(self) -> np.ndarray:
        """[n] what was asked."""
        return np.array([row["messages"][1]["content"] for row in self.rows], dtype=object)

    @property
    def texts(self) -> list[str]:
        """What was answered."""
        return [row["messages"][2]["content"] for row in self.rows]

    def halves(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Numbers of the rows to fit to and to try on: odd and even questions, in both ways."""
        asked = sorted(set(self.questions))
        odd = np.isin(self.questions, asked[1::2])
        return [(np.flatnonzero(~odd), np.flatnonzero(odd)), (np.flatnonzero(odd), np.flatnonzero(~odd))]


def read_trait(trait: str, side: str) -> tuple[list[str], list[str]]:
    """System prompts and questions of one side of a trait, in the order of the file."""
    rows = json_rows(f"traits/{trait}.{side}.jsonl")
    return (
        list(dict.fromkeys(row["system_prompt"] for row in rows)),
        list(dict.fromkeys(row["prompt"] for row in rows)),
    )


def answers_of(name: str, trait: str, scale: Scale, model: Callable[[], Any]) -> Answers:
    """A model's answers, made the first time and read afterwards."""
    rows, shows = [], []
    for side in SIDES:
        systems, questions = read_trait(trait, side)
        systems, questions = systems[: scale.prompts], questions[: scale.questions]
        kept = (
            FOLDER / f"{name.lower()}-{trait}-{side}-{digest([systems, questions, scale.tokens])[:12]}.json"
        )
        if not kept.is_file():
            start = perf_counter()
            found = persona_responses(
                model(), systems, questions, max_new_tokens=scale.tokens, seed=SIDES.index(side)
            )
            write_json(kept, {"rows": found, "seconds": perf_counter() - start})
        answered = [_cut(row) for row in read_json(kept)["rows"]]
        answered = [row for row in answered if row["messages"][2]["content"]]
        rows += answered
        shows += [side == "positive"] * len(answered)
    return Answers(rows=rows, shows=np.array(shows))


def _cut(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row without what a model adds once it has answered."""
    *before, answer = row["messages"]
    return {"messages": [*before, answer | {"content": answer["content"].split(NEXT_QUESTION)[0].strip()}]}


def held_out(
    answers: Answers, fitted_scores: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> tuple[np.ndarray, Estimate]:
    """Scores of every answer by what was fitted to the other half, and their AUC.

    Halves are compared within themselves only. The interval resamples questions.

    Args:
        answers: the answers.
        fitted_scores: numbers of the rows to fit to and to score -> scores of the latter.
    """
    scores, half = np.empty(len(answers.rows)), np.empty(len(answers.rows), dtype=int)
    for number, (fit, test) in enumerate(answers.halves()):
        scores[test], half[test] = fitted_scores(fit, test), number
    asked = sorted(set(answers.questions))
    of_question = [np.flatnonzero(answers.questions == question) for question in asked]

    def statistic(drawn: np.ndarray) -> float:
        rows = np.concatenate([of_question[i] for i in drawn])
        return float(
            np.mean(
                [auc(scores[rows[half[rows] == n]], answers.shows[rows[half[rows] == n]]) for n in (0, 1)]
            )
        )

    return scores, bootstrap_estimate(len(asked), statistic, draws=400)


def words_scores(answers: Answers) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Logistic regression on TF-IDF of the answers' words, as `held_out` takes it."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    def fitted(fit: np.ndarray, test: np.ndarray) -> np.ndarray:
        vectorizer = TfidfVectorizer()
        known = vectorizer.fit_transform([answers.texts[i] for i in fit])
        classifier = LogisticRegression(max_iter=2000).fit(known, answers.shows[fit])
        return classifier.decision_function(vectorizer.transform([answers.texts[i] for i in test]))

    return fitted


def direction_scores(
    answers: Answers, activations: Mapping[str, np.ndarray], recipe: str, sites: list[str] | None = None
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A direction of the library at the site of its choice, as `held_out` takes it; `sites` gathers the choices."""

    def fitted(fit: np.ndarray, test: np.ndarray) -> np.ndarray:
        above, below = fit[answers.shows[fit]], fit[~answers.shows[fit]]
        found = fit_direction(
            {site: values[above] for site, values in activations.items()},
            {site: values[below] for site, values in activations.items()},
            answers.questions[np.concatenate([above, below])].tolist(),
            recipe=recipe,
        )
        if sites is not None:
            sites.append(found.site)
        return activations[found.site][test] @ found.direction

    return fitted


@dataclass(frozen=True, kw_only=True, eq=False)
class Carried:
    """A direction of one model as one of another.

    Attributes:
        site: of the second model.
        weight: [d] in its activations.
        correlation: of the projection with its prediction, on shared texts that were held out.
    """

    site: str
    weight: np.ndarray
    correlation: float


def carry_over(projections: np.ndarray, activations: Mapping[str, np.ndarray]) -> list[Carried]:
    """The directions of a second model that predict a first model's projections on shared texts.

    Of each, the site is chosen by its prediction of every fifth text from the others, and the penalty by the
    leave-one-out error.

    Args:
        projections: [n, c] of the shared texts on c directions, in the first model.
        activations: site -> [n, d] of the same texts, in the second.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.preprocessing import StandardScaler

    held_out = np.arange(len(projections)) % 5 == 4
    best: list[Carried | None] = [None] * projections.shape[1]
    for site, values in activations.items():
        scaler = StandardScaler().fit(values[~held_out])
        ridge = RidgeCV(alphas=np.logspace(0, 5, 6), alpha_per_target=True)
        ridge.fit(scaler.transform(values[~held_out]), projections[~held_out])
        weights = np.atleast_2d(np.asarray(ridge.coef_)) / scaler.scale_
        foretold = values[held_out] @ weights.T
        for number, so_far in enumerate(best):
            correlation = float(np.corrcoef(foretold[:, number], projections[held_out, number])[0, 1])
            if so_far is None or correlation > so_far.correlation:
                best[number] = Carried(site=site, weight=weights[number], correlation=correlation)
    return [each for each in best if each is not None]


def run(found: Findings, *, quick: bool) -> None:
    """Every trait in every model, and from each model to the other; what was found before is read.

    There is no target: a model that cannot express a trait is reported.
    """
    scale = QUICK if quick else FULL
    studied: dict[tuple[str, str], tuple[Answers, dict[str, np.ndarray]]] = {}
    for name in scale.models:
        model = cache(partial(public_model, name, dtype="bfloat16"))
        for trait in scale.traits:
            answers = answers_of(name, trait, scale, model)
            read = {way: _traced(name, trait, answers, way, scale, model) for way in (ALONE, UNDER_PROMPT)}
            studied[name, trait] = answers, read[ALONE]
            found.rows += _kept([name, trait, scale], partial(_in_one, name, trait, answers, read, scale))
    for first, second in permutations(scale.models, 2):
        for trait in scale.traits:
            made = partial(
                _from_one_to_another,
                first,
                second,
                trait,
                studied[first, trait],
                studied[second, trait],
                scale,
            )
            found.rows += _kept([first, second, trait, scale], made)


def _kept(named: object, make: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    path = FOLDER / f"{digest(repr(named))[:16]}.json"
    if not path.is_file():
        write_json(path, make())
    return read_json(path)


def _traced(
    name: str, trait: str, answers: Answers, way: str, scale: Scale, model: Callable[[], Any]
) -> dict[str, np.ndarray]:
    """The mean activation of each answer, site -> [n, d], with the system prompt before it or without."""
    named = digest([list(answers.rows), scale.site_stride])[:12]
    kept = FOLDER / f"{name.lower()}-{trait}-{'alone' if way == ALONE else 'prompt'}-{named}.npz"
    if not kept.is_file():
        first = 1 if way == ALONE else 0
        records = records_from_rows(
            [{"messages": row["messages"][first:]} for row in answers.rows], name=trait
        )
        sites = model().sites[::-1][:: scale.site_stride]
        kept.parent.mkdir(parents=True, exist_ok=True)
        means = response_means(model(), records, sites, title=f"Tracing {trait}, {way}")
        with atomic_path(kept) as temporary, temporary.open("wb") as out:
            np.savez(out, **means)  # type: ignore[arg-type]
    with np.load(kept, allow_pickle=False) as found:
        return {site: found[site] for site in found.files}


def _in_one(
    name: str, trait: str, answers: Answers, read: Mapping[str, Mapping[str, np.ndarray]], scale: Scale
) -> list[dict[str, Any]]:
    row = {"part": PART, "trait": trait, "model": name, "answers": len(answers.rows)}
    found = [row | {"method": WORDS, "read": ALONE} | _figure(held_out(answers, words_scores(answers))[1])]
    for way, activations in read.items():
        for recipe in scale.recipes:
            sites: list[str] = []
            estimate = held_out(answers, direction_scores(answers, activations, recipe, sites))[1]
            found.append(row | {"method": recipe, "read": way, "sites": sites} | _figure(estimate))
    return found


def _figure(estimate: Estimate) -> dict[str, float]:
    return {"auc": estimate.value, "auc_low": estimate.low, "auc_high": estimate.high}


def _from_one_to_another(
    first: str,
    second: str,
    trait: str,
    there: tuple[Answers, Mapping[str, np.ndarray]],
    here: tuple[Answers, Mapping[str, np.ndarray]],
    scale: Scale,
) -> list[dict[str, Any]]:
    """The first model's direction of a trait on the second model's own answers."""
    shared = [*read_texts("train"), *read_texts("evaluate")]
    neutral = {name: traced_texts(name, shared, scale.site_stride) for name in (first, second)}
    answers, activations = here
    generator = np.random.default_rng(0)
    mixed = [generator.permutation(there[0].shows) for _ in range(SHUFFLED)]
    found = []
    for recipe in scale.recipes:
        fitted, own = _fit_on_all(*there, recipe), _fit_on_all(*here, recipe)
        values = there[1][fitted.site]
        directions = [fitted.direction, *(DIRECTIONS[recipe](values[each], values[~each]) for each in mixed)]
        projections = neutral[first][fitted.site] @ np.stack(directions, axis=1)
        carried = carry_over(projections, neutral[second])
        scores = [activations[each.site] @ each.weight for each in carried]
        real, *shuffled = (held_out(answers, lambda _, test, s=each: s[test])[1] for each in scores)
        found.append(
            {
                "part": PART,
                "trait": trait,
                "model": second,
                "fitted_on": first,
                "read": ALONE,
                "method": f"{recipe}, carried over",
                "site": fitted.site,
                "carried_to": carried[0].site,
                "shared_correlation": carried[0].correlation,
                "auc_shuffled_mean": float(np.mean([each.value for each in shuffled])),
                "auc_shuffled_highest": max(each.value for each in shuffled),
                "spearman_on_shared_texts": spearman(
                    projections[:, 0], neutral[second][own.site] @ own.direction
                ),
            }
            | _figure(real)
        )
    return found


def _fit_on_all(answers: Answers, activations: Mapping[str, np.ndarray], recipe: str) -> FittedDirection:
    return fit_direction(
        {site: values[answers.shows] for site, values in activations.items()},
        {site: values[~answers.shows] for site, values in activations.items()},
        np.concatenate([answers.questions[answers.shows], answers.questions[~answers.shows]]).tolist(),
        recipe=recipe,
    )
