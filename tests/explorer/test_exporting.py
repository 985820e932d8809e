"""What removal is predicted to do, and what is written, against sums by hand and the library's own curation."""

import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from explorer.conftest import explorer_of

from aitia.cli.endings import run
from aitia.errors import AitiaError
from aitia.files import read_json
from aitia.records import read_records

KEY = "ranking:activation-gradient"
PLANTED = {"column": "planted", "operation": "is", "value": True}


def test_the_predicted_effect_is_the_sum_of_the_scores(session, rows):
    values = rows.scores[KEY].values
    top = np.argsort(-values, kind="stable")[:6]
    (found,) = session.removal(0, {"choice": {"score": KEY, "amount": "10%"}, "by": KEY})["effects"]
    assert found["count"] == 6
    assert found["removed"] == pytest.approx(values[top].sum())
    assert found["total"] == pytest.approx(values.sum())
    assert found["positive_share"] == pytest.approx(
        np.maximum(values[top], 0).sum() / np.maximum(values, 0).sum()
    )
    assert found["flags"] == {"planted": [int((top % 4 == 0).sum()), 15]}
    assert found["tokens"][0] == int(rows.store.column("response_tokens")[top].sum())


def test_rows_at_random_have_the_range_that_drawing_gives(session, rows):
    values = rows.scores[KEY].values
    (found,) = session.removal(0, {"choice": {"score": KEY, "amount": "12"}, "by": KEY})["effects"]
    generator = np.random.default_rng(0)
    sums = [values[generator.choice(60, 12, replace=False)].sum() for _ in range(20_000)]
    expected, low, high = found["random"]
    assert expected == pytest.approx(np.mean(sums), abs=4 * np.std(sums) / 141)
    assert (high - low) / 3.92 == pytest.approx(np.std(sums), rel=0.03)


@pytest.mark.parametrize("end", ["top", "bottom"])
def test_curated_data_and_the_commands_that_do_the_same(session, run_folder, end, tmp_path):
    choice = {"score": KEY, "amount": "20%", "end": end}
    found = session.export(0, {"choice": choice, "name": "mine"})
    assert (found["kept"], found["removed"]) == (48, 12)
    kept = (run_folder / "explored" / "mine.kept.jsonl").read_bytes()
    own = (run_folder / "train.jsonl").read_bytes().splitlines(keepends=True)
    assert set(kept.splitlines(keepends=True)) < set(own)
    (line,) = found["commands"]
    again = line.replace("explored/mine.", "again-")
    assert run(shlex.split(again)[1:]) == 0
    assert (run_folder / "again-kept.jsonl").read_bytes() == kept


def test_an_asked_concept_is_written_with_commands_that_rank_by_it(session, run_folder):
    (scores,) = session.ask(0, {"kind": "rows", "positive": [0, 4]})["scores"]
    found = session.export(0, {"choice": {"score": scores["key"], "amount": "5"}, "name": "like"})
    kept = (run_folder / "explored" / "like.kept.jsonl").read_bytes()
    for line in found["commands"]:
        assert (
            run(
                shlex.split(line.replace("like.kept", "again.kept").replace("like.removed", "again.removed"))[
                    1:
                ]
            )
            == 0
        )
    assert (run_folder / "explored" / "again.kept.jsonl").read_bytes() == kept


@pytest.mark.parametrize(
    ("choice", "gone"),
    [
        ({"positions": [3, 1, 59]}, {"row-1", "row-3", "row-59"}),
        ({"query": {"conditions": [PLANTED]}}, {f"row-{i}" for i in range(0, 60, 4)}),
        ({"score": "ranking:vector-filter", "amount": "0"}, set()),
    ],
)  # fmt: skip
def test_rows_by_hand_or_by_filter(session, run_folder, choice, gone):
    found = session.export(0, {"choice": choice, "name": "x"})
    folder = run_folder / "explored"
    assert set(read_records(folder / "x.kept.jsonl").ids) == {f"row-{i}" for i in range(60)} - gone
    kept = (folder / "x.kept.jsonl").read_bytes()
    line = found["commands"][-1].replace("x.kept", "y.kept")
    _, *arguments = shlex.split(line)
    subprocess.run([sys.executable, *arguments], check=True, cwd=run_folder)
    assert (folder / "y.kept.jsonl").read_bytes() == kept


def test_nothing_is_written_over(session, run_folder):
    session.export(0, {"choice": {"positions": [1]}, "name": "once"})
    before = {path: path.read_bytes() for path in (run_folder / "explored").iterdir()}
    with pytest.raises(AitiaError, match="choose another name"):
        session.export(0, {"choice": {"positions": [2]}, "name": "once"})
    assert {path: path.read_bytes() for path in (run_folder / "explored").iterdir()} == before


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({}, "in one way"),
        ({"positions": [1], "score": KEY}, "in one way"),
        ({"score": "no"}, "ask again"),
        ({"score": KEY, "amount": "many"}, "neither a share"),
        ({"score": KEY, "amount": "nan%"}, "neither a share"),
        ({"score": KEY, "amount": "inf%"}, "neither a share"),
        ({"score": KEY, "amount": "61"}, "there are 60 rows"),
        ({"score": KEY, "amount": "-1"}, "there are 60 rows"),
        ({"score": KEY, "amount": "1", "end": "middle"}, "choose top or bottom"),
        ({"positions": [60]}, "there are 60 rows"),
        ({"positions": list(range(60))}, "all rows would go"),
    ],
)
def test_a_choice_that_is_none_is_refused(session, choice, said):
    with pytest.raises(AitiaError, match=said):
        session.export(0, {"choice": choice, "name": "x"})


def test_saved_picks_are_there_at_the_next_start(session, run_folder):
    file = session.save_picks(0, [5, 9])["file"]
    assert read_json(file)["ids"] == ["row-5", "row-9"]
    assert explorer_of(run_folder).session.columns(0)["picks"] == [5, 9]
    Path(file).write_text("{", encoding="utf-8")
    assert explorer_of(run_folder).session.columns(0)["picks"] == []


def test_a_concept_is_saved_under_a_free_name(session, run_folder):
    (scores,) = session.ask(0, {"kind": "rows", "positive": [0]})["scores"]
    session.save_concept(0, scores["key"], "mine")
    found = explorer_of(run_folder, run_folder / "explored" / "mine.concept.safetensors").session
    assert {"garden", "like row-0"} == {each["name"] for each in found.overview()["concepts"]}
    for name in ("mine", "../mine"):
        with pytest.raises(AitiaError):
            session.save_concept(0, scores["key"], name)
    with pytest.raises(AitiaError, match="come from a file"):
        session.save_concept(0, KEY, "other")
