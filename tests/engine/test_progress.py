"""What is said of long work: lines on standard error, and silence where it is asked for."""

import os
import subprocess
import sys

from aitia.engine import progress_bar, warn


def test_progress_is_two_lines_where_no_terminal_is(monkeypatch, capsys):
    monkeypatch.setenv("AITIA_PROGRESS", "1")
    with progress_bar("Counting", 10, done=4, unit="sheep") as advance:
        advance(6)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == ["Counting: 6 of 10 sheep to do", "Counting: done"]


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
