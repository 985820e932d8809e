"""What the commands are given reaches the library."""

import json

import numpy as np
import pytest
from records.lines import write_lines
from typer.testing import CliRunner

from aitia.attribution import ActivationStore, rank, read_ranking
from aitia.attribution.gradients.curvature import Damping, load_curvature
from aitia.cli import app
from aitia.concepts import fit_contrast, load_concept
from aitia.counterfactual import TailPatchSettings, tail_patch
from aitia.models import load_model, save_model
from aitia.records import read_records

SITE = "resid_post.1"


@pytest.fixture(scope="module")
def folder(make_model, rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("options")
    model = make_model("llama", layers=2)
    save_model(model, folder / "model")
    write_lines(folder / "train.jsonl", rows)
    for name, word in (("positive", "garden"), ("negative", "nothing"), ("queries", "bees")):
        texts = [{"prompt": f"{name} {i}?\n", "completion": f"The {word} {word} {i}."} for i in range(6)]
        write_lines(folder / f"{name}.jsonl", texts)
    concept = fit_contrast(model, folder / "positive.jsonl", folder / "negative.jsonl", sites=[SITE])
    concept.save(folder / "c.concept.safetensors")
    return folder


def run(*arguments):
    done = CliRunner().invoke(app, [str(argument) for argument in (*arguments, "--json")])
    assert done.exception is None, done.output
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def made(folder):
    """A store with every activation, and a curvature."""
    model = ("--model", folder / "model", "--dtype", "float32", "--device", "cpu")
    data = ("--data", folder / "train.jsonl")
    options = (
        "--activation",
        "on_policy_response",
        "--activation",
        "backward",
        "--on-policy-response-tokens",
        3,
    )
    more = ("--temperature", 0, "--shard-rows", 7, "--max-batch-tokens", 300)
    run("scan", *model, *data, "--site", SITE, "--out", folder / "store", *options, *more)
    run("scan", *model, *data, "--site", SITE, "--out", folder / "plain")
    run(
        "fit-curvature",
        *model,
        *data,
        "--out",
        folder / "curvature.safetensors",
        "--loss",
        "sum",
        "--rows",
        9,
    )
    return folder


def test_scans_and_curvatures_are_made_as_asked(made):
    settings = ActivationStore.open(made / "store").manifest["settings"]
    assert {name: settings[name] for name in ("on_policy_response_tokens", "temperature", "shard_rows")} == {
        "on_policy_response_tokens": 3,
        "temperature": 0,
        "shard_rows": 7,
    }
    assert ActivationStore.open(made / "store").shards > 1
    assert ActivationStore.open(made / "plain").activations == (
        "response",
        "response_end",
        "prompt_end",
        "backward",
    )
    found = load_curvature(made / "curvature.safetensors")
    assert (found.settings.loss, found.settings.rows, found.settings.parameters) == ("sum", 9, "full")


@pytest.mark.parametrize("unit", ["mean-eigenvalue", "absolute"])
def test_a_ranking_has_the_methods_controls_and_damping_that_are_asked_for(made, tmp_path, unit):
    common = ("--store", made / "plain", "--concept", made / "c.concept.safetensors")
    influence = ("--queries", made / "queries.jsonl", "--curvature", made / "curvature.safetensors")
    damping = ("--damping", 0.5, "--damping-unit", unit)
    out = tmp_path / "ranking.parquet"
    run(
        "rank",
        *common,
        *influence,
        *damping,
        "--compare",
        "concept-influence",
        "--random-controls",
        3,
        "--out",
        out,
    )
    found = read_ranking(out)
    assert found.method == "activation-gradient"
    assert "concept-influence" in found.scores
    assert "vector-filter" in found.scores
    assert found.provenance["controls"]["kept"] == {"matched direction": 3, "shuffled labels": 8}
    expected = rank(
        made / "plain",
        load_concept(made / "c.concept.safetensors"),
        method="concept-influence",
        compare=(),
        queries=made / "queries.jsonl",
        curvature=made / "curvature.safetensors",
        damping=Damping(value=0.5, unit=unit),
        random_controls=0,
    ).score
    np.testing.assert_allclose(found.scores["concept-influence"], expected, rtol=1e-4)


def test_a_ranking_is_held_against_one_more_step_on_its_highest_rows(made, tmp_path):
    out = tmp_path / "ranking.parquet"
    run("rank", "--store", made / "plain", "--concept", made / "c.concept.safetensors", "--out", out)
    asked = (out, "--queries", made / "queries.jsonl")
    step = ("--rows", 2, "--learning-rate", 0.05, "--optimizer", "sgd")
    found = run("tail-patch", *asked, *step)
    ranking = read_ranking(out)
    expected = tail_patch(
        load_model(made / "model", dtype="float32", device="cpu"),
        read_records(made / "train.jsonl"),
        read_records(made / "queries.jsonl"),
        ranking.scores,
        TailPatchSettings(rows=2, learning_rate=0.05, optimizer="sgd"),
    )
    assert set(found["scorers"]) == {*ranking.scores, "random"}
    assert found["queries"] == 6
    for name, each in expected.items():
        shown = found["scorers"][name]["log_probability"]
        assert shown["value"] == pytest.approx(each.log_probability.value, rel=1e-4)
        assert shown["low"] <= shown["value"] <= shown["high"]
    table = CliRunner().invoke(app, [*map(str, ("tail-patch", *asked, *step))])
    assert "one sgd step on each of the 2 highest rows adds to 6 queries" in table.stdout
