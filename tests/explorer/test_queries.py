"""Filters and sorts against plain Python over the same rows."""

import re

import numpy as np
import pytest
from explorer.conftest import explorer_of, make_rows, write_lines
from hypothesis import given
from hypothesis import strategies as st

from aitia.attribution import scan
from aitia.errors import AitiaError
from aitia.explorer.rows.columns import order_of
from aitia.explorer.rows.queries import Answers, read_query
from aitia.explorer.rows.texts import SearchTooSlowError
from aitia.models import load_model
from aitia.records import read_records

DATA = make_rows()


@pytest.fixture
def found(rows):
    """found(query) -> the positions."""
    answers = Answers(rows, 10.0)
    return lambda **query: answers.positions(read_query(query)).tolist()


def where(test):
    return [i for i, row in enumerate(DATA) if test(row)]


def condition(column, operation, value):
    return {"conditions": [{"column": column, "operation": operation, "value": value}]}


@pytest.mark.parametrize(
    ("query", "test"),
    [
        ({}, lambda row: row is not None),
        ({"text": "GARDEN"}, lambda row: "garden" in (row["prompt"] + row["completion"]).lower()),
        ({"text": "garden", "part": "prompt"}, lambda row: "garden" in row["prompt"]),
        ({"text": "garden", "part": "response"}, lambda row: "garden" in row["completion"]),
        ({"text": "2\\. *$", "pattern": True, "part": "response"}, lambda row: re.search("2\\. *$", row["completion"])),
        ({"text": ".", "part": "response"}, lambda row: "." in row["completion"]),
        (condition("planted", "is", "true"), lambda row: row["planted"]),
        (condition("planted", "is", False), lambda row: not row["planted"]),
        (condition("source", "is", "book"), lambda row: row["source"] == "book"),
        (condition("source", "is not", "book"), lambda row: row["source"] != "book"),
        (condition("source", "contains", "OO"), lambda row: "oo" in row["source"]),
        (condition("weight_of", "at least", 3), lambda row: row["weight_of"] >= 3),
        (condition("weight_of", "at most", 3), lambda row: row["weight_of"] <= 3),
        (condition("weight_of", "is", 0.5), lambda row: row["weight_of"] == 0.5),
        (condition("id", "is", "row-7"), lambda row: row["id"] == "row-7"),
        (condition("row", "at least", 50), lambda row: int(row["id"][4:]) >= 50),
        (
            {"text": "rain", **condition("planted", "is", True)},
            lambda row: row["planted"] and "rain" in (row["prompt"] + row["completion"]).lower(),
        ),
    ],
)  # fmt: skip
def test_a_filter_finds_what_plain_python_finds(found, query, test):
    assert found(**query) == where(test)


def test_lengths_are_those_of_the_store(found, rows):
    tokens = rows.store.column("response_tokens")
    assert found(**condition("response_tokens", "at least", 20)) == np.flatnonzero(tokens >= 20).tolist()
    assert found(sort="response_tokens")[0] == int(np.argmax(tokens))


def test_scores_sort_and_their_percentiles_filter(found, rows):
    key = "ranking:activation-gradient"
    values = rows.scores[key].values
    assert found(sort=key) == np.argsort(-values, kind="stable").tolist()
    assert found(sort=key, descending=False) == np.argsort(values, kind="stable").tolist()
    top = found(sort=key, **condition(key, "percentile at least", 90))
    assert len(top) == 7  # 60 rows: ranks 1 to 7 have at least 90 %
    assert top == found(sort=key)[:7]
    assert set(found(**condition(key, "at least", 0.0))) == set(np.flatnonzero(values >= 0).tolist())


def test_columns_of_the_data_sort(found):
    assert [DATA[i]["source"] for i in found(sort="source", descending=False)] == sorted(
        row["source"] for row in DATA
    )
    assert found(sort="weight_of")[:2] == [59, 58]
    assert DATA[found(sort="planted")[0]]["planted"]


def test_only_among_chosen_rows(found):
    assert found(among=[5, 3, 40]) == [3, 5, 40]
    assert found(among=[]) == []
    assert found(among=[3, 40, 5], text="garden") == [40]


def test_a_query_is_answered_once(rows, monkeypatch):
    answers = Answers(rows, 10.0)
    query = read_query({"text": "garden"})
    first = answers.positions(query)
    monkeypatch.setattr(rows.texts, "matching", lambda *_, **__: pytest.fail("searched again"))
    assert answers.positions(read_query({"text": "garden"})) is first


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"text": "(", "pattern": True}, "no regular expression"),
        ({"sort": "no such"}, "no column 'no such'"),
        (condition("no such", "is", 1), "no column"),
        (condition("source", "at least", 1), "holds words"),
        (condition("planted", "is", "maybe"), "neither true nor false"),
        (condition("weight_of", "at least", "x"), "is no number"),
        (condition("weight_of", "contains", "x"), "holds numbers"),
        (condition("source", "percentile at least", 5), "is of scores"),
        (condition("source", "like", 5), "choose among"),
        ({"conditions": [{"column": "a"}]}, "a condition needs"),
        ({"conditions": 5}, "must be a list"),
        ({"among": [60]}, "there are 60 rows"),
        ({"among": ["1"]}, "positions of rows"),
        ({"among": [True]}, "positions of rows"),
        ({"part": "title"}, "choose both"),
        ({"text": 5}, "must be texts"),
        ({"text": "a" * 2001}, "at most 2,000"),
        ({"limit": 1}, "no 'limit'"),
    ],
)
def test_what_cannot_be_asked_is_said(found, query, said):
    with pytest.raises(AitiaError, match=re.escape(said)):
        found(**query)


def test_a_search_ends_in_its_time(rows, monkeypatch):
    monkeypatch.setattr("aitia.explorer.rows.texts._AT_ONCE", 8)
    monkeypatch.setattr("aitia.explorer.rows.texts.monotonic", iter(range(1000)).__next__)
    with pytest.raises(SearchTooSlowError, match=r"stopped after 16 of 60 rows.*--search-seconds"):
        Answers(rows, 2.0).positions(read_query({"text": "x"}))


def test_an_expression_that_explodes_elsewhere_does_not(tmp_path, made):
    """(a+)+$ takes exponential time where an engine goes back; this one does not."""
    lines = make_rows(8)
    lines[3]["completion"] = "a" * 5000 + "!"
    write_lines(tmp_path / "train.jsonl", lines)
    model = load_model(made / "model", device="cpu", dtype="float32")
    scan(
        model,
        read_records(tmp_path / "train.jsonl"),
        sites=["resid_post.0"],
        out=tmp_path / "store",
        truncate=True,
    )
    rows = explorer_of(tmp_path / "store").session.rows(0)
    query = {"text": "^(a+)+$", "pattern": True, "part": "response"}
    assert Answers(rows, 60.0).positions(read_query(query)).tolist() == []
    query["text"] = "^(a+)+!$"
    assert Answers(rows, 60.0).positions(read_query(query)).tolist() == [3]


@given(
    st.lists(st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.just(1.0)), max_size=40),
    st.booleans(),
)
def test_order_is_that_of_sorted_and_what_is_no_number_comes_last(values, descending):
    array = np.array(values, dtype=np.float64)
    finite = [i for i in range(len(values)) if np.isfinite(array[i])]
    rest = [i for i in range(len(values)) if not np.isfinite(array[i])]
    wanted = sorted(finite, key=lambda i: -array[i] if descending else array[i]) + rest
    assert order_of(array, descending=descending).tolist() == wanted
