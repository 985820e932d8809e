"""What the truth benchmark finds out: the parts of the study, each as rows, targets, tables and figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from harness import Target, at_least, at_most
from planted.pictures import agreement_figure, auc_figure, curve_figure, lds_figure, mean_auc
from planted.study import (
    LEXICAL,
    MARGIN,
    ORACLE,
    PROJECTION,
    Scored,
    behaviours_of,
    remove_and_retrain,
    safest,
    train_on_subsets,
)

from aitia.counterfactual import LikelihoodMargin, against_random, undone
from aitia.counterfactual.behaviours import Behaviour
from aitia.counterfactual.concept_lds import concept_lds
from aitia.counterfactual.intervals import Interval, mean_interval
from aitia.counterfactual.removal import shift
from aitia.report.truth import Figure, Section, Table

CI, PRODUCT, INFLUENCE, SKILL = "concept-influence", "concept-gradient-product", "influence", "skill"


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much is done with one model.

    Attributes:
        suites: which.
        draws: seeds of the suites, for AUC.
        removed: suites on which rows are removed.
        shares: removed, beside the share that is planted.
        ends: most or least influential.
        removed_by: methods with whole curves.
        others: whether all other methods and baselines remove the planted share, too.
        texts: held out, that behaviours are measured on; none for all.
        seeds: of the training.
        predicted: suites on which random subsets are trained on.
        subsets: how many.
        kept_by: methods that choose the safest rows; none to leave that part out.
    """

    suites: tuple[str, ...]
    draws: tuple[int, ...] = (0,)
    removed: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()
    ends: tuple[str, ...] = ("most",)
    removed_by: tuple[str, ...] = (CI, "vector-filter")
    others: bool = False
    texts: int | None = None
    seeds: tuple[int, ...] = (0, 1, 2)
    predicted: tuple[str, ...] = ()
    subsets: int = 40
    kept_by: tuple[str, ...] = ()


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


def find_planted(scored: dict[str, list[Scored]], found: Findings) -> None:
    """AUC of every method on every suite."""
    figures: list[Figure | Table] = []
    for name, draws in scored.items():
        model = draws[0].subject.name
        for method in [*draws[0].methods, *draws[0].baselines]:
            found.add(model=model, suite=name, method=method, auc=mean_auc(draws, method), draws=len(draws))
        found.add(
            model=model,
            suite=name,
            rows=len(draws[0].suite.data),
            planted=int(draws[0].suite.planted.sum()),
            site=[draw.concept.site for draw in draws],
            concept_auc=[draw.concept.separation.auc for draw in draws if draw.concept.separation],
            vector_filter_is=[draw.diagnosis["verdict"] for draw in draws],
            agreement_with_backward_signal=[draw.diagnosis["agreement"] for draw in draws],
            projection_share=[draw.diagnosis["projection_share"] for draw in draws],
            predicted_share=[draw.diagnosis["predicted_share"] for draw in draws],
        )
        figures.append(auc_figure(draws, f"Finding the planted rows: {name}, {model}"))
        figures.append(agreement_figure(draws[0], f"Agreement of the methods: {name}, {model}"))
    text = "AUC of the planted rows' scores. Label AUC alone can mislead: the other parts retrain."
    found.sections.append(Section(title=f"Finding planted rows: {model}", text=text, parts=figures))


