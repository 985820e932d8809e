"""What the truth benchmark finds out: the parts of the study, each as rows, targets, tables and figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
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
from planted.suites import SUITES

from aitia.counterfactual import LikelihoodMargin, LoraSettings, against_random, undone
from aitia.counterfactual.behaviours import Behaviour
from aitia.counterfactual.concept_lds import concept_lds
from aitia.counterfactual.intervals import Interval, mean_interval
from aitia.report.truth import Figure, Section, Table

CI, INFLUENCE, SKILL = "concept-influence", "influence", "skill"
LORA = LoraSettings(
    rank=8,
    modules=("q_proj", "v_proj", "o_proj", "down_proj"),
    layers=tuple(range(10, 20)),
    learning_rate=2e-3,
    epochs=2,
    batch_rows=8,
)


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much is done.

    Attributes:
        suites: which.
        draws: seeds of the suites, for AUC.
        shares: removed, beside the share that is planted.
        seeds: of the training.
        subsets: for concept-LDS.
        removed_by: methods that choose what is removed.
        kept_by: methods that choose the safest rows.
        training: of the adapters.
        sites: where concepts may lie: over enough trained blocks for gradients to say something.
    """

    suites: tuple[str, ...] = tuple(SUITES)
    draws: tuple[int, ...] = (0, 1, 2)
    shares: tuple[float, ...] = (0.1, 0.5)
    seeds: tuple[int, ...] = (0, 1, 2)
    subsets: int = 32
    removed_by: tuple[str, ...] = (CI, "concept-gradient-product", INFLUENCE, "vector-filter", "tf-idf")
    kept_by: tuple[str, ...] = (CI, INFLUENCE, "vector-filter", "training loss", "random", ORACLE)
    training: LoraSettings = LORA
    sites: tuple[str, ...] = tuple(f"resid_post.{layer}" for layer in range(14, 20))


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
        for method in [*draws[0].methods, *draws[0].baselines]:
            found.add(suite=name, method=method, auc=mean_auc(draws, method), draws=len(draws))
        figures.append(auc_figure(draws, f"Finding the planted rows: {name}"))
        found.add(
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
        figures.append(agreement_figure(draws[0], f"Agreement of the methods: {name}"))
    text = "AUC of the planted rows' scores. Label AUC alone can mislead: the other parts retrain."
    found.sections.append(Section(title="Finding planted rows", text=text, parts=figures))


def remove(scored: Scored, judged: Behaviour, scale: Scale, work: Path, found: Findings) -> None:
    """Removal curves on one suite."""
    suite, methods = scored.suite, scale.removed_by
    behaviours = behaviours_of(scored, judged)
    planted = round(float(suite.planted.mean()), 3)
    shares = sorted({*scale.shares, planted})
    plan, results = remove_and_retrain(scored, methods, shares, scale.seeds, behaviours, scale.training, work)
    parts: list[Figure | Table] = []
    table = []
    for behaviour in behaviours:
        for end in ("most", "least"):
            title = f"Removing rows and training again: {suite.name}, {end} influential"
            parts.append(curve_figure(plan, results, behaviour.name, title, end))
        for method in (*methods, ORACLE, "random"):
            back = undone(plan, results, behaviour.name, method, planted, oracle=ORACLE)
            change = against_random(plan, results, behaviour.name, method, planted)
            kept = {}
            if method != "random":
                least = against_random(plan, results, behaviour.name, method, planted, end="least")
                kept = {"least_against_random": least}
            found.add(
                suite=suite.name,
                behaviour=behaviour.name,
                method=method,
                removed=planted,
                undone=back,
                against_random=change,
                **kept,
            )
            table.append([behaviour.name, method, back.value, back.low, back.high, change.value])
    header = ["behaviour", "method", "share undone", "from", "to", "less than random"]
    parts.append(Table(title=f"Removing {planted:.0%}", header=header, rows=table))
    text = (
        "The behaviour after training without some rows. Undone: 0 as with all rows, 1 as after the oracle, which "
        "knows the plant, has removed as many."
    )
    found.sections.append(Section(title=f"Removal: {suite.name}", text=text, parts=parts))
    if suite.name == "tone":
        for method, goal, make in ((CI, 0.9, at_least), ("random", 0.3, at_most)):
            back = undone(plan, results, MARGIN, method, planted, oracle=ORACLE)
            name = f"tone: share of the shift undone by removing {planted:.0%} by {method}"
            found.targets.append(make(name, goal, back.value))


def predict_subsets(scored: Scored, scale: Scale, work: Path, found: Findings) -> None:
    """Concept-LDS on one suite."""
    behaviours, suite = behaviours_of(scored), scored.suite
    kept, measured = train_on_subsets(
        scored, scale.subsets, scale.seeds[:2], behaviours, scale.training, work
    )
    every = dict(scored.methods) | dict(scored.baselines)
    parts: list[Figure | Table] = []
    for behaviour in behaviours:
        values = measured[behaviour.name]
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
            goal = f"{suite.name}: concept-LDS of {CI} (ceiling {ceiling:.2f})"
            found.targets.append(at_least(goal, 0.6, intervals[CI].value))
    text = (
        "Random halves of the data, trained on; the sum of the kept rows' scores against what was measured."
    )
    found.sections.append(Section(title=f"Concept-LDS: {suite.name}", text=text, parts=parts))


def keep_the_skill(scored: Scored, judged: Behaviour, scale: Scale, work: Path, found: Findings) -> None:
    """The safest rows alone: does the skill stay, and the behaviour go?"""
    assert scored.suite.skill is not None
    behaviours = [
        *behaviours_of(scored),
        LikelihoodMargin(behaviour=scored.suite.skill, name=SKILL),
        judged,
    ]
    cells = safest(
        scored, scale.kept_by, (0.05, 0.1, 0.25), scale.seeds[:2], behaviours, scale.training, work
    )

    def mean(key: tuple[str, float], behaviour: str) -> Interval:
        return mean_interval([result.mean(behaviour) for result in cells[key]])

    base, full = mean(("base", 0.0), SKILL).value, mean(("all", 1.0), SKILL).value
    table = []
    for key in cells:
        kept = (mean(key, SKILL).value - base) / (full - base)
        line = {name: mean(key, name) for name in (MARGIN, judged.name)}
        found.add(
            suite="capability",
            method=key[0],
            kept=key[1],
            skill_kept=kept,
            margin=line[MARGIN],
            judged=line[judged.name],
        )
        table.append([key[0], key[1], kept, line[MARGIN].value, line[judged.name].value])
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
    header = ["method", "share kept", "skill kept", "margin of wrong answers", "wrong answers, judged"]
    text = (
        "Training on the least influential rows alone, with as many steps. Skill: the likelihood of answers with "
        "their form filled in, 0 for the untouched model, 1 after training on all rows."
    )
    parts: list[Figure | Table] = [Table(title="The safest rows", header=header, rows=table)]
    found.sections.append(Section(title="Capability kept", text=text, parts=parts))


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
        for lexical in LEXICAL:
            value = mean_auc(scored["hidden"], lexical).value
            found.targets.append(
                at_most(f"hidden: distance of {lexical}'s AUC from 0.525", 0.075, abs(value - 0.525))
            )
        concept = [name for name in scored["hidden"][0].methods if name != INFLUENCE]
        name, value = best("hidden", concept)
        found.targets.append(at_least(f"hidden: AUC of the best concept method ({name})", 0.85, value))
    if "out of domain" in scored:
        name, value = best("out of domain", (CI, "concept-gradient-product", "backward-signal"))
        found.targets.append(at_least(f"out of domain: AUC of {name}", 0.85, value))
        value = mean_auc(scored["out of domain"], "vector-filter").value
        found.targets.append(at_most("out of domain: AUC of vector-filter", 0.65, value))
        for suite, wanted, name in (("out of domain", True, "warns of"), ("tone", False, "is silent on")):
            share = np.mean([(draw.diagnosis["verdict"] == "unsafe") == wanted for draw in scored[suite]])
            goal = f"shift diagnostic: share of {suite} draws that it {name}"
            found.targets.append(at_least(goal, 1, float(share)))
