"""The curvature of `aitia counterfactual` is the one that its configuration asks for, and QLD is what it measured."""

from dataclasses import fields

import numpy as np
import pyarrow.parquet as parquet
import pytest
import yaml
from pipelines.small_counterfactual import EXAMPLES, maker, small_configuration

from aitia.attribution.gradients.curvature import CurvatureSettings, Damping, load_curvature
from aitia.attribution.gradients.curvature_fitting import curvature_layers
from aitia.models import save_model
from aitia.pipelines.retraining.counterfactual import counterfactual, counterfactual_steps
from aitia.pipelines.retraining.counterfactual_configuration import read_counterfactual_configuration
from aitia.pipelines.retraining.counterfactual_inputs import read_inputs
from aitia.pipelines.retraining.ranking_steps import KeepScores
from aitia.pipelines.steps.step import find_step, run_steps


@pytest.fixture(scope="module")
def folder(make_model, tmp_path_factory):
    found = tmp_path_factory.mktemp("rankings")
    maker.write_texts(found)
    save_model(make_model("llama", layers=2), found / "small")
    return found


def rankings(folder, **curvature):
    """Scores by concept influence, and the curvature that was fitted, if any was."""
    content = small_configuration() | {"queries": {"texts": "texts/evil/judge_positive.jsonl"}}
    content["out"] = f"runs/{len(list((folder / 'runs').glob('*')) if (folder / 'runs').is_dir() else [])}"
    content["rankings"] = {"compare": ["concept-influence"], "curvature": curvature}
    (folder / "run.yaml").write_text(yaml.safe_dump(content))
    configuration = read_counterfactual_configuration(folder / "run.yaml")
    steps = counterfactual_steps(configuration, read_inputs(configuration))
    scores = find_step(steps, KeepScores)
    found = run_steps(steps[: steps.index(scores) + 1])[scores]
    fitted = list((configuration.folder / "parts").glob("curvature-*.safetensors"))
    assert not list((configuration.folder / "parts").glob("factors-*"))
    return found.scores["concept-influence"], [load_curvature(path) for path in fitted]


ASKED = {
    "kind": "kfac",
    "use_empirical_fisher": True,
    "loss": "sum",
    "parameters": "full",
    "layer_stride": 2,
    "blocks_from": "bottom",
    "rows": 7,
    "row_choice": "first",
    "max_batch_tokens": 100,
    "precision": "bfloat16",
}


def test_the_curvature_is_fitted_as_it_is_asked_for(folder):
    scores, (found,) = rankings(folder, **ASKED)
    for name, value in ASKED.items():
        assert getattr(found.settings, name) == value, name
    assert found.provenance["products"] == "bfloat16"
    assert np.isfinite(scores).all()
    assert {each.name for each in fields(CurvatureSettings)} == {
        *ASKED,
        "site",
        "seed",
        "max_length",
        "truncate",
    }
    _, (usual,) = rankings(folder)
    assert usual.settings.parameters == "lora"  # of the adapter that training made


@pytest.mark.parametrize("gigabytes", [4.0, 0.0])
def test_rows_run_once_where_their_factors_fit(folder, monkeypatch, gigabytes):
    from aitia.attribution.gradients import training_gradients as gradients

    calls = []

    def counted(model, batch, *arguments, **options):
        calls.append(len(batch.tokens))
        return real(model, batch, *arguments, **options)

    real = gradients.training_factors
    monkeypatch.setattr(gradients, "training_factors", counted)
    scores, (found,) = rankings(
        folder, use_empirical_fisher=True, precision="float32", rows=0, cache_gigabytes=gigabytes
    )
    rows = len(scores)
    assert found.provenance["rows"] == rows
    # Two passes to fit, one to score; what is announced beforehand runs elsewhere.
    assert sum(calls) == rows * (1 if gigabytes else 3)


@pytest.mark.parametrize(
    ("name", "site", "blocks"),
    [
        ("qwen2.5-7b-instruct", "resid_post.19", [0, 4, 8, 12, 16]),
        ("llama-3.1-8b-instruct", "resid_post.15", [0, 3, 6, 9, 12, 15]),
    ],
)
def test_the_examples_ask_for_the_published_blocks_rows_and_damping(make_model, name, site, blocks):
    part = read_counterfactual_configuration(EXAMPLES / f"{name}.yaml").rankings
    settings = part.curvature.take(CurvatureSettings, site=site)
    assert (settings.rows, settings.row_choice, settings.kind) == (5000, "first", "ekfac")
    assert not settings.use_empirical_fisher
    model = make_model("llama", layers=24, width=8)
    assert sorted({layer.block for layer in curvature_layers(model, settings)}) == blocks
    assert part.take(Damping) == Damping(value=1e-3, unit="per-token")


def test_a_likelihood_without_normal_answers_gives_the_query_loss_difference(folder):
    content = small_configuration() | {"out": "runs/qld"}
    content["behaviours"] = {"margin": {"behaviour": "texts/evil/evaluate_texts.jsonl"}}
    (folder / "qld.yaml").write_text(yaml.safe_dump(content))
    found = counterfactual(read_counterfactual_configuration(folder / "qld.yaml"))
    run = folder / "runs" / "qld" / "misaligned-opinions"
    table = parquet.read_table(run / "removal.parquet").to_pandas()
    means = table.groupby(["ranking", "share_removed", "text"])["value"].mean()
    curves = {each["ranking"]: each for each in found.summary["behaviours"]["likelihood margin"]["curves"]}
    assert curves["random"]["query_loss_difference"] is None
    for name in ("oracle", "tf-idf"):
        by_text = means["random", 0.5] - means[name, 0.5]  # a loss is the likelihood turned round
        figures = curves[name]["query_loss_difference"]
        assert figures["value"] == pytest.approx(by_text.mean(), abs=1e-9)
        assert by_text.min() - 1e-9 <= figures["low"] <= figures["high"] <= by_text.max() + 1e-9
    assert "query loss difference" in (run / "report.html").read_text()
