"""Removal curves as figures."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from aitia.counterfactual.removal import TOP, Removal, removal_curves
from aitia.counterfactual.retraining import RunResult
from aitia.report import Curve, CurveFigure, Reference


def removal_figure(
    removals: Sequence[Removal],
    results: Sequence[RunResult],
    behaviour: str,
    title: str,
    *,
    end: str = TOP,
    baselines: Collection[str] = (),
) -> CurveFigure:
    """One curve a method from all rows down to few, random removal among them, the untouched model as a line.

    Args:
        removals: as planned.
        results: one each, in their order.
        behaviour: which.
        title: of the figure.
        end: which end goes, `most` or `least` influential.
        baselines: methods drawn in the background; random removal always is.

    Returns:
        The figure as plain data, for `aitia.report`.
    """
    points = removal_curves(removals, results, behaviour)
    full, base = (
        next(point for point in points if point.method == "all" and point.share == share)
        for share in (0.0, 1.0)
    )
    curves = []
    for method in dict.fromkeys(point.method for point in points if point.method != "all"):
        side = TOP if method == "random" else end
        line = [full, *(p for p in points if (p.method, p.end) == (method, side))]
        line.sort(key=lambda point: point.share)
        banded = all(np.isfinite(point.behaviour.low) for point in line)
        curves.append(
            Curve(
                label=method,
                x=[point.share for point in line],
                y=[point.behaviour.value for point in line],
                low=[point.behaviour.low for point in line] if banded else (),
                high=[point.behaviour.high for point in line] if banded else (),
                baseline=method == "random" or method in baselines,
            )
        )
    bands = f"Bands: 95 % intervals of the mean over {full.seeds} seeds." if full.seeds > 1 else "One seed."
    return CurveFigure(
        title=title,
        x_title=f"rows removed, {end} influential first",
        y_title=behaviour,
        curves=curves,
        references=[Reference(label="untouched model", value=base.behaviour.value)],
        note=bands,
        x_percent=True,
    )
