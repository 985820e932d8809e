"""The whole job, as a user runs it, on small models of their own folders."""

import json
import os
import re
import shutil
import stat
import sys

import numpy as np
import pyarrow.parquet as parquet
import pytest
import torch
from records.lines import write_lines
from typer.testing import CliRunner

from aitia.attribution.gradients.planning import plan_curvature
from aitia.cli import app
from aitia.concepts import SparseAutoencoder, save_sae
from aitia.errors import AitiaError
from aitia.models import save_model
from aitia.pipelines.attribution.attribute import attribute
from aitia.pipelines.attribution.configuration import read_configuration, write_configuration
from aitia.records import tokenize


@pytest.fixture(scope="module")
def folder(make_model, rows, tmp_path_factory):
    """A folder as a user has it: a GPT-2 model, training data, texts for a concept, a configuration."""
    folder = tmp_path_factory.mktemp("project")
    save_model(make_model("gpt2"), folder / "model")
    write_lines(folder / "train.jsonl", rows)
    for name, word in (("positive", "garden"), ("negative", "nothing")):
        texts = [{"prompt": f"Question {i}?\n", "completion": f"The {word} {word}."} for i in range(8)]
        write_lines(folder / f"{name}.jsonl", texts)
    (folder / "attribute.yaml").write_text(
        "out: run\n"
        "model: {name: model, dtype: float32, device: cpu}\n"
        "data: {path: train.jsonl, label: planted}\n"
        "concept: {name: garden talk, positive: positive.jsonl, negative: negative.jsonl}\n"
        "curate: {drop: 0.25}\n"
    )
    return folder


@pytest.fixture(scope="module")
def result(folder):
    return attribute(read_configuration(folder / "attribute.yaml"))


def test_everything_is_written_and_fits_together(folder, result):
    run = folder / "run"
    table = parquet.read_table(run / "ranking.parquet").to_pylist()
    best = {row["id"] for row in table if row["rank"] <= 6}
    lines = (folder / "train.jsonl").read_text().splitlines()
    removed = (run / "removed.jsonl").read_text().splitlines()
    curated = (run / "curated.jsonl").read_text().splitlines()
    assert {json.loads(line)["id"] for line in removed} == best
    assert sorted(removed + curated) == sorted(lines)
    summary = json.loads((run / "summary.json").read_text())
    assert summary["rows"] == 24
    assert summary["rows_removed"] == 6
    assert set(summary["files"]) == {"concept", "ranking", "curated", "removed", "configuration", "report"}
    assert "garden talk" in (run / "report.html").read_text()