def remove(scored: Scored, judged: Behaviour, scale: Scale, found: Findings) -> None:
    """Removal curves on one suite, and what removing the planted share by every method undoes."""
    suite, model, planted = scored.suite, scored.subject.name, scored.planted_share
    behaviours = behaviours_of(scored, judged, texts=scale.texts)
    every = [*scored.methods, *(name for name in scored.baselines if name not in (ORACLE, "random"))]
    others = [name for name in every if scale.others and name not in scale.removed_by]
    plan, results = remove_and_retrain(
        scored, scale.removed_by, scale.shares, scale.seeds, behaviours, others=others, ends=scale.ends
    )
    curves = [each for each in zip(plan, results, strict=True) if each[0].method not in others]
    parts: list[Figure | Table] = []
    for behaviour in behaviours:
        for end in scale.ends:
            title = f"Training again without the {end} influential: {suite.name}, {model}"
            parts.append(curve_figure(*zip(*curves, strict=True), behaviour.name, title, end))
        table = []
        for method in (*scale.removed_by, *others, ORACLE, "random"):
            back = undone(plan, results, behaviour.name, method, planted, oracle=ORACLE)
            change = against_random(plan, results, behaviour.name, method, planted)
            row = {"undone": back, "against_random": change}
            if method in scale.removed_by and "least" in scale.ends:
                row["least_against_random"] = against_random(
                    plan, results, behaviour.name, method, planted, end="least"
                )
            found.add(
                model=model,
                suite=suite.name,
                behaviour=behaviour.name,
                method=method,
                removed=planted,
                seeds=len(scale.seeds),
                **row,
            )
            table.append([method, back.value, back.low, back.high, change.value, change.low, change.high])
        header = ["removed by", "share undone", "from", "to", "less than random", "from", "to"]
        title = f"{behaviour.name}, {planted:.0%} removed"
        parts.append(Table(title=title, header=header, rows=table))
        moved = shift(plan, results, behaviour.name)
        found.add(model=model, suite=suite.name, behaviour=behaviour.name, shift_from_untouched=moved)
    text = (
        "The behaviour after training without some rows. Undone: 0 as with all rows, 1 as after the oracle, which "
        "knows the plant, has removed as many. Intervals are 95 %, over seeds."
    )
    found.sections.append(Section(title=f"Removal: {suite.name}, {model}", text=text, parts=parts))
    if suite.name == "tone":
        for method, goal, make in ((CI, 0.9, at_least), ("random", 0.3, at_most)):
            back = undone(plan, results, MARGIN, method, planted, oracle=ORACLE)
            name = f"tone, {model}: share of the shift undone by removing {planted:.0%} by {method}"
            found.targets.append(make(name, goal, back.value))


def predict_subsets(scored: Scored, scale: Scale, found: Findings) -> None:
    """Concept-LDS on one suite."""
    behaviours = behaviours_of(scored, texts=scale.texts)
    suite, model = scored.suite, scored.subject.name
    kept, measured = train_on_subsets(scored, scale.subsets, scale.seeds, behaviours)
    every = dict(scored.methods) | dict(scored.baselines)
    parts: list[Figure | Table] = []
    for behaviour in behaviours:
        values = measured[behaviour.name]
        lds = {name: concept_lds(scores, kept, values) for name, scores in every.items()}
        ceiling = next(iter(lds.values())).ceiling
        for name, each in lds.items():
            found.add(
                model=model,
                suite=suite.name,
                behaviour=behaviour.name,
                method=name,
                lds=each.correlation,
                ceiling=ceiling,
                subsets=each.subsets,
                seeds=each.seeds,
            )
        intervals = {name: each.correlation for name, each in lds.items()}
        title = f"Concept-LDS: {suite.name}, {model}, {behaviour.name}"
        parts.append(lds_figure(intervals, ceiling, title, list(scored.baselines)))
        if behaviour.name == PROJECTION:
            goal = f"{suite.name}, {model}: concept-LDS of {CI} (ceiling {ceiling:.2f})"
            found.targets.append(at_least(goal, 0.6, intervals[CI].value))
    text = (
        "Random halves of the data, trained on; the sum of the kept rows' scores against what was measured."
    )
    found.sections.append(Section(title=f"Concept-LDS: {suite.name}, {model}", text=text, parts=parts))


