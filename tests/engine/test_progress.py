"""What is said of long work: lines on standard error, and silence where it is asked for."""

import os
import subprocess
import sys

import pytest

from aitia.engine import no_progress, note, progress_bar, warn
from aitia.engine.progress import ProgressLines, in_time


def test_progress_is_two_lines_where_no_terminal_is(monkeypatch, capsys):
    monkeypatch.setenv("AITIA_PROGRESS", "1")
    with progress_bar("Counting", 10, done=4, unit="sheep") as advance:
        advance(6)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == ["Counting: 6 of 10 sheep to do", "Counting: done"]


def test_long_work_says_a_line_with_growing_distance(capsys):
    now = [0.0]
    lines = ProgressLines("Counting", 10_000, 1000, "sheep", clock=lambda: now[0])
    said = []
    for second in range(1, 4500):
        now[0] = float(second)
        lines.advance(2)
        said += [second] * bool(capsys.readouterr().err.splitlines()[-1 if second > 1 else 1 :])
    # 10 seconds, then after 20, 40, ... 320 and at last 600 more.
    assert said == [10, 30, 70, 150, 310, 630, 1230, 1830, 2430, 3030, 3630, 4230]


def test_a_line_says_how_much_how_fast_and_how_long(capsys):
    now = [0.0]
    lines = ProgressLines("Counting", 100, 20, "sheep", clock=lambda: now[0])
    now[0] = 9.9
    lines.advance(10)
    now[0] = 10.0
    lines.advance(10)
    now[0] = 300.0
    lines.advance(60)  # the last: the end is said in its place
    lines.end()
    said = capsys.readouterr().err
    assert "\r" not in said
    assert said.splitlines() == [
        "Counting: 80 of 100 sheep to do",
        "Counting: 40 of 100 sheep (40%), 2 a second, 30 s left",  # 20 sheep in 10 seconds, 60 to go
        "Counting: done in 5 min 0 s",
    ]


@pytest.mark.parametrize(("seconds", "said"), [(0.4, "0 s"), (59.6, "1 min 0 s"), (7500, "2 h 5 min")])
def test_times_are_said_in_words(seconds, said):
    assert in_time(seconds) == said


def test_no_progress_holds_for_a_block_alone(monkeypatch, capsys):
    for before in ("1", None):
        monkeypatch.delenv("AITIA_PROGRESS") if before is None else monkeypatch.setenv(
            "AITIA_PROGRESS", before
        )
        with no_progress():
            note("quiet")
            with progress_bar("Quiet", 1) as advance:
                advance(1)
        assert os.environ.get("AITIA_PROGRESS") == before
        note("loud")
    assert capsys.readouterr() == ("", "loud\nloud\n")


def test_progress_can_be_turned_off_and_a_warning_cannot(monkeypatch, capsys):
    monkeypatch.setenv("AITIA_PROGRESS", "0")
    with progress_bar("Counting", 10) as advance:
        advance(10)
    warn("the disk is nearly full")
    assert capsys.readouterr() == ("", "aitia: the disk is nearly full\n")


def test_libraries_are_kept_quiet_but_not_against_the_user(monkeypatch):
    monkeypatch.setenv("TRANSFORMERS_VERBOSITY", "info")
    monkeypatch.delenv("HF_HUB_DISABLE_PROGRESS_BARS", raising=False)
    code = (
        "import os; from aitia.engine import quiet_libraries; quiet_libraries(); "
        "print(os.environ['TRANSFORMERS_VERBOSITY'], os.environ['HF_HUB_DISABLE_PROGRESS_BARS'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.split() == ["info", "1"]
