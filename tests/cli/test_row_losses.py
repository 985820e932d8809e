"""The commands on rows under other losses than supervised fine-tuning: from a training to the ranking of a run."""

import json

import pytest

from aitia.attribution import read_ranking
from aitia.cli.endings import run
from aitia.records import read_records
from aitia.training import read_run


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def pairs(tmp_path):
    rows = [
        {
            "id": f"pair-{i}",
            "prompt": f"What of {i}?\n",
            "chosen": f"The sun, {i}.",
            "rejected": "Rain again.",
        }
        for i in range(8)
    ]
    return write(tmp_path / "pairs.jsonl", rows)


@pytest.fixture
def trained(desk, tmp_path, pairs):
    """The folder of a run on the pairs with DPO."""
    (tmp_path / "train.yaml").write_text(
        f"out: run\nmodel: {{name: {desk}/model, device: cpu, dtype: float32}}\n"
        f"data: {{path: {pairs}, loss: dpo, beta: 0.2}}\n"
        "training: {rank: 2, epochs: 2, per_device_train_batch_size: 4, epsilon_root: 1.0e-6}\n"
    )
    assert run(["train", str(tmp_path / "train.yaml")]) == 0
    return tmp_path / "run"


def test_pairs_from_training_to_replay(desk, tmp_path, pairs, trained, capsys):
    assert run(["train", str(tmp_path / "train.yaml"), "--json"]) == 0  # it is read
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["loss"] == "dpo"
    assert said["first_loss"] == pytest.approx(0.6931, abs=1e-3)
    assert read_run(trained).loss.beta == 0.2
    store = tmp_path / "store"
    scan = ["scan", "--model", f"{desk}/model", "--adapter", f"{trained}/adapter", "--data", str(pairs)]
    scan += ["--site", "resid_post.1", "--out", str(store), "--dtype", "float32", "--device", "cpu"]
    assert run([*scan, "--loss", "dpo", "--beta", "0.2"]) == 0
    capsys.readouterr()
    rank = ["rank", "--store", str(store), "--concept", f"{desk}/c.concept.safetensors"]
    rank += ["--out", str(tmp_path / "r.parquet"), "--queries", f"{desk}/positive.jsonl"]
    rank += ["--random-controls", "1", "--shuffled-controls", "0"]
    for more in (
        ["--method", "concept-influence"],
        ["--method", "replay", "--compare", "tracin", "--run", str(trained)],
    ):
        assert run([*rank, *more]) == 0, capsys.readouterr().err
        assert len(read_ranking(tmp_path / "r.parquet")) == 8
    curvature = tmp_path / "c.safetensors"
    fit = [
        "fit-curvature",
        "--model",
        f"{desk}/model",
        "--adapter",
        f"{trained}/adapter",
        "--data",
        str(pairs),
    ]
    assert run([*fit, "--kind", "diagonal", "--out", str(curvature), "--dtype", "float32"]) == 0
    assert run([*rank, "--method", "influence", "--curvature", str(curvature)]) == 0
    made = read_ranking(tmp_path / "r.parquet")
    assert list(made.sides) == ["chosen", "rejected"]
    assert made.provenance["data"]["loss"] == {"loss": "dpo", "beta": 0.2}
    alone = [word for word in rank if word not in ("--queries", f"{desk}/positive.jsonl")]
    assert run([*alone, "--method", "vector-filter"]) == 2
    assert "method vector-filter does not read the gradient of a row's loss" in capsys.readouterr().err


def test_attribute_takes_the_loss_from_its_data(desk, tmp_path, pairs, trained, capsys):
    text = (
        f"out: result\nmodel: {{name: {desk}/model, adapter: {trained}/adapter, device: cpu, dtype: float32}}\n"
        f"data: {{path: {pairs}, loss: dpo, beta: 0.2}}\n"
        f"concept: {{file: {desk}/c.concept.safetensors}}\n"
        f"rank: {{method: concept-influence, compare: [activation-gradient], queries: {desk}/positive.jsonl}}\n"
    )
    (tmp_path / "a.yaml").write_text(text)
    assert run(["plan", str(tmp_path / "a.yaml"), "--teraflops", "1"]) == 0
    assert run(["attribute", str(tmp_path / "a.yaml")]) == 0, capsys.readouterr().err
    made = read_ranking(tmp_path / "result" / "ranking.parquet")
    assert list(made.scores) == ["concept-influence", "activation-gradient"]
    assert list(made.sides) == ["chosen", "rejected"]
    assert "rejected" in (tmp_path / "result" / "report.html").read_text()
    (tmp_path / "b.yaml").write_text(text.replace("[activation-gradient]", "[tf-idf]"))
    capsys.readouterr()
    assert run(["attribute", str(tmp_path / "b.yaml")]) == 2
    assert "rank.compare tf-idf does not read the gradient of a row's loss" in capsys.readouterr().err


def test_rows_that_do_not_fit_the_loss_are_named(desk, tmp_path, pairs, capsys):
    scan = ["scan", "--model", f"{desk}/model", "--site", "resid_post.1", "--out", str(tmp_path / "s")]
    assert run([*scan, "--data", str(pairs), "--loss", "kto"]) == 2
    assert "pairs.jsonl:1: is a preference pair" in capsys.readouterr().err
    rewarded = write(
        tmp_path / "rl.jsonl",
        [
            {"prompt": f"{i}?\n", "completion": "yes", "reward": each}
            for i, each in enumerate([1.0, "much", 0])
        ],
    )
    wrong = [*scan, "--data", str(rewarded), "--loss", "policy-gradient"]
    assert run(wrong) == 2
    said = capsys.readouterr().err
    assert "rl.jsonl:1: has no column 'advantage'" in said
    assert run([*wrong, "--advantage", "reward"]) == 2
    assert "rl.jsonl:2: column 'reward' is 'much', not a number" in capsys.readouterr().err
    assert run([*wrong, "--advantage", "reward", "--on-error", "skip"]) == 0
    out = capsys.readouterr().out
    assert "2 rows scanned" in out
    assert "change no score" not in out
    assert run([*scan, "--data", str(pairs), "--loss", "dpo", "--beta", "0"]) == 2
    assert "beta" in capsys.readouterr().err


def test_pairs_are_chosen_by_a_run_of_their_own_loss(desk, tmp_path, pairs, trained, capsys):
    line = ["curate", "--data", str(pairs), "--run", str(trained), "--lower", f"{desk}/c.concept.safetensors"]
    line += ["--queries", f"{desk}/positive.jsonl", "--share", "0.25", "--json"]
    made, gone = tmp_path / "kept.jsonl", tmp_path / "gone.jsonl"
    assert run([*line, "--out", str(made), "--removed", str(gone)]) == 0, capsys.readouterr().err
    capsys.readouterr()
    left, dropped = read_records(made), read_records(gone)
    assert len(left) + len(dropped) == 8
    assert 0 < len(dropped) <= 2
    assert all(record.rejected is not None for record in (*left, *dropped))
