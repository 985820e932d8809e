"""What `aitia counterfactual` writes: all values, a summary, curves and a page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from aitia.attribution.scorers import is_baseline
from aitia.concepts import Concept
from aitia.counterfactual import (
    LikelihoodMargin,
    Removal,
    RunResult,
    against_random,
    query_loss_difference,
    recovered_fraction,
    removal_curves,
    removal_figure,
    shift,
)
from aitia.files import atomic_path
from aitia.pipelines.retraining.counterfactual_configuration import CounterfactualConfiguration
from aitia.pipelines.retraining.counterfactual_inputs import Inputs, NamedJudge
from aitia.report import (
    AgreementFigure,
    Bar,
    BarFigure,
    CurveFigure,
    Document,
    Figure,
    Reference,
    Section,
    Table,
    write_svg,
)
from aitia.statistics import Estimate, auc, bootstrap_estimate, spearman_matrix

Numbers = dict[str, float | None]


def write_runs(path: Path, removals: Sequence[Removal], results: Sequence[RunResult]) -> Path:
    """Write every value: one row a removal, behaviour and held-out text."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    rows = [
        {
            "behaviour": behaviour,
            "ranking": removal.method,
            "end": removal.end,
            "share_removed": removal.share,
            "seed": removal.seed,
            "rows_kept": len(result.run.kept),
            "text": text,
            "value": value,
        }
        for removal, result in zip(removals, results, strict=True)
        for behaviour, values in result.values.items()
        for text, value in enumerate(values)
    ]
    with atomic_path(path) as temporary:
        parquet.write_table(pa.Table.from_pylist(rows), temporary)
    return path


def write_scores(path: Path, ids: Sequence[str], scores: Mapping[str, np.ndarray]) -> Path:
    """Write every row's score by every ranking: one row a row of the data, in its order."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    columns = {"id": list(ids), **{name: np.asarray(each, dtype=float) for name, each in scores.items()}}
    with atomic_path(path) as temporary:
        parquet.write_table(pa.table(columns), temporary)
    return path


def summarise(
    configuration: CounterfactualConfiguration,
    inputs: Inputs,
    concept: Concept,
    judge: NamedJudge | None,
    scores: Mapping[str, np.ndarray],
    removals: Sequence[Removal],
    results: Sequence[RunResult],
) -> dict[str, Any]:
    """All figures as plain data: what `summary.json` holds, but for times and files."""
    labels = inputs.labels
    mixed = labels is not None and bool(labels.any()) and not bool(labels.all())
    warnings = list(inputs.warnings)
    if configuration.removal.seeds < 3:
        warnings.append(f"{configuration.removal.seeds} seed(s): give 3 or more for intervals worth having.")
    behaviours = {}
    for name in results[0].values:
        # A likelihood without normal answers is the queries' own loss, turned round.
        loss = name == LikelihoodMargin.name and inputs.margin is not None and inputs.margin[1] is None
        behaviours[name] = _behaviour(name, removals, results, loss=loss)
        if behaviours[name]["shift"]["value"] <= 0:
            warnings.append(
                f"Training on all rows does not raise the {name}: there is nothing that a removal could undo."
            )
    return {
        "model": configuration.model.name,
        "rows": len(inputs.data),
        "misaligned_rows": None if labels is None else int(labels.sum()),
        "concept": {
            "name": concept.name,
            "site": concept.site,
            "held_out_auc": None if concept.separation is None else concept.separation.auc,
        },
        "judge": None if judge is None else {"name": judge.name, "quality": judge.quality},
        "label_auc": {
            name: _numbers(_label_auc(values, labels))
            for name, values in scores.items()
            if labels is not None
        }
        if mixed
        else {},
        "behaviours": behaviours,
        "warnings": warnings,
    }


def build_page(
    configuration: CounterfactualConfiguration,
    summary: Mapping[str, Any],
    inputs: Inputs,
    scores: Mapping[str, np.ndarray],
    removals: Sequence[Removal],
    results: Sequence[RunResult],
    text: str,
) -> Document:
    """The report: removal curves and tables behaviour by behaviour, then the rankings themselves."""
    concept, judge = summary["concept"], summary["judge"]
    separates = "" if concept["held_out_auc"] is None else f", held-out AUC {concept['held_out_auc']:.3f}"
    facts = [
        ("model", configuration.model.name),
        ("rows", f"{len(inputs.data)}"),
        ("concept", f"{concept['name']} at {concept['site']}{separates}"),
        ("seeds", f"{configuration.removal.seeds}"),
    ]
    if configuration.data.choose is not None:
        facts.insert(1, ("data", configuration.data.choose))
    if inputs.labels is not None:
        facts.append(("misaligned rows", f"{int(inputs.labels.sum())}"))
    if judge is not None:
        facts.append(("judge", f"{judge['name']}; {judge['quality']}"))
    sections = [
        _behaviour_section(name, found, configuration.removal.ends, removals, results)
        for name, found in summary["behaviours"].items()
    ]
    about = _ranking_figures(summary, scores)
    if about:
        words = "How well each ranking finds the misaligned rows, and how far rankings agree. "
        words += "Neither says what removal does."
        sections.append(Section(title="The rankings", text=words, parts=about))
    return Document(
        title=f"Does removal undo it? {concept['name']}",
        question="When the rows that a ranking blames are taken out and the model is trained again, "
        "does the behaviour go?",
        facts=facts,
        sections=sections,
        warnings=summary["warnings"],
        reproduce=f"aitia counterfactual configuration.yaml\n\n# configuration.yaml\n{text}",
    )


def draw_curves(page: Document, folder: Path) -> dict[str, Path]:
    """Every removal curve as an SVG, where matplotlib is installed."""
    if find_spec("matplotlib") is None:
        return {}
    curves = [part for section in page.sections for part in section.parts if isinstance(part, CurveFigure)]
    return {
        name: write_svg(curve, folder / f"{name}.svg")
        for curve in curves
        for name in ["-".join(curve.title.replace(",", "").replace(":", "").split())]
    }


def _behaviour(
    name: str, removals: Sequence[Removal], results: Sequence[RunResult], *, loss: bool
) -> dict[str, Any]:
    """One behaviour's curves, differences from random removal, recovered fractions, and query loss differences."""
    points = removal_curves(removals, results, name)
    added = shift(removals, results, name)
    curves = []
    for point in points:
        if point.method == "all":
            continue
        place = (removals, results, name, point.method, point.share)
        curves.append(
            {
                "ranking": point.method,
                "end": point.end,
                "share_removed": point.share,
                "behaviour": _numbers(point.behaviour),
                "against_random": None
                if point.method == "random"
                else _numbers(against_random(*place, end=point.end)),
                "recovered_fraction": _numbers(recovered_fraction(*place, end=point.end))
                if added.value > 0
                else None,
                "query_loss_difference": _numbers(query_loss_difference(*place, end=point.end))
                if loss and point.method != "random"
                else None,
            }
        )
    ends = {point.share: point.behaviour for point in points if point.method == "all"}
    return {
        "all_rows": _numbers(ends[0.0]),
        "untouched_model": ends[1.0].value,
        "shift": _numbers(added),
        "curves": curves,
    }


