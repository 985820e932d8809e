"""One HTML page that needs no network and trusts no text it shows."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from aitia.report.text import LEVELS, cut, fixed, signed, visible

if TYPE_CHECKING:
    from jinja2 import Environment


def render_page(template: str, figures: Mapping[str, Any], **values: Any) -> str:
    """Fill a template in; all text among `values` is taken for hostile and shown as text only.

    Args:
        template: file in `templates`.
        figures: id of an element -> plotly's `data` and `layout`, drawn into that element.
        values: what the template shows.

    Returns:
        HTML.
    """
    from plotly.offline import get_plotlyjs

    # Browsers read carriage returns in a page as line feeds, and the hashes are of what they read.
    scripts = [text.replace("\r\n", "\n").replace("\r", "\n") for text in (get_plotlyjs(), _drawing_script())]
    return (
        page_environment()
        .get_template(template)
        .render(
            **values,
            policy=_content_security_policy(scripts),
            scripts=[_script(text) for text in scripts],
            figures=_embedded_json(figures),
        )
    )


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
    environment.filters |= {"cut": cut, "signed": signed, "fixed": fixed}
    environment.globals |= {"levels": LEVELS}
    return environment


def _drawing_script() -> str:
    return (resources.files("aitia.report") / "templates" / "draw.js").read_text(encoding="utf-8")


def _content_security_policy(scripts: Sequence[str]) -> str:
    """A policy that allows these scripts and inline styles, and forbids everything else."""
    hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts)
    allowed = " ".join(f"'sha256-{each}'" for each in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _script(text: str) -> Any:
    """A trusted script for the page, unescaped."""
    from markupsafe import Markup

    if "</script" in text.lower() or "<!--" in text:
        raise ValueError("a script that ends its own element cannot be embedded")
    return Markup(text)


def _embedded_json(value: Any) -> Any:
    """JSON that stays inside its script element whatever it holds."""
    from markupsafe import Markup

    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