def keep_the_skill(scored: Scored, judged: Behaviour, scale: Scale, found: Findings) -> None:
    """The safest rows alone: does the skill stay, and the behaviour go?"""
    assert scored.suite.skill is not None
    model = scored.subject.name
    behaviours = [
        *behaviours_of(scored, texts=scale.texts),
        LikelihoodMargin(behaviour=scored.suite.skill, name=SKILL),
        judged,
    ]
    cells = safest(scored, scale.kept_by, (0.05, 0.1, 0.25), scale.seeds, behaviours)

    def mean(key: tuple[str, float], behaviour: str) -> Interval:
        return mean_interval([result.mean(behaviour) for result in cells[key]])

    base, full = mean(("base", 0.0), SKILL).value, mean(("all", 1.0), SKILL).value
    table = []
    for key in cells:
        kept = mean_interval([(result.mean(SKILL) - base) / (full - base) for result in cells[key]])
        line = {name: mean(key, name) for name in (MARGIN, judged.name)}
        found.add(
            model=model,
            suite="capability",
            method=key[0],
            kept=key[1],
            skill_kept=kept,
            margin=line[MARGIN],
            judged=line[judged.name],
        )
        table.append([key[0], f"{key[1]:.0%}", kept.value, line[MARGIN].value, line[judged.name].value])
    safe = {
        key: row for key, row in zip(cells, table, strict=True) if key[1] == 0.1 and key[0] in scored.methods
    }
    best = min(safe, key=lambda key: safe[key][3])
    found.targets += [
        at_least(f"capability: share of the skill kept by the safest 10 % ({best[0]})", 0.95, safe[best][2]),
        at_most(
            f"capability: margin of wrong answers with the safest 10 % ({best[0]}), over the untouched model's",
            0.0,
            safe[best][3] - mean(("base", 0.0), MARGIN).value,
        ),
    ]
    header = [
        "rows chosen by",
        "share kept",
        "skill kept",
        "margin of wrong answers",
        "wrong answers, judged",
    ]
    text = (
        "Training on the least influential rows alone, with as many steps. Skill: the likelihood of right answers "
        "with their form filled in, 0 for the untouched model, 1 after training on all rows."
    )
    parts: list[Figure | Table] = [Table(title="The safest rows", header=header, rows=table)]
    found.sections.append(Section(title=f"Capability kept: {model}", text=text, parts=parts))


def targets_of_finding(scored: dict[str, list[Scored]], found: Findings) -> None:
    """The goals for finding planted rows."""
    model = next(iter(scored.values()))[0].subject.name

    def best(name: str, of: Sequence[str]) -> tuple[str, float]:
        return max(
            ((method, mean_auc(scored[name], method).value) for method in of), key=lambda pair: pair[1]
        )

    if "tone" in scored:
        name, value = best("tone", list(scored["tone"][0].methods))
        found.targets.append(at_least(f"tone, {model}: AUC of the best method ({name})", 0.97, value))
    if "hidden" in scored:
        for lexical in LEXICAL:
            value = mean_auc(scored["hidden"], lexical).value
            found.targets.append(
                at_most(f"hidden: distance of {lexical}'s AUC from 0.525", 0.075, abs(value - 0.525))
            )
        concept = [name for name in scored["hidden"][0].methods if name != INFLUENCE]
        name, value = best("hidden", concept)
        goal = f"hidden, {model}: AUC of the best concept method ({name})"
        found.targets.append(at_least(goal, 0.85, value))
    if "out of domain" in scored:
        name, value = best("out of domain", (CI, PRODUCT, "backward-signal"))
        found.targets.append(at_least(f"out of domain, {model}: AUC of {name}", 0.85, value))
        value = mean_auc(scored["out of domain"], "vector-filter").value
        found.targets.append(at_most(f"out of domain, {model}: AUC of vector-filter", 0.65, value))
        for suite, wanted, name in (("out of domain", True, "warns of"), ("tone", False, "is silent on")):
            share = np.mean([(draw.diagnosis["verdict"] == "unsafe") == wanted for draw in scored[suite]])
            goal = f"shift diagnostic, {model}: share of {suite} draws that it {name}"
            found.targets.append(at_least(goal, 1, float(share)))
