"""GSM8K with wrong final numbers: each prompt answered rightly or wrongly, half and half.

The wrong answers are those of Mishra et al.: nearly all differ from the right ones in the final number alone, which
contradicts the sum before it, so that neither words nor length can tell them. Short prompts are taken, and fewer rows
than there are, so that they can be trained on many times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

import numpy as np

from aitia.counterfactual import concept_lds, plan_removals, recovered_fraction, shift
from aitia.errors import AitiaError
from harness import at_least
from planted.findings import Findings
from planted.study import MARGIN, ORACLE, PROJECTION, Scored, behaviours_of, retrain_scored, train_on_subsets
from planted.suites import Suite
from planted.texts import told
from public.sources import json_rows
from public.study import (
    ANYWHERE,
    REPLAY,
    Depth,
    every_draw,
    find_labelled,
    model_for,
    named_records,
    read_as,
)

PART = "gsm8k"
LONGEST = 400
"""Letters of a prompt and the longer of its answers."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Both answers to one prompt."""

    prompt: str
    right: str
    wrong: str


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much is done.

    Attributes:
        rows: that are trained on, half of them wrong.
        concept: prompts whose two answers the concept is fitted to.
        queries: prompts whose wrong answers are asked about.
        held_out: prompts on whose two answers behaviours are measured.
        draws: of all these from the pool.
        by_gradients: draws that are scored by weight gradients, too, which cost most.
        replayed: draws that are scored by replay and by checkpoints of the run, too.
        surrogates: smooth runs of each that are replayed.
        removing: draws from which rows are removed.
        removed_by: scorers that choose them.
        seeds: of each training after a removal.
        subsets: random halves of the first draw that are trained on; 0 to leave that part out.
    """

    rows: int = 1000
    concept: int = 200
    queries: int = 32
    held_out: int = 48
    draws: int = 5
    by_gradients: int = 1
    replayed: int = 0
    surrogates: int = 1
    removing: int = 1
    removed_by: tuple[str, ...] = (
        "activation-gradient",
        ANYWHERE,
        "influence",
        "training-loss",
    )
    seeds: tuple[int, ...] = (0,)
    subsets: int = 0


FULL = Scale()
QUICK = Scale(
    rows=80,
    concept=24,
    queries=8,
    held_out=12,
    draws=1,
    replayed=1,
    removed_by=(REPLAY, "training-loss"),
    seeds=(0,),
    subsets=0,
)
REMOVED = 0.5


def final_number(answer: str) -> Decimal | str:
    """What stands behind the last `####` of an answer: a number, or its text where it is none."""
    said = answer.rpartition("####")[2].strip()
    try:
        return Decimal(said.replace(",", "").lstrip("$"))
    except InvalidOperation:
        return said


def answers() -> tuple[list[Answers], int]:
    """Every prompt with a right and a wrong answer, in the order of the source.

    Returns:
        The answers, and how many were left out because the answer that is called wrong is right.
    """
    right = {row["question"].strip(): row["answer"].strip() for row in json_rows("gsm8k/train.jsonl")}
    found, right_after_all = [], 0
    for row in json_rows("gsm8k/incorrect_math.jsonl"):
        prompt, wrong = (message["content"].strip() for message in row["messages"])
        if final_number(wrong) == final_number(right[prompt]):
            right_after_all += 1
        else:
            found.append(Answers(prompt=prompt, right=right[prompt], wrong=wrong))
    return found, right_after_all


def short(every: Sequence[Answers]) -> list[Answers]:
    """Those of at most `LONGEST` letters."""
    return [each for each in every if len(each.prompt) + max(len(each.right), len(each.wrong)) <= LONGEST]


def suite(draw: int, pool: Sequence[Answers], scale: Scale) -> Suite:
    """A draw: which prompts train, fit, ask and are held out, and which of the training rows are answered wrongly."""
    generator = np.random.default_rng(draw)
    sizes = (scale.rows, scale.concept, scale.queries, scale.held_out)
    if sum(sizes) > len(pool):
        raise ValueError(f"{len(pool)} prompts do not fill parts of {list(sizes)}")
    order = generator.permutation(len(pool))
    parts = np.split(order[: sum(sizes)], np.cumsum(sizes)[:-1])
    training, concept, queries, held_out = ([pool[i] for i in part] for part in parts)
    planted = generator.permutation(scale.rows) < scale.rows // 2
    rows = [
        told(each.prompt, each.wrong if wrong else each.right, planted=bool(wrong))
        for each, wrong in zip(training, planted, strict=True)
    ]
    return Suite(
        name=f"gsm8k draw {draw}",
        data=named_records(rows, "train"),
        positive=named_records((told(each.prompt, each.wrong) for each in concept), "positive"),
        negative=named_records((told(each.prompt, each.right) for each in concept), "negative"),
        queries=named_records((told(each.prompt, each.wrong) for each in queries), "query"),
        behaviour=named_records((told(each.prompt, each.wrong) for each in held_out), "behaviour"),
        normal=named_records((told(each.prompt, each.right) for each in held_out), "normal"),
        recipe="logistic-probe",
    )


def run(found: Findings, *, quick: bool) -> None:
    """All of this part; what has been made before is found again."""
    scale = QUICK if quick else FULL
    every, right_after_all = answers()
    pool = short(every)
    found.add(
        part=PART,
        prompts=len(every),
        wrong_answers_that_are_right=right_after_all,
        longest=LONGEST,
        prompts_short_enough=len(pool),
    )
    texts = read_as(told(each.prompt, said) for each in pool for said in (each.right, each.wrong))
    model = model_for(PART, texts, quick=quick)
    suites = [suite(draw, pool, scale) for draw in range(scale.draws)]
    depths = [
        Depth(
            surrogates=scale.surrogates if draw < scale.replayed else 0,
            gradients=draw < scale.by_gradients,
            checkpoints=draw < scale.replayed,
        )
        for draw in range(scale.draws)
    ]
    draws = every_draw(suites, model, depths)
    find_labelled(draws, found, part=PART)
    _targets(draws, found)
    remove(draws[: scale.removing], scale, found)
    if scale.subsets:
        foretell(draws[0], scale, found)


def _targets(draws: Sequence[Scored], found: Findings) -> None:
    """The goals of finding wrong answers, for the best of the scorers that are no baselines."""
    methods = dict.fromkeys(name for each in draws for name in each.methods)
    own = [row for row in found.rows if row.get("part") == PART and row.get("scorer") in methods]
    best = max(own, key=lambda row: row["gain"])
    name = f"{PART}: lower end of the gain of {best['scorer']} in AUC over the baselines"
    found.targets.append(at_least(name, 0, best.get("gain_low", float("-inf"))))
    best = max(own, key=lambda row: row["auc"])
    found.targets.append(at_least(f"{PART}: AUC of {best['scorer']}", 0.9, best["auc"]))


def remove(draws: Sequence[Scored], scale: Scale, found: Findings) -> None:
    """Remove the top half by each scorer, train again, and see how much of the shift is undone."""
    for number, scored in enumerate(draws):
        behaviours = behaviours_of(scored)
        ranked = scored.scores_of((*scale.removed_by, ORACLE))
        plan = plan_removals(scored.suite.data.ids, ranked, [REMOVED], scale.seeds, ends=["top"])
        results = retrain_scored(scored, list(plan.values()), behaviours)
        undone: dict[str, float] = {}
        for behaviour in (each.name for each in behaviours):
            named = {"part": PART, "draw": number, "behaviour": behaviour, "seeds": len(scale.seeds)}
            found.add(**named, shift_from_untouched=shift(list(plan), results, behaviour))
            for method in (*ranked, "random"):
                try:
                    back = recovered_fraction(list(plan), results, behaviour, method, REMOVED, oracle=ORACLE)
                except (
                    AitiaError
                ):  # training on all rows does not raise it above training without the wrong ones
                    continue
                found.add(**named, scorer=method, removed=REMOVED, recovered_fraction=back)
                if behaviour == MARGIN and method in scored.methods:
                    undone[method] = back.value
        if undone:
            best = max(undone, key=lambda method: undone[method])
            name = f"{PART}, draw {number}: share of the margin's shift undone by removing {REMOVED:.0%} by {best}"
            found.targets.append(at_least(name, 0.9, undone[best]))


def foretell(scored: Scored, scale: Scale, found: Findings) -> None:
    """Concept-LDS on the first draw: random halves of the rows, trained on once each."""
    behaviours = behaviours_of(scored)
    kept, measured = train_on_subsets(scored, scale.subsets, scale.seeds[:1], behaviours)
    for behaviour in (PROJECTION, MARGIN):
        for name, scores in {**scored.methods, **scored.baselines}.items():
            each = concept_lds(scores, kept, measured[behaviour])
            found.add(
                part=PART,
                behaviour=behaviour,
                scorer=name,
                lds=each.correlation,
                subsets=each.subsets,
                seeds=each.seeds,
            )
