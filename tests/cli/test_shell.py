"""`--quiet` on every command, and completion by the shell."""

import os
import shutil
import subprocess
import sys

import pytest
from cli.conftest import commands

from aitia.cli.endings import run

COMMANDS = commands()


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_can_be_quiet(name):
    assert "--quiet" in {opt for each in COMMANDS[name].params for opt in each.opts}


def test_quiet_leaves_the_answer_and_takes_the_rest(line_of, capsys, monkeypatch):
    monkeypatch.setenv("AITIA_PROGRESS", "1")
    assert run(line_of("scan")) == 0
    loud = capsys.readouterr()
    assert "Scanning: " in loud.err
    assert run([*line_of("scan")[:-1], str(line_of("scan")[-1]) + "-2", "--quiet"]) == 0
    quiet = capsys.readouterr()
    assert "Scanning" not in quiet.err
    assert quiet.out.splitlines()[0] == loud.out.splitlines()[0]
    assert os.environ["AITIA_PROGRESS"] == "1"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell", "pwsh"])
def test_each_shell_has_a_script(shell, capsys):
    assert run(["completion", shell]) == 0
    assert "_AITIA_COMPLETE" in capsys.readouterr().out


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_commands_and_options(tmp_path):
    """The script is loaded by a real bash, which then asks a program of that name."""
    program = tmp_path / "aitia"
    program.write_text(f"#!/bin/sh\nexec {sys.executable} -c 'from aitia.cli import main; main()' \"$@\"\n")
    program.chmod(0o755)
    asked = """
eval "$(aitia completion bash)"
for words in "aitia ev" "aitia concept f" "aitia scan --max-b"; do
    COMP_WORDS=($words); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMPREPLY=()
    _aitia_completion aitia; echo "${COMPREPLY[*]}"
done
"""
    done = subprocess.run(
        ["bash", "-c", asked],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ
        | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout.splitlines() == ["evaluate evaluate-ranking", "fit", "--max-batch-tokens"], done.stderr
