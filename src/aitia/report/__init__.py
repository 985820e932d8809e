"""Reports: self-contained HTML pages that show a result to a person, drawn from plain data."""

from aitia.report.contents import AttributionReport, Control, MethodResult, ReportRow, Token
from aitia.report.rendering import render_report, write_report
from aitia.report.scorecard import scorecard_html, scorecard_markdown

__all__ = [
    "AttributionReport",
    "Control",
    "MethodResult",
    "ReportRow",
    "Token",
    "render_report",
    "scorecard_html",
    "scorecard_markdown",
    "write_report",
]
