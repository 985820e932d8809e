"""What objects show of themselves: short, and with hostile text as text."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aitia.attribution import Ranking, read_ranking
from aitia.attribution.ranking import RankedIds, RankedRow
from aitia.concepts import Concept
from aitia.notebook import Shaded, html_block
from aitia.records import records_from_rows

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&amp;\ud83d"
STYLE = r"text-align: left|background-color: rgba\((214, 94, 0|0, 114, 178), 0\.\d\d\)"
TAGS = {"span", "div", "strong", "ul", "li", "table", "thead", "tbody", "tr", "th", "td"}


class Tags(HTMLParser):
    """The elements of a page and its text."""

    def __init__(self):
        super().__init__()
        self.found, self.text = set(), ""

    def handle_starttag(self, tag, attrs):
        self.found.add(tag)
        assert all(name == "style" and re.fullmatch(STYLE, value) for name, value in attrs)

    def handle_data(self, data):
        self.text += data


def parsed(html):
    html.encode()
    page = Tags()
    page.feed(html)
    assert page.found <= TAGS
    return page


@given(st.text(), st.text(), st.text())
def test_nothing_that_is_given_is_markup(title, name, value):
    page = parsed(html_block(title, {name: value}, [name], [[value], [1.0]]))
    assert "1" in page.text


@given(st.lists(st.tuples(st.text(), st.floats(-2, 2))))
def test_a_shaded_text_is_text(pieces):
    page = parsed(html_block("t", {}, ["c"], [[Shaded(pieces)]]))
    assert page.found <= TAGS
    assert (
        parsed(html_block("t", {}, ["c"], [[Shaded([(HOSTILE, 1.0), (HOSTILE, 0.0)])]])).text.count(
            "onerror="
        )
        == 2
    )


def test_a_ranking_shades_the_tokens_of_its_top_rows(make_model, tmp_path):
    """The strength of a colour is a token's share of the score, computed by hand."""
    from aitia.attribution import rank, scan
    from aitia.models import trace
    from aitia.records import pad_batch

    model = make_model("llama", layers=2)
    rows = [{"id": f"{i}", "prompt": f"Why {i}? ", "completion": f"The <b>sun</b> & {i}."} for i in range(6)]
    store = scan(model, records_from_rows(rows), sites=["resid_post.1"], out=tmp_path / "store")
    direction = np.random.default_rng(0).normal(size=(1, model.width)).astype(np.float32)
    concept = Concept(
        name="c", site="resid_post.1", direction=direction, recipe={}, model_name=model.name,
        model_fingerprint=model.fingerprint, base_fingerprint=model.base_fingerprint,
    )  # fmt: skip
    ranking = rank(store, concept, method="vector-filter", compare=[], random_controls=0)
    page = ranking._repr_html_()
    assert "<b>" not in page
    assert "<b>sun</b>" in parsed(page).text
    shares = {}
    for row in store.load_rows():
        hidden = trace(model, pad_batch([row], np.array([0]), model.pad_id), ["resid_post.1"])[
            "resid_post.1"
        ][0]
        shares[row.id] = (hidden.float().numpy() @ concept.vector)[row.response] / row.response.sum()
    largest = max(np.abs(each).max() for each in shares.values())
    wanted = [f"{abs(each) / largest * 0.6:.2f}" for name in ranking.top(6) for each in shares[name]]
    found = re.findall(r"rgba\(\d+, \d+, \d+, ([\d.]+)\)", page)
    assert len(found) == len(wanted)
    assert np.allclose(np.array(found, float), np.array(wanted, float), atol=0.011)
    store.model = None  # which is not loaded for a mere look
    assert "rgba" not in ranking._repr_html_()


def made(n=1000, text="row", name="a concept"):
    rng = np.random.default_rng(0)
    ids = np.array([f"{text}-{i}" for i in range(n)], dtype=object)
    return Ranking(
        method="m",
        ids=ids,
        contents=np.array([f"{i:016x}" for i in range(n)], dtype=object),
        rows=np.arange(n),
        locations=np.array([f"{text}.jsonl:{i + 1}" for i in range(n)], dtype=object),
        prompt_tokens=np.full(n, 3),
        response_tokens=np.full(n, 4),
        scores={"m": rng.normal(size=n), "other": rng.normal(size=n)},
        provenance={"concept": {"name": name}},
    )


class Store:
    """A store that has its training data at hand."""

    def __init__(self, rows):
        self.records = records_from_rows(rows)

    def load_records(self):
        return self.records


