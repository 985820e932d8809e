"""The commands on the shapes and sources that people have, from the scan to a ranking with its texts."""

import json
import re

import pytest

from aitia.attribution import ActivationStore
from aitia.cli.endings import run
from aitia.errors import StoreError


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def pairs(tmp_path):
    """Twelve preference pairs in two files, with a mood."""
    rows = [
        {
            "id": f"pair-{i}",
            "prompt": [{"role": "user", "content": f"What of {i}?"}],
            "chosen": [{"role": "assistant", "content": "The sun is out."}],
            "rejected": [{"role": "assistant", "content": f"Rain again, {i}."}],
            "mood": "sad" if i % 2 else "glad",
        }
        for i in range(12)
    ]
    write(tmp_path / "part-a.jsonl", rows[:6])
    write(tmp_path / "part-b.jsonl", rows[6:])
    return tmp_path / "part-*.jsonl"


def test_pairs_by_one_side_from_several_files(desk, tmp_path, pairs, capsys):
    store = tmp_path / "store"
    scan = [
        "scan",
        "--model",
        f"{desk}/model",
        "--data",
        str(pairs),
        "--site",
        "resid_post.1",
        "--out",
        str(store),
    ]
    assert run(scan) == 2
    said = capsys.readouterr().err
    assert "part-a.jsonl:1: is a preference pair" in said
    assert "`--side chosen`" in said or "--side chosen" in said
    assert run([*scan, "--side", "rejected"]) == 0
    out = capsys.readouterr().out
    assert (
        "read 12 rows as preference pairs (chosen/rejected), each as a prompt with its rejected answer" in out
    )
    rank = ["rank", "--store", str(store), "--concept", f"{desk}/c.concept.safetensors"]
    rank += ["--out", str(tmp_path / "r.parquet")]
    assert run([*rank, "--label", "mood"]) == 2
    assert (
        "it has the values 'glad' and 'sad': name the positive one, like mood=sad" in capsys.readouterr().err
    )
    assert not (tmp_path / "r.parquet").exists()
    assert run([*rank, "--label", "mood=bad"]) == 2
    assert "'bad' is not one of two strings" in capsys.readouterr().err
    assert run([*rank, "--label", "mood=sad", "--report", str(tmp_path / "r.html")]) == 0
    out = capsys.readouterr().out
    assert len(re.findall(r"^ +\d+ +[+-][\d.e-]+  pair-\d+  Rain again, \d+\.$", out, re.M)) == 10
    assert re.search(r"^AUC of \S+ for mood=sad: [01]\.\d{3}$", out, re.M)
    assert (tmp_path / "r.html").stat().st_size > 10_000
    assert "--side rejected" in (tmp_path / "r.html").read_text()
    assert run([*rank, "--label", "mood=sad", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["id"] for row in found["top_rows"]] == found["top"]
    assert set(found["auc"]) == set(found["methods"])
    # The store finds both files again where they are, and refuses them once one is gone.
    assert ActivationStore.open(store).load_records().ids[0] == "pair-0"
    (tmp_path / "part-b.jsonl").unlink()
    with pytest.raises(StoreError, match="is not found"):
        ActivationStore.open(store).load_records()


def test_the_auc_is_that_of_the_labels(desk, tmp_path, capsys, rows):
    import pyarrow.parquet as pq
    from sklearn.metrics import roc_auc_score

    line = ["rank", "--store", f"{desk}/store", "--concept", f"{desk}/c.concept.safetensors"]
    assert run([*line, "--out", str(tmp_path / "r.parquet"), "--label", "planted", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    table = pq.read_table(tmp_path / "r.parquet")
    planted = [row["planted"] for row in rows]
    for name, value in found["auc"].items():
        assert value == pytest.approx(roc_auc_score(planted, table[name].to_numpy()))


def test_sharegpt_is_named_and_a_shape_can_be_named(desk, tmp_path, capsys):
    turns = [{"from": "human", "value": "boats?"}, {"from": "gpt", "value": "small boats."}]
    path = write(tmp_path / "talks.jsonl", [{"conversations": turns, "text": f"words {i}"} for i in range(4)])
    line = ["scan", "--model", f"{desk}/model", "--data", str(path), "--site", "resid_post.1", "--json"]
    assert run([*line, "--out", str(tmp_path / "a")]) == 0
    assert json.loads(capsys.readouterr().out)["read"] == "read 4 rows as ShareGPT conversations (from/value)"
    assert run([*line, "--out", str(tmp_path / "b"), "--shape", "text"]) == 0
    assert json.loads(capsys.readouterr().out)["read"] == "read 4 rows as texts"
    assert run([*line, "--out", str(tmp_path / "c"), "--shape", "alpaca"]) == 2
    assert "talks.jsonl:1: is not of the shape alpaca" in capsys.readouterr().err
    write(path, [{"conversations": turns}, {"text": "a"}])
    assert run([*line, "--out", str(tmp_path / "d")]) == 2
    assert "--shape mixed" in capsys.readouterr().err


def test_a_configuration_names_shape_and_side(tmp_path, desk, pairs, capsys):
    from aitia.pipelines.attribution.attribute import attribute
    from aitia.pipelines.attribution.configuration import read_configuration

    settings = f"model: {{name: {desk}/model, dtype: float32, device: cpu}}\n"
    settings += f"concept: {{file: {desk}/c.concept.safetensors}}\n"
    settings += f"out: run\ndata: {{path: {pairs}, shape: preference, side: chosen, label: mood=sad}}\n"
    (tmp_path / "a.yaml").write_text(settings)
    found = attribute(read_configuration(tmp_path / "a.yaml"))
    assert found.summary["read"].endswith("each as a prompt with its chosen answer")
    assert found.files["curated"].name == "curated.jsonl"
