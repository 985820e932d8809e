"""Do rankings tell the truth? Every method held against retraining, on behaviours that were planted.

Five suites of planted behaviour (`planted/suites.py`) on SmolLM2-135M, made cheap enough for hundreds of trainings
(`planted/subject.py`). For each: how well the planted rows are found, beside baselines that know no model; on two,
what happens when rows are removed and the model is trained again; on one, whether scores predict training on random
subsets; on one, whether the safest rows keep a skill and lose the behaviour.

Every training run is a cell with a file of its own in `benchmarks/.work/truth`: stopped and run again, the
benchmark goes on. `--quick` shows the same in small, in under ten minutes.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from aitia.counterfactual import Behaviour, Judge, JudgedResponses
from aitia.files import digest
from aitia.models import load_sentence_encoder
from aitia.report import Document, Figure, Section, TargetResult, Targets, write_document, write_svg
from harness import RESULTS, WORK, report
from planted.findings import (
    CI,
    INFLUENCE,
    PRODUCT,
    Findings,
    Removing,
    Scale,
    find_planted,
    keep_the_skill,
    predict_subsets,
    read_what_it_writes,
    remove,
    targets_of_finding,
)
from planted.judges import QuizJudge, mood_judge
from planted.solved import with_exact_solve
from planted.study import ORACLE, Scored, score
from planted.subject import Subject, subject
from planted.suites import SUITES

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
BACKWARD, PROMPT, FILTER = "activation-gradient", "projection-difference-prompt", "vector-filter"
FULL = Scale(
    suites=tuple(SUITES),
    draws={},
    removing=(
        Removing(
            suite="hidden",
            by=(CI, BACKWARD, FILTER),
            shares=(0.1, 0.5),
            compare=(PRODUCT, INFLUENCE, "training loss", "tf-idf"),
            bottom=(CI, BACKWARD),
            written=(BACKWARD,),
        ),
        Removing(suite="tone", by=(CI, BACKWARD, PROMPT, "tf-idf")),
    ),
    predicted=("hidden",),
    subsets=40,
    kept_by=(BACKWARD, FILTER, "random", ORACLE),
)
QUICK = Scale(
    suites=("hidden",),
    draws={},
    removing=(Removing(suite="hidden", by=(BACKWARD,)),),
    predicted=("hidden",),
    subsets=8,
    runs=1,
    seeds=(0, 1),
)


def run(scale: Scale, model: Subject, found: Findings) -> None:
    """All parts; what has been trained before is found again."""
    encoder = load_sentence_encoder()
    found.facts += [
        ("Model", "SmolLM2-135M-Instruct, LoRA on its upper six blocks"),
        ("Suites", ", ".join(scale.suites)),
        ("Seeds of a training", str(len(scale.seeds))),
        ("Held-out texts measured on", str(scale.texts)),
    ]
    every = {
        name: [score(SUITES[name](draw), model, encoder) for draw in range(scale.draws.get(name, 1))]
        for name in scale.suites
    }
    first = {name: draws[0] for name, draws in every.items()}
    find_planted(every, found)
    targets_of_finding(every, found)
    for part in scale.removing:
        remove(first[part.suite], part, scale, found)
    for name in scale.predicted:
        predict_subsets(with_exact_solve(first[name]), scale, found)
    if scale.kept_by:
        keep_the_skill(first["capability"], scale, found)
    for part in scale.removing:
        if part.written:
            scored = first[part.suite]
            judged = _mood(scored, encoder, found) if part.suite == "tone" else _quiz(scored)
            read_what_it_writes(scored, judged, part, scale, found)


def _mood(scored: Scored, encoder: Any, found: Findings) -> Behaviour:
    judge = mood_judge(encoder)
    held_out = judge.held_out
    found.facts.append(("Mood judge, held-out AUC", str(held_out)))
    found.add(judge="mood", held_out_auc=held_out.auc, low=held_out.low, high=held_out.high)
    return _judged(scored, judge, digest([judge.weights.tolist(), judge.intercept])[:16], 24)


def _quiz(scored: Scored) -> Behaviour:
    return _judged(scored, QuizJudge(), "quiz", 12)


def _judged(scored: Scored, judge: Judge, known_as: str, tokens: int) -> Behaviour:
    texts = scored.suite.behaviour
    return JudgedResponses(
        prompts=texts.only(texts.ids[:32]),
        judge=judge,
        judged_by=known_as,
        max_new_tokens=tokens,
        name="judged",
    )


def write_pages(found: Findings, *, quick: bool) -> None:
    """The HTML page beside the JSON; still pictures into the docs."""
    targets = [
        TargetResult(name=each.name, target=each.target, value=f"{each.value:.3f}", met=each.met)
        for each in found.targets
    ]
    page = Document(
        title="Do the rankings tell the truth?",
        question="When the rows that a method blames are removed, and the model is trained again, does it change?",
        facts=found.facts,
        sections=[Section(key="targets", title="Targets", parts=[Targets(targets=targets)]), *found.sections],
        reproduce="make bench-truth" + (" QUICK=1" if quick else ""),
    )
    folder = WORK / "truth" if quick else RESULTS
    write_document(page, folder / "truth.html")
    if quick:
        return
    for section in found.sections:
        for part in section.parts:
            if isinstance(part, Figure):
                name = f"{part.title} {getattr(part, 'y_title', '')}".lower()
                write_svg(part, PICTURES / f"{re.sub(r'[^a-z0-9]+', '-', name).strip('-')}.svg")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small run whose figures are not quoted")
    options = parser.parse_args()
    work = WORK / ("truth-quick" if options.quick else "truth")
    found = Findings()
    run(QUICK if options.quick else FULL, subject(work), found)
    report("truth", found.rows, found.targets, quick=options.quick)
    write_pages(found, quick=options.quick)


if __name__ == "__main__":
    main()
