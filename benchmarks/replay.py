"""Does the derivative through training foretell what training on other data does? Held against retraining.

On planted suites (`planted/suites.py`): the model is trained on all rows and recorded, smooth surrogates of the run are
replayed, and the scores are held against trainings on random halves of the rows, each in an order of its own with
default AdamW. Beside replay stand its cheap relatives and the scorers at the final weights. Texts that are asked about
(queries, or the texts of the concept) are apart from those that are measured (held out).
Peak memory is that of processes of their own (`planted/memory.py`).

Every training run is a file of its own in `benchmarks/.work/truth`, shared with `truth.py`: stopped and run again, the
benchmark goes on. `--quick` shows the same in small; its figures are not quoted.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from peers.magic import beside_magic

from aitia.counterfactual import plan_removals, recovered_fraction
from aitia.counterfactual.concept_lds import concept_lds
from aitia.errors import AitiaError
from aitia.models import load_sentence_encoder
from harness import WORK, Target, at_least, at_most, report
from planted.findings import Findings
from planted.memory import add_memory, memory_of
from planted.study import (
    GRADIENT,
    MARGIN,
    ORACLE,
    PROJECTION,
    Scored,
    behaviours_of,
    retrain_scored,
    score,
    train_on_subsets,
)
from planted.subject import subject
from planted.suites import SUITES, Suite
from planted.through_training import OWN_ORDER, RELATIVE, REPLAY, ThroughTraining, through_training

GOALS = {PROJECTION: 0.95, MARGIN: 0.90}
"""Behaviour -> goal for replay on `hidden`, as a share of the ceiling."""
ELSEWHERE, OF_RELATIVES = 0.85, 0.80
SAME_AS_PEER = 0.99
FIRST_COST, FURTHER_COST, RELATIVE_COST = 2.5, 1.0, 1.0


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much is done.

    Attributes:
        subsets: random halves that are trained on.
        seeds: of each.
        runs: smooth runs whose derivatives are averaged.
        removed: shares of the rows that are removed by each target's scores; none to leave that part out.
        texts: held out, that behaviours are measured on.
        variants: score by variants of the methods too, and take the costs.
    """

    subsets: int
    seeds: tuple[int, ...]
    runs: int = 2
    removed: tuple[float, ...] = ()
    texts: int = 24
    variants: bool = True


FULL = Scale(subsets=40, seeds=(0, 1, 2), removed=(0.2, 0.3))
OTHERS = Scale(subsets=24, seeds=(0, 1), variants=False)
"""Of every suite and draw but the first: fewer halves, and nothing is removed."""
QUICK = Scale(subsets=8, seeds=(0, 1), runs=1)
DRAWS = ("hidden", "hidden 1", "hidden 2", "tone", "out of domain", "trigger", "capability")
"""Suites, and draws of one: the first is what the goals of removal are held against."""


def drawn(name: str) -> Suite:
    """A suite by its name, and by the number of its draw where one follows: `hidden 2`."""
    suite, _, draw = name.rpartition(" ")
    return SUITES[suite](int(draw)) if draw.isdigit() else SUITES[name](0)


def foretell(suite: str, scored: Scored, through: ThroughTraining, scale: Scale, found: Findings) -> None:
    """Concept-LDS of every method, with its interval and the ceiling."""
    behaviours = behaviours_of(scored, texts=scale.texts)
    kept, measured = train_on_subsets(scored, scale.subsets, scale.seeds, behaviours)
    for behaviour in (each.name for each in behaviours):
        every = {name: scored.methods[name] for name in scored.methods}
        every |= {name: each[behaviour] for name, each in through.scores.items()}
        every[ORACLE] = scored.baselines[ORACLE]
        lds = {name: concept_lds(scores, kept, measured[behaviour]) for name, scores in every.items()}
        ceiling = lds[REPLAY].ceiling
        for name, each in lds.items():
            found.add(
                suite=suite,
                behaviour=behaviour,
                method=name,
                lds=each.correlation,
                ceiling=ceiling,
                subsets=each.subsets,
                seeds=each.seeds,
            )
        reached = {name: each.correlation.value for name, each in lds.items()}
        goal = GOALS[behaviour] * ceiling if scored.suite.name == "hidden" else ELSEWHERE
        found.targets += [
            at_least(f"{suite}: concept-LDS of replay, {behaviour}", round(goal, 3), reached[REPLAY]),
            at_least(f"{suite}: concept-LDS of {RELATIVE}, {behaviour}", OF_RELATIVES, reached[RELATIVE]),
        ]
    for name, value in through.figures["cost"].items():
        found.add(suite=suite, act=name, trainings=value)
    for name, each in through.figures["smoothness"].items():
        found.add(suite=suite, behaviour=name, **each)
    if through.figures["cost"]:
        found.targets += _costs(suite, through.figures["cost"])


