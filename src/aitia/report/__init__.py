"""Reports: self-contained HTML pages, and still pictures, that show a result, drawn from plain data."""

from aitia.report.contents import (
    AttributionReport,
    Control,
    GroupSection,
    MethodResult,
    ReportGroup,
    ReportRow,
    ReportSpan,
    Token,
)
from aitia.report.rendering import render_report, write_report
from aitia.report.scorecard import scorecard_html, scorecard_markdown, with_scorecard
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
    "GroupSection",
    "MethodResult",
    "Reference",
    "ReportGroup",
    "ReportRow",
    "ReportSpan",
    "Section",
    "Table",
    "TargetResult",
    "Token",
    "TruthReport",
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
