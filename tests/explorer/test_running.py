"""Runs that the page starts: which may be, one at a time, watched to their end."""

import sys
from time import sleep

import pytest
from explorer.asgi import get, post
from explorer.conftest import explorer_of

from aitia.explorer import running

CONFIGURATION = "out: run\nmodel: {name: nowhere}\ndata: {path: train.jsonl}\nbehaviours: {}\n"


@pytest.fixture
def explorer(run_folder):
    (run_folder / "again.yaml").write_text(CONFIGURATION)
    (run_folder / "other.yaml").write_text("out: run\nconcept: {name: garden}\n")
    return explorer_of(run_folder)


def ended(explorer):
    for _ in range(600):
        (run,) = get(explorer, "api/runs").json["runs"]
        if not run["running"]:
            return run
        sleep(0.1)
    raise AssertionError("it never ended")


def test_a_configuration_is_offered_with_its_command(explorer, run_folder):
    (found,) = get(explorer, "api/runs").json["configurations"]
    assert found["file"] == str(run_folder / "again.yaml")
    assert found["command"] == f"aitia counterfactual {run_folder / 'again.yaml'}"


def test_a_run_is_started_and_says_how_it_ended(explorer, run_folder):
    key = str(run_folder / "again.yaml")
    assert post(explorer, "runs/start", {"configuration": key}).status == 200
    run = ended(explorer)
    assert run["status"] == 2
    assert "aitia: " in run["said"]
    assert "again.yaml" in run["said"]
    assert (run_folder / "explored" / "again-1.log").read_text() == run["said"]


def test_one_run_at_a_time_and_it_can_be_stopped(explorer, run_folder, monkeypatch):
    code = "import time; print('begun', flush=True)\ntry: time.sleep(60)\nexcept KeyboardInterrupt: print('stopped')"
    monkeypatch.setattr(running, "command_of", lambda _: [sys.executable, "-c", code])
    key = {"configuration": str(run_folder / "again.yaml")}
    assert post(explorer, "runs/start", key).status == 200
    refused = post(explorer, "runs/start", key)
    assert refused.status == 400
    assert "going on" in refused.json["error"]
    while "begun" not in get(explorer, "api/runs").json["runs"][0]["said"]:
        sleep(0.05)
    assert post(explorer, "runs/stop").status == 200
    run = ended(explorer)
    assert run["said"] == "begun\nstopped\n"


@pytest.mark.parametrize("key", ["other.yaml", "/etc/passwd", "", None, 5, "../again.yaml"])
def test_nothing_else_is_started(explorer, run_folder, key):
    given = {"configuration": str(run_folder / key) if key == "other.yaml" else key}
    answer = post(explorer, "runs/start", given)
    assert answer.status == 400
    assert get(explorer, "api/runs").json["runs"] == []
