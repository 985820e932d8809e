"""Every kind of page, built from hostile text, in a real browser: nothing runs or is fetched, all can be read.

`make browser` runs these. They need Playwright and a Chromium: the one that AITIA_CHROMIUM names, or one on the path.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from group_networks.planted_networks import joined, planted
from records.lines import write_lines
from report.test_document import report as make_truth_report
from report.test_report_rendering import make_report, render_report
from report.test_scorecard_page import with_text

from aitia.attribution import rank, scan
from aitia.concepts import fit_contrast
from aitia.explanations import evaluate
from aitia.explanations.examples.xor import (
    count_explanation,
    gate_network,
    gates_explanation,
    xor_phenomenon,
)
from aitia.finite_groups import group_from_table
from aitia.group_networks import interpret
from aitia.group_networks.page import network_document
from aitia.models import load_model, save_model
from aitia.records import read_records, records_from_rows
from aitia.report import page as page_module
from aitia.report import render, scorecard_document

pytestmark = [pytest.mark.browser, pytest.mark.slow]
playwright = pytest.importorskip(
    "playwright.sync_api", reason="Playwright is not installed: pip install 'aitia[browser]', or make browser"
)

ALARM = (
    "window.alarm=1;console.log('alarm');document.title='alarm';alert(1);fetch('http://evil.test/fetched')"
)
"""What every payload does if it runs; each part of it is watched for."""
PIECES = (
    f"</script></style></title></pre></td><script>{ALARM}</script>",
    f'"\'><img src="http://evil.test/picture" onerror="{ALARM}">',
    f'<svg onload="{ALARM}"><a href="javascript:alert(1)" xlink:href="javascript:alert(1)">press</a></svg>',
    f'<details open ontoggle="{ALARM}"></details>',
    f'<input autofocus onfocus="{ALARM}">',
    f'<iframe srcdoc="<script>parent.{ALARM}</script>"></iframe>',
    "<link rel=stylesheet href=http://evil.test/style>",
    "<style>@import 'http://evil.test/import'; * { display: none !important }</style>",
)
MARKUP = "".join(PIECES)
AWAY = '<meta http-equiv=refresh content="0;url=http://evil.test/gone"><base href="http://evil.test/">'
HIDDEN = "\x00\u202e\u2066\u200b\u0007\u001b[2J\ufeff"
HOSTILE = f"{HIDDEN} {MARKUP} {AWAY} {{{{7*7}}}} <!-- ]]> %{{y}} javascript:{ALARM}"
BOUND = 200_000
"""Milliseconds that a page may take to load: far more than it needs, on a busy machine too."""
WATCH = """
window.broken = [];
document.addEventListener('securitypolicyviolation', event => window.broken.push(event.violatedDirective));
"""
LOOK = """() => {
  const shown = element => { const box = element.getBoundingClientRect(); return box.width > 0 && box.height > 0 };
  const all = [...document.querySelectorAll('*')];
  const drawn = [...document.querySelectorAll('.plot')].map(plot => !!plot.querySelector('.main-svg'));
  return {
    alarm: window.alarm ?? null, broken: window.broken, title: document.title, place: location.href,
    heading: document.querySelector('h1') && shown(document.querySelector('h1')),
    tables: [...document.querySelectorAll('table')].filter(shown).length,
    drawn: drawn.filter(Boolean).length, plots: drawn.length,
    handlers: all.flatMap(e => e.getAttributeNames().filter(name => name.startsWith('on'))),
    links: all.flatMap(e => ['href', 'src', 'xlink:href', 'srcdoc', 'action'].map(name => e.getAttribute(name)))
      .filter(value => value !== null && !value.startsWith('#') && !value.startsWith('data:image/')),
    text: document.documentElement.innerText, elements: all.length,
  };
}"""


@dataclass
class Seen:
    """What happened while a page was open, and how it looked at the end.

    Attributes:
        look: of the page, by `LOOK`.
        dialogs: that it opened.
        messages: errors, and the alarm, on the console.
        requests: that went out.
        stopped: requests that went out, or that the page's policy held back.
    """

    look: dict[str, Any] = field(default_factory=dict)
    dialogs: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)

    @property
    def ran(self) -> list[str]:
        """Signs that a payload ran, or reached out."""
        found = [f"dialog {each}" for each in self.dialogs] + [f"request {each}" for each in self.requests]
        found += [each for each in self.messages if "alarm" in each]
        return found + ["marker"] * (self.look["alarm"] is not None or self.look["title"] == "alarm")

    @property
    def tried(self) -> list[str]:
        """Signs that text became part of the page, even where its policy kept it from running."""
        return [*self.ran, *self.stopped, *self.look["broken"], *self.look["handlers"], *self.look["links"]]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    place = os.environ.get("AITIA_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if place is None:
        pytest.skip("there is no chromium: install it, or name one in AITIA_CHROMIUM; see make browser")
    with playwright.sync_playwright() as running:
        # As root, as in containers, Chromium has no sandbox; the pages are this project's own.
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []
        started = running.chromium.launch(executable_path=place, args=flags)
        yield started
        started.close()


@pytest.fixture
def visit(browser, tmp_path) -> Callable[[str], Seen]:
    """visit(html) -> what happened: opened from a file as a reader does, scrolled, every link and button pressed."""

    def open_page(html: str) -> Seen:
        file = tmp_path / "page.html"
        file.write_text(html, encoding="utf-8")
        seen, context = Seen(), browser.new_context()
        context.add_init_script(WATCH)
        page = context.new_page()
        page.set_default_timeout(BOUND)

        def refuse(dialog: Any) -> None:
            seen.dialogs.append(dialog.message)
            dialog.dismiss()

        page.on("dialog", refuse)
        page.on("console", lambda said: seen.messages.append(said.text) if _matters(said) else None)
        page.on("pageerror", lambda error: seen.messages.append(str(error)))
        context.on("request", lambda request: seen.stopped.append(request.url))

        def cut_off(route: Any) -> None:
            seen.requests.append(route.request.url)
            route.abort()

        context.route(lambda url: url.startswith("http"), cut_off)
        page.goto(file.as_uri(), wait_until="load")
        if page.evaluate("!!document.querySelector('.plot')"):
            page.evaluate("new Promise(done => setTimeout(done, 1500))")
        for link in page.query_selector_all("a, button, summary, label"):
            link.dispatch_event("click")
        page.mouse.wheel(0, 2000)
        page.wait_for_timeout(200)
        seen.look = page.evaluate(LOOK)
        # The page itself, and pictures that it holds, are no requests to anyone.
        own = (file.as_uri(), "data:", "blob:")
        seen.stopped = [each for each in seen.stopped if not each.startswith(own)]
        context.close()
        return seen

    return open_page


def _matters(said: Any) -> bool:
    """Whether a message on the console is an error or an alarm; what plotly says of its speed is not."""
    return said.type == "error" or "alarm" in said.text


def ranking_page(make_model, folder: Path) -> str:
    """From rows to the page, the way a user goes: hostile columns, ids, names, and a row of a megabyte."""
    rows = [
        {"id": f"{i}{MARKUP}", "prompt": f"{i}?", "completion": HIDDEN + piece, MARKUP: HOSTILE}
        for i, piece in enumerate((*PIECES, AWAY))
    ]
    rows.append({"id": "huge", "prompt": "All?", "completion": HOSTILE * (10**6 // len(HOSTILE))})
    path = write_lines(folder / "train.jsonl", rows)
    save_model(make_model("llama", layers=2), folder / "model")
    model = load_model(folder / "model", device="cpu")
    texts = [records_from_rows([{"text": f"{word} {i}."} for i in range(6)]) for word in ("The sun", "Rain")]
    concept = fit_contrast(model, *texts, sites=["resid_post.0"], name=HOSTILE)
    store = scan(model, read_records(path), sites=[concept.site], out=folder / "store", truncate=True)
    return rank(store, concept, method="vector-filter").report(folder / "r.html").read_text(encoding="utf-8")


def scorecard_page() -> str:
    phenomenon = xor_phenomenon(gate_network())
    found = evaluate(gates_explanation(phenomenon), baselines=[count_explanation(phenomenon)])
    card = with_text(found.weighed({"interchange-intervention-accuracy": 1}).as_json(), HOSTILE)
    return render(scorecard_document(card))


def network_page() -> str:
    network = joined([planted("S4", 6, "3a").network()])
    named = group_from_table(network.group.table, name=HOSTILE)
    object.__setattr__(network, "group", named)
    return render(network_document(interpret(network), title=HOSTILE))


PAGES: dict[str, Callable[[Any, Path], str]] = {
    "ranking, from its rows": ranking_page,
    "ranking, every field": lambda _make, _folder: render_report(make_report(word=HOSTILE)),
    "truth": lambda _make, _folder: render(make_truth_report(HOSTILE)),
    "scorecard": lambda _make, _folder: scorecard_page(),
    "network": lambda _make, _folder: network_page(),
}


@pytest.mark.parametrize("name", PAGES)
def test_nothing_runs_and_everything_is_there_to_read(name, make_model, tmp_path, visit):
    seen = visit(PAGES[name](make_model, tmp_path))
    assert seen.tried == []
    assert seen.messages == []
    assert seen.look["heading"]
    assert seen.look["tables"]
    assert seen.look["drawn"] == seen.look["plots"]
    assert "<script>window.alarm" in seen.look["text"], "the payload must be there, as text"
    assert not set(HIDDEN[:4]) & set(seen.look["text"])
    assert "⟦U+202E⟧" in seen.look["text"]


def test_a_row_of_a_megabyte_makes_no_larger_page_than_one_that_is_cut(visit):
    pages = []
    for times in (10**6 // len(HOSTILE), 10**5 // len(HOSTILE)):
        report = make_report()
        row = report.top[0]
        huge = type(row)(
            id="huge", row=1, location="f:1", rank=1, score=1.0, prompt="All?", completion=HOSTILE * times
        )
        pages.append(visit(render_report(make_report(top=[huge], bottom=[]))))
    large, small = pages
    assert large.tried == []
    assert large.look["elements"] == small.look["elements"]
    assert len(large.look["text"]) < 1.01 * len(small.look["text"])


@pytest.fixture
def careless(monkeypatch):
    """Pages whose text is not escaped: what these tests must catch."""
    environment = page_module.page_environment.__wrapped__()
    environment.autoescape = False
    monkeypatch.setattr(page_module, "page_environment", lambda: environment)


def test_a_page_that_does_not_escape_is_caught_and_its_policy_still_holds(careless, visit):
    seen = visit(render_report(make_report(word=MARKUP)))
    assert {"onerror", "onload", "ontoggle"} <= set(seen.tried)
    assert any(each.startswith("script-src") for each in seen.tried)
    assert seen.ran == []


def test_a_page_without_a_policy_too_runs_what_it_holds(careless, visit, monkeypatch):
    """So the payloads are live: where they do nothing, something kept them from it."""
    monkeypatch.setattr(page_module, "_content_security_policy", lambda _scripts: "")
    seen = visit(render_report(make_report(word=MARKUP)))
    assert seen.dialogs
    assert "marker" in seen.ran
    assert {"http://evil.test/picture", "http://evil.test/fetched"} <= set(seen.requests)
