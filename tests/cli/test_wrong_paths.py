"""Every path that any command takes, given wrongly in every way: one line, exit status 2, and nothing is lost."""

import random
import sys
from pathlib import Path

import pytest
from cli.conftest import LINES, commands, paths_of

from aitia.cli.endings import run

COMMANDS = commands()
WRITTEN = {"--out", "--removed", "--left-out", "--report", "--scorecard", "--front"}
FOLDERS = {"scan", "demo", "sae train", "network train"}  # whose --out is a folder
READ = [
    (name, path, argument)
    for name, command in COMMANDS.items()
    for path, argument in paths_of(command)
    if path not in WRITTEN and (name, path) != ("pull", "folder")
]
NEEDS = {  # what a command must be given besides, so that the path is looked at
    "--queries": ["--method", "influence", "--curvature", "@none"],
    "--curvature": ["--method", "influence", "--queries", "@data.jsonl"],
    "--run": ["--method", "tracin", "--queries", "@data.jsonl"],
    "--slices": ["--drop-slice", "1"],
    "--keep": ["--lower", "@r.parquet"],
    "curate --run": ["--lower", "@c.concept.safetensors"],
    "curate --queries": ["--lower", "@c.concept.safetensors", "--run", "@recorded"],
}


def test_every_command_has_a_line():
    assert set(LINES) == set(COMMANDS)


def replaced(line, name, path, argument, value):
    """A command line with the value of a path changed, or added."""
    words = len(name.split())
    if argument:
        # Arguments come first in these lines, in the order of the command's parameters.
        order = [each for each, is_argument in paths_of(COMMANDS[name]) if is_argument]
        place = words + order.index(path)
        return [*line[:place], value, *line[place + 1 :]]
    if path in line:
        place = line.index(path) + 1
        return [*line[:place], value, *line[place + 1 :]]
    return [*line, path, value]


def refused(arguments, capsys):
    """What is said of a command line that must end with exit status 2."""
    status = run(list(map(str, arguments)))
    out, said = capsys.readouterr()
    assert (status, out) == (2, ""), (status, out, said)
    assert "Traceback" not in said
    lines = [line for line in said.splitlines() if line.startswith(("aitia: ", "Error: "))]
    assert len(lines) == 1, said
    return said


@pytest.mark.parametrize("kind", ["missing", "folder", "empty", "bytes"])
@pytest.mark.parametrize(("name", "path", "argument"), READ, ids=[f"{n} {p}" for n, p, _ in READ])
def test_a_file_that_is_no_such_file(name, path, argument, kind, line_of, desk, tmp_path, capsys):
    wrong = tmp_path / "wrong" / "file"
    wrong.parent.mkdir()
    if kind == "folder":
        wrong.mkdir()
        (wrong / "other.txt").write_text("mine")
    elif kind == "empty":
        wrong.touch()
    elif kind == "bytes":
        wrong.write_bytes(random.Random(0).randbytes(300))
    if (name, kind) == ("push", "folder"):
        return  # which is what it wants
    needed = NEEDS.get(f"{name} {path}", NEEDS.get(path, ()))
    extra = [word.replace("@", f"{desk}/") for word in needed if name not in ("init", "tail-patch")]
    line = [*replaced(line_of(name), name, path, argument, wrong), *extra]
    if name == "curate" and path in ("--slices", "--lower", "--keep", "--run", "--queries"):
        for option in ("--ranking", "--drop"):
            place = line.index(option)
            line = line[:place] + line[place + 2 :]
    said = refused(line, capsys)
    named = " ".join(said.split())
    assert "wrong/file" in named.replace("\\", "/"), said
    if kind == "folder":
        assert (wrong / "other.txt").read_text() == "mine"
        assert "delete" not in said


PLACES = [
    (name, path)
    for name, command in COMMANDS.items()
    for path, _ in paths_of(command)
    if path in WRITTEN and name != "curate"
]


@pytest.mark.parametrize("kind", ["in the way", "below a file"])
@pytest.mark.parametrize(("name", "path"), PLACES, ids=[f"{n} {p}" for n, p in PLACES])
def test_a_place_that_cannot_be_written(name, path, kind, line_of, tmp_path, capsys):
    """A folder with other things where a file is to be written, or a file where a folder is; a file as a parent."""
    (tmp_path / "file.txt").write_text("mine")
    full = tmp_path / "full.json"
    full.mkdir()
    (full / "other.txt").write_text("mine")
    if kind == "below a file":
        wrong = tmp_path / "file.txt" / "below"
    else:
        wrong = tmp_path / "file.txt" if name in FOLDERS else full
    if name in ("evaluate", "prove") and kind == "in the way":
        return  # for these a folder is right
    refused(replaced(line_of(name), name, path, False, wrong), capsys)
    assert (tmp_path / "file.txt").read_text() == "mine"
    assert (full / "other.txt").read_text() == "mine"


@pytest.mark.skipif(sys.platform == "win32", reason="other rules for names")
@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_names_that_no_file_can_have(name, line_of, capsys):
    for path, argument in paths_of(COMMANDS[name]):
        for wrong in ("a" * 5000, "x\0y"):
            status = run(replaced(line_of(name), name, path, argument, wrong))
            said = capsys.readouterr().err
            assert status == 2, (path, wrong[:5], status, said)
            assert "Traceback" not in said


ONTO = [
    (name, written, path, argument)
    for name, command in COMMANDS.items()
    for written, _ in paths_of(command)
    if written in WRITTEN
    for path, argument in paths_of(command)
    if path != written and f"{path} " in f"{LINES[name]} "
]


@pytest.mark.parametrize(
    ("name", "written", "path", "argument"), ONTO, ids=[f"{n} {w} {p}" for n, w, p, _ in ONTO]
)
def test_nothing_is_written_over_what_is_read_nor_twice_into_one_place(
    name, written, path, argument, line_of, tmp_path, capsys
):
    line = line_of(name)
    read = line[line.index(path) + 1]
    before = snapshot_of(read)
    refused(replaced(line, name, written, False, read), capsys)
    assert snapshot_of(read) == before


def snapshot_of(place):
    place = Path(place)
    files = [place] if place.is_file() else sorted(each for each in place.rglob("*") if each.is_file())
    return {each: each.read_bytes() for each in files}
