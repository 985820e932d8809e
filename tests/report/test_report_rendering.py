from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser

import numpy as np
import plotly.graph_objects
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from aitia.errors import AitiaError, NumericalError
from aitia.report import (
    AttributionReport,
    Control,
    MethodResult,
    ReportRow,
    ReportSlice,
    ReportSpan,
    SliceSection,
    Token,
    attribution_document,
    render,
    write_document,
)

HOSTILE = (
    '</script><script>alert(1)</script>"\'><img src="http://evil.test/x" onerror=alert(1)>'
    "<!-- ]]> {{7*7}} {% raw %} \x00 \u202egnorw\u202c \ud800 &amp; </title></style></pre>"
)
SHOWN = HOSTILE.replace("\x00", "⟦U+0000⟧").replace("\u202e", "⟦U+202E⟧").replace("\u202c", "⟦U+202C⟧")
SHOWN = SHOWN.replace("\ud800", "⟦U+D800⟧")


def render_report(report: AttributionReport) -> str:
    return render(attribution_document(report))


class Page(HTMLParser):
    """What a reader of the page sees: elements, attributes, text outside scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.scripts, self.by_id = "", [], {}
        self._path: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")
        if tag not in ("meta", "input"):
            self._path.append(dict(attrs).get("id") or tag)

    def handle_endtag(self, _tag):
        self._path.pop()

    def handle_data(self, data):
        here = self._path[-1] if self._path else ""
        if here in ("script", "figures"):
            self.scripts[-1] += data
        elif here != "style":
            self.text += data
            self.by_id[here] = self.by_id.get(here, "") + data

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)

    def attributes(self, name: str) -> list[str]:
        return [attributes[name] or "" for _, attributes in self.elements if name in attributes]

    @property
    def figures(self) -> dict:
        found = [attributes.get("type") for tag, attributes in self.elements if tag == "script"]
        return json.loads(self.scripts[found.index("application/json")])


def make_report(n: int = 60, word: str = "fine", **changes) -> AttributionReport:
    draw = np.random.default_rng(5)
    scores = draw.normal(size=n)
    tokens = (
        Token(text=f"user: {word}", share=0.0, response=False),
        *(Token(text=f" {word}", share=share, response=True) for share in (0.4, -0.2, 0.0)),
        Token(text="\n", share=0.1, response=True),
    )
    row = ReportRow(
        id=word, row=3, location=word, rank=1, score=0.3, prompt=word, completion=word, tokens=tokens
    )
    row = replace(row, extra={word: word})
    report = AttributionReport(
        title=word,
        question=word,
        facts=[(word, word)],
        method=word,
        method_description=word,
        row_numbers=np.arange(n) + 10,
        scores=scores,
        response_tokens=draw.integers(1, 90, size=n),
        methods=[
            MethodResult(name=word, scores=scores, auc=0.75, precision_at_k=0.5, seconds=1.25),
            MethodResult(name="length", scores=draw.normal(size=n) - scores, baseline=True, auc=0.625),
        ],
        controls=[Control(name=word, scores_std=0.5, spearman=-0.125, auc=0.5)],
        top=[row],
        bottom=[replace(row, rank=n, score=-0.3, tokens=())],
        label=word,
        labels=np.arange(n) % 5 == 0,
        skipped=[(word, word)],
        warnings=[word],
        reproduce=word,
        slices=make_slices(word),
    )
    return replace(report, **changes)


def make_slices(word: str) -> SliceSection:
    slice_ = ReportSlice(
        feature=17,
        label=word,
        terms=(word, "x"),
        spans=(ReportSpan(before=word, peak=word, after=word),),
        size=9,
        total=4.5,
        mean=0.5,
        z=6.0,
        inflation_factor=1.5,
        p_adjusted=0.0012,
        found=True,
        members=((word, word, 0.75), (word, word, -0.5)),
    )
    return SliceSection(
        slices=[slice_, replace(slice_, feature=18, label=None, found=False, total=-1.0)],
        tested=40,
        found=1,
        untested=[(word, 3)],
        false_discovery_rate=0.05,
        controls=64,
        threshold=0.1,
        pooling=word,
        sae=word,
    )


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(render_report(make_report()))


@pytest.fixture(scope="module")
def hostile_html() -> str:
    return render_report(make_report(word=HOSTILE))


@pytest.fixture(autouse=True)
def brief_plotly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spares the tests five megabytes; `page` and `hostile_html` are made before and hold the real one."""
    monkeypatch.setattr("plotly.offline.get_plotlyjs", lambda: "const brief = 1;\r\n")


def shape(page: Page) -> Counter:
    return Counter((tag, *sorted(attributes)) for tag, attributes in page.elements)


def test_hostile_text_adds_no_element_and_no_attribute(page: Page, hostile_html: str) -> None:
    assert shape(Page(hostile_html)) == shape(page)


def test_hostile_text_is_shown_as_text_with_hidden_characters_visible(hostile_html: str) -> None:
    hostile = Page(hostile_html)
    # Title twice (head and page), question, fact, and so on: every place shows it whole.
    assert hostile.text.count(SHOWN) >= 20
    assert not set("\x00\u202e\u202c\ud800") & set(hostile_html)
    hostile_html.encode("utf-8")


