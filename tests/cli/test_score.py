"""`aitia score`: rows in, scores out, a line each; and how it ends."""

import json
import os
import subprocess
import sys

import pytest

from aitia.attribution import ActivationStore, rank
from aitia.cli.endings import run
from aitia.concepts import load_concept

PROGRAM = [sys.executable, "-c", "from aitia.cli import main; main()"]


@pytest.fixture
def scored(desk, monkeypatch, capsys):
    """scored(content, *options) -> exit status, lines of the output, and what was said besides."""

    def make(content, *options):
        path = desk / "given.jsonl"
        path.write_bytes(content)
        with path.open("rb") as file:
            monkeypatch.setattr(sys, "stdin", file)
            line = [
                "score",
                "--stream",
                "--model",
                f"{desk}/model",
                "--concept",
                f"{desk}/c.concept.safetensors",
            ]
            capsys.readouterr()
            status = run([*line, *options])
        said = capsys.readouterr()
        return status, [json.loads(each) for each in said.out.splitlines()], said.err

    return make


def test_scores_are_those_of_scan_and_rank(desk, scored, capsys):
    store = ActivationStore.open(desk / "store")
    ranking = rank(store, load_concept(desk / "c.concept.safetensors"), random_controls=0)
    options = ("--method", "activation-gradient", "--method", "vector-filter", "--look-ahead", "5")
    status, found, _ = scored((desk / "data.jsonl").read_bytes(), *options)
    assert status == 0
    assert [each["id"] for each in found] == list(ranking.ids)
    for name in ("activation-gradient", "vector-filter"):
        assert [each["scores"][name] for each in found] == pytest.approx(
            list(ranking.scores[name]), rel=1e-3, abs=1e-5
        )
    line = ["--model", f"{desk}/model", "--concept", f"{desk}/c.concept.safetensors"]
    assert run(["score", "--data", f"{desk}/data.jsonl", *line]) == 0
    again = [json.loads(each) for each in capsys.readouterr().out.splitlines()]
    assert [each["scores"]["activation-gradient"] for each in again] == pytest.approx(
        [each["scores"]["activation-gradient"] for each in found], rel=1e-3, abs=1e-5
    )


def test_a_bad_row_stops_or_is_named(scored):
    content = b'{"prompt": "a? ", "completion": "b."}\n\n{"prompt": 1}\n{"prompt": "a? ", "completion": "c."}'
    status, found, _ = scored(content, "--on-error", "skip")
    assert status == 0
    assert [each["location"] for each in found] == ["stdin:1", "stdin:3", "stdin:4"]
    assert set(found[1]) == {"location", "error"}
    status, found, said = scored(content)
    assert status == 2
    assert [each["location"] for each in found] == ["stdin:1"]
    assert "stdin:3" in said
    assert "--on-error skip" in said


def test_rows_come_from_one_place(desk, capsys):
    line = ["score", "--model", f"{desk}/model", "--concept", f"{desk}/c.concept.safetensors"]
    assert run(line) == 2
    assert run([*line, "--stream", "--data", f"{desk}/data.jsonl"]) == 2
    assert "give either --stream" in capsys.readouterr().err


def begun(desk):
    line = ["score", "--stream", "--model", f"{desk}/model", "--concept", f"{desk}/c.concept.safetensors"]
    return subprocess.Popen(
        [*PROGRAM, *line],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )


def test_a_pipe_is_answered_line_by_line_and_may_break(desk):
    """Whoever writes a row and waits gets its line; when the reader goes, the program ends with status 141."""
    process = begun(desk)
    for number in range(3):
        process.stdin.write(json.dumps({"id": f"r{number}", "text": f"text {number}"}).encode() + b"\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["id"] == f"r{number}"
    process.stdout.close()
    process.stdin.write(b'{"text": "more"}\n')
    process.stdin.close()
    assert process.wait() == 141
    assert process.stderr.read() == b""
    process.stderr.close()