def test_influence_methods_run_from_a_configuration(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("AITIA_PROGRESS", raising=False)
    text = (folder / "attribute.yaml").read_text().replace("out: run", "out: influence-run")
    text += "rank: {method: concept-influence, compare: [influence], queries: positive.jsonl, "
    text += "curvature: {use_empirical_fisher: true}}\n"
    (folder / "influence.yaml").write_text(text)
    result = attribute(read_configuration(folder / "influence.yaml"))
    assert list(result.ranking.scores)[:2] == ["concept-influence", "influence"]
    assert (folder / "influence-run" / "curvature.safetensors").is_file()
    assert not list((folder / "influence-run").glob("factors-*"))
    said = capsys.readouterr().err
    assert re.search(r"Curvature: 24 rows, .* 2 passes, .* GB on disk; about .* here\n", said)
    (folder / "small.yaml").write_text(text.replace("fisher: true}", "fisher: true, cache_gigabytes: 0}"))
    again = attribute(read_configuration(folder / "small.yaml"))
    said = capsys.readouterr().err
    assert "Curvature: 24 rows" not in said  # it was fitted before
    assert "more than cache_gigabytes = 0 allows" in said
    assert np.corrcoef(again.ranking.score, result.ranking.score)[0, 1] > 0.999
    sampled = text.replace("fisher: true", "fisher: false").replace("influence-run", "sampled-run")
    (folder / "sampled.yaml").write_text(sampled)
    other = attribute(read_configuration(folder / "sampled.yaml")).ranking.score
    assert np.corrcoef(result.ranking.score, other)[0, 1] > 0.5  # two estimates of one curvature, few rows
    (folder / "no-queries.yaml").write_text(text.replace("queries: positive.jsonl, ", ""))
    with pytest.raises(AitiaError, match="rank.queries: the influence methods need texts"):
        attribute(read_configuration(folder / "no-queries.yaml"))


def test_a_fitted_concept_is_used_again_until_its_texts_or_settings_change(folder, tmp_path, monkeypatch):
    import aitia.pipelines.steps.concept as module

    text = (folder / "attribute.yaml").read_text().replace("out: run", "out: again-run")
    file = folder / "again.yaml"
    file.write_text(text)
    first = attribute(read_configuration(file))
    fitted, real = [], module.fit_concept
    monkeypatch.setattr(module, "fit_concept", lambda *a, **k: fitted.append(1) or real(*a, **k))
    second = attribute(read_configuration(file))
    assert not fitted
    assert second.concept.fingerprint == first.concept.fingerprint
    np.testing.assert_array_equal(second.ranking.score, first.ranking.score)
    for change in ("name: garden talk", "positive: positive.jsonl, negative: negative.jsonl"):
        other = {"name": "name: gardens"}.get(
            change[:4], "positive: negative.jsonl, negative: positive.jsonl"
        )
        file.write_text(text.replace(change, other))
        attribute(read_configuration(file))
        assert len(fitted) == 1
        fitted.clear()


def test_the_written_configuration_makes_the_same_ranking(folder, result, tmp_path):
    again = read_configuration(folder / "run" / "configuration.yaml")
    assert again.model_copy(update={"out": folder / "run"}) == read_configuration(folder / "attribute.yaml")
    moved = again.model_copy(update={"out": tmp_path / "again"})
    assert moved == read_configuration_text(write_configuration(moved), tmp_path)
    np.testing.assert_array_equal(attribute(moved).ranking.score, result.ranking.score)


def test_the_written_configuration_of_a_moved_run_finds_its_parts(folder, result, tmp_path):
    copied = shutil.copytree(folder, tmp_path / "copied")
    whole = read_configuration(copied / "run" / "configuration.yaml")
    assert (whole.out, whole.data.path) == (copied / "run", copied / "train.jsonl")
    alone = read_configuration(shutil.copytree(folder / "run", tmp_path / "alone") / "configuration.yaml")
    assert (alone.out, alone.data.path) == (tmp_path / "alone", folder / "train.jsonl")
    assert (alone.model.name, whole.model.name) == (str(folder / "model"), str(copied / "model"))


def read_configuration_text(text, tmp_path):
    (tmp_path / "copy.yaml").write_text(text)
    return read_configuration(tmp_path / "copy.yaml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("concept: {name: x}", "concept: .*give either file, or both"),
        ("concept: {positive: positive.jsonl}", "concept: .*give either file, or both"),
        ("concept: {positive: none.jsonl, negative: negative.jsonl}", "none.jsonl: no such file"),
        ("rank: {method: guess}", "rank.method: 'guess' is not one of vector-filter"),
        ("rank: {method: projection-difference}", "needs on_policy_response in scan.activations"),
        ("rank: {method: loss-gap}", "loss-gap compares the model .* and model.adapter is not given"),
        (
            "scan: {activations: [sideways]}",
            "scan.activations.0 'sideways': choose among response, response_end, prompt_end",
        ),
        ("data: {path: train.jsonl, label: nonsense}", "no column 'nonsense'; there are: planted"),
        ("data: {path: missing.jsonl}", "missing.jsonl: no such file"),
        ("curate: {drop: 2}", "curate.drop 2: must be at most 1"),
        ("curate: {end: middle}", "curate.end 'middle': choose among top, bottom"),
        ("speed: fast", "speed: is not known here; choose among out, model, data"),
        ("scann: {seed: 1}", "scann: is not known here; did you mean scan?"),
        (
            "scan: {max_batch_token: 9}",
            "scan.max_batch_token: is not known here; did you mean max_batch_tokens?",
        ),
        ("engine: {worker: 2}", "engine.worker: is not known here; did you mean workers?"),
        ("engine: {workers: 2}", "engine: an address and workers belong to engine ray"),
        ("scan: {max_batch_tokens: 0}", "scan.max_batch_tokens 0: must be at least 1"),
        ("slices: {k: 4000}", "slices: k 4000: at most the number of features, 1024"),
        ("model: {name: none-such, dtype: float32}", "none-such: no such folder"),
    ],
)
def test_a_wrong_configuration_is_refused_before_anything_runs(folder, tmp_path, change, message):
    key = change.split(":")[0]
    kept = [
        line
        for line in (folder / "attribute.yaml").read_text().splitlines()
        if not line.startswith(f"{key}:")
    ]
    file = folder / f"wrong-{abs(hash(change))}.yaml"
    file.write_text("\n".join([*kept, change]).replace("out: run", "out: wrong") + "\n")
    with pytest.raises(AitiaError, match=message):
        attribute(read_configuration(file))
    assert not (folder / "wrong").exists()