def _costs(suite: str, cost: Mapping[str, float]) -> list[Target]:
    first, both = cost["replay, one target"], cost["replay, two targets"]
    return [
        at_most(f"{suite}: replay of a first target, in trainings", FIRST_COST, first),
        at_most(f"{suite}: the same in the run's own order, in trainings", FIRST_COST, cost[OWN_ORDER]),
        at_most(f"{suite}: replay of a further target, in trainings", FURTHER_COST, both - first),
        at_most(f"{suite}: {RELATIVE}, in trainings", RELATIVE_COST, cost[RELATIVE]),
    ]


def remove(suite: str, scored: Scored, through: ThroughTraining, scale: Scale, found: Findings) -> None:
    """Removal by replay's scores: the share of the behaviour's shift that is recovered."""
    behaviours = behaviours_of(scored, texts=scale.texts)
    ranked = {f"{REPLAY} of the {name}": each for name, each in through.scores[REPLAY].items()}
    ranked |= scored.scores_of((GRADIENT[0], "training loss", ORACLE))
    plan = plan_removals(scored.suite.data.ids, ranked, scale.removed, scale.seeds, ends=["top"])
    results = retrain_scored(scored, list(plan.values()), behaviours)
    for behaviour in (each.name for each in behaviours):
        for share in scale.removed:
            back: dict[str, float] = {}
            for method in ranked:
                try:
                    estimate = recovered_fraction(
                        list(plan), results, behaviour, method, share, oracle=ORACLE
                    )
                except (
                    AitiaError
                ):  # training on all rows does not raise the behaviour above training without the plant
                    continue
                back[method] = estimate.value
                found.add(
                    suite=suite,
                    behaviour=behaviour,
                    method=method,
                    removed=share,
                    seeds=len(scale.seeds),
                    recovered_fraction=estimate,
                )
            own = f"{REPLAY} of the {behaviour}"
            if own in back:
                name = f"{suite}: recovered fraction by removing {share:.0%} by {own}"
                found.targets.append(at_least(name, 1.0, back[own]))


def beside_the_peer(folder: Path, found: Findings) -> None:
    """The same run differentiated by bergson's MAGIC."""
    for case, each in beside_magic(folder).items():
        ours, theirs = each.finite
        found.add(
            peer="bergson magic",
            case=case,
            finite_ours=ours,
            finite_theirs=theirs,
            parameters=each.parameters,
        )
        if each.pearson is None:
            continue
        found.rows[-1] |= {"pearson": each.pearson, "difference": each.difference}
        found.targets.append(at_least(f"Pearson with bergson's MAGIC, {case}", SAME_AS_PEER, each.pearson))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small run whose figures are not quoted")
    parser.add_argument("--suite", action="append", choices=DRAWS, help="default: all of them; repeatable")
    options = parser.parse_args()
    names = options.suite or (DRAWS[:1] if options.quick else DRAWS)
    model, found = subject(WORK / ("truth-quick" if options.quick else "truth")), Findings()
    encoder = load_sentence_encoder()
    if not options.quick:  # needs the environment of the peers
        beside_the_peer(model.work / "replay" / "magic", found)
    for name in names:
        scale = QUICK if options.quick else FULL if name == DRAWS[0] else OTHERS
        scored = score(drawn(name), model, encoder)
        through = through_training(scored, model, runs=scale.runs, variants=scale.variants)
        foretell(name, scored, through, scale, found)
        if scale.variants:
            add_memory(name, memory_of(name, model.work), found)
        if scale.removed:
            remove(name, scored, through, scale, found)
        report(
            "replay", found.rows, found.targets, quick=options.quick
        )  # stopped here, it tells what there is


if __name__ == "__main__":
    main()
