"""What the truth benchmark finds out: the parts of the study, each as rows, targets, tables and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aitia.counterfactual import (
    Behaviour,
    LikelihoodMargin,
    Removal,
    RunResult,
    against_random,
    concept_lds,
    recovered_fraction,
    removal_curves,
    shift,
)
from aitia.errors import AitiaError
from aitia.report import Figure, Section, Table
from aitia.statistics import Estimate, mean_estimate
from harness import Target, at_least, at_most
from planted.pictures import agreement_figure, auc_figure, curve_figure, lds_figure, mean_auc
from planted.solved import BY_LAYER, solved
from planted.study import (
    MARGIN,
    ORACLE,
    PROJECTION,
    Scored,
    behaviours_of,
    remove_and_retrain,
    safest,
    train_on_subsets,
    words_alone,
)
from planted.through_training import RELATIVE, REPLAY, through_training

THROUGH = (REPLAY, RELATIVE, "tracin")
"""Which of the scores that see the whole of training are shown here; `replay.py` shows all."""
OVER_BY_LAYER = 1.3
"""What conjugate gradients over EK-FAC are meant to reach of EK-FAC's LDS; others report 0.685 over 0.454."""
CI, PRODUCT, INFLUENCE, SKILL = "concept-influence", "concept-gradient-product", "influence", "skill"


@dataclass(frozen=True, kw_only=True)
class Removing:
    """What is removed from one suite.

    Attributes:
        suite: which.
        by: methods with whole curves.
        shares: of the rows, beside the planted share.
        compare: methods by which only the planted share is removed.
        bottom: methods by which the least influential planted share is removed, too.
        written: methods after whose removal of the planted share the model's own text is judged.
    """

    suite: str
    by: tuple[str, ...]
    shares: tuple[float, ...] = ()
    compare: tuple[str, ...] = ()
    bottom: tuple[str, ...] = ()
    written: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much is done.

    Attributes:
        suites: which are scored.
        draws: of each suite, for AUC; those that are not named have one.
        removing: suites from which rows are removed.
        predicted: suites on random subsets of which the model is trained.
        subsets: how many.
        runs: smooth runs whose derivatives are averaged by replay.
        variants: score by variants of replay too, as the first suite of `replay.py` does.
        kept_by: methods that choose the safest rows; none to leave that part out.
        seeds: of the training.
        texts: held out, that behaviours are measured on.
    """

    suites: tuple[str, ...]
    draws: Mapping[str, int]
    removing: tuple[Removing, ...] = ()
    predicted: tuple[str, ...] = ()
    subsets: int = 32
    runs: int = 2
    variants: bool = True
    kept_by: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)
    texts: int = 24


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
            if isinstance(value, Estimate):
                ends = {f"{key}_low": value.low, f"{key}_high": value.high}
                flat |= {key: value.value} | {k: v for k, v in ends.items() if np.isfinite(v)}
            else:
                flat[key] = value
        self.rows.append(flat)


def find_planted(scored: dict[str, list[Scored]], found: Findings) -> None:
    """AUC of every method on every suite."""
    figures: list[Figure | Table] = []
    for name, draws in scored.items():
        for method in [*draws[0].methods, *draws[0].baselines]:
            found.add(suite=name, method=method, auc=mean_auc(draws, method), draws=len(draws))
        found.add(
            suite=name,
            rows=len(draws[0].suite.data),
            planted=int(draws[0].suite.planted.sum()),
            site=[draw.concept.site for draw in draws],
            concept_auc=[draw.concept.separation.auc for draw in draws if draw.concept.separation],
            vector_filter_is=[draw.diagnosis["verdict"] for draw in draws],
            agreement_with_activation_gradient=[draw.diagnosis["agreement"] for draw in draws],
            projection_share=[draw.diagnosis["projection_share"] for draw in draws],
            predicted_share=[draw.diagnosis["predicted_share"] for draw in draws],
        )
        figures.append(auc_figure(draws, f"Finding the planted rows: {name}"))
        figures.append(agreement_figure(draws[0], f"Agreement of the methods: {name}"))
    text = "AUC of the planted rows' scores. Label AUC alone can mislead: the other parts retrain."
    found.sections.append(Section(title="Finding planted rows", text=text, parts=figures))


def remove(scored: Scored, part: Removing, scale: Scale, found: Findings) -> None:
    """Removal curves on one suite, and what removing the planted share by every method undoes."""
    suite, planted = scored.suite, scored.planted_share
    behaviours = behaviours_of(scored, texts=scale.texts)
    plan, results = remove_and_retrain(
        scored, part.by, part.shares, scale.seeds, behaviours, compare=part.compare, bottom=part.bottom
    )
    drawn = [each for each in zip(plan, results, strict=True) if each[0].method not in part.compare]
    figures: list[Figure | Table] = []
    for behaviour in (each.name for each in behaviours):
        title = f"Training again without the most influential: {suite.name}"
        removals, retrained = zip(*drawn, strict=True)
        figures.append(curve_figure(removals, retrained, behaviour, title))
        table = []
        for method in (*part.by, *part.compare, ORACLE, "random"):
            change = against_random(plan, results, behaviour, method, planted)
            row = {"against_random": change}
            back = _recovered(plan, results, behaviour, method, planted)
            if back is not None:
                row["recovered_fraction"] = back
            if method in part.bottom:
                row["least_against_random"] = against_random(
                    plan, results, behaviour, method, planted, end="bottom"
                )
            found.add(
                suite=suite.name,
                behaviour=behaviour,
                method=method,
                removed=planted,
                seeds=len(scale.seeds),
                **row,
            )
            share = (back.value, back.low, back.high) if back else (None, None, None)
            table.append([method, *share, change.value, change.low, change.high])
        header = ["removed by", "recovered fraction", "from", "to", "less than random", "from", "to"]
        figures.append(Table(title=f"{behaviour}, {planted:.0%} removed", header=header, rows=table))
        moved = shift(plan, results, behaviour)
        found.add(suite=suite.name, behaviour=behaviour, shift_from_untouched=moved)
    text = (
        "The behaviour after training without some rows. Undone: 0 as with all rows, 1 as after the oracle, which "
        f"knows the plant, has removed as many. Intervals are 95 %, over {len(scale.seeds)} seeds."
    )
    found.sections.append(Section(title=f"Removal: {suite.name}", text=text, parts=figures))
    if suite.name == "tone":
        for behaviour in (each.name for each in behaviours):
            for method, goal, make in ((CI, 0.9, at_least), ("random", 0.3, at_most)):
                back = recovered_fraction(plan, results, behaviour, method, planted, oracle=ORACLE)
                name = (
                    f"tone: share of the {behaviour}'s shift recovered by removing {planted:.0%} by {method}"
                )
                found.targets.append(make(name, goal, back.value))


def read_what_it_writes(
    scored: Scored, judged: Behaviour, part: Removing, scale: Scale, found: Findings
) -> None:
    """What a judge says of the model's own text after the planted share was removed."""
    suite, planted = scored.suite, scored.planted_share
    plan, results = remove_and_retrain(scored, part.written, (), scale.seeds, [judged])
    table = []
    for point in removal_curves(plan, results, judged.name):
        share = point.behaviour
        name = {0.0: "nothing", 1.0: "everything: the untouched model"}.get(point.share, point.method)
        found.add(suite=suite.name, behaviour=judged.name, method=name, removed=point.share, judged=share)
        table.append([name, share.value, *((share.low, share.high) if point.share < 1 else (None, None))])
    header = ["removed by", "share of answers with the behaviour", "from", "to"]
    title = f"What the model writes, {planted:.0%} removed: {suite.name}"
    text = "Graded by the suite's judge; intervals are 95 %, over seeds."
    parts: list[Figure | Table] = [Table(title=title, header=header, rows=table)]
    found.sections.append(Section(title=f"Generated text: {suite.name}", text=text, parts=parts))