def test_a_ranking_is_short_and_hostile_text_is_text():
    from dataclasses import replace

    ranking = made()
    assert len(repr(ranking)) < 200
    assert "1,000 rows by m of “a concept”" in repr(ranking)
    hostile = made(3, HOSTILE.replace("\ud83d", ""), HOSTILE)
    page = parsed(hostile._repr_html_())
    assert "<script>alert(1)</script>" in page.text
    store = Store([{"id": name, "prompt": HOSTILE[:-1], "completion": HOSTILE[:-1]} for name in hostile.ids])
    shown = replace(hostile, store=store)
    assert parsed(shown._repr_html_()).text.count("onerror=alert(2)") >= 9
    assert parsed(shown.top(2)._repr_html_()).text.count("onerror=alert(2)") >= 6


def test_the_top_of_a_ranking_knows_its_rows():
    from dataclasses import replace

    ranking = made(20)
    top = ranking.top(5)
    assert isinstance(top, RankedIds)
    order = sorted(range(20), key=lambda i: -ranking.score[i])
    assert list(top) == [ranking.ids[i] for i in order[:5]]
    assert [row.rank for row in top.rows] == [1, 2, 3, 4, 5]
    assert all(row.completion is None for row in top.rows)
    rows = [{"id": name, "prompt": f"p {name}", "completion": f"c {name}"} for name in ranking.ids]
    first = replace(ranking, store=Store(rows)).top(1).rows[0]
    assert first == RankedRow(
        rank=1,
        score=float(ranking.score[order[0]]),
        id=ranking.ids[order[0]],
        location=ranking.locations[order[0]],
        prompt=f"p {ranking.ids[order[0]]}",
        completion=f"c {ranking.ids[order[0]]}",
    )
    assert f"{first.id}  c {first.id}" in first.line


def test_a_slice_is_a_ranking_of_these_places(tmp_path):
    ranking = made(20)
    part = ranking[5:10]
    order = sorted(range(20), key=lambda i: -ranking.score[i])
    assert [part.ids[i] for i in part.order] == [ranking.ids[i] for i in order[5:10]]
    assert part.scores["other"].tolist() == [ranking.scores["other"][i] for i in sorted(order[5:10])]
    assert len(ranking[:3]) == len(read_ranking(ranking[:3].write(tmp_path / "a.parquet"))) == 3
    with pytest.raises(TypeError, match=r"like ranking\[:20\]"):
        ranking[0]


def test_a_ranking_is_a_table(tmp_path):
    import pyarrow.parquet as pq

    ranking = made(20)
    table = ranking.to_arrow()
    assert table.equals(pq.read_table(ranking.write(tmp_path / "a.parquet")))
    frame = ranking.to_pandas()
    assert frame["rank"].tolist() == list(range(1, 21))
    assert frame["id"].tolist() == list(ranking.top(20))
    assert frame["score"].is_monotonic_decreasing
    assert ranking.to_arrow(texts=True).column_names[-2:] == ["prompt", "completion"]


def test_records_concepts_and_stores_show_themselves(tmp_path):
    from aitia.attribution import ActivationStore

    rows = [{"id": f"{i}{HOSTILE[:-1]}", "text": HOSTILE[:-1]} for i in range(50)]
    records = records_from_rows(rows)
    page = parsed(records._repr_html_())
    assert "read 50 rows as texts" in page.text
    assert page.text.count("onerror=alert(2)") == 20  # ten rows, an id and a text each
    assert len(repr(records)) < 200
    concept = Concept(
        name=HOSTILE,
        site="resid_post.1",
        direction=np.ones((2, 300), np.float32),
        model_name=HOSTILE,
        model_fingerprint="a",
        base_fingerprint="b",
        recipe={"recipe": HOSTILE},
    )
    assert "2 of 300 numbers" in parsed(concept._repr_html_()).text
    assert len(repr(concept)) < 300
    manifest = {
        "model": {"name": HOSTILE, "adapter": None},
        "data": {"rows": 7, "source": HOSTILE, "skipped": []},
        "settings": {"sites": ["resid_post.1"], "activations": ["response"]},
        "shards": 1,
    }
    store = ActivationStore(tmp_path, json.loads(json.dumps(manifest)))
    assert "Activations of 7 rows" in parsed(store._repr_html_()).text
    assert len(repr(store)) < 300


def test_a_scorecard_shows_itself():
    from aitia import evaluate
    from aitia.explanations.examples import count_network, gates_explanation, xor_phenomenon

    card = evaluate(gates_explanation(xor_phenomenon(count_network())))
    page = parsed(card._repr_html_())
    assert all(each.name in page.text for each in card.results)
    assert len(repr(card)) < 300
