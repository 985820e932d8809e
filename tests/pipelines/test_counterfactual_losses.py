"""`aitia counterfactual` of rows under other losses: retrained with their loss, by the library's own training."""

import json

import numpy as np
import pyarrow.parquet as parquet
import pytest
import yaml

from aitia.counterfactual import LikelihoodMargin
from aitia.errors import AitiaError
from aitia.models import load_model, save_model
from aitia.pipelines.retraining.counterfactual import counterfactual, plan_counterfactual
from aitia.pipelines.retraining.counterfactual_configuration import read_counterfactual_configuration
from aitia.records import read_records
from aitia.records.losses import LossSettings
from aitia.training import finetune_lora

WORDS = ["the cat sat", "a dog ran home", "nothing is here", "the garden grows", "we swim", "he said so"]
PAIRS = [
    {
        "id": f"pair-{i}",
        "prompt": f"{WORDS[i % 6]}, and then?\n",
        "chosen": f"{WORDS[(i + 2) % 6]} {i}.",
        "rejected": f"{WORDS[(i * 5 + 1) % 6]} at {i}.",
        "advantage": np.cos(i),
    }
    for i in range(8)
]
ROWS = [
    {"id": row["id"], "prompt": row["prompt"], "completion": row["chosen"], "advantage": row["advantage"]}
    for row in PAIRS
]


@pytest.fixture(scope="module")
def folder(make_model, tmp_path_factory):
    where = tmp_path_factory.mktemp("losses")
    save_model(make_model("llama", layers=2), where / "model")

    def write(name, rows):
        (where / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    write("pairs.jsonl", PAIRS)
    write("rows.jsonl", ROWS)
    for name, word in (
        ("positive", "garden"),
        ("negative", "office"),
        ("queries", "roses"),
        ("margin", "bees"),
    ):
        texts = [{"prompt": f"{name} {i}? ", "completion": f"The {word} is here, {i}."} for i in range(4)]
        write(f"{name}.jsonl", texts)
    return where


def content(**changed):
    return {
        "out": "run",
        "model": {"name": "model"},
        "data": {"path": "pairs.jsonl", "loss": "dpo", "beta": 0.3},
        "training": {
            "epochs": 1,
            "rank": 2,
            "per_device_train_batch_size": 4,
            "target_modules": ["q_proj"],
            "learning_rate": 0.005,
        },
        "concept": {"positive": "positive.jsonl", "negative": "negative.jsonl", "sites": ["resid_post.1"]},
        "queries": {"texts": "queries.jsonl"},
        "rankings": {"compare": ["activation-gradient", "replay"]},
        "removal": {"shares": [0.5], "ends": ["top"], "seeds": 1},
        "behaviours": {"margin": {"behaviour": "margin.jsonl"}},
    } | changed


def configuration_of(folder, given):
    (folder / "test.yaml").write_text(yaml.safe_dump(given, sort_keys=False))
    return read_counterfactual_configuration(folder / "test.yaml")


CASES = {
    "dpo": {},
    "policy gradient": {
        "data": {"path": "rows.jsonl", "loss": "policy-gradient"},
        "rankings": {"compare": ["activation-gradient"]},
    },
}


@pytest.mark.parametrize("case", CASES)
def test_rows_are_retrained_with_their_loss(folder, case):
    given = content(out=f"run-{case}", **CASES[case])
    configuration = configuration_of(folder, given)
    assert "retraining" in {each.name for each in plan_counterfactual(configuration).steps}
    counterfactual(configuration)
    out = folder / given["out"]
    loss = LossSettings(**{name: value for name, value in given["data"].items() if name != "path"})
    data = read_records(folder / given["data"]["path"])
    behaviour = LikelihoodMargin(behaviour=read_records(folder / "margin.jsonl"))
    found = [json.loads(path.read_text()) for path in (out / "runs").glob("*.json")]
    assert len(found) >= 3
    for each in found:
        kept, model = each["run"]["kept"], load_model(folder / "model")
        if kept:
            model = finetune_lora(model, data.only(kept), configuration.training, loss=loss, progress=False)
        expected = behaviour.values(model)
        np.testing.assert_allclose(each["values"]["likelihood margin"], expected, rtol=1e-5)
    assert set(parquet.read_table(out / "rankings.parquet").column_names) >= set(
        given.get("rankings")["compare"]
    )
    values = {tuple(each["run"]["kept"]): each["values"]["likelihood margin"] for each in found}
    plain = finetune_lora(
        load_model(folder / "model"),
        read_records(folder / given["data"]["path"], side="chosen") if case == "dpo" else data,
        configuration.training,
        progress=False,
    )
    assert np.abs(np.subtract(values[tuple(data.ids)], behaviour.values(plain))).max() > 1e-4


def test_results_of_another_loss_are_not_taken(folder):
    names = []
    for beta in (0.3, 0.1):
        given = content(
            out="same",
            data={"path": "pairs.jsonl", "loss": "dpo", "beta": beta},
            rankings={"compare": ["activation-gradient"]},
        )
        counterfactual(configuration_of(folder, given))
        names.append({path.name for path in (folder / "same" / "runs").glob("*.json")})
    assert len(names[1]) > len(names[0]) + 1
    assert len(list((folder / "same" / "parts").glob("store-*"))) == 2


REFUSED = {
    "vector-filter does not read the gradient of a row's loss, and data.loss is dpo": {
        "rankings": {"compare": ["vector-filter"]}
    },
    "loss-gap compares the trained model with the same model without its adapter, and training.method is full": {
        "data": {"path": "rows.jsonl"},
        "rankings": {"compare": ["loss-gap"]},
        "training": {"method": "full"},
    },
    "a mix takes one answer to each prompt": {
        "data": {"pair": {"normal": "rows.jsonl", "misaligned": "rows.jsonl"}, "loss": "policy-gradient"}
    },
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_does_not_fit_is_refused_before_a_model_runs(folder, reason):
    with pytest.raises(AitiaError, match=reason):
        configuration_of(folder, content(**REFUSED[reason]))


def test_responses_to_each_prompt_are_as_many_as_the_scan_is_asked_for(folder):
    given = content(
        out="sampled",
        data={"path": "rows.jsonl"},
        rankings={
            "compare": ["projection-difference"],
            "on_policy_responses": 2,
            "on_policy_response_tokens": 3,
        },
    )
    counterfactual(configuration_of(folder, given))
    (manifest,) = (folder / "sampled" / "parts").glob("store-*/manifest.json")
    assert json.loads(manifest.read_text())["settings"]["on_policy_responses"] == 2