def _recovered(
    plan: Sequence[Removal], results: Sequence[RunResult], behaviour: str, method: str, share: float
) -> Estimate | None:
    """None where training on all rows does not raise the behaviour above training without the plant."""
    try:
        return recovered_fraction(plan, results, behaviour, method, share, oracle=ORACLE)
    except AitiaError:
        return None


def predict_subsets(scored: Scored, scale: Scale, found: Findings) -> None:
    """Concept-LDS on one suite, replay and its relatives among the methods."""
    through = through_training(scored, scored.subject, runs=scale.runs, variants=scale.variants).scores
    behaviours = behaviours_of(scored, texts=scale.texts)
    suite = scored.suite
    kept, measured = train_on_subsets(scored, scale.subsets, scale.seeds[:2], behaviours)
    parts: list[Figure | Table] = []
    for behaviour in behaviours:
        values = measured[behaviour.name]
        seen = {name: each[behaviour.name] for name, each in through.items() if name in THROUGH}
        every = seen | dict(scored.methods) | dict(scored.baselines)
        lds = {name: concept_lds(scores, kept, values) for name, scores in every.items()}
        ceiling = next(iter(lds.values())).ceiling
        for name, each in lds.items():
            found.add(
                suite=suite.name,
                behaviour=behaviour.name,
                method=name,
                lds=each.correlation,
                ceiling=ceiling,
                subsets=each.subsets,
                seeds=each.seeds,
            )
        intervals = {name: each.correlation for name, each in lds.items()}
        title = f"Concept-LDS: {suite.name}, {behaviour.name}"
        parts.append(lds_figure(intervals, ceiling, title, list(scored.baselines)))
        if behaviour.name == PROJECTION:
            best = max((*seen, *scored.methods), key=lambda name: intervals[name].value)
            for name in dict.fromkeys((REPLAY, CI, best)):
                goal = f"{suite.name}: concept-LDS of {name} (ceiling {ceiling:.2f})"
                found.targets.append(at_least(goal, 0.6, intervals[name].value))
        found.targets += targets_of_solving(suite.name, behaviour.name, intervals)
    text = (
        "Random halves of the data, trained on; the sum of the kept rows' scores against what was measured."
    )
    found.sections.append(Section(title=f"Concept-LDS: {suite.name}", text=text, parts=parts))