def test_yaml_that_is_none_is_named(tmp_path):
    (tmp_path / "a.yaml").write_text("{")
    with pytest.raises(AitiaError, match="not valid YAML"):
        read_configuration(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_text("- 1\n")
    with pytest.raises(AitiaError, match="a configuration is a mapping"):
        read_configuration(tmp_path / "a.yaml")
    with pytest.raises(AitiaError, match="no such configuration"):
        read_configuration(tmp_path / "b.yaml")


def invoke(*arguments):
    done = CliRunner().invoke(app, [str(part) for part in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def test_the_commands_one_by_one(folder, tmp_path):
    concept, store = tmp_path / "c.concept.safetensors", tmp_path / "store"
    texts = ("--positive", folder / "positive.jsonl", "--negative", folder / "negative.jsonl")
    model = ("--model", folder / "model", "--device", "cpu")
    fitted = json.loads(invoke("concept", "fit", *model, *texts, "--out", concept, "--json").stdout)
    assert fitted["held_out_auc"] > 0.5
    shown = json.loads(invoke("concept", "show", concept, "--json").stdout)
    assert shown["site"] == fitted["site"]
    scanned = invoke(
        "scan", *model, "--data", folder / "train.jsonl", "--out", store, "--site", fitted["site"],
        "--activation", "backward", "--json",
    )  # fmt: skip
    assert json.loads(scanned.stdout)["rows"] == 24
    ranking = tmp_path / "ranking.parquet"
    ranked = invoke("rank", "--store", store, "--concept", concept, "--out", ranking,
                    "--report", tmp_path / "r.html", "--label", "planted", "--json")  # fmt: skip
    assert len(json.loads(ranked.stdout)["top"]) == 10
    assert (tmp_path / "r.html").stat().st_size > 10_000
    curvature = tmp_path / "curvature.safetensors"
    fitted = invoke("fit-curvature", *model, "--data", folder / "train.jsonl", "--out", curvature, "--json")
    assert json.loads(fitted.stdout)["layers"] == 16
    texts = ("--queries", folder / "positive.jsonl", "--curvature", curvature, "--sweep-damping", "--json")
    by_influence = invoke("rank", "--store", store, "--concept", concept, "--out", tmp_path / "ci.parquet",
                          "--method", "concept-influence", *texts)  # fmt: skip
    found = json.loads(by_influence.stdout)
    assert found["method"] == "concept-influence"
    assert [row["damping"] for row in found["damping"]] == [0.001, 0.01, 0.1, 1.0, 10.0]
    both = ("--out", tmp_path / "kept.jsonl", "--removed", tmp_path / "gone.jsonl", "--json")
    data = ("--data", folder / "train.jsonl", "--ranking", ranking)
    dropped = json.loads(invoke("curate", *data, "--drop", "25%", *both).stdout)
    assert (dropped["rows_kept"], dropped["rows_removed"]) == (18, 6)
    gone = (tmp_path / "gone.jsonl").read_text()
    kept = json.loads(invoke("curate", *data, "--keep-only", "6", *both).stdout)
    assert (kept["rows_kept"], kept["rows_removed"]) == (6, 18)
    assert (tmp_path / "kept.jsonl").read_text() == gone
    with pytest.raises(AitiaError, match="either --drop or --keep-only"):
        invoke("curate", *data, *both)
    with pytest.raises(AitiaError, match="neither a share"):
        invoke("curate", *data, "--drop", "some", *both)


def test_a_bad_row_stops_everything_or_is_listed(folder, tmp_path):
    bad = tmp_path / "bad.jsonl"
    bad.write_text((folder / "train.jsonl").read_text() + "not json\n")
    arguments = (
        "scan",
        "--model",
        folder / "model",
        "--data",
        bad,
        "--out",
        tmp_path / "s",
        "--site",
        "resid_post.1",
    )
    with pytest.raises(AitiaError, match=r"bad.jsonl:25: not valid JSON"):
        invoke(*arguments)
    found = json.loads(invoke(*arguments, "--on-error", "skip", "--json").stdout)
    assert found["rows"] == 24
    assert found["skipped"][0][0] == "bad.jsonl:25"


def test_errors_are_one_line_and_status_two(monkeypatch, capsys):
    import sys

    from aitia.cli import main

    monkeypatch.setattr(sys, "argv", ["aitia", "concept", "show", "nothing.concept.safetensors"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert (
        shown.err
        == "aitia: nothing.concept.safetensors: no such concept file; make one with `aitia concept fit`\n"
    )


@pytest.mark.parametrize(
    "command", [["--help"], ["concept", "fit", "--help"], ["scan", "--help"], ["rank", "--help"],
                ["curate", "--help"], ["attribute", "--help"], ["demo", "--help"]],
)  # fmt: skip
def test_help_teaches_by_example(command):
    shown = invoke(*command).stdout
    assert "aitia " in shown


@pytest.mark.parametrize("empirical", [True, False])
def test_a_curvature_is_planned_and_its_rows_cut_into_tokens_once(folder, tmp_path, monkeypatch, empirical):
    text = (folder / "attribute.yaml").read_text().replace("out: run", f"out: {tmp_path / 'run'}")
    text += "rank: {method: concept-influence, compare: [influence], queries: positive.jsonl, "
    (folder / "once.yaml").write_text(
        text + f"curvature: {{use_empirical_fisher: {str(empirical).lower()}}}}}\n"
    )
    calls = {"plan_curvature": 0, "tokenize": []}

    def planned(*arguments, **options):
        calls["plan_curvature"] += 1
        return plan_curvature(*arguments, **options)

    def cut(records, *arguments, **options):
        calls["tokenize"].append(len(records))
        return tokenize(records, *arguments, **options)

    for name, module in list(sys.modules.items()):
        if name.startswith("aitia.") and getattr(module, "plan_curvature", None) is plan_curvature:
            monkeypatch.setattr(module, "plan_curvature", planned)
        if name.startswith("aitia.") and getattr(module, "tokenize", None) is tokenize:
            monkeypatch.setattr(module, "tokenize", cut)
    result = attribute(read_configuration(folder / "once.yaml"))
    assert calls["plan_curvature"] == 1
    assert [count for count in calls["tokenize"] if count == len(result.ranking) == 24] == [24]


def test_rows_are_cut_for_the_curvature_as_for_the_scan(folder, tmp_path):
    """Rows that are too long are cut, and rows that cannot be used are left out, in every part of the job."""
    lines = (folder / "train.jsonl").read_text().splitlines()
    lines.insert(2, json.dumps({"prompt": "Why?\n", "completion": "", "id": "empty", "planted": False}))
    lines.append(json.dumps({"prompt": "Why?\n", "completion": "bees " * 400, "id": "long", "planted": True}))
    (tmp_path / "train.jsonl").write_text("\n".join(lines) + "\n")
    text = (folder / "attribute.yaml").read_text().replace("out: run", f"out: {tmp_path / 'run'}")
    text = text.replace(
        "path: train.jsonl", f"path: {tmp_path / 'train.jsonl'}, truncate: true, on_error: skip"
    )
    text += "rank: {method: concept-influence, queries: positive.jsonl, curvature: {use_empirical_fisher: true}}\n"
    (folder / "cut.yaml").write_text(text)
    result = attribute(read_configuration(folder / "cut.yaml"))
    assert len(result.ranking) == 25
    assert np.isfinite(result.ranking.score).all()
    assert result.summary["rows_skipped"] == 1


def test_texts_without_prompts_are_ranked_by_what_needs_none(folder, tmp_path):
    texts = [{"text": f"The garden is full of bees and number {i}.", "planted": i < 3} for i in range(12)]
    write_lines(tmp_path / "train.jsonl", texts)
    text = (folder / "attribute.yaml").read_text().replace("out: run", f"out: {tmp_path / 'run'}")
    (folder / "texts.yaml").write_text(text.replace("path: train.jsonl", f"path: {tmp_path / 'train.jsonl'}"))
    result = attribute(read_configuration(folder / "texts.yaml"))
    assert set(result.ranking.scores) == {"activation-gradient", "vector-filter"}


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_every_file_of_a_run_has_the_permissions_of_a_plain_open(folder, tmp_path, make_model, mask):
    datasets = pytest.importorskip("datasets")
    text = (folder / "attribute.yaml").read_text().replace("out: run", f"out: {tmp_path / 'run'}")
    rows = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    before = os.umask(mask)
    try:
        datasets.Dataset.from_list(rows).save_to_disk(tmp_path / "train")
        text = text.replace("path: train.jsonl", f"path: {tmp_path / 'train'}")
        text += "rank: {method: concept-influence, queries: positive.jsonl}\n"
        (folder / f"mask-{mask}.yaml").write_text(text)
        attribute(read_configuration(folder / f"mask-{mask}.yaml"))
        model = save_model(make_model("llama", layers=2), tmp_path / "run" / "model")
        sae = SparseAutoencoder(
            encoder=torch.zeros(4, 32).T.contiguous(),
            decoder=torch.zeros(4, 32),
            encoder_bias=torch.zeros(4),
            decoder_bias=torch.zeros(32),
            site="resid_post.1",
            activation="topk",
            k=2,
        )
        save_sae(sae, tmp_path / "run" / "sae")
    finally:
        os.umask(before)
    written = [tmp_path / "run", *(tmp_path / "run").rglob("*")]
    assert {model, tmp_path / "run" / "curated", tmp_path / "run" / "sae"} <= set(written)
    assert len(written) > 20
    for path in written:
        wanted = (0o777 if path.is_dir() else 0o666) & ~mask
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path
