"""The curvature of `aitia counterfactual` is the one that its configuration asks for."""

from dataclasses import fields

import numpy as np
import pytest
import yaml
from pipelines.small_counterfactual import maker, small_configuration

from aitia.attribution.gradients.curvature import CurvatureSettings, load_curvature
from aitia.models import save_model
from aitia.pipelines.retraining.counterfactual import counterfactual_steps
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