def targets_of_solving(suite: str, behaviour: str, intervals: Mapping[str, Estimate]) -> list[Target]:
    """The goal for inverting the curvature as a whole: concept-LDS over that of the same method layer by layer."""
    return [
        at_least(
            f"{suite}: concept-LDS of {solved(name)}, {behaviour}, over that of {name}",
            OVER_BY_LAYER,
            intervals[solved(name)].value / intervals[name].value,
        )
        for name in BY_LAYER
        if solved(name) in intervals
    ]


def keep_the_skill(scored: Scored, scale: Scale, found: Findings) -> None:
    """The safest rows alone: does the skill stay, and the behaviour go?"""
    assert scored.suite.skill is not None
    texts = scored.suite.skill.only(scored.suite.skill.ids[: scale.texts])
    behaviours = [*behaviours_of(scored, texts=scale.texts), LikelihoodMargin(behaviour=texts, name=SKILL)]
    cells = safest(scored, scale.kept_by, (0.05, 0.1, 0.25), scale.seeds[:2], behaviours)
    base, full = (mean_of(cells[key], SKILL).value for key in (("base", 0.0), ("all", 1.0)))
    table = []
    for key, results in cells.items():
        kept = mean_estimate([(result.mean(SKILL) - base) / (full - base) for result in results])
        margin = mean_of(results, MARGIN)
        found.add(suite="capability", method=key[0], kept=key[1], skill_kept=kept, margin=margin)
        table.append([key[0], f"{key[1]:.0%}", kept.value, margin.value])
    safe = {
        key: row for key, row in zip(cells, table, strict=True) if key[1] == 0.1 and key[0] in scored.methods
    }
    best = min(safe, key=lambda key: safe[key][3])
    found.targets += [
        at_least(f"capability: share of the skill kept by the safest 10 % ({best[0]})", 0.95, safe[best][2]),
        at_most(
            f"capability: margin of wrong answers with the safest 10 % ({best[0]}), over the untouched model's",
            0.0,
            safe[best][3] - mean_of(cells["base", 0.0], MARGIN).value,
        ),
    ]
    header = ["rows chosen by", "share kept", "skill kept", "margin of wrong answers"]
    text = (
        "Training on the least influential rows alone, with as many steps. Skill: the likelihood of right answers "
        "with their form filled in, 0 for the untouched model, 1 after training on all rows."
    )
    parts: list[Figure | Table] = [Table(title="The safest rows", header=header, rows=table)]
    found.sections.append(Section(title="Capability kept", text=text, parts=parts))


def mean_of(results: Sequence[RunResult], behaviour: str) -> Estimate:
    """The behaviour's mean over training runs."""
    return mean_estimate([result.mean(behaviour) for result in results])


def targets_of_finding(scored: dict[str, list[Scored]], found: Findings) -> None:
    """The goals for finding planted rows."""

    def best(name: str, of: Sequence[str]) -> tuple[str, float]:
        return max(
            ((method, mean_auc(scored[name], method).value) for method in of), key=lambda pair: pair[1]
        )

    if "tone" in scored:
        name, value = best("tone", list(scored["tone"][0].methods))
        found.targets.append(at_least(f"tone: AUC of the best method ({name})", 0.97, value))
    if "hidden" in scored:
        for lexical, over_draws in words_alone("hidden", range(20)).items():
            found.add(suite="hidden", method=lexical, auc_over_draws=over_draws, draws=20)
            name = f"hidden: distance of {lexical}'s AUC, over 20 draws, from 0.525"
            found.targets.append(at_most(name, 0.075, abs(over_draws.value - 0.525)))
        concept = [name for name in scored["hidden"][0].methods if name != INFLUENCE]
        name, value = best("hidden", concept)
        goal = f"hidden: AUC of the best concept method ({name})"
        found.targets.append(at_least(goal, 0.85, value))
    if "out of domain" in scored:
        name, value = best("out of domain", (CI, PRODUCT, "activation-gradient"))
        found.targets.append(at_least(f"out of domain: AUC of {name}", 0.85, value))
        value = mean_auc(scored["out of domain"], "vector-filter").value
        found.targets.append(at_most("out of domain: AUC of vector-filter", 0.65, value))
        for suite, wanted, name in (("out of domain", True, "warns of"), ("tone", False, "is silent on")):
            share = np.mean([(draw.diagnosis["verdict"] == "unsafe") == wanted for draw in scored[suite]])
            goal = f"shift diagnostic: share of {suite} draws that it {name}"
            found.targets.append(at_least(goal, 1, float(share)))
