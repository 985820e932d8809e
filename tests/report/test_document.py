"""The benchmark's page: what is drawn is what was given, and no text can do harm."""

import json
import re
from dataclasses import replace
from html import unescape

import numpy as np
import plotly.graph_objects
import pytest

from aitia.errors import AitiaError, NumericalError
from aitia.report import (
    AgreementFigure,
    Bar,
    BarFigure,
    Curve,
    CurveFigure,
    Document,
    Reference,
    Section,
    Table,
    TargetResult,
    Targets,
    render,
    write_document,
)
from aitia.report.line_styles import COLOURS, line_styles
from aitia.report.plots import bar_table, curve_table, plotly_bars, plotly_curves

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'{{7*7}}&lt;\u202e"

CURVES = CurveFigure(
    title="Removal",
    x_title="removed",
    y_title="behaviour",
    curves=[
        Curve(label="method", x=[0, 0.1, 0.5], y=[1, 0.4, 0.1], low=[0.9, 0.3, 0], high=[1.1, 0.5, 0.2]),
        Curve(label="random", x=[0, 0.5], y=[1, 0.9], baseline=True),
    ],
    references=[Reference(label="base", value=0.05)],
    x_percent=True,
)
BARS = BarFigure(
    title="AUC",
    value_title="AUC",
    bars=[
        Bar(label="method", value=0.9, low=0.8, high=0.95),
        Bar(label="random", value=0.5, low=0.4, high=0.6, baseline=True),
        Bar(label="worse", value=-0.2),
    ],
    references=[Reference(label="chance", value=0.5)],
)
AGREEMENT = AgreementFigure(
    title="Agreement", labels=["a", "b"], values=np.array([[1, -0.25], [-0.25, np.nan]])
)
TABLE = Table(title="All", header=["method", "AUC"], rows=[["x", 0.12345], ["y", None]])


@pytest.fixture(autouse=True)
def brief_plotly(monkeypatch):
    monkeypatch.setattr("plotly.offline.get_plotlyjs", lambda: "const brief = 1;")


def report(word="fine"):
    return Document(
        title=word,
        question=word,
        facts=[(word, word)],
        sections=[
            Section(
                key="targets",
                title="Targets",
                parts=[Targets(targets=[TargetResult(name=word, target=word, value=word, met=False)])],
            ),
            Section(
                title=word,
                text=word,
                parts=[
                    replace(CURVES, title=word, note=word, curves=[replace(CURVES.curves[0], label=word)]),
                    replace(BARS, title=word, value_title=word, bars=[replace(BARS.bars[0], label=word)]),
                    replace(AGREEMENT, title=word, labels=[word, "b"]),
                    replace(TABLE, title=word, header=[word, word], rows=[[word, 0.12345], [word, None]]),
                ],
            ),
        ],
        warnings=[word],
        reproduce=word,
    )


def test_curves_carry_their_numbers():
    figure = plotly_curves(CURVES)
    plotly.graph_objects.Figure(figure)
    band, method, random, base = figure["data"]
    assert (method["x"], method["y"]) == ([0, 0.1, 0.5], [1, 0.4, 0.1])
    assert band["x"] == [0, 0.1, 0.5, 0.5, 0.1, 0]
    assert band["y"] == [1.1, 0.5, 0.2, 0, 0.3, 0.9]
    assert (random["x"], random["y"]) == ([0, 0.5], [1, 0.9])
    assert base["y"] == [0.05, 0.05]
    assert figure["layout"]["xaxis"]["tickvals"] == [0, 0.1, 0.5]
    crowded = replace(CURVES, curves=[Curve(label="c", x=[0, 0.05, 0.1, 0.9], y=[0] * 4)])
    assert plotly_curves(crowded)["layout"]["xaxis"]["tickvals"] == [0, 0.1, 0.9]


