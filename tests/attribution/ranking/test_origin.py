"""A ranking that is read from a file finds its store and its concept again, or says which of them is missing."""

import shutil
from html import unescape

import numpy as np
import pytest

from aitia.attribution import rank, read_ranking, scan
from aitia.attribution.ranking.origin import Origin
from aitia.concepts import fit_concept, load_concept
from aitia.errors import AitiaError, ConceptError, StoreError
from aitia.models import load_model, save_model
from aitia.records import records_from_rows

SITE = "resid_post.1"


@pytest.fixture(scope="module")
def project(make_model, rows, tmp_path_factory):
    """A folder with a model, data, a store, a concept, and rankings of them as files."""
    import json

    folder = tmp_path_factory.mktemp("project")
    save_model(make_model("llama", layers=2), folder / "model")
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = load_model(folder / "model", device="cpu", dtype="float32")
    texts = [
        records_from_rows([{"prompt": f"Question {i}?\n", "completion": f"{word} {i}."} for i in range(8)])
        for word in ("garden", "nothing")
    ]
    concept = fit_concept(model, *texts, sites=[SITE], shuffles=3)
    concept.save(folder / "c.concept.safetensors")
    store = scan(model, folder / "data.jsonl", sites=[SITE], out=folder / "store")
    ranking = rank(store, concept, method="projection-difference-prompt", seed=5)
    ranking.write(folder / "r.parquet")
    return folder, ranking


def moved(project, tmp_path):
    shutil.copytree(project[0], tmp_path / "moved")
    return tmp_path / "moved"


def test_shares_controls_and_texts_are_made_again(project, tmp_path):
    folder, ranking = moved(project, tmp_path), project[1]
    read = read_ranking(folder / "r.parquet")
    assert read.top(3).rows == ranking.top(3).rows
    assert read.top(3).rows[0].completion
    whole = read.with_parts()
    assert whole.store.path == folder / "store"  # its own, not the one it was copied from
    assert [each.name for each in whole.controls] == [each.name for each in ranking.controls]
    for one, other in zip(whole.controls, ranking.controls, strict=True):
        np.testing.assert_allclose(one.scores, other.scores, rtol=1e-5, atol=1e-7)
    row = ranking.store.load_rows()[4]
    np.testing.assert_allclose(whole.token_shares(row), ranking.token_shares(row), rtol=1e-5, atol=1e-7)
    assert whole.with_parts() is whole


def test_a_report_from_the_file_is_the_report_from_memory(project, tmp_path):
    folder, ranking = project
    direct = ranking.report(tmp_path / "direct.html", label="planted").read_text()
    again = read_ranking(folder / "r.parquet").report(tmp_path / "again.html", label="planted").read_text()

    def figures(page):
        return [line for line in page.splitlines() if "title=" in line and "<span" in line]

    assert figures(direct) == figures(again)
    assert len(figures(direct)) > 10


def test_a_part_of_a_ranking_is_reported_on_too(project, tmp_path):
    folder, ranking = project
    ranking[:6].write(folder / "part.parquet")
    part = read_ranking(folder / "part.parquet").with_parts()
    assert len(part) == 6
    assert all(len(each.scores) == 6 for each in part.controls)
    np.testing.assert_allclose(
        part.direction_scores(part.concept.vector[None])[0], part.score, rtol=1e-5, atol=1e-7
    )
    part.report(tmp_path / "part.html")


def test_what_a_method_reads_besides_is_named(project, tmp_path):
    folder, ranking = project
    queries = records_from_rows([{"prompt": f"Query {i}?\n", "completion": f"garden {i}."} for i in range(3)])
    path = rank(ranking.store, ranking.concept, method="concept-gradient-product", queries=queries).write(
        folder / "q.parquet"
    )
    whole = read_ranking(path).with_parts()
    assert whole.lacking == "concept-gradient-product reads queries too, which the file does not keep"
    page = unescape(whole.report(tmp_path / "q.html").read_text())
    assert "Shares of tokens and controls are not shown: concept-gradient-product reads queries" in page


@pytest.mark.parametrize("lost", ["store", "concept"])
def test_what_is_missing_is_named_and_can_be_given(project, tmp_path, lost):
    folder, place = tmp_path / "elsewhere", project[0]
    (folder / "in").mkdir(parents=True)
    shutil.copytree(place / "store", folder / "in" / "store")
    shutil.copy(place / "c.concept.safetensors", folder / "in" / "c.concept.safetensors")
    read = read_ranking(shutil.copy(place / "r.parquet", folder / "r.parquet"))
    kept = "concept" if lost == "store" else "store"
    wrong = {"store": ["nowhere"], "concept": ["nowhere.concept.safetensors"]}
    right = {"store": ["in/store"], "concept": ["in/c.concept.safetensors"]}
    places = wrong | {kept: right[kept]}
    if lost == "concept":  # else it would be found beside the store
        (folder / "in" / "c.concept.safetensors").rename(folder / "c.safetensors")
    object.__setattr__(read, "origin", Origin(file=folder / "r.parquet", places=places))
    error = StoreError if lost == "store" else ConceptError
    with pytest.raises(error, match=rf"r\.parquet: the {lost} .*is not found .*nowhere"):
        read.report(tmp_path / "r.html")
    given = folder / ("in/store" if lost == "store" else "c.safetensors")
    assert read.with_parts(**{lost: given}).token_shares is not None
    with pytest.raises(AitiaError, match="nowhere"):
        read_ranking(place / "r.parquet").with_parts(store="nowhere")


def test_other_parts_are_refused(project, tmp_path):
    folder, ranking = project
    model = ranking.store.load_model()
    other = scan(
        model, ranking.store.load_records().only(ranking.ids[:9].tolist()), sites=[SITE], out=tmp_path / "o"
    )
    read = read_ranking(folder / "r.parquet")
    with pytest.raises(StoreError, match="its data are not those of the ranking"):
        read.with_parts(store=other)
    turned = load_concept(folder / "c.concept.safetensors")
    object.__setattr__(turned, "direction", -turned.direction)
    with pytest.raises(ConceptError, match="is not the one that the ranking is about"):
        read.with_parts(concept=turned)
    from dataclasses import replace

    with pytest.raises(AitiaError, match="neither a file nor its parts"):
        replace(ranking, store=None, origin=None).with_parts()
    with pytest.raises(AitiaError, match="neither a file nor its store"):
        replace(ranking, store=None, origin=None).open_store()
