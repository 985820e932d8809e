"""Getting started and the how-to pages run from start to end, as a reader would run them, on the tiny project."""

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from aitia.attribution import read_ranking
from aitia.records import read_records
from aitia.training import read_run

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.S | re.M)
FILE = re.compile(r"`(\w+\.yaml)`")


def walk(page, folder, python_first=False):
    """Write a page's YAML files, run its commands and then its Python, or the other way round; Python is one process.

    Returns:
        Standard output of all of it.
    """
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    environment = os.environ | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "AITIA_PROGRESS": "0",
    }

    def run(command):
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        return done, f"{done.stdout}{done.stderr}"

    said, python = [], []

    def run_python():
        (folder / "page.py").write_text("\n".join(python), encoding="utf-8")
        done, output = run([sys.executable, "page.py"])
        said.append(output)
        assert done.returncode == 0, output
        python.clear()

    for block in BLOCK.finditer(text):
        language, code = block.groups()
        if language == "yaml":
            name = FILE.findall(text[: block.start()])[-1]
            (folder / name).write_text(code, encoding="utf-8")
        elif language == "python":
            python.append(code)
        elif code.startswith("aitia "):
            if python and python_first:
                run_python()
            for command in code.replace("\\\n", " ").splitlines():
                done, output = run(["sh", "-c", command])
                said.append(output)
                may_say_no = "aitia slices" in command or "does not hold" in output  # 1 is an answer there
                assert done.returncode in ((0, 1) if may_say_no else (0,)), f"{command}\n{output}"
    if python:
        run_python()
    return "".join(said)


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    runpy.run_path(str(ROOT / "examples" / "make_tiny_project.py"))["make_project"](folder)
    return folder


@pytest.fixture
def tiny(made, tmp_path):
    """A copy of examples/tiny, as make_tiny_project leaves it."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.mark.slow
def test_getting_started(tiny):
    said = walk("getting_started.md", tiny)
    for shown in (
        "held-out AUC",
        "200 rows scanned",
        "200 rows ranked",
        "160 rows kept",
        "mine, top 20 % removed",
    ):
        assert shown in said
    assert (tiny / "run" / "report.html").exists()


@pytest.mark.slow
def test_finding_rows_and_cleaning(tiny):
    said = walk("how_to/find_rows.md", tiny)
    assert "split_half" in said
    assert re.search(r"slices tested among 200 rows, 0 found", said)
    lines = (tiny / "negative.jsonl").read_text().splitlines(keepends=True)
    (tiny / "skill.jsonl").write_text("".join(lines[:16]))
    said = walk("how_to/clean_data.md", tiny)
    assert re.search(r"^garden talk -0\.\d+ \[", said, re.M)
    assert len((tiny / "clean.jsonl").read_text().splitlines()) == 160


@pytest.mark.slow
def test_asking_further(tiny):
    said = walk("how_to/ask_further.md", tiny)
    assert "Vector Filter for 'garden talk' at resid_post.2 on 200 rows" in said
    assert float(re.search(r"exact influence: Spearman (\S+)", said)[1]) > 0.75
    first = re.search(r"to first order: (\S+)", said)[1]
    corrected = re.search(r"corrected: (\S+)", said)
    assert "the correction does not exist" in said or float(corrected[1]) / float(first) > 0


@pytest.mark.slow
def test_recording_a_training(tiny):
    walk("how_to/record_training.md", tiny, python_first=True)
    run = read_run(tiny / "recorded")
    assert len(run.steps) == 26
    ranking = read_ranking(tiny / "ranking.parquet")
    assert set(ranking.scores) >= {"replay", "checkpoint-influence"}
    weights = read_records(tiny / "weighted.jsonl").column("weight")
    assert min(weights) == 0
    assert 1 - np.mean(weights) == pytest.approx(0.15, abs=1e-6)
    assert len((tiny / "clean.jsonl").read_text().splitlines()) == 160


@pytest.mark.slow
def test_plugging_in(tiny):
    said = walk("how_to/plug_in.md", tiny)
    assert f"converted to parquet: {Path('clean.parquet')}" in said
    scores = [json.loads(line)["scores"] for line in (tiny / "scores.jsonl").read_text().splitlines()]
    assert len(scores) == 200
    assert read_records(tiny / "clean.parquet").column("aitia_percentile")
    assert set(read_ranking(tiny / "scans" / "epoch-2" / "garden.parquet").scores) == {"activation-gradient"}
    assert "aitia/garden/mean_projection" in said
    assert (tiny / "again.html").exists()


@pytest.mark.slow
def test_evaluating_a_circuit(tmp_path):
    """None passes: the four units are not the circuit, and "it adds" is said of a whole layer, which holds no sum."""
    said = walk("how_to/evaluate_circuit.md", tmp_path)
    assert "it adds: a predictive model, not a mechanistic explanation" in said
    assert "four units: not shown to be a mechanistic explanation" in said


@pytest.mark.slow
def test_certifying_a_network(tmp_path):
    said = walk("how_to/certify_network.md", tmp_path)
    assert "holds: accuracy of seed-0000" in said
    assert "does not hold: s4.certificate.json is for another network" in said
    assert "100% by" in said
