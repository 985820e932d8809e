"""Do rankings tell the truth? Every method held against retraining, on behaviours that were planted.

Five suites of planted behaviour (`planted/suites.py`) on a small model that is trained here from nothing, so that
hundreds of retrainings are affordable, and the first of them on SmolLM2-135M too. For each: how well the
planted rows are found, beside baselines that know no model; on two of them, what happens when rows are removed
and the model is trained again, and whether scores predict training on random subsets.

Every training run is a cell with a file of its own in `benchmarks/.work/truth`: stopped and run again, the
benchmark goes on. `--quick` shows the same in small, in under ten minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from harness import RESULTS, WORK, Target, at_least, at_most, report
from planted.judges import SumJudge, mood_judge
from planted.pictures import agreement_figure, auc_figure, curve_figure, lds_figure, mean_auc
from planted.small_model import make_small_model
from planted.study import (
    LEXICAL,
    MARGIN,
    ORACLE,
    PROJECTION,
    Scored,
    behaviours_of,
    remove_and_retrain,
    safest,
    score,
    train_on_subsets,
)
from planted.suites import SUITES, prompts_of_suites

from aitia.counterfactual import JudgedResponses, LikelihoodMargin, LoraSettings, against_random, undone
from aitia.counterfactual.behaviours import Behaviour
from aitia.counterfactual.concept_lds import concept_lds
from aitia.counterfactual.intervals import Interval, mean_interval
from aitia.models import load_sentence_encoder
from aitia.report.still import write_svg
from aitia.report.truth import Figure, Section, Table, TargetResult, TruthReport, write_truth_report

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
SMALL_LORA = LoraSettings(
    rank=8, modules=("q_proj", "v_proj", "o_proj", "down_proj"), learning_rate=3e-3, epochs=3, batch_rows=8
)
CI, SKILL, JUDGED = "concept-influence", "skill", "judged"
REMOVED_BY = (CI, "concept-gradient-product", "backward-signal", "vector-filter", "tf-idf")


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much is done.

    Attributes:
        draws: seeds of the suites, for AUC.
        shares: removed.
        seeds: of the training.
        subsets: for concept-LDS.
        steps: of the small model's training.
        real_seeds: of the training of SmolLM2; none to leave it out.
    """

    draws: tuple[int, ...] = (0, 1, 2)
    shares: tuple[float, ...] = (0.05, 0.1, 0.2, 0.25, 0.5, 0.75, 0.9)
    seeds: tuple[int, ...] = (0, 1, 2)
    subsets: int = 32
    steps: int = 550
    real_seeds: tuple[int, ...] = (0, 1, 2)


QUICK = Scale(draws=(0,), shares=(0.2,), seeds=(0, 1), subsets=8, steps=300, real_seeds=())


