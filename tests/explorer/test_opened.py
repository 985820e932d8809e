"""What is opened: whole runs, single files, half done runs, and parts that are missing; the rest always works."""

import json
import shutil

import numpy as np
import pyarrow.parquet as parquet
import pytest
from explorer.conftest import explorer_of, make_rows

from aitia.attribution import read_ranking
from aitia.errors import AitiaError
from aitia.explorer.opened import open_places
from aitia.explorer.rows.texts import whole_text


def test_a_run_folder_is_opened_with_all_that_lies_in_it(session, rows, run_folder):
    found = session.overview()
    assert [each["count"] for each in found["rows"]] == [60]
    assert found["rows"][0]["sites"] == ["resid_post.0", "resid_post.1"]
    assert [each["name"] for each in found["concepts"]] == ["garden"]
    assert found["autoencoders"] == ["sae"]
    assert [each["name"] for each in found["pages"]] == ["report.html"]
    assert found["figures"] == ["summary.json"]
    assert found["notices"] == []
    ranking = read_ranking(run_folder / "ranking.parquet")
    for name, values in ranking.scores.items():
        np.testing.assert_array_equal(rows.scores[f"ranking:{name}"].values, values)
    assert json.loads(json.dumps(found)) == json.loads(json.dumps(found, allow_nan=False))


def test_a_store_alone_is_enough(run_folder):
    session = explorer_of(run_folder / "store").session
    found = session.columns(0)
    assert found["scores"] == []
    assert session.page(0, {"limit": 1})["rows"][0]["response"] == make_rows()[0]["completion"]
    assert session.ask(0, {"kind": "rows", "positive": [3]})["scores"]


def test_a_ranking_finds_its_store(run_folder):
    session = explorer_of(run_folder / "ranking.parquet").session
    assert session.rows(0).store is not None
    assert len(session.rows(0).scores) == 4


def test_a_ranking_without_its_store_is_a_table_still(run_folder):
    shutil.rmtree(run_folder / "store")
    session = explorer_of(run_folder).session
    about = session.overview()["rows"][0]
    assert "no concept can be asked" in about["lacking"]
    assert "is not found" in about["lacking"]
    page = session.page(0, {"query": {"sort": "ranking:activation-gradient"}, "limit": 3})
    assert page["matched"] == 60
    assert page["rows"][0]["location"].startswith("train.jsonl:")
    assert session.columns(0)["texts"]["state"] == "absent"
    for ask in (
        lambda: session.ask(0, {"kind": "rows", "positive": [1]}),
        lambda: session.neighbours(0, 1, "", ""),
    ):
        with pytest.raises(AitiaError, match="is not found"):
            ask()
    with pytest.raises(AitiaError, match="texts cannot be searched"):
        session.page(0, {"query": {"text": "garden"}})


@pytest.mark.parametrize("how", ["gone", "changed"])
def test_a_store_without_its_texts_can_be_asked_still(run_folder, how):
    if how == "gone":
        (run_folder / "train.jsonl").unlink()
    else:
        (run_folder / "train.jsonl").write_text('{"text": "other"}\n')
    session = explorer_of(run_folder).session
    texts = session.columns(0)["texts"]
    assert texts["state"] == "absent"
    assert "train.jsonl" in texts["reason"]
    assert session.ask(0, {"kind": "rows", "positive": [1]})["scores"]
    row = session.row(0, 5)
    assert row["turns"] is None
    assert "train.jsonl" in row["texts"]["reason"]
    with pytest.raises(AitiaError, match="the data are not at hand"):
        session.export(0, {"choice": {"positions": [1]}, "name": "a"})


def test_a_scan_that_is_half_done_shows_its_rows(run_folder):
    shards = sorted((run_folder / "store" / "shards").iterdir())
    shards[-1].unlink()
    (run_folder / "ranking.parquet").unlink()
    session = explorer_of(run_folder).session
    assert f"1 of {len(shards)} shards are missing" in session.overview()["rows"][0]["lacking"]
    assert session.page(0, {"query": {"text": "garden"}})["matched"] > 0
    with pytest.raises(AitiaError, match="shards are missing"):
        session.ask(0, {"kind": "rows", "positive": [1]})


@pytest.mark.parametrize("name", ["ranking.parquet", "c.concept.safetensors", "summary.json"])
def test_a_damaged_file_is_a_notice(run_folder, name):
    content = (run_folder / name).read_bytes()
    (run_folder / name).write_bytes(content[: len(content) // 2])
    session = explorer_of(run_folder).session
    notices = session.overview()["notices"]
    if name != "ranking.parquet":  # half a Parquet file is none, and so nothing that is looked for
        assert any(name in each for each in notices), notices
    assert session.ask(0, {"kind": "rows", "positive": [1]})["scores"]


def test_a_ranking_of_other_rows_stands_by_itself(run_folder, made, tmp_path):
    other = tmp_path / "other.parquet"
    table = parquet.read_table(run_folder / "ranking.parquet")
    saved = json.loads(table.schema.metadata[b"aitia"])
    saved["provenance"]["data"]["fingerprint"] = "0" * 64
    parquet.write_table(table.slice(0, 5).replace_schema_metadata({"aitia": json.dumps(saved)}), other)
    session = explorer_of(run_folder, other).session
    assert [each["count"] for each in session.overview()["rows"]] == [60, 5]


def test_what_is_given_of_model_and_data_is_looked_at(run_folder, tmp_path):
    shutil.move(run_folder / "train.jsonl", tmp_path / "moved.jsonl")
    opened = open_places([run_folder / "store"], data=tmp_path / "moved.jsonl")
    assert opened.rows[0].texts.wait(60)
    assert opened.rows[0].texts.ready
    with pytest.raises(AitiaError, match=r"summary\.json"):
        open_places([run_folder / "store"], data=run_folder / "summary.json")
    with pytest.raises(AitiaError, match="nowhere"):
        open_places([run_folder / "store"], model=str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("place", "said"),
    [("nothing", "no such file"), ("model", "nothing to explore"), ("train.jsonl", "nothing to explore")],
)
def test_what_cannot_be_explored_is_said(run_folder, place, said):
    with pytest.raises(AitiaError, match=said):
        open_places([run_folder / place])


def test_halves_of_surrogate_pairs_do_no_harm():
    assert whole_text("a\ud800b") == "a?b"
    assert whole_text("naïve 🙂") == "naïve 🙂"


def test_columns_of_several_kinds(session):
    found = {each["name"]: each for each in session.columns(0)["columns"]}
    assert found["planted"]["kind"] == "flag"
    assert found["weight_of"]["kind"] == "number"
    assert found["source"]["kind"] == "words"
    assert set(found["source"]["words"]) == {"forum", "book", "letter"}
    assert "tags" not in found  # lists are shown with the row alone
    assert "tags" in session.row(0, 3)["extra"]
