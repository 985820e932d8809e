"""A planted suite's rows scored by what sees the whole of training: replay, and its cheap relatives.

The model is trained on all rows and recorded, smooth surrogates of the run are replayed, and the recorded run's
checkpoints are asked too. Everything is kept in the folder of the benchmark.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

from aitia.attribution.replay import (
    OVER_ORDERS,
    checkpoint_influence,
    last_checkpoint,
    margin_target,
    projection_target,
    replay,
    smooth_replay,
)
from aitia.files import atomic_path, digest, write_json
from aitia.training import RecordedRun, read_run, train
from planted.study import MARGIN, PROJECTION, Scored
from planted.subject import Subject

REPLAY, RELATIVE = "replay", "checkpoint-influence"
OWN_ORDER = "replay, one target, own order"


@dataclass(frozen=True, kw_only=True)
class ThroughTraining:
    """Scores that see the whole of training.

    Attributes:
        scores: method -> behaviour -> [n].
        figures: costs as shares of a training's processor time, and what tells of smoothness.
    """

    scores: Mapping[str, Mapping[str, np.ndarray]]
    figures: Mapping[str, Any]


def through_training(
    scored: Scored, model: Subject, *, runs: int = 2, variants: bool = True
) -> ThroughTraining:
    """Score a suite's rows by replay and its relatives; kept, and found again.

    Args:
        scored: the suite, with its concept.
        model: what is trained; the scores are kept in its folder.
        runs: smooth runs whose derivatives are averaged.
        variants: score by variants of the methods too, and take the costs.
    """
    named = [scored.suite.data.fingerprint, model.training.identity(), scored.concept.fingerprint, runs]
    named += [{"over_orders": OVER_ORDERS}, *([] if variants else ["without variants"])]
    folder = model.work / "replay" / f"{scored.suite.name.replace(' ', '-')}-{digest(named)[:12]}"
    if not (folder / "figures.json").is_file():
        _score(scored, model, folder, runs, variants=variants)
    found: dict[str, dict[str, np.ndarray]] = {}
    with np.load(folder / "scores.npz", allow_pickle=False) as kept:
        for name in kept.files:
            method, _, behaviour = name.partition(": ")
            found.setdefault(method, {})[behaviour] = kept[name]
    return ThroughTraining(
        scores=found, figures=json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    )


def _score(scored: Scored, model: Subject, folder: Path, runs: int, *, variants: bool) -> None:
    suite, data = scored.suite, scored.suite.data
    targets = [
        projection_target(scored.concept, suite.queries, name=PROJECTION),
        margin_target(suite.positive, suite.negative, name=MARGIN),
    ]
    base, run = model.untouched_float32(), folder / "run"
    seconds: dict[str, float] = {}

    def timed(name: str, act: Callable[[], Any]) -> Any:
        start = process_time()
        made = act()
        seconds[name] = process_time() - start
        return made

    # The first training fills the memory of the frozen blocks; the second is the one that is timed.
    train(model.untouched_float32(), data, model.training, run)
    timed("training", lambda: train(model.untouched_float32(), data, model.training, progress=False))
    recorded = read_run(run)
    smooth = smooth_replay([recorded], base, data, targets, runs=runs)

    def summed(of: Sequence[RecordedRun], **how: Any) -> np.ndarray:
        return np.mean([checkpoint_influence(each, base, data, targets, **how) for each in of], axis=0)

    made = {
        REPLAY: smooth.scores,
        f"{REPLAY}, one run": smooth.runs[0].foretelling,
        f"{REPLAY}, own orders": np.mean([each.scores for each in smooth.runs], axis=0),
        RELATIVE: timed(RELATIVE, lambda: summed([recorded])),
        "tracin": timed("tracin", lambda: summed([recorded], preconditioned=False)),
        "last step": timed("last step", lambda: summed([recorded], checkpoints=last_checkpoint(recorded))),
    }
    if variants:
        surrogates = [read_run(path) for path in sorted((run / "smooth").iterdir())]

        def reversed_once(count: int, **how: Any) -> Any:
            return replay(surrogates[0], base, data, targets[:count], **how)

        timed(OWN_ORDER, lambda: reversed_once(1))
        timed("replay, one target", lambda: reversed_once(1, over_orders=OVER_ORDERS))
        timed("replay, two targets", lambda: reversed_once(2, over_orders=OVER_ORDERS))
        two = f"{RELATIVE}, 2 checkpoints"
        made |= {
            f"{REPLAY}, AdamW as it is": replay(recorded, base, data, targets).scores,
            two: timed(two, lambda: summed([recorded], checkpoints=2)),
            f"{RELATIVE}, smooth runs": summed(surrogates),
        }
    arrays = {
        f"{method}: {target.name}": scores
        for method, both in made.items()
        for target, scores in zip(targets, both, strict=True)
    }
    with atomic_path(folder / "scores.npz") as temporary, open(temporary, "wb") as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]
    write_json(
        folder / "figures.json",
        {
            "cost": {name: each / seconds["training"] for name, each in seconds.items()} if variants else {},
            "smoothness": {
                each.target: {
                    "agreement": each.agreement,
                    "largest_jump": each.largest_jump,
                    "growth": each.growth,
                }
                for each in smooth.smoothness
            },
        },
    )
