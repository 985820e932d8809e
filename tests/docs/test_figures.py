"""The tables of the docs say what the results of the benchmarks say."""

import json
import shutil
from pathlib import Path

import pytest

from document import RESULTS, TABLES, filled, marked, pages

ROOT = Path(__file__).parents[2]
PAGES = [page for page in pages(ROOT) if "<!-- table:" in page.read_text(encoding="utf-8")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_is_in_step_with_the_results(page):
    text = page.read_text(encoding="utf-8")
    assert filled(text) == text, "run `make figures`"


def test_every_marker_has_a_function_and_every_function_one_marker():
    names = [name for page in PAGES for name in marked(page.read_text(encoding="utf-8"))]
    assert sorted(names) == sorted(TABLES)


def moved(value):
    """The same results with every figure changed that a table may show."""
    if isinstance(value, dict):
        return {key: moved(each) for key, each in value.items()}
    if isinstance(value, list):
        return [moved(each) for each in value]
    return value + 1000.0 if isinstance(value, float) else value


@pytest.mark.parametrize("name", TABLES)
def test_other_figures_make_another_table(name):
    results = json.loads((RESULTS / f"{TABLES[name].source}.json").read_text(encoding="utf-8"))
    assert TABLES[name].make(moved(results)) != TABLES[name].make(results)


def test_one_changed_figure_changes_its_cell_and_no_other(tmp_path):
    shutil.copy(RESULTS / "truth.json", tmp_path)
    page = (ROOT / "docs" / "truth.md").read_text(encoding="utf-8")
    path = tmp_path / "truth.json"
    results = json.loads(path.read_text(encoding="utf-8"))
    row = next(
        row
        for row in results["rows"]
        if "lds" in row and (row["method"], row["behaviour"]) == ("random", "likelihood margin")
    )
    row["lds"] = -0.126
    path.write_text(json.dumps(results), encoding="utf-8")
    lines = zip(page.splitlines(), filled(page, tmp_path).splitlines(), strict=True)
    assert [new.split(" | ")[2][:7] for old, new in lines if old != new] == ["−0.13 ("]


def test_without_results_a_block_stays_as_it_is(tmp_path):
    text = "a\n<!-- table: truth.finding -->\n\n| by hand |\n\n<!-- end -->\nb\n"
    assert filled(text, tmp_path) == text


@pytest.mark.parametrize(
    "text, said",
    [
        ("<!-- table: truth.finding -->\n\n| x |\n", "markers"),
        ("<!-- table: truth.no_such -->\n<!-- end -->\n", "no function for the table truth.no_such"),
    ],
)
def test_a_broken_marker_is_refused(text, said):
    with pytest.raises(ValueError, match=said):
        filled(text)
