"""Tasks: the local engine, and what is refused before any work."""

import pytest

from aitia.engine import Engine, run_tasks
from aitia.errors import AitiaError


def test_tasks_are_drawn_as_they_are_done_and_results_keep_their_order():
    events = []

    def tasks():
        for number in range(4):
            events.append(f"draw {number}")
            yield number

    def work(task, advance):
        events.append(f"do {task}")
        advance(task)
        return task * task

    units = []
    assert list(run_tasks(work, tasks(), advance=units.append)) == [0, 1, 4, 9]
    assert units == [0, 1, 2, 3]
    assert events == [f"{what} {number}" for number in range(4) for what in ("draw", "do")]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"name": "cloud"}, "choose among local, ray"),
        ({"address": "auto"}, "belong to engine ray"),
        ({"workers": 2}, "belong to engine ray"),
        ({"name": "ray", "gpus": -1}, "engine gpus -1: must be at least 0 and at most 1,000,000"),
        ({"name": "ray", "cpus": float("nan")}, "engine cpus nan: must be a finite number"),
        ({"workers": 1.5}, "engine workers 1.5: must be a whole number"),
    ],
)
def test_engines_that_make_no_sense_are_refused(settings, said):
    with pytest.raises(AitiaError, match=said):
        Engine(**settings)
