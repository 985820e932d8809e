"""The page of an interpretation: every circuit and figure is there, and names are text."""

import plotly.graph_objects
import pytest
from group_networks.planted_networks import joined, planted

from aitia.group_networks import interpret
from aitia.group_networks.page import network_document, write_page
from aitia.report import PlotlyFigure, Table, read_document, render, write_document


@pytest.fixture(scope="module")
def interpretation():
    return interpret(joined([planted("S4", 6, "3a").network()]))


def test_circuits_and_figures_are_shown(interpretation):
    document = network_document(interpretation)
    parts = [part for section in document.sections for part in section.parts]
    (circuits,) = [part for part in parts if isinstance(part, Table)]
    assert [row[0] for row in circuits.rows] == [each.irrep for each in interpretation.circuits]
    figures = [part for part in parts if isinstance(part, PlotlyFigure)]
    assert len(figures) >= 4
    for figure in figures:
        plotly.graph_objects.Figure(dict(figure.plot))
    html = render(document)
    assert all(f'<div id="{figure.key}" class="plot light">' in html for figure in figures)
    assert "right on all inputs" in html


def test_names_are_text_and_the_page_is_read_again(interpretation, tmp_path):
    word = "</script><script>alert(1)</script>\u202e"
    hostile = network_document(interpretation, title=word)
    html, tame = render(hostile), render(network_document(interpretation, title="fine"))
    assert html.count("<script") == tame.count("<script")
    assert "⟦U+202E⟧" in html
    assert write_page(interpretation, tmp_path / "plain.html", title=word).read_text("utf-8") == html
    path = write_document(hostile, tmp_path / "page.html", keep=True)
    assert render(read_document(path)) == html
