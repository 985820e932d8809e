"""Reports: self-contained HTML pages, and still pictures, that show a result, drawn from plain data."""

from aitia.report.contents import (
    AttributionReport,
    Control,
    MethodResult,
    ReportRow,
    ReportSlice,
    ReportSpan,
    SliceSection,
    Token,
)
from aitia.report.document import (
    AgreementFigure,
    Bar,
    BarFigure,
    Curve,
    CurveFigure,
    Document,
    Reference,
    Section,
    Table,
    TargetResult,
    render_truth_report,
    write_truth_report,
)
from aitia.report.rendering import render_report, write_report
from aitia.report.scorecard import scorecard_html, scorecard_markdown, with_scorecard
from aitia.report.still import write_png, write_svg

__all__ = [
    "AgreementFigure",
    "AttributionReport",
    "Bar",
    "BarFigure",
    "Control",
    "Curve",
    "CurveFigure",
    "Document",
    "MethodResult",
    "Reference",
    "ReportRow",
    "ReportSlice",
    "ReportSpan",
    "Section",
    "SliceSection",
    "Table",
    "TargetResult",
    "Token",
    "render_report",
    "render_truth_report",
    "scorecard_html",
    "scorecard_markdown",
    "with_scorecard",
    "write_png",
    "write_report",
    "write_svg",
    "write_truth_report",
]
