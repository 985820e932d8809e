"""From a document to one HTML page that needs no network and trusts no text it shows."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from itertools import count
from typing import TYPE_CHECKING, Any

from aitia.errors import AitiaError
from aitia.report.document import Document, Group, Part, Span, Text
from aitia.report.figures import BarFigure, CurveFigure, PlotlyFigure
from aitia.report.plots import bar_table, curve_table, plotly_bars, plotly_curves
from aitia.report.scorecard import card_values
from aitia.report.text import EXTRA_LIMIT, LEVELS, ROW_LIMIT, cut, fixed, passages, signed, visible

if TYPE_CHECKING:
    from jinja2 import Environment

_ELEMENTS = {
    "name": ("bdi", ""),
    "strong": ("b", ""),
    "raises": ("b", "up"),
    "lowers": ("b", "down"),
    "mark": ("mark", ""),
    "tag": ("span", "tag"),
}
"""How a span looks -> its element and class."""


def render(document: Document) -> str:
    """The document as one self-contained HTML page; the same document gives the same page.

    All text of the document is taken for hostile: it is escaped, cut, and its hidden characters are shown. Scripts
    are on the page only where there is something to draw or to copy.

    Returns:
        HTML.

    Raises:
        AitiaError: two figures have one key.
    """
    figures: dict[str, Any] = {}
    numbers = count()
    places = count(1)
    sections = [
        {
            "key": each.key or f"section-{next(places)}",
            "section": each,
            "parts": [_part(part, figures, numbers) for part in each.parts],
        }
        for each in document.sections
    ]
    scripts = _scripts(bool(figures), bool(document.reproduce))
    return (
        page_environment()
        .get_template("page.html.j2")
        .render(
            document=document,
            sections=sections,
            policy=_content_security_policy(scripts),
            scripts=[_script(text) for text in scripts],
            figures=_embedded_json(figures),
            drawn=bool(figures),
        )
    )


def _part(part: Part, figures: dict[str, Any], numbers: count[int]) -> dict[str, Any]:
    """What the template of a part is given; figures among them are entered in `figures`."""
    given: dict[str, Any] = {"kind": type(part).__name__, "part": part}
    if isinstance(part, Group):
        return given | {"parts": [_part(each, figures, numbers) for each in part.parts]}
    if isinstance(part, CurveFigure):
        found, table = plotly_curves(part), curve_table(part)
    elif isinstance(part, BarFigure):
        found, table = plotly_bars(part), bar_table(part)
    elif isinstance(part, PlotlyFigure):
        found, table = part.plot, None
    else:
        return given
    key, light = (
        (part.key, part.light) if isinstance(part, PlotlyFigure) else (f"figure-{next(numbers)}", False)
    )
    if key in figures:
        raise AitiaError(f"two figures of the page have the key {key!r:.80}; give each its own")
    figures[key] = found
    return given | {"kind": "Figure", "key": key, "numbers": table, "light": light}


@cache
def page_environment() -> Environment:
    """The templates, with every value that they print escaped and its hidden characters shown."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("aitia.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Runs on every value that the template prints, so that no text can slip by unseen.
        finalize=lambda value: (
            visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
        ),
    )
    environment.filters |= {"cut": cut, "signed": signed, "fixed": fixed, "spans": _spans}
    environment.globals |= {
        "levels": LEVELS,
        "row_limit": ROW_LIMIT,
        "extra_limit": EXTRA_LIMIT,
        "elements": _ELEMENTS,
        "passages": passages,
        "card_values": card_values,
    }
    return environment


def _spans(text: Text) -> Sequence[str | Span]:
    return [text] if isinstance(text, str | Span) else text


def _scripts(figures: bool, copying: bool) -> list[str]:
    """The page's scripts; a page without figures needs no plotly, which need not be installed then."""
    found = []
    if figures:
        from plotly.offline import get_plotlyjs

        found.append(get_plotlyjs())
    if figures or copying:
        found.append((resources.files("aitia.report") / "templates" / "draw.js").read_text(encoding="utf-8"))
    # Browsers read carriage returns in a page as line feeds, and the hashes are of what they read.
    return [text.replace("\r\n", "\n").replace("\r", "\n") for text in found]


def _content_security_policy(scripts: Sequence[str]) -> str:
    """A policy that allows these scripts and inline styles, and forbids everything else."""
    hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts)
    allowed = " ".join(f"'sha256-{each}'" for each in hashes)
    return (
        f"default-src 'none'; {f'script-src {allowed}; ' if scripts else ''}style-src 'unsafe-inline'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _script(text: str) -> Any:
    """A trusted script for the page, unescaped."""
    from markupsafe import Markup

    if "</script" in text.lower() or "<!--" in text:
        raise ValueError("a script that ends its own element cannot be embedded")
    return Markup(text)


def _embedded_json(value: Mapping[str, Any]) -> Any:
    """JSON that stays inside its script element whatever it holds."""
    from markupsafe import Markup

    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
