from __future__ import annotations

import copy
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from aitia.explanations import evaluate
from aitia.explanations.examples.xor import (
    count_explanation,
    gate_network,
    gates_explanation,
    xor_phenomenon,
)
from aitia.report import (
    AttributionReport,
    Document,
    attribution_document,
    render,
    scorecard_document,
    scorecard_markdown,
    scorecard_section,
)
from aitia.report.page import page_environment
from aitia.report.scorecard import _RADIUS, RADAR, radar

HOSTILE = (
    '</small><script>alert(1)</script>"\'><img src="http://evil.test/x" onerror=alert(1)>'
    " | [x](y) {{7*7}} \u202e\x00"
)


def scorecard_html(card):
    return render(scorecard_document(card))


class Page(HTMLParser):
    """Elements and text of a page, with a check that they are nested well."""

    VOID = ("meta", "circle", "line", "polygon", "path")

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text, self._path = "", []
        self.feed(html)
        self.close()
        assert not self._path

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._path.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._path.pop() == tag

    def handle_data(self, data):
        if "style" not in self._path:
            self.text += data


@pytest.fixture(scope="module")
def card():
    phenomenon = xor_phenomenon(gate_network())
    found = evaluate(gates_explanation(phenomenon), baselines=[count_explanation(phenomenon)])
    return found.weighed({"interchange-intervention-accuracy": 1, "description-length": 1}).as_json()


def with_text(value, word):
    """The card with every free text replaced: names, reasons, evidence, statements."""
    value = copy.deepcopy(value)
    for each in value["explanations"]:
        each["name"] = each["verdict"] = word
        each["summary"] = [word] * 3
        each["variables"] = {word: word}
        for part in each["conditions"]:
            part["evidence"] = word
        for part in each["premises"]:
            part["name"] = part["statement"] = word
        for part in each["results"]:
            part["reason"] = word
    value["phenomenon"] |= {"name": word, "model": word, "outcomes": [word]}
    for each in value["comparisons"]:
        each["first"] = each["second"] = each["dominates"] = each["first_distinction"] = word
        each["barred"] = [word]
    value["weighing"]["totals"] = value["weighing"]["wins"] = {word: 0.5}
    return value


def test_the_page_holds_every_value_and_loads_nothing(card):
    page = Page(scorecard_html(card))
    for word in (
        "OR but not AND",
        "count, then parity",
        "causal-mechanistic",
        "not discriminating",
        "0.688",
        "floor",
    ):
        assert word in page.text
    assert "not evaluable" in page.text
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "img", "iframe", "object"}
    policy = next(a["content"] for t, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert "script-src" not in policy
    assert not [v for _, a in page.elements for k, v in a.items() if k in ("src", "href")]


def test_hostile_text_stays_text(card):
    page = Page(scorecard_html(with_text(card, HOSTILE)))
    assert "<script>alert(1)</script>" in page.text
    assert "⟦U+202E⟧" in page.text
    assert "{{7*7}}" in page.text
    assert {tag for tag, _ in page.elements} == {tag for tag, _ in Page(scorecard_html(card)).elements}
    text = scorecard_markdown(with_text(card, HOSTILE))
    assert not re.search(r"<\w|\]\(", text)
    plain = scorecard_markdown(card)
    rows = [[line.count("|") for line in each.splitlines() if line.startswith("|")] for each in (text, plain)]
    assert rows[0] == rows[1], "a cell must not make another"


def test_the_radar_is_to_scale(card):
    drawn = radar(card["explanations"])
    assert len(drawn["spokes"]) == len(RADAR)
    centre = 230
    for each, line in zip(card["explanations"], drawn["lines"], strict=True):
        values = {result["name"]: result["value"] for result in each["results"]}
        shown = [values[name] for name, _ in RADAR if values.get(name) is not None]
        lengths = [math.hypot(x - centre, y - centre) / _RADIUS for x, y in line["points"]]
        assert lengths == pytest.approx([min(max(value, 0), 1) for value in shown], abs=1e-3)


def test_a_virtue_without_a_value_leaves_a_gap(card):
    changed = copy.deepcopy(card["explanations"][:1])
    for result in changed[0]["results"]:
        if result["name"] == "interchange-intervention-accuracy":
            result["value"] = None
    before, after = radar(card["explanations"][:1])["lines"][0], radar(changed)["lines"][0]
    assert len(after["points"]) == len(before["points"]) - 1
    assert after["path"].count("M") == before["path"].count("M") - 2


def test_markdown_has_a_column_for_each(card):
    text = scorecard_markdown(card)
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in table} == {4}
    assert (
        "| interchange-intervention-accuracy (share) | 1.000, floor 0.688 | 0.688, floor 0.688 ✗ |" in table
    )
    assert " in nothing" not in text
    # Three sentences on each at the top, and the first thing on which they differ at the end.
    assert "No test refutes it" in text.partition("| *verdict*")[0]
    assert "Answers do not tell them apart. Only OR but not AND says what happens where second" in text
    assert "No dominance: count, then parity did not pass the gate." in text


def test_the_same_card_gives_the_same_page(card):
    assert scorecard_html(card) == scorecard_html(copy.deepcopy(card))


def documents():
    scores = np.array([0.5, -0.25])
    attribution = AttributionReport(
        title=HOSTILE,
        question="?",
        facts=[],
        method="activation-gradient",
        method_description="",
        methods=[],
        controls=[],
        scores=scores,
        row_numbers=np.arange(2),
        response_tokens=np.array([3, 4]),
        top=[],
        bottom=[],
        reproduce="aitia attribute",
    )
    return [
        attribution_document(attribution),
        Document(title=HOSTILE, question="?", facts=[], sections=[]),
    ]


@pytest.mark.parametrize("which", [0, 1], ids=["attribution", "truth, without how to reproduce it"])
def test_a_card_in_a_report_adds_no_script_and_trusts_no_text(card, which):
    document, section = documents()[which], scorecard_section(with_text(card, HOSTILE))
    page, found = render(document), render(document.with_section(section))
    policy = 'http-equiv="Content-Security-Policy" content="'
    assert found.split(policy)[1].split('"')[0] == page.split(policy)[1].split('"')[0]
    assert found.count("<script") == page.count("<script")
    assert "<script>alert(1)" not in found
    start = found.index('<section id="scorecard">')
    end = found.index('<section id="reproduce">' if which == 0 else "</main>")
    assert Page(found[start:end]).text.count("{{7*7}}") > 3
    assert render(document.with_section(section).with_section(section)) == found
    bare = (found[:start] + found[end:]).replace('<a href="#scorecard">Scorecard</a>', "")
    assert bare == page, "nothing else of the page changes, whatever its text says"


def test_a_card_s_style_holds_for_the_card_alone():
    style = page_environment().get_template("card.css.j2").render()
    assert style.strip() in render(documents()[1])
    for rule in re.sub(r"@media [^{]*\{(.*)\}", r"\1", style).splitlines():
        selectors = rule.split("{")[0]
        assert all(".scorecard" in each for each in selectors.split(",") if each.strip()), rule
