"""Figures and tables of the truth benchmark, from its results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from aitia.counterfactual import Removal, RunResult, removal_figure
from aitia.report.document import AgreementFigure, Bar, BarFigure, CurveFigure, Reference
from aitia.statistics import Estimate, spearman_matrix
from planted.study import LEXICAL, ORACLE, Scored


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
        note="Intervals by resampling rows"
        + (f", averaged over {len(scored)} draws of the suite." if len(scored) > 1 else "."),
    )


def mean_auc(scored: Sequence[Scored], name: str) -> Estimate:
    """AUC and its interval's ends, averaged over the draws of a suite."""
    found = [each.auc_of(name) for each in scored]
    return Estimate(
        value=float(np.mean([each.value for each in found])),
        low=float(np.mean([each.low for each in found])),
        high=float(np.mean([each.high for each in found])),
    )


def curve_figure(
    removals: Sequence[Removal], results: Sequence[RunResult], behaviour: str, title: str
) -> CurveFigure:
    """Removal curves of all methods, with bands over seeds."""
    return removal_figure(removals, results, behaviour, title, baselines=(ORACLE, *LEXICAL))


def lds_figure(
    found: Mapping[str, Estimate], ceiling: float, title: str, baselines: Sequence[str]
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
