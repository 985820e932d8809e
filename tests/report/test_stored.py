"""Documents on disk: what is written is read again, sections keep their order, other versions are refused by name."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from report.test_document import report as make_truth_document
from report.test_report_rendering import make_report

from aitia.errors import AitiaError
from aitia.report import (
    AgreementFigure,
    Bar,
    BarFigure,
    Card,
    Curve,
    CurveFigure,
    Document,
    Facts,
    Group,
    Listing,
    Paragraph,
    PlotlyFigure,
    Reference,
    ReportRow,
    Rows,
    Section,
    Span,
    Table,
    TargetResult,
    Targets,
    Token,
    attribution_document,
    kept_beside,
    read_document,
    render,
    write_document,
)
from aitia.report.stored import FORMAT, from_json, to_json

TEXT = st.text(alphabet=st.characters() | st.sampled_from('<>&"\r\n\x00\u202e\ud800'), max_size=12)
FLOAT = st.floats(-1e9, 1e9)
SPAN = st.builds(Span, TEXT, st.sampled_from(["name", "strong", "raises", "lowers", "mark", "tag"]), TEXT)
WORDS = TEXT | SPAN | st.lists(TEXT | SPAN, max_size=3).map(tuple)
PAIRS = st.lists(st.tuples(TEXT, TEXT), max_size=2).map(tuple)
JSON = st.recursive(
    st.none() | st.booleans() | FLOAT | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
PLAIN = st.dictionaries(TEXT | st.just("kind"), JSON, max_size=3)
"""Free JSON, which may look like a part of a document."""


@st.composite
def tables(draw):
    width = draw(st.integers(1, 3))
    cells = st.tuples(*[WORDS | FLOAT | st.none()] * width)
    header = draw(st.just(()) | st.tuples(*[TEXT] * width))
    rows = draw(st.lists(cells, max_size=2).map(tuple))
    return Table(
        title=draw(TEXT),
        header=header,
        rows=rows,
        prose=(1,),
        stressed=(0,),
        decimals=draw(st.integers(0, 4)),
    )


@st.composite
def rows(draw):
    tokens = st.builds(Token, text=TEXT, share=FLOAT, response=st.booleans())
    row = ReportRow(
        id=draw(TEXT),
        row=3,
        location=draw(TEXT),
        rank=1,
        score=draw(FLOAT),
        prompt=draw(TEXT),
        completion=draw(TEXT),
        tokens=draw(st.lists(tokens, max_size=2).map(tuple)),
        extra=draw(PLAIN),
    )
    return Rows(
        rows=(row,), key="top", scale=0.5, largest=1.0, mean=draw(FLOAT), deviation=1.0, labelled=(3,)
    )


@st.composite
def figures(draw):
    title, label = draw(TEXT), draw(TEXT)
    low, value, high = sorted(draw(st.tuples(FLOAT, FLOAT, FLOAT)))
    ends = draw(st.sampled_from([{}, {"low": low, "high": high}]))
    references = (Reference(label=label + "!", value=value),)
    band = {name: (end, end) for name, end in ends.items()}
    curve = Curve(label=label, x=(0.0, 1.0), y=(value, value), **band)
    correlation = st.none() | st.floats(-1, 1)
    return draw(
        st.sampled_from(
            [
                CurveFigure(
                    title=title, x_title=title, y_title=title, curves=(curve,), references=references
                ),
                BarFigure(title=title, value_title=title, bars=(Bar(label=label, value=value, **ends),)),
                AgreementFigure(title=title, labels=(label,), values=((draw(correlation),),)),
                PlotlyFigure(key="plot", plot=draw(PLAIN), light=draw(st.booleans())),
            ]
        )
    )


PARTS = st.recursive(
    st.one_of(
        st.builds(Paragraph, text=WORDS, look=st.sampled_from(["plain", "note", "warning"])),
        st.builds(Listing, items=st.lists(WORDS, max_size=2).map(tuple)),
        st.builds(Facts, facts=PAIRS, numbers=st.booleans()),
        st.builds(Card, card=PLAIN),
        st.builds(TargetResult, name=TEXT, target=TEXT, value=TEXT, met=st.booleans()).map(
            lambda each: Targets(targets=(each,))
        ),
        tables(),
        rows(),
        figures(),
    ),
    lambda inner: st.builds(
        Group,
        parts=st.lists(inner, max_size=2).map(tuple),
        title=WORDS,
        folds=st.booleans(),
        opened=st.booleans(),
    ),
    max_leaves=3,
)
SECTION = st.builds(Section, title=TEXT, text=WORDS, parts=st.lists(PARTS, max_size=2).map(tuple), short=TEXT)
DOCUMENTS = st.builds(
    Document,
    title=TEXT,
    question=TEXT,
    facts=PAIRS,
    sections=st.lists(SECTION, max_size=3).map(tuple),
    warnings=st.lists(TEXT, max_size=2).map(tuple),
    reproduce=TEXT,
)
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@QUICK
@given(DOCUMENTS)
def test_a_document_is_read_as_it_was_written(document):
    text = json.dumps(to_json(document), allow_nan=False)
    text.encode("ascii")
    assert from_json(json.loads(text)) == document


@pytest.fixture(autouse=True)
def brief_plotly(monkeypatch):
    monkeypatch.setattr("plotly.offline.get_plotlyjs", lambda: "const brief = 1;")


@pytest.mark.parametrize("word", ["fine", "</script>\u202e\ud800<!-- {{7*7}}"])
@pytest.mark.parametrize(
    "make", [make_truth_document, lambda word: attribution_document(make_report(word=word))]
)
def test_a_page_is_rendered_again_from_what_lies_beside_it(make, word, tmp_path):
    path = write_document(make(word), tmp_path / "page.html", keep=True)
    assert {each.name for each in tmp_path.iterdir()} == {"page.html", "page.document.json"}
    again = read_document(path)
    assert render(again) == path.read_text(encoding="utf-8")
    assert write_document(again, tmp_path / "other.html", keep=True).read_bytes() == path.read_bytes()
    assert read_document(tmp_path / "other.html") == again


def test_numbers_of_numpy_are_numbers_and_those_that_are_none_are_left_out():
    table = Table(header=["a"] * 3, rows=[[np.float32(0.5), np.int64(2), float("nan")]])
    assert to_json(table)["rows"] == [[0.5, 2, None]]


def document_of(*keys):
    sections = [Section(key=key, title=f"This is {key}") for key in keys]
    return Document(title="t", question="q", facts=[], sections=sections, reproduce="r")


def test_sections_keep_their_order_on_disk_and_on_the_page(tmp_path):
    keys = ["b", "c", "a", "z", "d"]
    path = write_document(document_of(*keys), tmp_path / "page.html", keep=True)
    assert [each.key for each in read_document(path).sections] == keys
    html = path.read_text(encoding="utf-8")
    places = [html.index(f'<section id="{key}">') for key in [*keys, "reproduce"]]
    links = [html.index(f'<a href="#{key}">') for key in [*keys, "reproduce"]]
    assert places == sorted(places)
    assert links == sorted(links)


def test_a_section_is_replaced_where_it_stands_and_a_new_one_comes_last():
    document = document_of("a", "b", "c")
    other = Section(key="b", title="Another")
    assert [each.title for each in document.with_section(other).sections] == [
        "This is a",
        "Another",
        "This is c",
    ]
    assert document.with_section(other).with_section(other) == document.with_section(other)
    new = Section(key="d", title="New")
    assert [each.key for each in document.with_section(new).sections] == ["a", "b", "c", "d"]
    with pytest.raises(AitiaError, match="needs a key"):
        document.with_section(replace(new, key=""))


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda saved: saved | {"format": "aitia-document-v2"}, rf"'aitia-document-v2', not '{FORMAT}'"),
        (lambda _: {}, "format None"),
        (lambda _: [1], "format None"),
        (lambda saved: {k: v for k, v in saved.items() if k != "document"}, "'document'"),
    ],
)
def test_other_files_are_refused_by_name(change, message, tmp_path):
    path = write_document(document_of("a"), tmp_path / "page.html", keep=True)
    kept = kept_beside(path)
    kept.write_text(json.dumps(change(json.loads(kept.read_text()))))
    with pytest.raises(AitiaError, match=message) as caught:
        read_document(path)
    assert "page.document.json" in str(caught.value)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda d: d["sections"][1].update(title=3), r"document\.sections\[1\]\.title: 3 is not of str"),
        (lambda d: d["sections"][0].pop("short"), r"document\.sections\[0\]: not a Section with title"),
        (lambda d: d["sections"][0].update(more=1), r"document\.sections\[0\]: not a Section"),
        (
            lambda d: d["sections"][0].update(parts=[{"kind": "Song"}]),
            r"parts\[0\]: {'kind': 'Song'} is nothing",
        ),
        (lambda d: d["sections"][0].update(parts=[{"kind": "Document"}]), r"parts\[0\]: .* is nothing"),
        (lambda d: d.update(facts=[["a"]]), r"document\.facts\[0\]"),
        (lambda d: d.update(warnings="abc"), r"document\.warnings: 'abc' is not of"),
        (lambda d: d["sections"][0].update(key="b"), "two sections have the key 'b'"),
        (lambda d: d["sections"][0].update(key='"><b'), "not of letters, digits"),
    ],
)
def test_a_damaged_document_is_refused_with_the_place(change, message):
    saved = to_json(document_of("a", "b"))
    change(saved)
    with pytest.raises((AitiaError, ValueError), match=message):
        from_json(saved)


def test_a_page_that_was_changed_and_one_without_a_document_are_refused(tmp_path):
    path = write_document(document_of("a"), tmp_path / "page.html", keep=True)
    path.write_text(path.read_text() + " ")
    with pytest.raises(AitiaError, match="changed since"):
        read_document(path)
    plain = write_document(document_of("a"), tmp_path / "plain.html")
    with pytest.raises(AitiaError, match=r"no plain\.document\.json lies beside it"):
        read_document(plain)


def test_two_figures_with_one_key_are_refused():
    figure = PlotlyFigure(key="a", plot={"data": [], "layout": {}})
    section = Section(title="s", parts=[figure, Group(parts=[figure])])
    with pytest.raises(AitiaError, match="two figures .* 'a'"):
        render(Document(title="t", question="q", facts=[], sections=[section]))


def test_a_page_without_figures_needs_no_plotly(monkeypatch):
    monkeypatch.setattr("plotly.offline.get_plotlyjs", lambda: 1 / 0)
    html = render(replace(document_of("a", "b"), reproduce=""))
    assert "<script" not in html
    assert "script-src" not in html
