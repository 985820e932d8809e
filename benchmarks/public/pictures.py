"""Still pictures of the public benchmark, from its results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aitia.report import Bar, BarFigure, Reference, write_svg

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
RANDOM = ("random", "random-direction", "shuffled-labels")


def finding_figure(rows: Sequence[Mapping[str, Any]], part: str, title: str) -> BarFigure | None:
    """AUC of every scorer of a part that has one task, scorers above baselines; none where it was not measured."""
    own = [row for row in rows if row.get("part") == part and "scorer" in row and "auc" in row]
    if not own:
        return None
    bars = [
        Bar(
            label=row["scorer"],
            value=row["auc"],
            low=row.get("auc_low"),
            high=row.get("auc_high"),
            baseline="gain" not in row or row["scorer"] in RANDOM,
        )
        for row in own
    ]
    bars.sort(key=lambda bar: (bar.baseline, -bar.value))
    return BarFigure(
        title=title,
        value_title="AUC for the labelled rows",
        bars=bars,
        references=[Reference(label="chance", value=0.5)],
        note="Intervals over draws, or over the rows of a scorer's one draw.",
    )


def concept_figure(rows: Sequence[Mapping[str, Any]], title: str) -> BarFigure | None:
    """Mean AUC over AxBench's concepts, fitted against all other texts; words as the baseline."""
    own = [
        row
        for row in rows
        if row.get("part") == "axbench"
        and row.get("concept") == "mean"
        and row["against"] == "all other texts"
    ]
    if not own:
        return None
    bars = [
        Bar(
            label=row["method"] if row["model"] == "none" else f"{row['method']}, {row['model']}",
            value=row["auc"],
            low=row.get("auc_low"),
            high=row.get("auc_high"),
            baseline=row["model"] == "none",
        )
        for row in own
    ]
    bars.sort(key=lambda bar: (bar.baseline, -bar.value))
    return BarFigure(
        title=title,
        value_title="mean AUC over 16 concepts",
        bars=bars,
        note="Intervals over concepts.",
        decimals=3,
    )


def draw(rows: Sequence[Mapping[str, Any]], folder: Path = PICTURES) -> list[Path]:
    """Draw what has been measured into a folder.

    Returns:
        The files.
    """
    figures = {
        "public-gsm8k": finding_figure(rows, "gsm8k", "GSM8K: finding wrong final numbers"),
        "public-axbench": concept_figure(rows, "AxBench: finding concepts in other texts"),
    }
    return [write_svg(figure, folder / f"{name}.svg") for name, figure in figures.items() if figure]
