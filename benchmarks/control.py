"""Can a behaviour be lowered while a skill stays? Rows chosen by replay of both, held against training again.

On the planted suite `capability` every row teaches a skill (a form filled in after each answer), and three in ten teach
wrong answers too. One replay gives the derivatives of both. Rows are taken out by the ranking of the behaviour alone,
by both together (`choose_weights`), by the oracle, and at random; the model is trained again on what is left. The texts
that are asked about are not those that are measured. `--quick` shows the same in small; its figures are not quoted.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass

import numpy as np

from aitia.attribution import ControlSettings, choose_weights
from aitia.attribution.replay import OVER_ORDERS, margin_target, smooth_replay
from aitia.attribution.replay import Target as Asked
from aitia.counterfactual import LikelihoodMargin, RetrainingRun
from aitia.files import digest, write_json
from aitia.models import load_sentence_encoder
from aitia.statistics import mean_estimate
from aitia.training import read_run, train
from harness import WORK, at_least, at_most, report
from planted.findings import Findings
from planted.study import Scored, retrain_scored, score
from planted.subject import Subject, subject
from planted.suites import capability

MARGIN, SKILL = "margin of wrong answers", "skill"
ALONE, BOTH, RANDOM, ORACLE = "replay of the behaviour alone", "replay of both", "random", "oracle"
ENOUGH_SKILL = 0.97


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much is done.

    Attributes:
        shares: of the rows that are taken out.
        seeds: of each training.
        runs: smooth runs whose derivatives are averaged.
    """

    shares: tuple[float, ...]
    seeds: tuple[int, ...]
    runs: int = 2


FULL = Scale(shares=(0.1, 0.2, 0.3, 0.4), seeds=(0, 1, 2))
QUICK = Scale(shares=(0.2,), seeds=(0,), runs=1)


def derivatives(scored: Scored, model: Subject, scale: Scale) -> np.ndarray:
    """[2, n] derivatives of behaviour and skill by row, on texts that are not measured; kept, and found again."""
    suite = scored.suite
    assert suite.skill is not None
    named = [suite.data.fingerprint, model.training.identity(), scale.runs, "control"]
    named.append({"over_orders": OVER_ORDERS})
    folder = model.work / "control" / digest(named)[:12]
    file = folder / "derivatives.json"
    if not file.is_file():
        asked = suite.skill.only(suite.skill.ids[::2])
        targets: list[Asked] = [
            margin_target(suite.positive, suite.negative, name=MARGIN),
            margin_target(asked, None, name=SKILL),
        ]
        train(model.untouched_float32(), suite.data, model.training, folder / "run")
        found = smooth_replay(
            [read_run(folder / "run")], model.untouched_float32(), suite.data, targets, runs=scale.runs
        )
        write_json(file, {"scores": found.scores.tolist()})
    return np.array(json.loads(file.read_text(encoding="utf-8"))["scores"])


def removed_rows(scored: Scored, found: np.ndarray, scale: Scale) -> dict[tuple[str, float], np.ndarray]:
    """(chosen by, share) -> positions of the rows that are taken out."""
    rows = len(scored.suite.data)
    plain = {ALONE: found[0], ORACLE: scored.suite.planted.astype(float) + 1e-9 * found[0]}
    chosen: dict[tuple[str, float], np.ndarray] = {}
    for share in scale.shares:
        count = round(share * rows)
        for name, scores in plain.items():
            chosen[name, share] = np.argsort(-scores, kind="stable")[:count]
        chosen[BOTH, share] = choose_weights(found[0], found[1], ControlSettings(share=share)).removed
        chosen[RANDOM, share] = np.random.default_rng(0).permutation(rows)[:count]
    return chosen


def run(scale: Scale, model: Subject, found: Findings) -> None:
    """Choose, train again, measure."""
    scored = score(capability(), model, load_sentence_encoder())
    suite = scored.suite
    assert suite.skill is not None
    chosen = removed_rows(scored, derivatives(scored, model, scale), scale)
    measured = [
        LikelihoodMargin(behaviour=suite.behaviour, normal=suite.normal, name=MARGIN),
        LikelihoodMargin(behaviour=suite.skill.only(suite.skill.ids[1::2]), name=SKILL),
    ]
    ids = np.asarray(suite.data.ids)

    def kept(gone: np.ndarray) -> tuple[str, ...]:
        return tuple(np.delete(ids, gone).tolist())

    none = np.array([], dtype=int)
    cells = {("nothing removed", 0.0): [RetrainingRun(kept=kept(none), seed=seed) for seed in scale.seeds]}
    cells["untouched model", 1.0] = [RetrainingRun(kept=(), seed=0)]
    cells |= {
        key: [RetrainingRun(kept=kept(gone), seed=seed) for seed in scale.seeds]
        for key, gone in chosen.items()
    }
    results = iter(retrain_scored(scored, [cell for part in cells.values() for cell in part], measured))
    by_key = {key: [next(results) for _ in part] for key, part in cells.items()}
    of = {
        key: {each.name: np.array([result.mean(each.name) for result in part]) for each in measured}
        for key, part in by_key.items()
    }
    base, full = of["untouched model", 1.0], of["nothing removed", 0.0]
    reached: dict[tuple[str, float], tuple[float, float]] = {}
    for (name, share), each in of.items():
        skill = (each[SKILL] - base[SKILL].mean()) / (full[SKILL].mean() - base[SKILL].mean())
        above = each[MARGIN] - base[MARGIN].mean()
        reached[name, share] = float(above.mean()), float(skill.mean())
        found.add(
            chosen_by=name,
            removed=share,
            rows=0 if (name, share) not in chosen else len(chosen[name, share]),
            behaviour_over_untouched=mean_estimate(above),
            behaviour_over_all_rows=mean_estimate(each[MARGIN] - full[MARGIN].mean()),
            skill_kept=mean_estimate(skill),
        )

    def needed(name: str) -> float | None:
        """The least share that brings the behaviour to the untouched model's, with the skill kept."""
        enough = [s for s in scale.shares if reached[name, s][0] <= 0 and reached[name, s][1] >= ENOUGH_SKILL]
        return min(enough, default=None)

    most = max(scale.shares)
    found.targets += [
        at_most(
            f"behaviour over the untouched model's, {most:.0%} removed by both",
            0.0,
            reached[BOTH, most][0],
        ),
        at_least(f"skill kept, {most:.0%} removed by both", ENOUGH_SKILL, reached[BOTH, most][1]),
        at_least(
            f"skill kept by both less by the behaviour alone, {most:.0%} removed",
            0.0,
            reached[BOTH, most][1] - reached[ALONE, most][1],
        ),
    ]
    alone, both = needed(ALONE), needed(BOTH)
    if alone is not None and both is not None:
        found.targets.append(
            at_most("share removed by both over that by the behaviour alone", 0.5, both / alone)
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small run whose figures are not quoted")
    options = parser.parse_args()
    found = Findings()
    run(
        QUICK if options.quick else FULL, subject(WORK / ("truth-quick" if options.quick else "truth")), found
    )
    report("control", found.rows, found.targets, quick=options.quick)


if __name__ == "__main__":
    main()
