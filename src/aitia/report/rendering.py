"""Rendering an attribution report as one HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aitia.files import write_text
from aitia.report.contents import AttributionReport, ReportRow, check_report
from aitia.report.figures import SCATTER_LIMIT, histogram, scatter
from aitia.report.page import render_page
from aitia.report.text import ROW_LIMIT, passages, signed
from aitia.statistics import spearman, spearman_matrix

LENGTH_CONFOUND = 0.3
"""|Spearman| between score and response length above which the report warns."""

_SKIPPED_LIMIT = 200
_EXTRA_LIMIT = 24


def render_report(report: AttributionReport) -> str:
    """The report as one self-contained HTML page; the same report gives the same text.

    Args:
        report: what to show. All of its text is taken for hostile and shown as text only.

    Returns:
        HTML.

    Raises:
        AitiaError: there are no rows, or the arrays have different lengths.
        NumericalError: a score is not finite; the message names the row.
    """
    check_report(report)
    scores = np.asarray(report.scores, dtype=float)
    row_numbers = np.asarray(report.row_numbers, dtype=int)
    lengths = np.asarray(report.response_tokens, dtype=int)
    labels = None if report.labels is None else np.asarray(report.labels, dtype=bool)
    figures = {
        "histogram": histogram(scores, labels),
        "scatter": scatter(scores, lengths, row_numbers, labels),
    }
    scale = _colour_scale([*report.top, *report.bottom])
    length_rho = spearman(scores, lengths)
    return render_page(
        "attribution.html.j2",
        figures,
        report=report,
        scale=scale,
        top=_cards(report.top, scale, scores, row_numbers, labels),
        bottom=_cards(report.bottom, scale, scores, row_numbers, labels),
        summary=_summary(scores, labels),
        sampled=SCATTER_LIMIT if len(scores) > SCATTER_LIMIT else None,
        length_rho=length_rho,
        length_confounds=abs(length_rho) > LENGTH_CONFOUND,
        length_limit=LENGTH_CONFOUND,
        measured={
            name: any(getattr(each, name) is not None for each in report.methods)
            for name in ("auc", "precision_at_k", "seconds")
        },
        strong_baselines=_strong_baselines(report),
        agreement=spearman_matrix([each.scores for each in report.methods]) if report.methods else None,
        spread=float(scores.std()),
        skipped_limit=_SKIPPED_LIMIT,
        row_limit=ROW_LIMIT,
    )


def write_report(report: AttributionReport, path: Path | str) -> Path:
    """Write the report to `path`, whole or not at all.

    Args:
        report: what to show.
        path: the HTML file; missing folders are made, an existing file is replaced.

    Returns:
        The path.

    Raises:
        AitiaError: there are no rows, or the arrays have different lengths.
        NumericalError: a score is not finite; the message names the row.
    """
    return write_text(path, render_report(report))


def _cards(
    rows: Sequence[ReportRow],
    scale: float,
    scores: np.ndarray,
    row_numbers: np.ndarray,
    labels: np.ndarray | None,
) -> list[dict[str, Any]]:
    largest, spread = float(np.abs(scores).max()), float(scores.std())
    labelled = set() if labels is None else set(row_numbers[labels].tolist())
    cards = []
    for row in rows:
        parts, hidden = passages(row, scale)
        extra = list(row.extra.items())
        cards.append(
            {
                "row": row,
                "passages": parts,
                "hidden": hidden,
                "labelled": row.row in labelled,
                "deviations": (row.score - float(scores.mean())) / spread if spread else None,
                "width": round(min(50 * abs(row.score) / largest, 50), 2) if largest else 0,
                "extra": extra[:_EXTRA_LIMIT],
                "extra_hidden": max(len(extra) - _EXTRA_LIMIT, 0),
            }
        )
    return cards


def _colour_scale(rows: Sequence[ReportRow]) -> float:
    """The 98th percentile of |share| over the response tokens of all shown rows; 0 where there are none."""
    shares = [abs(token.share) for row in rows for token in row.tokens if token.response]
    return float(np.percentile(shares, 98)) if shares else 0.0


def _summary(scores: np.ndarray, labels: np.ndarray | None) -> list[tuple[str, str]]:
    rows = [
        ("rows", f"{len(scores):,}"),
        ("positive", f"{(scores > 0).mean():.0%}"),
        ("mean", signed(float(scores.mean()))),
        ("standard deviation", signed(float(scores.std())).removeprefix("+")),
        ("lowest", signed(float(scores.min()))),
        ("highest", signed(float(scores.max()))),
    ]
    if labels is not None:
        rows.append(("labelled rows", f"{labels.sum():,}"))
        for name, members in [("mean of labelled", labels), ("mean of others", ~labels)]:
            rows.append((name, signed(float(scores[members].mean()) if members.any() else None)))
    return rows


def _strong_baselines(report: AttributionReport) -> list[tuple[str, float]]:
    """Baselines that find the labelled rows at least as well as the primary method."""
    primary = next((each.auc for each in report.methods if each.name == report.method), None)
    if primary is None:
        return []
    baselines = ((each.name, each.auc) for each in report.methods if each.baseline)
    return [(name, auc) for name, auc in baselines if auc is not None and auc >= primary]