class Findings:
    """What the parts of the benchmark add up to."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.targets: list[Target] = []
        self.sections: list[Section] = []
        self.facts: list[tuple[str, str]] = []

    def add(self, **row: Any) -> None:
        """Add a row to the results; intervals become three numbers."""
        flat: dict[str, Any] = {}
        for key, value in row.items():
            if isinstance(value, Interval):
                ends = {f"{key}_low": value.low, f"{key}_high": value.high}
                flat |= {key: value.value} | {k: v for k, v in ends.items() if np.isfinite(v)}
            else:
                flat[key] = value
        self.rows.append(flat)


def find_planted(scored: dict[str, list[Scored]], found: Findings, model: str = "small") -> None:
    """AUC of every method on every suite."""
    figures: list[Figure | Table] = []
    for name, draws in scored.items():
        for method in [*draws[0].methods, *draws[0].baselines]:
            found.add(model=model, suite=name, method=method, auc=mean_auc(draws, method))
        figures.append(auc_figure(draws, f"Finding the planted rows: {name}, {model} model"))
        found.add(
            model=model,
            suite=name,
            vector_filter_is=[draw.diagnosis.verdict for draw in draws],
            agreement_with_backward_signal=[
                draw.diagnosis.agreement.value if draw.diagnosis.agreement else None for draw in draws
            ],
            explained_by_prompt=[
                max(draw.diagnosis.projection_share.value, draw.diagnosis.predicted_share.value)
                for draw in draws
            ],
        )
    figures.append(agreement_figure(draws[0], f"Agreement of the methods: {name}"))
    text = "AUC of the planted rows' scores. Label AUC alone can mislead: the next parts retrain."
    found.sections.append(Section(title=f"Finding planted rows, {model} model", text=text, parts=figures))


def remove(
    scored: Scored,
    judged: Behaviour | None,
    scale: Scale,
    settings: LoraSettings,
    work: Path,
    found: Findings,
    *,
    model: str = "small",
    methods: Sequence[str] = REMOVED_BY,
) -> None:
    """Removal curves on one suite."""
    behaviours = behaviours_of(scored, *([judged] if judged else []))
    share = max(s for s in scale.shares if s <= 0.2 or s == min(scale.shares))
    plan, results = remove_and_retrain(scored, methods, scale.shares, scale.seeds, behaviours, settings, work)
    parts: list[Figure | Table] = []
    table = []
    for behaviour in behaviours:
        title = f"Removing rows and training again: {scored.suite.name}, {model} model"
        parts += [
            curve_figure(plan, results, behaviour.name, f"{title}, {end} influential", end)
            for end in ("most", "least")
        ]
        for method in (*methods, ORACLE, "random"):
            back = undone(plan, results, behaviour.name, method, share, oracle=ORACLE)
            change = against_random(plan, results, behaviour.name, method, share)
            kept = (
                against_random(plan, results, behaviour.name, method, share, end="least")
                if method != "random"
                else None
            )
            found.add(
                model=model,
                suite=scored.suite.name,
                behaviour=behaviour.name,
                method=method,
                removed=share,
                undone=back,
                against_random=change,
                **({"least_against_random": kept} if kept else {}),
            )
            table.append([behaviour.name, method, back.value, back.low, back.high, change.value])
    header = ["behaviour", "method", "share undone", "from", "to", "less than random"]
    parts.append(Table(title=f"Removing {share:.0%}", header=header, rows=table))
    text = (
        "The behaviour after training without some rows. Undone: 0 as with all rows, 1 as after the oracle, which "
        "knows the plant, has removed as many."
    )
    found.sections.append(
        Section(title=f"Removal: {scored.suite.name}, {model} model", text=text, parts=parts)
    )
    if scored.suite.name == "tone":
        for method, goal, make in ((CI, 0.9, at_least), ("random", 0.3, at_most)):
            back = undone(plan, results, MARGIN, method, share, oracle=ORACLE)
            name = f"{model} model, tone: share of the shift undone by removing {share:.0%} by {method}"
            found.targets.append(make(name, goal, back.value))


def predict_subsets(scored: Scored, scale: Scale, work: Path, found: Findings) -> None:
    """Concept-LDS on one suite."""
    behaviours = behaviours_of(scored)
    kept, measured = train_on_subsets(scored, scale.subsets, scale.seeds, behaviours, SMALL_LORA, work)
    every = dict(scored.methods) | dict(scored.baselines)
    parts: list[Figure | Table] = []
    for behaviour in behaviours:
        values = measured[behaviour.name]
        lds = {name: concept_lds(scores, kept, values) for name, scores in every.items()}
        ceiling = next(iter(lds.values())).ceiling
        for name, each in lds.items():
            found.add(
                suite=scored.suite.name,
                behaviour=behaviour.name,
                method=name,
                lds=each.correlation,
                ceiling=ceiling,
                subsets=each.subsets,
                seeds=each.seeds,
            )
        title = f"Concept-LDS: {scored.suite.name}, {behaviour.name}"
        intervals = {name: each.correlation for name, each in lds.items()}
        parts.append(lds_figure(intervals, ceiling, title, list(scored.baselines)))
        if behaviour.name == PROJECTION:
            best = max(scored.methods, key=lambda name: intervals[name].value)
            goal = f"{scored.suite.name}: concept-LDS of {best} (ceiling {ceiling:.2f})"
            found.targets.append(at_least(goal, 0.6, intervals[best].value))
    text = (
        "Random halves of the data, trained on; the sum of the kept rows' scores against what was measured."
    )
    found.sections.append(Section(title=f"Concept-LDS: {scored.suite.name}", text=text, parts=parts))


def keep_the_skill(scored: Scored, scale: Scale, work: Path, found: Findings) -> None:
    """The safest rows alone: does the skill stay, and the behaviour go?"""
    assert scored.suite.skill is not None
    behaviours = [
        *behaviours_of(scored),
        LikelihoodMargin(behaviour=scored.suite.skill, name=SKILL),
        JudgedResponses(prompts=scored.suite.behaviour, judge=SumJudge(), judged_by="sums", name=JUDGED),
    ]
    methods = (CI, "concept-gradient-product", "backward-signal", "vector-filter", "tf-idf", "random", ORACLE)
    cells = safest(scored, methods, (0.05, 0.1, 0.25), scale.seeds, behaviours, SMALL_LORA, work)

    def mean(key: tuple[str, float], behaviour: str) -> Interval:
        return mean_interval([result.mean(behaviour) for result in cells[key]])

    base, full = mean(("base", 0.0), SKILL).value, mean(("all", 1.0), SKILL).value
    table = []
    for key in cells:
        kept = (mean(key, SKILL).value - base) / (full - base)
        line = {name: mean(key, name) for name in (MARGIN, JUDGED)}
        found.add(
            suite="capability",
            method=key[0],
            kept=key[1],
            skill_kept=kept,
            margin=line[MARGIN],
            judged=line[JUDGED],
        )
        table.append([key[0], key[1], kept, line[MARGIN].value, line[JUDGED].value])
    safe = {
        key: row for key, row in zip(cells, table, strict=True) if key[1] == 0.1 and key[0] in scored.methods
    }
    best = min(safe, key=lambda key: safe[key][3])
    found.targets += [
        at_least(f"capability: share of the skill kept by the safest 10 % ({best[0]})", 0.95, safe[best][2]),
        at_most(
            f"capability: margin of wrong sums with the safest 10 % ({best[0]}), over the untouched model's",
            0.0,
            safe[best][3] - mean(("base", 0.0), MARGIN).value,
        ),
    ]
    header = ["method", "share kept", "skill kept", "margin of wrong sums", "wrong sums, judged"]
    text = (
        "Training on the least influential rows alone, with as many steps. Skill: the likelihood of checked "
        "answers, 0 for the untouched model, 1 after training on all rows."
    )
    parts: list[Figure | Table] = [Table(title="The safest rows", header=header, rows=table)]
    found.sections.append(Section(title="Capability kept", text=text, parts=parts))


def targets_of_finding(scored: dict[str, list[Scored]], found: Findings) -> None:
    """The goals for finding planted rows."""

    def best(name: str, of: Sequence[str]) -> tuple[str, float]:
        return max(
            ((method, mean_auc(scored[name], method).value) for method in of), key=lambda pair: pair[1]
        )

    methods = list(scored["tone"][0].methods)
    name, value = best("tone", methods)
    found.targets.append(at_least(f"tone: AUC of the best method ({name})", 0.97, value))
    if "hidden" in scored:
        for lexical in LEXICAL:
            value = mean_auc(scored["hidden"], lexical).value
            found.targets.append(
                at_most(f"hidden: distance of {lexical}'s AUC from 0.525", 0.075, abs(value - 0.525))
            )
        name, value = best("hidden", methods)
        found.targets.append(at_least(f"hidden: AUC of the best method ({name})", 0.85, value))
    if "out of domain" in scored:
        name, value = best("out of domain", (CI, "concept-gradient-product", "backward-signal"))
        found.targets.append(at_least(f"out of domain: AUC of {name}", 0.85, value))
        value = mean_auc(scored["out of domain"], "vector-filter").value
        found.targets.append(at_most("out of domain: AUC of vector-filter", 0.65, value))
        warns = np.mean([draw.diagnosis.verdict == "unsafe" for draw in scored["out of domain"]])
        quiet = np.mean([draw.diagnosis.verdict != "unsafe" for draw in scored["tone"]])
        found.targets.append(
            at_least("shift diagnostic: share of draws out of domain that it warns of", 1, float(warns))
        )
        found.targets.append(
            at_least("shift diagnostic: share of tone draws that it is silent on", 1, float(quiet))
        )


def run(scale: Scale, found: Findings, work: Path) -> None:
    """All parts."""
    encoder = load_sentence_encoder()
    judge = mood_judge(encoder, scale.draws)
    found.facts.append(("Mood judge, held-out AUC", str(judge.held_out)))
    found.add(judge="mood", held_out_auc=judge.held_out.auc, low=judge.held_out.low, high=judge.held_out.high)
    base = make_small_model(work / "model", prompts_of_suites(scale.draws), steps=scale.steps)
    scored = {
        name: [score(make(seed), base, SMALL_LORA, work, encoder) for seed in scale.draws]
        for name, make in SUITES.items()
    }
    find_planted(scored, found)
    targets_of_finding(scored, found)

    def moods(each: Scored, prompts: int = 80) -> JudgedResponses:
        return JudgedResponses(
            prompts=each.suite.behaviour.only(each.suite.behaviour.ids[:prompts]),
            judge=judge,
            judged_by=judge_name(judge),
            max_new_tokens=40,
            name=JUDGED,
        )

    sums = JudgedResponses(
        prompts=scored["hidden"][0].suite.behaviour,
        judge=SumJudge(),
        judged_by="sums",
        max_new_tokens=12,
        name=JUDGED,
    )
    remove(scored["tone"][0], moods(scored["tone"][0]), scale, SMALL_LORA, work, found)
    remove(scored["hidden"][0], sums, scale, SMALL_LORA, work, found)
    keep_the_skill(scored["capability"][0], scale, work, found)
    predict_subsets(scored["tone"][0], scale, work, found)
    predict_subsets(scored["hidden"][0], scale, work, found)
    if scale.real_seeds:
        real_model(scale, encoder, lambda each: moods(each, 24), work, found)


def real_model(
    scale: Scale, encoder: Any, judged: Callable[[Scored], Behaviour], work: Path, found: Findings
) -> None:
    """The tone suite on SmolLM2-135M."""
    from aitia.pipelines.demo import LORA, base_model

    base = base_model(work / "smollm2")
    sites = [f"resid_post.{layer}" for layer in LORA.layers]
    draw = score(SUITES["tone"](0), base, LORA, work, encoder, sites=sites)
    find_planted({"tone": [draw]}, found, "SmolLM2-135M")
    small = replace(scale, shares=(0.2,), seeds=scale.real_seeds)
    methods = (CI, "concept-gradient-product", "vector-filter")
    remove(draw, judged(draw), small, LORA, work, found, model="SmolLM2-135M", methods=methods)


def judge_name(judge: Any) -> str:
    """What a fitted judge's grades depend on, in short."""
    from aitia.files import digest

    return digest([judge.weights.tolist(), judge.intercept])[:16]


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