def test_hostile_text_reaches_neither_scripts_nor_policy(page: Page, hostile_html: str) -> None:
    hostile = Page(hostile_html)
    assert hostile.scripts == page.scripts
    assert hostile.attributes("content") == page.attributes("content")


def test_policy_forbids_everything_but_the_embedded_scripts(page: Page) -> None:
    policy = next(attributes["content"] for _, attributes in page.elements if "http-equiv" in attributes)
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert directives["default-src"] == "'none'"
    assert directives["img-src"] == "data:"
    assert "unsafe" not in directives["script-src"]
    assert "http" not in policy
    kinds = [attributes.get("type") for tag, attributes in page.elements if tag == "script"]
    run = [text for text, kind in zip(page.scripts, kinds, strict=True) if kind is None]
    hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in run]
    assert directives["script-src"].split() == hashes
    assert sum("plotly.js v" in text for text in page.scripts) == 1


def test_hashes_are_of_the_script_as_browsers_read_it() -> None:
    html = render_report(make_report())
    assert "\r" not in html
    digest = base64.b64encode(hashlib.sha256(b"const brief = 1;\n").digest()).decode()
    assert Page(html).attributes("content")[0].count(digest) == 1


def test_page_loads_nothing_and_links_only_within_itself(page: Page) -> None:
    assert page.attributes("src") == []
    links = page.attributes("href")
    assert links
    assert {link[1:] for link in links} <= set(page.attributes("id"))
    assert all(link.startswith("#") for link in links)
    assert len(set(page.attributes("id"))) == len(page.attributes("id"))
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)


def test_figures_are_valid_plotly(page: Page) -> None:
    for figure in page.figures.values():
        plotly.graph_objects.Figure(figure)


def test_histogram_counts_every_row_in_its_slice(page: Page) -> None:
    report = make_report()
    others, labelled = page.figures["histogram"]["data"]
    for bars, members in [(others, ~report.labels), (labelled, report.labels)]:
        assert sum(bars["y"]) == pytest.approx(100)
        for centre, (low, high, _) in zip(bars["x"], bars["customdata"], strict=True):
            assert centre == pytest.approx((low + high) / 2)
        for low, high, count in bars["customdata"][:-1]:
            assert count == ((report.scores[members] >= low) & (report.scores[members] < high)).sum()


def test_scatter_shows_every_row_in_its_slice(page: Page) -> None:
    report = make_report()
    others, labelled = page.figures["scatter"]["data"]
    for points, members in [(others, ~report.labels), (labelled, report.labels)]:
        assert points["customdata"] == report.row_numbers[members].tolist()
        assert points["x"] == report.response_tokens[members].tolist()
        assert points["y"] == report.scores[members].tolist()


def test_spearman_numbers_equal_scipy(page: Page) -> None:
    report = make_report()
    rho = spearmanr(report.scores, report.response_tokens).statistic
    assert page.by_id["length-spearman"] == f"{rho:.2f}".replace("-", "−")
    between = spearmanr(report.methods[0].scores, report.methods[1].scores).statistic
    assert page.text.count(f"{between:.2f}".replace("-", "−")) == 2


@pytest.mark.parametrize("sign, word", [(1, "long"), (-1, "short")])
def test_length_that_orders_the_rows_warns(sign: int, word: str) -> None:
    lengths = make_report().response_tokens
    text = Page(render_report(make_report(scores=sign * lengths * 0.5, methods=[]))).text
    assert "length is a confound" in text
    assert f"which rows are {word}" in text


def test_length_without_relation_or_spread_does_not_warn(page: Page) -> None:
    assert "length is a confound" not in page.text
    constant = Page(render_report(make_report(response_tokens=np.full(60, 7))))
    assert constant.by_id["length-spearman"] == "–"


def test_tokens_are_coloured_by_sign_and_carry_their_share(page: Page) -> None:
    found = {
        attributes["title"]: attributes.get("class")
        for _, attributes in page.elements
        if "title" in attributes
    }
    # Scale: the 98th percentile of 0.4, 0.2, 0, 0.1; so 0.4 saturates and 0.2 is about half way.
    scale = np.percentile([0.4, 0.2, 0.0, 0.1], 98)
    expected = {
        "+0.4": "p8",
        "−0.2": f"n{round(8 * 0.2 / scale)}",
        "0": None,
        "+0.1": f"p{round(8 * 0.1 / scale)}",
    }
    assert found == expected


def test_cards_mark_the_labelled_rows_and_give_deviations() -> None:
    report = make_report()
    labelled, other = replace(report.top[0], row=15), replace(report.bottom[0], row=16)
    page = Page(render_report(replace(report, top=[labelled], bottom=[other])))
    assert page.attributes("class").count("tag labelled") == 1
    for card in (labelled, other):
        deviations = (card.score - report.scores.mean()) / report.scores.std()
        assert f"{deviations:+.1f} sd from the mean".replace("-", "−") in page.text
    assert "tag labelled" not in Page(render_report(replace(report, top=[], bottom=[other]))).attributes(
        "class"
    )


