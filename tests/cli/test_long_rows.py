"""Rows longer than the context, in every command that reads rows: refused by name, and the advice given works."""

import json
import re
import shutil

import pytest
import torch
from cli.conftest import LINES, commands
from safetensors.torch import load_file

from aitia.cli.endings import run

TEXTS = ("--data", "--positive", "--negative", "--queries")
MOVED = {("rank", "--data"), ("slices", "--data"), ("tail-patch", "--data"), ("explore", "--data")}
READERS = [
    (name, option)
    for name, command in commands().items()
    for parameter in command.params
    for option in parameter.opts
    # Some cut nothing, `doctor` looks at the first rows alone; to others, --data says where scanned rows lie now.
    if option in TEXTS
    and name not in ("curate", "evaluate-ranking", "init", "doctor")
    and (name, option) not in MOVED
]
INFLUENCE = ["--method", "influence", "--curvature", "@identity.safetensors"]


def test_every_reader_of_rows_is_tried():
    assert {name for name, _ in READERS} >= {
        "scan", "rank", "fit-curvature", "slices", "discover", "concept fit", "sae train",
    }  # fmt: skip


@pytest.fixture
def long_line(line_of, desk):
    """long_line(command, option) -> its command line, with a file in which one row is too long."""
    line = ["fit-curvature", "--model", desk / "model", "--data", desk / "data.jsonl", "--kind", "identity"]
    assert run([*map(str, line), "--out", str(desk / "identity.safetensors")]) == 0

    def make(name, option):
        line = line_of(name)
        long = str(desk / "long.jsonl")
        if option in line:
            line[line.index(option) + 1] = long
        else:
            line += [option, long]
        if option == "--queries" and name != "tail-patch":
            line += [word.replace("@", f"{desk}/") for word in INFLUENCE]
        if name == "fit-curvature":
            del line[line.index("--rows") : line.index("--rows") + 2]
        if name == "sae train":
            line[line.index("--data") + 1] = long
        return line

    return make


@pytest.mark.parametrize(("name", "option"), READERS)
def test_a_row_that_is_too_long_is_named_and_the_advice_works(name, option, long_line, capsys):
    line = long_line(name, option)
    assert run(line) == 2
    said = capsys.readouterr().err
    assert re.search(r"long.jsonl:25: \d+ tokens, longer than the 256 allowed", said), said
    assert "Traceback" not in said
    advice = re.findall(r"--[a-z-]+(?: skip)?", said)
    assert sorted(advice) == ["--on-error skip", "--truncate"]
    for words in advice:
        if "--out" in line:
            place = line.index("--out") + 1
            line[place] = f"{line[place]}-{words[2:4]}"
            line[place] += ".network" if name == "network train" else ""
        status = run([*line, *words.split()])
        out, said = capsys.readouterr()
        assert status in (0, 1), said  # 1: no slice, or nothing moved
        # `score` gives the reason in the place of scores, a line of JSON.
        left_out = '"long.jsonl:25", "error"' if name == "score" else "left out: long.jsonl:25"
        assert (left_out in out) == ("skip" in words)


def test_a_limit_that_the_model_does_not_take_is_refused(desk, line_of, capsys):
    assert run([*line_of("scan"), "--max-length", "-1"]) == 2
    assert "'--max-length'" in capsys.readouterr().err
    for limit in ("257", "1000000000"):
        assert run([*line_of("scan"), "--max-length", limit]) == 2
        said = capsys.readouterr().err
        assert "takes rows of 1 to 256 tokens" in said
        assert f"--max-length {limit}" in said


def test_curvature_is_fitted_to_the_rows_as_they_are_cut(desk, line_of, tmp_path, capsys):
    """Cutting on the command line gives what the cut rows give, made by hand."""
    from aitia.attribution.gradients.curvature import CurvatureSettings
    from aitia.attribution.gradients.curvature_fitting import fit_curvature
    from aitia.models import load_model
    from aitia.records import TokenizedRecord, TokenizedRecords, read_records, tokenize

    line = ["fit-curvature", "--model", desk / "model", "--data", desk / "data.jsonl", "--kind", "diagonal"]
    line += ["--out", tmp_path / "cut.safetensors", "--truncate", "--max-length", "40", "--device", "cpu"]
    assert run([str(word) for word in line]) == 0
    model = load_model(desk / "model", device="cpu")
    rows = [
        TokenizedRecord(
            id=row.id, row=row.row, location=row.location, tokens=row.tokens[:40], response=row.response[:40]
        )
        for row in tokenize(read_records(desk / "data.jsonl"), model.tokenizer, max_length=256)
    ]
    by_hand = fit_curvature(model, TokenizedRecords(records=rows), CurvatureSettings(kind="diagonal"))
    saved = load_file(tmp_path / "cut.safetensors")
    for name, layer in by_hand.layers.items():
        torch.testing.assert_close(saved[f"{name}.eigenvalues"], layer.eigenvalues)
    capsys.readouterr()
    changed = [str(word) for word in line]
    changed[changed.index("40")] = "50"
    assert run(changed) == 2
    assert "holds a curvature of other data or settings" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["data", "concept", "rank"])
def test_a_configuration_cuts_each_kind_of_text(key, desk, tmp_path, capsys):
    for name in ("model", "data.jsonl", "long.jsonl", "positive.jsonl", "negative.jsonl"):
        (shutil.copytree if name == "model" else shutil.copy)(desk / name, tmp_path / name)
    content = {
        "out": "run",
        "model": {"name": "model", "dtype": "float32", "device": "cpu"},
        "data": {"path": "data.jsonl"},
        "concept": {"positive": "positive.jsonl", "negative": "negative.jsonl"},
        "rank": {"method": "influence", "queries": "positive.jsonl", "curvature": {"kind": "identity"}},
    }
    content[key][{"data": "path", "concept": "negative", "rank": "queries"}[key]] = "long.jsonl"
    (tmp_path / "a.yaml").write_text(json.dumps(content))
    assert run(["attribute", str(tmp_path / "a.yaml")]) == 2
    said = capsys.readouterr().err
    assert "long.jsonl:25" in said
    assert "`truncate`" in said
    for number, cut in enumerate([{"truncate": True}, {"on_error": "skip"}]):
        changed = content | {key: content[key] | cut, "out": f"run-{number}"}
        (tmp_path / "a.yaml").write_text(json.dumps(changed))
        assert run(["attribute", str(tmp_path / "a.yaml")]) == 0, capsys.readouterr().err


def test_lines_are_those_of_the_commands():
    assert all(f"{option} " in LINES[name] for name, option in READERS if option != "--queries")
