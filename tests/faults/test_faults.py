"""The short form of `make faults`: every fault on every job a few times."""

import random

import pytest
from faults import injection
from faults.jobs import make_jobs

pytestmark = pytest.mark.skipif(not injection.available(), reason="needs fork")
JOBS = ("scan", "curvature", "gradient store", "retraining")


@pytest.fixture(scope="module")
def jobs(make_model, rows):
    return make_jobs(make_model("llama", width=16, layers=3), rows[:12])


@pytest.fixture(scope="module")
def undisturbed(jobs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    return {name: (folder / name, *injection.undisturbed(job, folder / name)) for name, job in jobs.items()}


@pytest.mark.parametrize("name", JOBS)
def test_killed_at_random_moments_and_run_again(jobs, undisturbed, tmp_path, name):
    _, expected, seconds, _ = undisturbed[name]
    found = injection.kill_at_random(jobs[name], tmp_path / "job", expected, random.Random(1), seconds)
    assert found.wrong == ""


@pytest.mark.parametrize("name", JOBS)
def test_a_full_disk_is_said_and_survived(jobs, undisturbed, tmp_path, name):
    _, expected, _, largest = undisturbed[name]
    found = injection.fill_the_disk(jobs[name], tmp_path / "job", expected, random.Random(2), largest // 4)
    assert found.wrong == ""
    assert all("make room" in message for message in found.messages)


@pytest.mark.parametrize("name", JOBS)
def test_damage_is_found_or_does_no_harm(jobs, undisturbed, tmp_path, name):
    finished, expected, *_ = undisturbed[name]
    rng = random.Random(3)
    found = [
        injection.damage(jobs[name], finished, tmp_path / str(number), expected, rng) for number in range(12)
    ]
    assert [outcome.wrong for outcome in found if outcome.wrong] == []
    assert sum(outcome.refused for outcome in found) > 5


@pytest.mark.parametrize("name", JOBS)
def test_two_processes_do_not_meet_in_one_folder(jobs, undisturbed, tmp_path, name):
    _, expected, seconds, _ = undisturbed[name]
    found = injection.run_two_at_once(jobs[name], tmp_path / "job", expected, random.Random(4), seconds)
    assert found.wrong == ""


def test_a_clock_that_jumps_changes_nothing(jobs, undisturbed, tmp_path):
    _, expected, seconds, _ = undisturbed["scan"]
    found = injection.turn_the_clock(jobs["scan"], tmp_path / "job", expected, random.Random(5), seconds)
    assert found.wrong == ""