def test_kinds_of_rows_are_shown_with_their_figures(page: Page) -> None:
    html = render_report(make_report())
    section = html[html.index('<section id="slices">') : html.index('<section id="length">')]
    assert '<b id="slices-found">1</b> of 40 tested kinds' in section
    for shown in (
        "+4.5",
        "−1",
        "6.0",
        "4.0",
        "0.0012",
        "3 features (fine)",
        "64 null directions",
        "<mark>fine</mark>",
    ):
        assert shown in section
    assert "2 of 9 rows" in section
    assert 'href="#slices"' in html
    without = render_report(make_report(slices=None))
    assert 'id="slices"' not in without
    alone = render_report(make_report(slices=replace(make_slices("fine"), controls=0)))
    assert "There were no control directions" in alone


def test_many_rows_are_sampled_for_the_scatter_alone() -> None:
    n = 6000
    scores = np.random.default_rng(0).normal(size=n)
    report = make_report(
        n=n,
        scores=scores,
        methods=[],
        response_tokens=np.arange(n),
        labels=None,
        row_numbers=np.arange(n) * 2,
    )
    page = Page(render_report(report))
    (points,) = page.figures["scatter"]["data"]
    assert len(points["x"]) == 5000
    assert len(set(points["customdata"])) == 5000
    assert all(number == 2 * length for number, length in zip(points["customdata"], points["x"], strict=True))
    assert "sample of 5,000 of the 6,000 rows" in page.text
    (bars,) = page.figures["histogram"]["data"]
    assert sum(bars["y"]) == n


def test_long_row_is_cut_with_a_note_and_keeps_its_response() -> None:
    row = ReportRow(
        id="a", row=0, location="f:1", rank=1, score=1.0, prompt="p" * 90_000, completion="r" * 3_000
    )
    page = Page(render_report(make_report(top=[row], bottom=[])))
    assert page.text.count("p" * 17_000) == 1
    assert "p" * 17_001 not in page.text
    assert "r" * 3_000 in page.text
    assert "73,000 more are not" in page.text


def test_baseline_that_is_as_good_as_the_method_is_named() -> None:
    report = make_report(word="activation")
    better = replace(report.methods[1], auc=0.75)
    assert (
        "A baseline does at least as well"
        in Page(render_report(replace(report, methods=[report.methods[0], better]))).text
    )
    assert "A baseline does at least as well" not in Page(render_report(report)).text


def test_smallest_report_leaves_out_empty_sections() -> None:
    report = make_report(
        n=1,
        scores=np.zeros(1),
        methods=[],
        controls=[],
        top=[],
        bottom=[],
        label=None,
        labels=None,
        skipped=[],
        warnings=[],
        reproduce="",
        facts=[],
    )
    page = Page(render_report(report))
    assert {"top", "bottom", "methods", "agreement", "controls", "skipped", "reproduce"}.isdisjoint(
        page.attributes("id")
    )
    assert sum(page.figures["histogram"]["data"][0]["y"]) == 1


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_score_that_is_not_finite_is_refused_with_its_row_number(wrong: float) -> None:
    report = make_report()
    scores = report.scores.copy()
    scores[[7, 9]] = wrong
    with pytest.raises(NumericalError, match=r"row 17 \(and 1 more rows\)"):
        render_report(replace(report, scores=scores))
    with pytest.raises(NumericalError, match=r"row 17 .*'length'"):
        render_report(replace(report, methods=[replace(report.methods[1], scores=scores)]))
    token = Token(text="a", share=wrong, response=True)
    with pytest.raises(NumericalError, match="row 3: "):
        render_report(replace(report, top=[replace(report.top[0], tokens=(token,))]))


def test_arrays_that_do_not_fit_are_refused() -> None:
    with pytest.raises(AitiaError, match=r"labels: shape \(3,\)"):
        render_report(make_report(labels=np.ones(3, dtype=bool)))
    with pytest.raises(AitiaError, match="no rows"):
        render_report(make_report(scores=np.zeros(0)))


def test_same_report_same_bytes_and_nothing_left_behind(tmp_path) -> None:
    path = write_document(attribution_document(make_report()), tmp_path / "folder" / "report.html")
    first = path.read_bytes()
    assert write_document(attribution_document(make_report()), path).read_bytes() == first
    assert first.decode() == render_report(make_report())
    with pytest.raises(NumericalError):
        write_document(attribution_document(make_report(scores=np.full(60, np.nan))), path)
    assert path.read_bytes() == first
    assert list(path.parent.iterdir()) == [path]


@cache
def plain_shape() -> Counter:
    return shape(Page(render_report(make_report(n=3, reproduce="x", word="w"))))


@settings(max_examples=20, deadline=None)
@given(st.text(alphabet=st.characters() | st.sampled_from("<>&\"'/{}%#-!\r\n\x00\u202e\ud800"), max_size=80))
def test_no_text_changes_the_structure_of_the_page(text: str) -> None:
    report = make_report(n=3, reproduce="x", word="w" + text)
    # Token counts and colours do not depend on the text, so the elements must not either.
    assert shape(Page(render_report(report))) == plain_shape()
