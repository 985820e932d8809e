"""Figures and tables of the truth benchmark, from its results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from planted.study import LEXICAL, ORACLE, Scored

from aitia.counterfactual import CellResult, Interval, Removal, removal_curves
from aitia.report.agreement import spearman_matrix
from aitia.report.truth import AgreementFigure, Bar, BarFigure, Curve, CurveFigure, Reference


def auc_figure(scored: Sequence[Scored], title: str) -> BarFigure:
    """AUC of every method and baseline, mean over the draws of a suite, with the widest bootstrap ends."""
    bars = []
    for baseline, names in ((False, scored[0].methods), (True, scored[0].baselines)):
        for name in names:
            if name != ORACLE:
                found = mean_auc(scored, name)
                bars.append(
                    Bar(label=name, value=found.value, low=found.low, high=found.high, baseline=baseline)
                )
    bars.sort(key=lambda bar: (bar.baseline, -bar.value))
    return BarFigure(
        title=title,
        value_title="AUC for the planted rows",
        bars=bars,
        references=[Reference(label="chance", value=0.5)],
        note=f"{len(scored)} draws of the suite; intervals by resampling rows, averaged over draws.",
    )


def mean_auc(scored: Sequence[Scored], name: str) -> Interval:
    """AUC and its interval's ends, averaged over the draws of a suite."""
    found = [each.auc_of(name) for each in scored]
    return Interval(
        value=float(np.mean([each.value for each in found])),
        low=float(np.mean([each.low for each in found])),
        high=float(np.mean([each.high for each in found])),
    )


def curve_figure(
    removals: Sequence[Removal], results: Sequence[CellResult], behaviour: str, title: str, end: str = "most"
) -> CurveFigure:
    """Removal curves of all methods, with bands over seeds."""
    points = removal_curves(removals, results, behaviour)
    full, base = (
        next(point for point in points if point.method == "all" and point.share == share)
        for share in (0.0, 1.0)
    )
    curves = []
    for method in dict.fromkeys(point.method for point in points if point.method != "all"):
        side = "most" if method == "random" else end
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
                baseline=method in ("random", ORACLE, *LEXICAL),
            )
        )
    return CurveFigure(
        title=title,
        x_title=f"rows removed, {end} influential first",
        y_title=behaviour,
        curves=curves,
        references=[Reference(label="untouched model", value=base.behaviour.value)],
        note=f"Bands: 95 % intervals of the mean over {full.seeds} seeds.",
        x_percent=True,
    )


def lds_figure(
    found: Mapping[str, Interval], ceiling: float, title: str, baselines: Sequence[str]
) -> BarFigure:
    """Concept-LDS of every method, with its ceiling."""
    bars = [
        Bar(label=name, value=each.value, low=each.low, high=each.high, baseline=name in baselines)
        for name, each in found.items()
        if np.isfinite(each.value)
    ]
    bars.sort(key=lambda bar: (bar.baseline, -bar.value))
    return BarFigure(
        title=title,
        value_title="Spearman of predicted and measured change",
        bars=bars,
        references=[Reference(label="ceiling", value=ceiling)] if np.isfinite(ceiling) else [],
        note="Intervals by resampling subsets. Ceiling: what noise over seeds allows an exact prediction.",
    )


def agreement_figure(scored: Scored, title: str) -> AgreementFigure:
    """Rank agreement of all methods."""
    return AgreementFigure(
        title=title,
        labels=list(scored.methods),
        values=np.array(spearman_matrix(list(scored.methods.values()))),
        note="Spearman's rank correlation of the scores of all rows.",
    )
