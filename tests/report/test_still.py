"""Still pictures: labels keep apart, text is harmless, the same figure gives the same bytes."""

import sys
from dataclasses import replace
from itertools import combinations
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from aitia.errors import AitiaError
from aitia.report import AgreementFigure, Bar, BarFigure, Curve, CurveFigure, Reference, write_png, write_svg
from aitia.report import still as still_module
from aitia.report.still import spread_apart

pytest.importorskip("matplotlib")
NAMES = [f"method-of-some-length-{i}" for i in range(14)]
CURVES = CurveFigure(
    title="A removal curve",
    x_title="share of rows removed",
    y_title="a rather long name for the behaviour that was measured after retraining",
    curves=[
        Curve(
            label=name,
            x=[0, 0.5, 0.9],
            y=[1, 0.1, 0.01 * (i // 2)],
            low=[1, 0, 0],
            high=[1, 1, 1],
            baseline=i > 8,
        )
        for i, name in enumerate(NAMES)
    ],
    references=[Reference(label="full data", value=1), Reference(label="base model", value=0)],
    x_percent=True,
)
BARS = BarFigure(
    title="Bars",
    value_title="AUC",
    bars=[
        Bar(label=name, value=0.1 * i - 0.3, low=0.1 * i - 0.4, high=0.1 * i - 0.2, baseline=i > 8)
        for i, name in enumerate(NAMES)
    ],
    references=[Reference(label="chance", value=0.5)],
)
AGREEMENT = AgreementFigure(title="Agreement", labels=NAMES, values=np.full((14, 14), -0.5))
FIGURES = [CURVES, BARS, AGREEMENT]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_places_are_apart_within_bounds_and_moved_no_more_than_needed(positions):
    gap = 0.05
    placed = spread_apart(positions, gap, 0, 1)
    ordered = np.sort(placed)
    assert (np.diff(ordered) >= gap - 1e-9).all()
    assert ordered[0] >= -1e-9
    assert ordered[-1] <= 1 + 1e-9
    apart = len(positions) == 1 or np.diff(np.sort(positions)).min() >= gap
    if apart:
        np.testing.assert_allclose(placed, positions, atol=1e-9)


@settings(max_examples=15)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=5))
def test_places_are_the_least_squares_solution(positions):
    positions = np.sort(positions)
    constraints = [{"type": "ineq", "fun": lambda y: np.diff(y) - 0.1}]
    start = np.linspace(0, 1, len(positions))
    best = minimize(
        lambda y: ((y - positions) ** 2).sum(), start, bounds=[(0, 1)] * len(start), constraints=constraints
    )
    found = spread_apart(positions, 0.1, 0, 1)
    assert ((found - positions) ** 2).sum() <= best.fun + 1e-5


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: type(figure).__name__)
def test_no_text_touches_another(figure, monkeypatch, tmp_path):
    """Measured on the drawing itself, with matplotlib's own boxes; slanted labels are left out."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Drawing
    from matplotlib.text import Text

    drawings = []
    saved = Drawing.savefig
    monkeypatch.setattr(
        Drawing, "savefig", lambda self, *a, **k: (drawings.append(self), saved(self, *a, **k))[1]
    )
    write_png(figure, tmp_path / "a.png", dots_per_inch=100)
    (drawing,) = drawings
    renderer = FigureCanvasAgg(drawing).get_renderer()
    texts = [
        text
        for text in drawing.findobj(Text)
        if text.get_text().strip() and text.get_visible() and text.get_rotation() in (0, 90)
    ]
    assert {text.get_text() for text in texts} >= set(NAMES)
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in texts]
    boxes = [(name, box) for name, box in boxes if box.width and box.height]
    for (name, box), (other, second) in combinations(boxes, 2):
        if name in NAMES or other in NAMES:
            assert not box.overlaps(second), f"{name} touches {other}"


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: type(figure).__name__)
def test_the_same_figure_gives_the_same_bytes(figure, tmp_path):
    first, second = (write_svg(figure, tmp_path / name).read_bytes() for name in ("a.svg", "b.svg"))
    assert first == second
    assert ElementTree.fromstring(first).tag.endswith("svg")


def test_text_is_shown_as_it_stands_and_adds_no_element(tmp_path):
    """Neither markup nor a dollar sign, which matplotlib would read as mathematics."""

    def elements(word):
        path = write_svg(replace(BARS, title=word, bars=[Bar(label=word, value=0.3)]), tmp_path / "a.svg")
        return {element.tag.rsplit("}")[-1] for element in ElementTree.fromstring(path.read_bytes()).iter()}

    assert elements("$\\frac{1}$ --> <script>alert(1)</script> \u202e") == elements("plain")


def test_without_matplotlib_the_mend_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(AitiaError, match="pip install matplotlib"):
        write_svg(BARS, tmp_path / "a.svg")
    assert not list(tmp_path.iterdir())


def test_a_failing_drawing_leaves_nothing_behind(monkeypatch, tmp_path):
    monkeypatch.setattr(still_module, "_draw_bars", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_svg(BARS, tmp_path / "a.svg")
    assert not list(tmp_path.iterdir())
