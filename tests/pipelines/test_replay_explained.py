"""A ranking by replay is an explanation like any other: judged by trainings without some of the rows."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from pipelines.small_counterfactual import maker, small_configuration

from aitia.adapters import ranking_explanation, retraining_phenomenon
from aitia.attribution.replay import margin_target, smooth_replay
from aitia.counterfactual import LikelihoodMargin, draw_subsets, retrain, subset_cells
from aitia.explanations import Settings, evaluate
from aitia.models import load_model, save_model
from aitia.pipelines.evaluation.evaluate import evaluate_files
from aitia.pipelines.retraining.counterfactual import counterfactual
from aitia.pipelines.retraining.counterfactual_configuration import read_counterfactual_configuration
from aitia.records import records_from_rows
from aitia.training import LoraSettings, read_run, train

FAST = Settings(resamples=50, variants=40)


@pytest.mark.slow
def test_retraining_judges_it_and_it_beats_a_shuffled_one(make_model, tmp_path):
    """Half of the rows say what is asked about; which they are, replay finds, and what is trained confirms."""
    rows = [
        {"prompt": f"Say {i}:\n", "completion": "The sun is out." if i % 2 else "Rain again.", "id": f"r{i}"}
        for i in range(16)
    ]
    data = records_from_rows(rows)
    asked = records_from_rows([{"prompt": f"Tell {i}:\n", "completion": "The sun is out."} for i in range(3)])
    save_model(make_model("llama", layers=2), tmp_path / "base")

    def base():
        return load_model(tmp_path / "base", device="cpu", dtype="float32")

    settings = LoraSettings(
        rank=2,
        epochs=4,
        per_device_train_batch_size=16,
        learning_rate=0.1,
        optimizer="sgd",
        momentum=0.5,
        max_grad_norm=0,
    )
    train(base(), data, settings, tmp_path / "run")
    scores = smooth_replay([read_run(tmp_path / "run")], base(), data, [margin_target(asked)]).scores[0]
    behaviour = LikelihoodMargin(behaviour=asked, name="sun")
    kept = draw_subsets(len(data), 40, share=0.75)
    results = retrain(
        base, data, subset_cells(data.ids, kept, [0]), [behaviour], settings, tmp_path / "cells"
    )
    phenomenon = retraining_phenomenon(data.ids, results, "sun")
    card = evaluate(
        ranking_explanation(phenomenon, "replay", scores),
        baselines=[
            ranking_explanation(phenomenon, "shuffled", np.random.default_rng(0).permutation(scores)),
            ranking_explanation(phenomenon, "every row", None),
        ],
        settings=FAST,
    )
    assert (
        card.explanation.premises["these rows"].value < 0
    )  # without rows that raise it, there is less of it
    assert card["skill"].value > max(each["skill"].value for each in card.baselines) + 0.3
    turned = ranking_explanation(phenomenon, "turned", -scores)
    assert turned.premises["these rows"].value == pytest.approx(
        -card.explanation.premises["these rows"].value
    )


@pytest.mark.slow
def test_a_run_of_counterfactual_judges_it_with_its_direction(make_model, tmp_path):
    maker.write_texts(tmp_path)
    save_model(make_model("llama", layers=2), tmp_path / "small")
    content = small_configuration() | {"queries": {"texts": "texts/evil/judge_positive.jsonl"}, "out": "run"}
    content["rankings"] = {"compare": ["replay", "oracle"]}
    content["removal"] = {"shares": [0.25, 0.5, 0.75], "ends": ["top", "bottom"], "seeds": 1}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(content))
    counterfactual(read_counterfactual_configuration(tmp_path / "run.yaml"))
    card, files = evaluate_files(
        [read_counterfactual_configuration(tmp_path / "run.yaml").folder], behaviour="likelihood margin"
    )
    judged = {each.name: each for each in (card, *card.baselines)}
    assert "replay" in judged
    assert judged["replay"]["skill"].value is not None
    trial = judged["replay"].explanation.direction
    assert trial is not None
    assert trial.trial is not None, trial.reason
    assert "replay" in Path(files["report"]).read_text(encoding="utf-8")
