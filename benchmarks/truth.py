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
from pathlib import Path
from typing import Any

from harness import RESULTS, WORK, report
from planted.findings import (
    Findings,
    Scale,
    find_planted,
    keep_the_skill,
    predict_subsets,
    remove,
    targets_of_finding,
)
from planted.judges import QuizJudge, mood_judge
from planted.study import Scored, score
from planted.suites import SUITES

from aitia.counterfactual import JudgedResponses
from aitia.files import digest
from aitia.models import load_sentence_encoder
from aitia.pipelines.demo import base_model
from aitia.report.still import write_svg
from aitia.report.truth import Table, TargetResult, TruthReport, write_truth_report

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
FULL = Scale()
QUICK = Scale(
    suites=("hidden",),
    draws=(0,),
    shares=(),
    seeds=(0, 1),
    subsets=8,
    removed_by=("influence", "vector-filter"),
)


def run(scale: Scale, found: Findings, work: Path) -> None:
    """All parts; the first draw of every suite comes first, the other draws, which are only scored, last."""
    base = base_model(work / "parts")
    encoder = load_sentence_encoder()

    def scored(name: str, draw: int) -> Scored:
        return score(SUITES[name](draw), base, scale.training, work, encoder, sites=scale.sites)

    first = {name: scored(name, 0) for name in scale.suites}
    quiz = QuizJudge()
    if "hidden" in first:
        remove(first["hidden"], _judged(first["hidden"], quiz, "quiz", 12), scale, work, found)
        predict_subsets(first["hidden"], scale, work, found)
    if "tone" in first:
        judge = mood_judge(encoder, scale.draws)
        found.facts.append(("Mood judge, held-out AUC", str(judge.held_out)))
        held_out = judge.held_out
        found.add(judge="mood", held_out_auc=held_out.auc, low=held_out.low, high=held_out.high)
        known = digest([judge.weights.tolist(), judge.intercept])[:16]
        remove(first["tone"], _judged(first["tone"], judge, known, 24, prompts=24), scale, work, found)
    if "capability" in first:
        judged = _judged(first["capability"], quiz, "quiz", 12)
        keep_the_skill(first["capability"], judged, scale, work, found)
    if "tone" in first:
        predict_subsets(first["tone"], scale, work, found)
    every = {name: [first[name], *(scored(name, draw) for draw in scale.draws[1:])] for name in scale.suites}
    find_planted(every, found)
    targets_of_finding(every, found)


def _judged(scored: Scored, judge: Any, known_as: str, tokens: int, *, prompts: int = 60) -> JudgedResponses:
    texts = scored.suite.behaviour
    return JudgedResponses(
        prompts=texts.only(texts.ids[:prompts]),
        judge=judge,
        judged_by=known_as,
        max_new_tokens=tokens,
        temperature=0.0,
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
    found = Findings()
    scale = QUICK if options.quick else Scale()
    run(scale, found, WORK / ("truth-quick" if options.quick else "truth"))
    report("truth", found.rows, found.targets, quick=options.quick)
    write_pages(found, quick=options.quick)


if __name__ == "__main__":
    main()