def test_bars_carry_their_intervals():
    figure = plotly_bars(BARS)
    plotly.graph_objects.Figure(figure)
    methods, baselines, text = figure["data"]
    assert methods["x"] == [0.9, -0.2]
    np.testing.assert_allclose(methods["error_x"]["array"], [0.05, 0])
    np.testing.assert_allclose(methods["error_x"]["arrayminus"], [0.1, 0])
    np.testing.assert_allclose(baselines["error_x"]["array"], [0.1])
    assert [each.strip() for each in text["text"]] == ["0.90", "0.50", "−0.20"]
    low, high = figure["layout"]["xaxis"]["range"]
    assert low < -0.2
    assert high > 0.95


def test_no_two_lines_look_the_same():
    styles = line_styles([False] * 30 + [True] * 30)
    looks = [(style.colour, style.marker, style.dash) for style in styles]
    assert len(set(looks)) == 60
    without_colour = [(style.marker, style.dash) for style in styles[:10]]
    assert len(set(without_colour)) == 10, "ten methods can be told apart in black and white"
    assert not {style.colour for style in styles[30:]} & set(COLOURS)


def test_the_numbers_stand_in_tables_too():
    table = curve_table(CURVES)
    assert list(table.header) == ["removed", "0 %", "10 %", "50 %"]
    assert table.rows == [["method", 1, 0.4, 0.1], ["random", 1, None, 0.9], ["base", 0.05, 0.05, 0.05]]
    assert bar_table(BARS).rows[2] == ["worse", -0.2, None, None]


def test_the_page_shows_everything_and_reads_nothing_from_outside():
    html = render(report())
    figures = json.loads(re.search(r'id="figures">(.*?)</script>', html)[1])
    assert list(figures) == ["figure-0", "figure-1"]
    assert all(f'<div id="{name}"' in html for name in figures)
    for shown in ("0.123", "−0.25", "✗ missed", "–"):
        assert shown in html
    assert "default-src 'none'" in unescape(html)
    assert not re.search(r'(src|href)="(?!#)', html)
    assert html == render(report())


def test_hostile_text_stays_text():
    html, tame = render(report(HOSTILE)), render(report())
    for tag in ("script", "img", "div", "th", "td"):
        assert html.count(f"<{tag}") == tame.count(f"<{tag}")
    assert "alert(1)" in html
    assert "49" not in re.sub(r"(?s)<style>.*?</style>|<script.*?</script>", "", html)
    assert "\u202e" not in html
    figures = json.loads(re.search(r'id="figures">(.*?)</script>', html)[1])
    assert "<" not in json.dumps(figures).replace("<br>", "").replace("<extra>", "").replace("</extra>", "")


def test_writing(tmp_path):
    path = write_document(report(), tmp_path / "deep" / "page.html")
    assert path.read_text(encoding="utf-8") == render(report())
    assert [each.name for each in path.parent.iterdir()] == ["page.html"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Curve(label="c", x=[0, 1], y=[0]), "2 places, but 1 values"),
        (lambda: Curve(label="c", x=[1, 0], y=[0, 0]), "must rise"),
        (lambda: Curve(label="c", x=[0, 1], y=[0, 0], low=[0], high=[1]), "edges"),
        (lambda: Curve(label="c", x=[0, 1], y=[0, float("nan")]), "'c': a value is not finite"),
        (lambda: Bar(label="b", value=1, low=0), "two ends"),
        (lambda: Bar(label="b", value=3, low=0, high=1), "outside its interval"),
        (lambda: replace(BARS, bars=[BARS.bars[0]] * 2), "'method' stands there twice"),
        (lambda: replace(CURVES, curves=[], references=[]), "nothing to draw"),
        (lambda: replace(AGREEMENT, labels=["a"]), "1 labels, but a matrix"),
        (lambda: replace(TABLE, rows=[["x"]]), "1 cells, the header 2"),
    ],
)
def test_what_cannot_be_drawn_is_refused(make, message):
    with pytest.raises((AitiaError, NumericalError), match=message):
        make()