def _behaviour_section(
    name: str,
    found: Mapping[str, Any],
    ends: Sequence[str],
    removals: Sequence[Removal],
    results: Sequence[RunResult],
) -> Section:
    baselines = {each.method for each in removals if is_baseline(each.method)}
    parts: list[Figure | Table] = [
        removal_figure(
            removals, results, name, f"{name}, {end} influential removed", end=end, baselines=baselines
        )
        for end in ends
    ]
    rows: list[list[str | float | None]] = [
        [
            curve["ranking"],
            curve["end"],
            f"{100 * curve['share_removed']:g} %",
            curve["behaviour"]["value"],
            *_cells(curve["against_random"]),
            *_cells(curve["recovered_fraction"]),
        ]
        for curve in found["curves"]
    ]
    header = ["ranking", "end", "removed", "behaviour"]
    header += ["less random's", "from", "to", "shift recovered", "from", "to"]
    if any(curve["query_loss_difference"] for curve in found["curves"]):
        parts.append(_query_loss_table(name, found["curves"]))
    parts.append(
        Table(
            title=f"{name}: every removal",
            header=header,
            rows=rows,
            note="Differences from random removal of as many rows are paired by seed. A ranking finds causes where "
            "the interval for the most influential lies below zero. Shift recovered: 0 as with all rows, 1 as the "
            "untouched model.",
        )
    )
    text = (
        f"All rows: {found['all_rows']['value']:.4g}; the untouched model: {found['untouched_model']:.4g}. "
        f"Training adds {found['shift']['value']:.4g}."
    )
    return Section(title=name.capitalize(), text=text, parts=parts)


def _query_loss_table(name: str, curves: Sequence[Mapping[str, Any]]) -> Table:
    rows: list[list[str | float | None]] = [
        [
            curve["ranking"],
            curve["end"],
            f"{100 * curve['share_removed']:g} %",
            *_cells(curve["query_loss_difference"]),
        ]
        for curve in curves
        if curve["query_loss_difference"] is not None
    ]
    return Table(
        title=f"{name}: query loss difference",
        header=["ranking", "end", "removed", "nats a token", "from", "to"],
        rows=rows,
        note="The loss of the held-out texts after the removal less that after random removal of as many rows, "
        "averaged over seeds. Intervals are 95 %, over texts. A ranking finds rows that the texts need where the "
        "interval for the most influential lies above zero.",
    )


def _ranking_figures(summary: Mapping[str, Any], scores: Mapping[str, np.ndarray]) -> list[Figure | Table]:
    found: list[Figure | Table] = []
    bars = [
        Bar(label=name, value=each["value"], low=each["low"], high=each["high"], baseline=is_baseline(name))
        for name, each in summary["label_auc"].items()
        if name != "oracle"
    ]
    if bars:
        bars.sort(key=lambda bar: (bar.baseline, -bar.value))
        chance = [Reference(label="chance", value=0.5)]
        note = "Intervals by resampling rows."
        found.append(
            BarFigure(
                title="AUC for the misaligned rows",
                value_title="AUC",
                bars=bars,
                references=chance,
                note=note,
            )
        )
    if len(scores) > 1:
        values = spearman_matrix(list(scores.values())).tolist()
        note = "Spearman's rank correlation of the scores of all rows."
        found.append(
            AgreementFigure(title="Agreement of the rankings", labels=list(scores), values=values, note=note)
        )
    return found


def _label_auc(values: np.ndarray, labels: np.ndarray) -> Estimate:
    def of_rows(rows: np.ndarray) -> float:
        chosen = labels[rows]
        return float("nan") if chosen.all() or not chosen.any() else auc(values[rows], chosen)

    found = bootstrap_estimate(len(labels), of_rows, draws=400)
    return Estimate(value=found.value, low=min(found.low, found.value), high=max(found.high, found.value))


def _numbers(interval: Estimate) -> Numbers:
    """An interval as plain numbers; what is not known is None."""
    parts = {"value": interval.value, "low": interval.low, "high": interval.high}
    return {name: value if math.isfinite(value) else None for name, value in parts.items()}


def _cells(numbers: Mapping[str, float | None] | None) -> list[float | None]:
    return [None, None, None] if numbers is None else [numbers[end] for end in ("value", "low", "high")]
