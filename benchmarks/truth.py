"""Do rankings tell the truth? Every method held against retraining, on behaviours that were planted.

Five suites of planted behaviour (`planted/suites.py`) on SmolLM2-135M, with rows short enough for hundreds of
retrainings. For each: how well the planted rows are found, beside baselines that know no model; on two of them,
what happens when rows are removed and the model is trained again, and whether scores predict training on random
subsets; on one, whether the safest rows keep a skill and lose the behaviour.

Every training run is a cell with a file of its own in `benchmarks/.work/truth`: stopped and run again, the
benchmark goes on. `--quick` shows the same in small, in under ten minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import RESULTS, WORK, report
from planted.findings import (
    CI,
    INFLUENCE,
    PRODUCT,
    Findings,
    Scale,
    find_planted,
    keep_the_skill,
    predict_subsets,
    remove,
    targets_of_finding,
)
from planted.judges import QuizJudge, mood_judge
from planted.study import ORACLE, Scored, score
from planted.subjects import Subject, real_subject, small_subject
from planted.suites import DRAWS, SUITES

from aitia.counterfactual import JudgedResponses
from aitia.counterfactual.behaviours import Behaviour
from aitia.counterfactual.judges import Judge
from aitia.files import digest
from aitia.models import load_sentence_encoder
from aitia.report.still import write_svg
from aitia.report.truth import Table, TargetResult, TruthReport, write_truth_report

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
FULL = {
    "small": Scale(
        suites=tuple(SUITES),
        draws=DRAWS,
        removed=("tone", "hidden"),
        shares=(0.05, 0.1, 0.25, 0.5, 0.75, 0.9),
        ends=("most", "least"),
        removed_by=(CI, PRODUCT, INFLUENCE, "vector-filter", "tf-idf"),
        others=True,
        predicted=("tone", "hidden"),
        kept_by=(CI, PRODUCT, INFLUENCE, "vector-filter", "training loss", "random", ORACLE),
    ),
    "real": Scale(suites=("tone", "hidden"), removed=("hidden", "tone"), texts=24),
}
QUICK = {
    "small": Scale(suites=("hidden",), removed=("hidden",), seeds=(0, 1), predicted=("hidden",), subsets=16),
}
SUBJECTS = {"small": small_subject, "real": real_subject}


def run(scale: Scale, subject: Subject, found: Findings) -> None:
    """Everything that is done with one model."""
    encoder = load_sentence_encoder()
    every = {
        name: [score(SUITES[name](draw), subject, encoder) for draw in scale.draws] for name in scale.suites
    }
    find_planted(every, found)
    targets_of_finding(every, found)
    first = {name: draws[0] for name, draws in every.items()}
    judges: dict[str, Callable[[], Behaviour]] = {
        "hidden": lambda: _judged(first["hidden"], QuizJudge(), "quiz", 12),
        "capability": lambda: _judged(first["capability"], QuizJudge(), "quiz", 12),
        "tone": lambda: _mood(first["tone"], encoder, found),
    }
    for name in scale.removed:
        remove(first[name], judges[name](), scale, found)
    for name in scale.predicted:
        predict_subsets(first[name], scale, found)
    if scale.kept_by:
        keep_the_skill(first["capability"], judges["capability"](), scale, found)


def _mood(scored: Scored, encoder: Any, found: Findings) -> Behaviour:
    judge = mood_judge(encoder)
    held_out = judge.held_out
    found.facts.append(("Mood judge, held-out AUC", str(held_out)))
    found.add(judge="mood", held_out_auc=held_out.auc, low=held_out.low, high=held_out.high)
    return _judged(scored, judge, digest([judge.weights.tolist(), judge.intercept])[:16], 24, prompts=24)


def _judged(scored: Scored, judge: Judge, known_as: str, tokens: int, *, prompts: int = 60) -> Behaviour:
    texts = scored.suite.behaviour
    return JudgedResponses(
        prompts=texts.only(texts.ids[:prompts]),
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
    page = TruthReport(
        title="Do the rankings tell the truth?",
        question="When the rows that a method blames are removed, and the model is trained again, does it change?",
        facts=found.facts,
        sections=found.sections,
        targets=targets,
        reproduce="make bench-truth" + (" QUICK=1" if quick else ""),
    )
    folder = WORK / "truth" if quick else RESULTS
    write_truth_report(page, folder / "truth.html")
    if quick:
        return
    for section in found.sections:
        for part in section.parts:
            if not isinstance(part, Table):
                name = "".join(letter if letter.isalnum() else "-" for letter in part.title.lower())
                label = getattr(part, "y_title", "").replace(" ", "-")
                write_svg(part, PICTURES / f"{name}{'-' if label else ''}{label}.svg")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small run whose figures are not quoted")
    options = parser.parse_args()
    work = WORK / ("truth-quick" if options.quick else "truth")
    found = Findings()
    for model, scale in (QUICK if options.quick else FULL).items():
        run(scale, SUBJECTS[model](work), found)
    report("truth", found.rows, found.targets, quick=options.quick)
    write_pages(found, quick=options.quick)


if __name__ == "__main__":
    main()
