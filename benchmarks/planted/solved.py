"""The influence methods with the curvature inverted as a whole, beside the same methods layer by layer.

Both share everything else: the tuned model, the rows, the queries, the fitted curvature and its damping. The scores are
kept in a file of their own, so that what was scored and trained before stays as it is.
"""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np

from aitia.attribution import rank
from aitia.attribution.gradients import CurvatureSettings, Damping, fit_curvature
from aitia.attribution.influence import SolveSettings
from aitia.files import atomic_path, digest
from planted.study import Scored

BY_LAYER = ("concept-influence", "influence")
SOLVE = SolveSettings(cg_iterations=20)
CURVATURE = CurvatureSettings(parameters="lora", rows=0, precision="float32")
"""As the scores of `planted/study.py` are made."""


def solved(name: str) -> str:
    """What a method is called where the curvature is inverted as a whole."""
    return f"{name} (exact solve)"


SOLVED = tuple(map(solved, BY_LAYER))


def with_exact_solve(scored: Scored, solve: SolveSettings = SOLVE, damping: Damping | None = None) -> Scored:
    """Add the influence methods with an exact solve to a suite's methods; kept, and found again.

    Args:
        scored: a suite with every method's scores, and the folder that holds its adapter and store.
        solve: how far to go.
        damping: default: that of the methods layer by layer.

    Returns:
        The same with further methods, named by `solved`.
    """
    scores = {name: _kept(scored, name, solve, damping or Damping()) for name in BY_LAYER}
    return replace(
        scored, methods=dict(scored.methods) | {solved(name): each for name, each in scores.items()}
    )


def _kept(scored: Scored, name: str, solve: SolveSettings, damping: Damping) -> np.ndarray:
    """One method's scores, [n]: a solve takes many passes over the rows, so each method has a file of its own."""
    named = [name, asdict(solve), asdict(damping), asdict(CURVATURE)]
    path = scored.folder / f"solved-{digest(named)[:12]}.npz"
    if not path.is_file():
        model = scored.subject.with_adapter(scored.folder / "adapter")
        ranking = rank(
            scored.folder / "store",
            scored.concept,
            method=name,
            compare=(),
            queries=scored.suite.queries,
            curvature=fit_curvature(model, scored.suite.data, CURVATURE),
            damping=damping,
            solve=solve,
            random_controls=0,
            shuffled_controls=0,
            model=model,
            data=scored.suite.data,
        )
        with atomic_path(path) as temporary, open(temporary, "wb") as stream:
            np.savez(stream, scores=np.asarray(ranking.scores[name]))
    with np.load(path, allow_pickle=False) as kept:
        return kept["scores"]
