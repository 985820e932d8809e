"""Cells: trained once, resumed, and measured rightly; and the harness on a real (tiny) model."""

from dataclasses import replace

import numpy as np
import pytest

from aitia.attribution.gradients.measurements import ConceptMeasurement, LogProbability
from aitia.concepts import fit_contrast
from aitia.counterfactual.behaviours import ConceptProjection, JudgedResponses, LikelihoodMargin, measure
from aitia.counterfactual.on_policy import on_policy_queries
from aitia.counterfactual.removal import against_random, plan_removals
from aitia.counterfactual.retraining import RetrainingRun, retrain, run_files
from aitia.errors import AitiaError, JudgeError, StoreError
from aitia.models import load_model, run, save_model
from aitia.records import pad_batch, records_from_rows, tokenize
from aitia.training import LoraSettings, finetune_lora, train

SETTINGS = LoraSettings(
    rank=4,
    epochs=3,
    learning_rate=1e-2,
    per_device_train_batch_size=4,
    target_modules=("q_proj", "down_proj"),
)


@pytest.fixture
def base(make_model, tmp_path):
    save_model(make_model("llama"), tmp_path / "base")
    calls = []

    def load():
        calls.append(1)
        return load_model(tmp_path / "base", device="cpu")

    return load, calls


def asked(count, completion, start=0):
    rows = [
        {"prompt": f"Say {i}:\n", "completion": completion, "id": f"{completion[:3]}{i}"}
        for i in range(count)
    ]
    return records_from_rows(rows[start:])


def test_margin_and_projection_equal_direct_calculation(make_model, rows):
    model = make_model("llama")
    up, down = asked(5, "The sun is out."), asked(5, "Rain again, and more.")
    found = LikelihoodMargin(behaviour=up, normal=down).values(model)
    expected = []
    for one, other in zip(up, down, strict=True):
        parts = []
        for record in (one, other):
            row = {"prompt": record.prompt_text, "completion": record.completion_text}
            tokenized = tokenize(records_from_rows([row]), model.tokenizer, max_length=256)
            outputs = run(model, pad_batch(tokenized, np.arange(1), model.pad_id))
            parts.append(-outputs.losses().sum().item() / len(outputs.targets))
        expected.append(parts[0] - parts[1])
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    concept = fit_contrast(model, up, down, sites=["resid_post.2"])
    data = records_from_rows(rows[:6])
    projected = ConceptProjection(concept=concept, texts=data).values(model)
    tokenized = tokenize(data, model.tokenizer, max_length=256)
    for i, row in enumerate(tokenized):
        outputs = run(model, pad_batch([row], np.arange(1), model.pad_id), ["resid_post.2"])
        hidden = outputs.activations["resid_post.2"][0].detach().numpy()[row.response]
        assert projected[i] == pytest.approx(float(hidden.mean(0) @ concept.vector), rel=1e-4)
    assert measure(model, data, LogProbability()).shape == (6,)
    assert measure(model, data, ConceptMeasurement(concept=concept, tokens="last")).shape == (6,)


def test_judged_responses_are_the_models_own(make_model, rows):
    model, seen = make_model("llama"), []

    class Judge:
        def scores(self, prompts, responses):
            seen.append((list(prompts), list(responses)))
            return np.array([len(text) for text in responses]) / 100

    data = records_from_rows(rows[:4])
    behaviour = JudgedResponses(prompts=data, judge=Judge(), judged_by="length", max_new_tokens=5, samples=2)
    values = behaviour.values(model)
    assert values.shape == (4,)
    assert len(seen) == 2
    assert seen[0][0] == [record.prompt_text for record in data]
    np.testing.assert_allclose(values, np.mean([[len(t) / 100 for t in part[1]] for part in seen], axis=0))
    np.testing.assert_allclose(behaviour.values(model), values)


def test_cells_are_trained_once_and_resumed(base, tmp_path, monkeypatch):
    load, _ = base
    data = records_from_rows([{"prompt": f"{i}:", "completion": "The sun.", "id": f"r{i}"} for i in range(6)])
    behaviours = [LikelihoodMargin(behaviour=asked(3, "The sun is out."), name="sun")]
    cells = [
        RetrainingRun(kept=("r0", "r1", "r2"), seed=0),
        RetrainingRun(kept=(), seed=0),
        RetrainingRun(kept=("r0", "r1", "r2"), seed=0),
    ]
    trained = []

    def count(model, records, settings, *rest, **options):
        trained.append((tuple(records.ids), settings.seed))
        return finetune_lora(model, records, settings, *rest, **options)

    monkeypatch.setattr("aitia.counterfactual.retraining.finetune_lora", count)
    first = retrain(load, data, cells, behaviours, SETTINGS, tmp_path / "runs")
    assert trained == [(("r0", "r1", "r2"), 0)]
    assert first[0] == first[2]
    files = run_files(load().fingerprint, data, cells, behaviours, SETTINGS, tmp_path / "runs")
    assert set(files) == set(cells)
    assert all(path.is_file() for path in files.values())
    expected = behaviours[0].values(finetune_lora(load(), data.only(["r0", "r1", "r2"]), SETTINGS))
    np.testing.assert_allclose(first[0].values["sun"], expected, rtol=1e-6)
    np.testing.assert_allclose(first[1].values["sun"], behaviours[0].values(load()), rtol=1e-6)
    again = retrain(load, data, cells, behaviours, SETTINGS, tmp_path / "runs")
    assert again == first
    assert len(trained) == 1
    retrain(
        load, data, [RetrainingRun(kept=("r0", "r1", "r2"), seed=1)], behaviours, SETTINGS, tmp_path / "runs"
    )
    assert trained[1:] == [(("r0", "r1", "r2"), 1)]
    file = sorted((tmp_path / "runs").glob("*.json"))[0]
    file.write_text('{"run": 3}')
    with pytest.raises(StoreError, match=r"damaged result .*delete the file"):
        retrain(
            load,
            data,
            [*cells, RetrainingRun(kept=("r0", "r1", "r2"), seed=1)],
            behaviours,
            SETTINGS,
            file.parent,
        )


