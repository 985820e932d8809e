"""`aitia plan` from its command line: what it says, and its counts against what torch counts while the work is done."""

import json

import numpy as np
import pytest
import yaml
from attribution.gradients.test_cost_model import Counter
from records.lines import write_lines
from typer.testing import CliRunner

from aitia.attribution import NullSettings, rank, scan
from aitia.attribution.gradients.curvature import CurvatureSettings
from aitia.attribution.gradients.curvature_fitting import fit_curvature
from aitia.attribution.gradients.training_gradients import FactorCache
from aitia.attribution.influence import store_influence
from aitia.cli import app
from aitia.concepts import fit_contrast
from aitia.models import load_model, save_model
from aitia.pipelines.attribution.configuration import read_configuration
from aitia.pipelines.steps.curvature import curvature_at
from aitia.records import read_records
from aitia.training import LoraSettings, train

SITE = "resid_post.2"


@pytest.fixture(scope="module")
def folder(make_model, rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plan")
    save_model(make_model("llama", width=64), folder / "model")
    # Rows of one length, so that batches hold next to no padding, which a plan does not count.
    same = {"prompt": rows[0]["prompt"], "completion": rows[0]["completion"]}
    write_lines(folder / "train.jsonl", [same | {"id": f"r{i}"} for i in range(24)])
    for name, word in (("positive", "garden"), ("negative", "nothing")):
        texts = [{"prompt": f"Question {i}?\n", "completion": f"The {word} {word}."} for i in range(8)]
        write_lines(folder / f"{name}.jsonl", texts)
    (folder / "attribute.yaml").write_text(
        "out: run\n"
        "model: {name: model, dtype: float32, device: cpu}\n"
        "data: {path: train.jsonl}\n"
        f"concept: {{positive: positive.jsonl, negative: negative.jsonl, sites: [{SITE}]}}\n"
        "rank: {method: concept-influence, queries: positive.jsonl, random_controls: 8,"
        " curvature: {use_empirical_fisher: true, rows: 0, precision: float32, cache_gigabytes: 0}}\n"
    )
    return folder


def plan(folder, *options, configuration="attribute.yaml"):
    done = CliRunner().invoke(app, ["plan", str(folder / configuration), *map(str, options)])
    assert done.exception is None
    return done.stdout


def test_it_says_time_memory_disk_and_money_of_each_step(folder):
    said = plan(folder, "--teraflops", 1, "--price", 2.5, "--workers", 4, "--rows", 10**6)
    lines = said.splitlines()
    assert lines[0].startswith("1,000,000 rows, ")
    assert lines[0].endswith("in 4 blocks; 4 workers")
    for step, line in zip(("concept", "scan", "curvature", "influence", "rank"), lines[1:-1], strict=True):
        assert line.split()[0] == step
        assert "multiply-adds" in line
        assert "of memory" in line
        assert line.endswith("on disk")
    assert "at 2.5 an hour" in lines[-1]
    assert "of memory a worker" in lines[-1]
    assert "money" in json.loads(plan(folder, "--json"))
    assert not (folder / "run").exists(), "a plan writes nothing"


def test_figures_hang_together(folder):
    one, many = (
        json.loads(plan(folder, "--teraflops", 1, "--price", 3, "--json", *options))
        for options in ([], ["--rows", 24_000, "--workers", 2])
    )
    assert one["data"]["rows"] == 24
    grown = {step["name"]: step["multiply_adds"] for step in many["steps"]}
    for step in one["steps"]:
        times = 1 if step["name"] == "concept" else 1000  # the concept's texts are no rows of the data
        assert grown[step["name"]] == pytest.approx(times * step["multiply_adds"], rel=1e-3)
    for found, workers in ((one, 1), (many, 2)):
        assert found["machine"]["multiply_adds"] == 5e11
        assert found["money"] == pytest.approx(found["seconds"] / 3600 * workers * 3)
        assert found["seconds"] >= sum(step["seconds"] for step in found["steps"])
        assert found["there"] == []
        assert found["disk_bytes"] == sum(step["disk_bytes"] for step in found["steps"])
        assert found["memory_bytes"] > max(step["memory_bytes"] for step in found["steps"])


@pytest.mark.parametrize(
    "ranking, site, cache, room",
    [
        ("method: concept-influence", "resid_post.2", 0, 2_000_000),
        ("method: concept-influence, compare: [influence]", "resid_post.0", 0, 2_000_000),
        ("method: influence, compare: [concept-influence]", "resid_post.1", 0, 2_000_000),
        ("method: concept-influence, curvature: {layer_stride: 3}", "resid_post.2", 0, 2_000_000),
        ("method: concept-influence", "resid_post.2", 1, 2_000_000),
        ("method: concept-influence, random_controls: 40", "resid_post.1", 0, 2_000_000),
        ("method: concept-influence", "resid_post.1", 0, 1),  # one of each kind, each in a pass of its own
    ],
)
def test_its_counts_are_those_of_torch_while_the_work_is_done(
    folder, tmp_path, monkeypatch, ranking, site, cache, room
):
    """Of more rows and of fewer: what is done once, for the concept's directions, is not a plan's matter."""
    # Two million numbers are room for some of forty directions, for all of eight.
    monkeypatch.setattr(store_influence, "_DIRECTION_NUMBERS", room)
    content = yaml.safe_load((folder / "attribute.yaml").read_text())
    content["concept"]["sites"] = [site]
    asked = yaml.safe_load(f"{{{ranking}}}")
    asked["curvature"] = (
        content["rank"]["curvature"] | asked.get("curvature", {}) | {"cache_gigabytes": cache}
    )
    content["rank"] |= asked | {
        "control": "isotropic"
    }  # rows of one length are one text here: none are matched to it
    (folder / "other.yaml").write_text(yaml.safe_dump(content))
    configuration = read_configuration(folder / "other.yaml")
    wanted = configuration.rank
    settings = wanted.curvature.take(CurvatureSettings, site="", seed=wanted.seed)
    settings = curvature_at(settings, (wanted.method, *wanted.compare), site)
    model, data = load_model(folder / "model", device="cpu"), read_records(folder / "train.jsonl")
    concept = fit_contrast(model, folder / "positive.jsonl", folder / "negative.jsonl", sites=[site])
    counted = []
    for count in (8, 24):
        part, factors = data.only(data.ids[:count]), None
        if cache:
            factors = FactorCache(folder=tmp_path / f"factors-{count}")
        with Counter() as scanning:
            out = tmp_path / f"store-{count}"
            store = scan(model, part, sites=[site], out=out, activations=configuration.scan.activations)
        with Counter() as fitting:
            curvature = fit_curvature(model, part, settings, cache=factors)
        with Counter() as scoring:
            rank(
                store,
                concept,
                method=configuration.rank.method,
                compare=configuration.rank.compare,
                queries=read_records(folder / "positive.jsonl", records_limit=1),
                curvature=curvature,
                cache=factors,
                random_controls=configuration.rank.random_controls,
                nulls=configuration.rank.take(NullSettings),
            )
        counted.append([counter.total / 2 for counter in (scanning, fitting, scoring)])
    said = json.loads(plan(folder, "--json", configuration="other.yaml"))
    planned = {step["name"]: step["multiply_adds"] for step in said["steps"]}
    fewer, more = counted
    ratios = {
        name: planned[name] * 16 / 24 / (b - a)
        for name, a, b in zip(("scan", "curvature", "influence"), fewer, more, strict=True)
    }
    assert ratios["scan"] == pytest.approx(1, abs=0.15), ratios
    assert ratios["curvature"] == pytest.approx(1, abs=0.25), ratios
    assert ratios["influence"] == pytest.approx(1, abs=0.15), ratios


@pytest.mark.parametrize("epsilon_root", [0.0, 1e-4])
@pytest.mark.parametrize("method", ["checkpoint-influence", "tracin", "replay"])
def test_what_goes_through_a_run_is_counted_with_every_checkpoint_surrogate_and_reversal(
    folder, tmp_path, method, epsilon_root
):
    settings = LoraSettings(
        rank=4, layers_to_transform=(2, 3), epochs=3, per_device_train_batch_size=4, epsilon_root=epsilon_root
    )
    data = read_records(folder / "train.jsonl")
    queries = read_records(folder / "positive.jsonl", records_limit=1)
    counted, planned = [], []
    for count in (8, 24):
        part, run = data.only(data.ids[:count]), tmp_path / f"run-{count}"
        train(load_model(folder / "model", device="cpu"), part, settings, run, progress=False)
        model = load_model(folder / "model", adapter=run / "adapter", device="cpu")
        concept = fit_contrast(model, folder / "positive.jsonl", folder / "negative.jsonl", sites=[SITE])
        store = scan(model, part, sites=[SITE], out=tmp_path / f"store-{count}")
        with Counter() as scoring:
            rank(store, concept, method=method, queries=queries, run=run, random_controls=3)
        counted.append(scoring.total / 2)
        write_lines(folder / "part.jsonl", [{**row.content, "id": row.id} for row in part])
        content = yaml.safe_load((folder / "attribute.yaml").read_text())
        content["model"]["adapter"] = str(run / "adapter")
        content["data"]["path"] = "part.jsonl"
        content["rank"] = {
            "method": method,
            "queries": "positive.jsonl",
            "run": str(run),
            "random_controls": 3,
        }
        (folder / "run.yaml").write_text(yaml.safe_dump(content))
        said = json.loads(plan(folder, "--json", configuration="run.yaml"))
        steps = {step["name"]: step["multiply_adds"] for step in said["steps"]}
        assert ("surrogates" in steps) == (method == "replay" and not epsilon_root)
        planned.append(steps["training run"] + steps.get("surrogates", 0.0))
    assert np.diff(planned)[0] / np.diff(counted)[0] == pytest.approx(1, abs=0.15)
