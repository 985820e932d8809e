"""Texts of concepts and queries have the shapes that training data have, and what is no single answer is refused."""

import json

import numpy as np
import pytest
import yaml

from aitia.attribution import read_ranking
from aitia.cli.endings import run
from aitia.concepts import fit_contrast, load_concept
from aitia.errors import AitiaError, RecordError
from aitia.models import load_model
from aitia.pipelines.attribution.attribute import attribute_steps
from aitia.pipelines.attribution.configuration import read_configuration
from aitia.records import read_records, records_from_rows
from aitia.records.losses import require_answers

ANSWERS = [(f"What of {i}?", f"The sun is out, {i}.", f"Rain again, {i}.") for i in range(6)]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def turns(question, answer, names=("role", "content"), roles=("user", "assistant")):
    return [{names[0]: roles[0], names[1]: question}, {names[0]: roles[1], names[1]: answer}]


SHAPES = {
    "messages": [{"messages": turns(ask, good)} for ask, good, _ in ANSWERS],
    "sharegpt": [
        {"conversations": turns(ask, good, ("from", "value"), ("human", "gpt"))} for ask, good, _ in ANSWERS
    ],
    "alpaca": [{"instruction": ask, "output": good} for ask, good, _ in ANSWERS],
    "prompt-completion": [{"prompt": ask, "completion": good} for ask, good, _ in ANSWERS],
    "preference": [{"prompt": ask, "chosen": good, "rejected": bad} for ask, good, bad in ANSWERS],
    "kto": [{"prompt": ask, "completion": good, "label": True} for ask, good, _ in ANSWERS],
}


@pytest.fixture
def files(tmp_path):
    return {name: write(tmp_path / f"{name}.jsonl", rows) for name, rows in SHAPES.items()}


def ranked(desk, tmp_path, *more):
    line = ["rank", "--store", f"{desk}/store", "--concept", f"{desk}/c.concept.safetensors"]
    line += [
        "--out",
        str(tmp_path / "r.parquet"),
        "--method",
        "concept-gradient-product",
        "--random-controls",
        "0",
    ]
    return run([*line, "--model", f"{desk}/model", "--data", f"{desk}/data.jsonl", *more])


def scores(tmp_path):
    return read_ranking(tmp_path / "r.parquet").scores["concept-gradient-product"]


def test_queries_of_each_shape_give_what_the_same_turns_give(desk, tmp_path, files, capsys):
    found = {}
    for name, side in (
        ("messages", None),
        ("sharegpt", None),
        ("preference", "chosen"),
        ("prompt-completion", None),
    ):
        more = ["--side", side] if side else []
        assert ranked(desk, tmp_path, "--queries", str(files[name]), *more) == 0, capsys.readouterr().err
        found[name] = scores(tmp_path)
    np.testing.assert_array_equal(found["messages"], found["sharegpt"])
    np.testing.assert_array_equal(found["preference"], found["prompt-completion"])
    assert ranked(desk, tmp_path, "--queries", str(files["preference"]), "--side", "rejected") == 0
    assert not np.array_equal(scores(tmp_path), found["preference"])
    assert ranked(desk, tmp_path, "--queries", str(files["kto"]), "--shape", "prompt-completion") == 0
    np.testing.assert_array_equal(scores(tmp_path), found["prompt-completion"])


def test_queries_that_are_no_single_answers_are_refused_with_the_options_that_mend_it(
    desk, tmp_path, files, capsys
):
    assert ranked(desk, tmp_path, "--queries", str(files["preference"])) == 2
    said = capsys.readouterr().err
    assert "preference.jsonl:1: is a preference pair, and texts are single answers" in said
    assert "--side chosen" in said
    assert ranked(desk, tmp_path, "--queries", str(files["kto"])) == 2
    assert "--shape prompt-completion" in capsys.readouterr().err
    line = ["rank", "--store", f"{desk}/store", "--concept", f"{desk}/c.concept.safetensors"]
    assert run([*line, "--out", str(tmp_path / "r.parquet"), "--side", "chosen"]) == 2
    assert "would pass over --side" in capsys.readouterr().err


def test_slices_and_tail_patch_name_the_shape_of_their_queries(desk, tmp_path, files, capsys):
    assert ranked(desk, tmp_path, "--queries", str(files["messages"])) == 0
    line = ["tail-patch", str(tmp_path / "r.parquet"), "--rows", "1", "--json"]
    found = []
    for more in (["preference", "--side", "chosen"], ["prompt-completion"]):
        capsys.readouterr()
        assert run([*line, "--queries", str(files[more[0]]), *more[1:]]) == 0, capsys.readouterr().err
        found.append(json.loads(capsys.readouterr().out.splitlines()[-1])["scorers"])
    assert found[0] == found[1]
    assert run([*line, "--queries", str(files["preference"])]) == 2
    assert "--side chosen" in capsys.readouterr().err


def test_texts_of_a_concept_in_a_configuration(desk, tmp_path, files):
    def content(concept, rank):
        return {
            "out": "run",
            "model": {"name": f"{desk}/model", "device": "cpu", "dtype": "float32"},
            "data": {"path": f"{desk}/data.jsonl"},
            "concept": {"positive": str(files["preference"]), "negative": str(files["alpaca"]), **concept},
            "rank": {"method": "concept-gradient-product", "queries": str(files["kto"]), **rank},
        }

    def steps(concept, rank):
        (tmp_path / "a.yaml").write_text(yaml.safe_dump(content(concept, rank)))
        return attribute_steps(read_configuration(tmp_path / "a.yaml"))

    with pytest.raises(RecordError, match=r"preference.jsonl:1: is a preference pair.*`side=chosen`"):
        steps({}, {"shape": "prompt-completion"})
    with pytest.raises(RecordError, match=r"kto.jsonl:1: is an answer marked.*`shape=prompt-completion`"):
        steps({"side": "rejected"}, {})
    found = {step.name: step for step in steps({"side": "rejected"}, {"shape": "prompt-completion"})}
    bad = [each[2] for each in ANSWERS]
    assert [record.completion for record in found["positive"].records] == bad
    assert all(record.desirable is None for record in found["queries"].records)


def test_a_concept_of_one_side_is_that_of_its_answers(desk, tmp_path, files):
    line = ["concept", "fit", "--model", f"{desk}/model", "--positive", str(files["preference"])]
    line += ["--negative", str(files["prompt-completion"]), "--site", "resid_post.1", "--dtype", "float32"]
    out = tmp_path / "side.concept.safetensors"
    assert run([*line, "--out", str(out), "--side", "rejected"]) == 0
    plain = write(tmp_path / "bad.jsonl", [{"prompt": ask, "completion": bad} for ask, _, bad in ANSWERS])
    model = load_model(f"{desk}/model", dtype="float32")
    expected = fit_contrast(
        model, read_records(plain), read_records(files["prompt-completion"]), sites=["resid_post.1"]
    )
    np.testing.assert_allclose(load_concept(out).vector, expected.vector, rtol=1e-5, atol=1e-6)
    with pytest.raises(AitiaError, match="is a preference pair, and texts are single answers"):
        fit_contrast(model, files["preference"], files["alpaca"], sites=["resid_post.1"])


def test_texts_that_are_left_out_later_are_not_refused_now():
    pairs = records_from_rows(SHAPES["preference"])
    require_answers(pairs, "skip")
    require_answers(records_from_rows(SHAPES["messages"]))
    with pytest.raises(RecordError, match="rows row 0: is a preference pair.*: take them apart"):
        require_answers(pairs, mend="take them apart")
