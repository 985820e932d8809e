"""Reports: self-contained HTML pages that show a result to a person, drawn from plain data."""

from aitia.report.contents import AttributionReport, Control, MethodResult, ReportRow, Token
from aitia.report.rendering import render_report, write_report

__all__ = [
    "AttributionReport",
    "Control",
    "MethodResult",
    "ReportRow",
    "Token",
    "render_report",
    "write_report",
]
