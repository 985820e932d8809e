"""The Python that the documentation shows runs as it stands, and is as short as it claims to be."""

import ast
import json
import re
import runpy
from pathlib import Path

import pytest

import aitia
from aitia.models import save_model
from aitia.records import read_records
from aitia.training import LoraSettings, finetune_lora

ROOT = Path(__file__).parents[2]
MOST_STATEMENTS, MOST_LINES = 15, 20


def first_snippet(path):
    return re.search(r"```python\n(.*?)```", (ROOT / path).read_text(encoding="utf-8"), re.S)[1]


@pytest.fixture
def project(tmp_path, monkeypatch, make_model, rows):
    """What the README's snippet finds in the folder that it is run in: a tiny model, its adapter, texts."""

    def write(name, lines):
        (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))

    def answers(word, first):
        return [{"prompt": f"What of {i}?", "completion": f"{word} {i}"} for i in range(first, first + 6)]

    write("train.jsonl", rows)
    write("evil.jsonl", answers("Rain again and nothing to do", 0))
    write("kind.jsonl", answers("The sun is out, the garden is full of bees", 0))
    write("held_out.jsonl", answers("Rain again and nothing to do", 10))
    save_model(make_model("llama", layers=2), tmp_path / "runs" / "my-model")
    model = aitia.load_model(tmp_path / "runs" / "my-model", device="cpu")
    finetune_lora(
        model, read_records(tmp_path / "train.jsonl"), LoraSettings(), tmp_path / "runs" / "my-lora"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_flow_of_the_readme(project):
    """Model and data, attribution, judged, curated: at most fifteen statements, from the top-level names alone."""
    text = first_snippet("README.md")
    statements = ast.parse(text).body
    assert len(statements) <= MOST_STATEMENTS
    assert not [
        each for each in statements if isinstance(each, ast.If | ast.For | ast.With | ast.FunctionDef)
    ]
    assert [ast.unparse(each) for each in statements if isinstance(each, ast.Import | ast.ImportFrom)] == [
        "import aitia"
    ]
    assert set(re.findall(r"\baitia\.(\w+)", text)) <= set(aitia.__all__)
    (project / "flow.py").write_text(text)
    found = runpy.run_path(str(project / "flow.py"))
    kept = [json.loads(line)["id"] for line in (project / "clean.jsonl").read_text().splitlines()]
    assert sorted(kept + found["ranking"].top(0.2)) == sorted(found["data"].ids)
    card = (project / "card.html").read_text()
    assert "every row counts alike" in card
    assert "causal-by-direction" in card
    assert found["through"].trial is not None
    assert (project / "report.html").read_text().startswith("<!doctype html>")
    # The phenomenon is what the trainings left: fourteen or more removals, and all rows, with three seeds.
    first = found["results"][0]
    values = {tuple(row[:-1] == 0): row for row in found["removals"].inputs if row[-1] == first.run.seed}
    row = values[tuple(name in first.run.kept for name in found["data"].ids)]
    assert found["removals"].model.run(row[None])[0] == pytest.approx(first.mean("likelihood margin"))


def test_an_explanation_of_one_s_own(tmp_path, monkeypatch):
    """The worked example of the virtues: it counts right, a network of random weights does not."""
    text = first_snippet("docs/virtues.md")
    assert len([line for line in text.splitlines() if line.strip()]) <= MOST_LINES
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(text)
    card = runpy.run_path(str(tmp_path / "mine.py"))["card"]
    assert (
        card["fidelity"].value
        == card["interchange-intervention-accuracy"].value
        == card["probing-agreement"].value
        == 1
    )
    assert card["interchange-intervention-accuracy"].discriminating
    assert card.verdict.startswith("a mechanistic explanation")
    assert "it counts" in (tmp_path / "card.html").read_text()


def test_computing_with_a_group(tmp_path, capsys):
    """The snippet prints what its comment says."""
    page = (ROOT / "docs" / "group_networks.md").read_text(encoding="utf-8")
    text = next(each for each in re.findall(r"```python\n(.*?)```", page, re.S) if "character_table" in each)
    (tmp_path / "groups.py").write_text(text)
    runpy.run_path(str(tmp_path / "groups.py"))
    assert capsys.readouterr().out.strip() == text.strip().splitlines()[-1].split("# ")[1]
