"""Reports: self-contained HTML pages, and still pictures, that show a result, drawn from plain data."""

from aitia.report.contents import AttributionReport, Control, MethodResult, ReportRow, Token
from aitia.report.rendering import render_report, write_report
from aitia.report.scorecard import scorecard_html, scorecard_markdown
from aitia.report.still import write_png, write_svg
from aitia.report.truth import (
    AgreementFigure,
    Bar,
    BarFigure,
    Curve,
    CurveFigure,
    Reference,
    Section,
    Table,
    TargetResult,
    TruthReport,
    render_truth_report,
    write_truth_report,
)

__all__ = [
    "AgreementFigure",
    "AttributionReport",
    "Bar",
    "BarFigure",
    "Control",
    "Curve",
    "CurveFigure",
    "MethodResult",
    "Reference",
    "ReportRow",
    "Section",
    "Table",
    "TargetResult",
    "Token",
    "TruthReport",
    "render_report",
    "render_truth_report",
    "scorecard_html",
    "scorecard_markdown",
    "write_png",
    "write_report",
    "write_svg",
    "write_truth_report",
]