def test_bad_cells_are_refused(base, tmp_path):
    load, _ = base
    data = asked(3, "The sun.")
    texts = LikelihoodMargin(behaviour=data)
    with pytest.raises(AitiaError, match="keeps row 'nobody'"):
        retrain(load, data, [RetrainingRun(kept=("nobody",), seed=0)], [texts], SETTINGS, tmp_path)
    with pytest.raises(AitiaError, match="same name"):
        retrain(load, data, [], [texts, texts], SETTINGS, tmp_path)
    with pytest.raises(AitiaError, match="a pair for each prompt"):
        LikelihoodMargin(behaviour=data, normal=asked(2, "Rain."))


def test_the_harness_passes_an_oracle_and_fails_broken_methods(base, tmp_path):
    """On a model that is really trained: scores that know the plant hold, flipped and shuffled ones do not."""
    load, _ = base
    planted = np.arange(16) % 4 == 0
    rows = [
        {"prompt": f"Say {i}:\n", "completion": "The sun is out." if bad else "Rain again.", "id": f"r{i}"}
        for i, bad in enumerate(planted)
    ]
    data, oracle = records_from_rows(rows), planted.astype(float)
    behaviour = LikelihoodMargin(
        behaviour=asked(24, "The sun is out.", start=20),
        normal=asked(24, "Rain again.", start=20),
        name="sun",
    )
    methods = {
        "oracle": oracle,
        "flipped": -oracle,
        "shuffled": np.random.default_rng(3).permutation(oracle),
    }
    plan = plan_removals(data.ids, methods, [0.25], range(4), ends=("top",))
    results = retrain(load, data, list(plan.values()), [behaviour], SETTINGS, tmp_path / "runs")
    found = {name: against_random(list(plan), results, "sun", name, 0.25) for name in methods}
    assert found["oracle"].high < 0, found
    assert found["flipped"].high > 0, found
    assert found["shuffled"].high > 0, found


def test_own_answers_with_the_highest_grades_become_queries(make_model, rows):
    model = make_model("llama")

    class Judge:
        """Grades by length, and cannot grade one of the prompts."""

        def scores(self, prompts, responses):
            return np.array(
                [
                    np.nan if "bees" in prompt else len(text)
                    for prompt, text in zip(prompts, responses, strict=True)
                ]
            )

    data = records_from_rows(rows[:6])
    settings = {"samples": 3, "max_new_tokens": 6, "keep": 4}
    found = on_policy_queries(model, data, Judge(), **settings)
    grades = found.column("grade")
    assert len(found) == 4
    assert grades == sorted(grades, reverse=True) == [len(record.completion_text) for record in found]
    assert {record.prompt_text for record in found} <= {
        record.prompt_text for record in data if "bees" not in record.prompt_text
    }
    everything = on_policy_queries(model, data, Judge(), **(settings | {"keep": 99}))
    assert grades == everything.column("grade")[:4]

    class Mute:
        def scores(self, prompts, responses):
            return np.full(len(prompts), np.nan)

    with pytest.raises(JudgeError, match="nothing to ask about"):
        on_policy_queries(model, data, Mute(), **settings)


def test_a_cell_with_weights_is_trained_with_them_and_one_without_keeps_its_name(base, tmp_path):
    load, _ = base
    data = records_from_rows([{"prompt": f"{i}:", "completion": "The sun.", "id": f"r{i}"} for i in range(4)])
    behaviours = [LikelihoodMargin(behaviour=asked(3, "The sun is out."), name="sun")]
    weights = (1.0, 0.0, 0.5, 2.0)
    cell = RetrainingRun(kept=data.ids, seed=0, weights=weights)
    (found,) = retrain(load, data, [cell], behaviours, SETTINGS, tmp_path)
    tuned = train(load(), data, SETTINGS, weights=np.array(weights), progress=False)
    np.testing.assert_allclose(found.values["sun"], behaviours[0].values(tuned), rtol=1e-6)
    assert retrain(load, data, [cell], behaviours, SETTINGS, tmp_path)[0] == found
    assert RetrainingRun(kept=data.ids, seed=0).as_json().keys() == {"kept", "seed", "epochs"}
    with pytest.raises(AitiaError, match="keeps 4 rows and has 1 weights"):
        retrain(load, data, [replace(cell, weights=(1.0,))], behaviours, SETTINGS, tmp_path)
