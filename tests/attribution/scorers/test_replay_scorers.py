"""Scorers that go through a recorded run: the same numbers as their functions, and refusals before any work."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from aitia.attribution import rank, read_ranking, scan
from aitia.attribution.replay import checkpoint_influence, projection_target, smooth_replay
from aitia.cli import app
from aitia.concepts import fit_concept
from aitia.errors import AitiaError, StoreError
from aitia.models import load_model, save_model
from aitia.records import read_records
from aitia.training import LoraSettings, read_run, train

SITE = "resid_post.2"


@pytest.fixture(scope="module")
def made(make_model, rows, tmp_path_factory):
    """A folder with base, data, texts, a recorded run, a store of the trained model and a concept."""
    folder = tmp_path_factory.mktemp("replay")
    save_model(make_model("llama"), folder / "base")
    sides = {
        word: [{"prompt": f"Question {i}?\n", "completion": f"{word} {i}."} for i in range(6)]
        for word in ("garden", "nothing")
    }
    asked = [{"prompt": f"What of {i}?\n", "completion": f"A garden {i}."} for i in range(3)]
    for name, lines in {"train": rows[:10], **sides, "queries": asked}.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    data = read_records(folder / "train.jsonl")
    settings = LoraSettings(rank=2, epochs=2, per_device_train_batch_size=4, learning_rate=5e-3)
    train(base_of(folder), data, settings, folder / "run")
    tuned = load_model(folder / "base", adapter=folder / "run" / "adapter", device="cpu", dtype="float32")
    texts = [read_records(folder / f"{name}.jsonl") for name in sides]
    concept = fit_concept(tuned, *texts, sites=[SITE], shuffles=2)
    concept.save(folder / "c.concept.safetensors")
    return folder, concept, scan(tuned, data, sites=[SITE], out=folder / "store"), data


def base_of(folder):
    return load_model(folder / "base", device="cpu", dtype="float32")


def test_scores_are_those_of_the_functions(made):
    folder, concept, store, data = made
    queries = read_records(folder / "queries.jsonl")
    methods = ("replay", "checkpoint-influence", "tracin")
    found = rank(
        store,
        concept,
        method=methods[0],
        compare=methods[1:],
        queries=queries,
        run=folder / "run",
        random_controls=1,
    )
    run, target = read_run(folder / "run"), projection_target(concept, queries)
    expected = {
        "replay": smooth_replay([run], base_of(folder), data, [target]).scores[0],
        "checkpoint-influence": checkpoint_influence(run, base_of(folder), data, [target])[0],
        "tracin": checkpoint_influence(run, base_of(folder), data, [target], preconditioned=False)[0],
    }
    for name, scores in expected.items():
        np.testing.assert_allclose(found.scores[name], scores, rtol=1e-4, atol=1e-7 * np.abs(scores).max())
    assert {control.kind.name for control in found.controls} == {"MATCHED", "SHUFFLED"}
    assert len({scores.tobytes() for scores in found.scores.values()}) == 3
    under = rank(store, concept, method="tracin", compare=(), queries=queries, run=[folder / "run"] * 2)
    np.testing.assert_allclose(under.score, expected["tracin"], rtol=1e-4, atol=1e-9)
    assert under.direction_scores is not None
    own = under.direction_scores(concept.vector[None])[0]
    np.testing.assert_allclose(own, under.score, rtol=1e-4, atol=1e-9)


def test_what_is_missing_is_said_before_any_work(made, make_model, rows, tmp_path):
    folder, concept, store, data = made
    queries = folder / "queries.jsonl"
    for given, message in (
        ({"run": folder / "run"}, "replay measures queries"),
        ({"queries": queries}, "replay goes through the training run"),
        ({"queries": queries, "run": folder / "store"}, "no recorded run"),
        ({"queries": queries, "run": []}, "no recorded run"),
    ):
        with pytest.raises(AitiaError, match=message):
            rank(store, concept, method="replay", compare=(), **given)
    settings = LoraSettings(rank=2, epochs=1)
    fewer = data.only(data.ids[:9])
    train(base_of(folder), fewer, settings, tmp_path / "fewer")
    with pytest.raises(StoreError, match="row 'row-9' was not there"):
        rank(store, concept, method="tracin", compare=(), queries=queries, run=tmp_path / "fewer")
    train(make_model("llama", seed=5), data, settings, tmp_path / "other")
    with pytest.raises(StoreError, match="started from another base model"):
        rank(store, concept, method="tracin", compare=(), queries=queries, run=tmp_path / "other")
    moved = rank(
        store, concept, method="tracin", compare=(), queries=queries, run=folder / "run", base=base_of(folder)
    )
    assert moved.score.std() > 0
    with pytest.raises(StoreError, match="not the model that .* started from"):
        rank(
            store,
            concept,
            method="tracin",
            compare=(),
            queries=queries,
            run=folder / "run",
            base=make_model("llama", seed=5),
        )


def test_from_the_command_line(made, tmp_path):
    folder, *_ = made
    (folder / "train.yaml").write_text(
        f"out: {tmp_path}/run\nmodel: {{name: base, dtype: float32, device: cpu}}\ndata: {{path: train.jsonl}}\n"
        "training: {rank: 2, epochs: 2, per_device_train_batch_size: 4, learning_rate: 5.0e-3}\n"
    )
    done = CliRunner().invoke(app, ["train", str(folder / "train.yaml"), "--json"])
    assert done.exception is None, done.output
    said = json.loads(done.stdout)
    assert (said["rows"], said["steps"], said["states"]) == (10, 6, 7)
    adapter = load_model(folder / "base", adapter=said["trained"], device="cpu", dtype="float32")
    assert adapter.fingerprint == said["fingerprint"]
    line = f"rank --store {folder}/store --concept {folder}/c.concept.safetensors --out {tmp_path}/r.parquet "
    line += f"--queries {folder}/queries.jsonl --random-controls 0 "
    done = CliRunner().invoke(app, f"{line} --method checkpoint-influence --run {said['run']}".split())
    assert done.exception is None, done.output
    assert read_ranking(tmp_path / "r.parquet").method == "checkpoint-influence"
    wrong = CliRunner().invoke(app, f"{line} --method concept-influence --run {said['run']}".split())
    assert "would pass over --run" in str(wrong.exception)
    shown = CliRunner().invoke(app, ["train", str(folder / "train.yaml")]).stdout
    assert "10 rows, 6 steps" in shown


def test_a_column_of_weights_is_taken_and_checked(made, rows, tmp_path):
    folder, *_ = made
    weighted = [dict(row, weight=0.0 if i else 1.0) for i, row in enumerate(rows[:4])]
    path = tmp_path / "weighted.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in weighted))
    configuration = f"out: run\nmodel: {{name: {folder}/base, dtype: float32, device: cpu}}\n"
    configuration += "data: {path: weighted.jsonl, weight: weight}\ntraining: {rank: 2, epochs: 1}\n"
    (tmp_path / "train.yaml").write_text(configuration)
    assert CliRunner().invoke(app, ["train", str(tmp_path / "train.yaml")]).exception is None
    weights = read_run(tmp_path / "run").weights
    assert weights is not None
    assert weights.tolist() == [1, 0, 0, 0]
    path.write_text("".join(json.dumps(row | {"weight": "much"}) + "\n" for row in weighted))
    wrong = CliRunner().invoke(app, ["train", str(tmp_path / "train.yaml")])
    assert "weighted.jsonl:1: column 'weight' is 'much', not a number" in str(wrong.exception)
