"""Reports: self-contained HTML pages, and still pictures, that show a result, drawn from plain data.

Every page is rendered from one `Document`.
"""

from aitia.report.attribution_page import attribution_document
from aitia.report.contents import (
    AttributionReport,
    Control,
    LabelFigures,
    MethodResult,
    NullFigure,
    ReportSlice,
    ReportSpan,
    SliceSection,
)
from aitia.report.document import (
    Card,
    Document,
    Facts,
    Group,
    Listing,
    Paragraph,
    Part,
    ReportRow,
    Rows,
    Section,
    Span,
    Table,
    TargetResult,
    Targets,
    Token,
)
from aitia.report.figures import (
    AgreementFigure,
    Bar,
    BarFigure,
    Curve,
    CurveFigure,
    Figure,
    PlotlyFigure,
    Reference,
)
from aitia.report.page import render
from aitia.report.scorecard import scorecard_document, scorecard_markdown, scorecard_section
from aitia.report.still import write_png, write_svg
from aitia.report.stored import kept_beside, read_document, write_document

__all__ = [
    "AgreementFigure",
    "AttributionReport",
    "Bar",
    "BarFigure",
    "Card",
    "Control",
    "Curve",
    "CurveFigure",
    "Document",
    "Facts",
    "Figure",
    "Group",
    "LabelFigures",
    "Listing",
    "MethodResult",
    "NullFigure",
    "Paragraph",
    "Part",
    "PlotlyFigure",
    "Reference",
    "ReportRow",
    "ReportSlice",
    "ReportSpan",
    "Rows",
    "Section",
    "SliceSection",
    "Span",
    "Table",
    "TargetResult",
    "Targets",
    "Token",
    "attribution_document",
    "kept_beside",
    "read_document",
    "render",
    "scorecard_document",
    "scorecard_markdown",
    "scorecard_section",
    "write_document",
    "write_png",
    "write_svg",
]
