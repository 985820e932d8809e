"""How a command ends that does not finish: exit status, one line, and where the details are."""

import builtins
import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli.conftest import commands

from aitia import files
from aitia.cli import endings
from aitia.cli.endings import AFTER_A_STOP, run
from aitia.errors import AitiaError, CertificateError

SECRET = "what nobody but the owner of the data may read"


@pytest.fixture
def failing(monkeypatch, desk):
    """failing(error) -> a command line whose work raises it."""

    def make(error):
        def fail(*_args, **_options):
            raise error

        monkeypatch.setattr("aitia.concepts.load_concept", fail)
        return ["concept", "show", str(desk / "c.concept.safetensors")]

    return make


def ending(arguments, capsys):
    status = run(arguments)
    out, said = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in said
    return status, said


def test_an_unknown_fault_names_a_file_with_the_details_and_without_training_text(failing, capsys):
    arguments = failing(ZeroDivisionError(f"'{SECRET}'"))
    status, said = ending(arguments, capsys)
    assert status == 3
    assert said.startswith("aitia: concept show failed: ZeroDivisionError: ")
    assert said.count("\n") == 1
    assert "please report this line with that file" in said
    details = Path(re.search(r"\S+/aitia-fault-\S+\.txt", said)[0])
    text = details.read_text()
    details.unlink()
    assert f"command: aitia concept show {arguments[-1]}" in text
    for package in ("aitia", "Python", "torch", "transformers", "peft"):
        assert re.search(rf"{package} \d", text), package
    assert "Traceback" in text
    assert "in fail" in text
    assert "ZeroDivisionError" in text
    assert SECRET not in text


def test_a_chain_of_errors_is_told_without_its_messages(failing, capsys):
    def chained():
        try:
            raise KeyError(SECRET)
        except KeyError as error:
            try:
                raise RuntimeError(SECRET) from error
            except RuntimeError as outer:
                return outer

    _, said = ending(failing(chained()), capsys)
    details = Path(re.search(r"\S+/aitia-fault-\S+\.txt", said)[0])
    text = details.read_text()
    details.unlink()
    assert text.index("builtins.KeyError") < text.index("builtins.RuntimeError")
    assert SECRET not in text


def test_a_fault_whose_details_cannot_be_written_names_its_line(failing, capsys, monkeypatch):
    arguments = failing(ZeroDivisionError("x"))
    monkeypatch.setattr("tempfile.mkstemp", lambda **_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    status, said = ending(arguments, capsys)
    assert status == 3
    assert re.search(r"at \S+test_endings.py:\d+; details cannot be written", said)


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (AitiaError("this and that"), 2, "aitia: this and that\n"),
        (CertificateError("too much"), 1, "aitia: too much\n"),
        (PermissionError(errno.EACCES, "no", "/x/y"), 2, "aitia: /x/y: permission denied\n"),
        (OSError(errno.EMFILE, "many", "/x/y"), 2, "aitia: /x/y: too many open files"),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "aitia: concept show: No space left on device\n"),
        (MemoryError(), 2, "aitia: memory does not suffice (MemoryError); lower `max_batch_tokens`"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 2, "aitia: memory does not suffice"),
        (KeyboardInterrupt(), 130, "aitia: stopped; "),
        (SystemExit(7), 7, ""),
        (BrokenPipeError(errno.EPIPE, "gone"), 141, ""),
    ],
)  # fmt: skip
def test_each_ending_has_its_status_and_word(error, status, line, failing, capsys, monkeypatch):
    monkeypatch.setattr(endings, "_abandon_output", lambda: None)
    handler = signal.getsignal(signal.SIGINT)
    try:
        found, said = ending(failing(error), capsys)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert found == status
    assert said.startswith(line)
    assert bool(said) == bool(line)


def test_memory_that_does_not_suffice_names_the_option_where_there_is_one(line_of, capsys, monkeypatch):
    import torch

    def fail(*_args, **_options):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr("aitia.attribution.scan", fail)
    status = run(line_of("scan"))
    assert status == 2
    assert "CUDA out of memory. Tried to allocate 2 GiB); lower --max-batch-tokens" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        (["scan", "--modle", "x"], "--model"),
        (["fit-curvature", "--truncat"], "--truncate"),
        (["scna"], "scan"),
        (["concept", "fti"], "fit"),
    ],
)
def test_wrong_usage_suggests_what_is_near(typed, wanted, capsys):
    status, said = ending(typed, capsys)
    assert status == 2
    assert said.startswith("Usage: aitia")
    assert wanted in said.splitlines()[-1]


def test_help_and_version_end_well(capsys):
    assert run(["--version"]) == 0
    assert run(["scan", "--help"]) == 0
    assert "Traceback" not in capsys.readouterr().err


def test_what_is_said_of_going_on_is_what_the_help_says():
    """A command that says on Ctrl-C that it goes on says so in its help, and the other way round."""
    for name, command in commands().items():
        promised = bool(re.search(r"goes? on\b", command.help.replace("\n", " ")))
        assert promised == ("go on" in AFTER_A_STOP.get(name, "")), name
    assert set(AFTER_A_STOP) <= set(commands())


@pytest.mark.parametrize("written", [[], ["a.parquet"], list("abcdef")])
def test_a_stop_says_what_was_written(written, monkeypatch):
    monkeypatch.setattr(files, "_written", [Path(each) for each in written])
    said = endings._after_a_stop(["rank", "--store", "x"])
    assert said == "nothing was written" if not written else all(each in said for each in written[-3:])
    assert ("and others" in said) == (len(written) > 3)
    assert endings._after_a_stop(["scan"]).endswith("to go on")


LONG_WORK = """
import os, time
from pathlib import Path
import aitia.concepts

def wait(_path):
    Path(os.environ["STARTED"]).touch()
    time.sleep(30)

aitia.concepts.load_concept = wait
from aitia.cli import main
main()
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("number", "status", "line"),
    [
        (signal.SIGINT, 130, "aitia: stopped; nothing was written\n"),
        (signal.SIGTERM, 143, "aitia: stopped by SIGTERM; nothing was written\n"),
    ],
)
def test_signals_end_a_process_with_a_word(number, status, line, tmp_path):
    started = tmp_path / "started"
    process = subprocess.Popen(
        [sys.executable, "-c", LONG_WORK, "concept", "show", "file"],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"STARTED": str(started)},
    )
    while not started.exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(number)
    said = process.communicate()[1]
    assert (process.returncode, said) == (status, line)


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
def test_a_reader_that_goes_away_hears_no_complaint(desk):
    command = (
        f"{sys.executable} -c 'from aitia.cli import main; main()' concept show {desk}/c.concept.safetensors"
    )
    done = subprocess.run(
        ["bash", "-c", f"{command} | true; echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.strip() in ("0", "141")  # 0 where it had written before the reader went


KINDS = {
    "rank": ("store/shards/00000.safetensors", "store/rows.parquet", "store/manifest.json", "c.concept.safetensors"),
    "curate": ("r.parquet",),
    "check": ("n.network.safetensors", "n.certificate.json"),
    "network explain": ("n.network.safetensors",),
    "evaluate": ("gates.explanation.json",),
    "sae show": ("sae/cfg.json", "sae/sae_weights.safetensors"),
    "attribute": ("attribute.yaml",),
}  # fmt: skip


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.EMFILE, errno.EISDIR])
@pytest.mark.parametrize(("name", "file"), [(name, file) for name, each in KINDS.items() for file in each])
def test_what_cannot_be_read_is_not_called_damaged(name, file, number, line_of, desk, capsys, monkeypatch):
    """The error of the operating system is made to come from opening the file, whoever opens it."""
    wanted, opened = str(desk / file), io_open()

    def refuse(path, *args, **options):
        if str(path) == wanted:
            raise OSError(number, os.strerror(number), str(path))
        return opened(path, *args, **options)

    monkeypatch.setattr(builtins, "open", refuse)
    monkeypatch.setattr("io.open", refuse)
    arguments = line_of(name)
    status, said = ending(arguments, capsys)
    assert status == 2
    assert file.split("/")[-1] in said
    assert re.search("permission denied|input/output error|too many open files|a folder, not a file", said)
    assert not re.search("damaged|delete|not a |not JSON", said.replace("not a file", "")), said


def io_open():
    import io

    return io.open


def test_a_command_imports_what_it_needs_only_when_it_runs():
    """So that Ctrl-C while the commands are imported ends in the same way."""
    code = "import sys, aitia.cli; print(json.dumps(sorted(sys.modules)))".replace(
        "import sys", "import json, sys"
    )
    found = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    assert not {"typer", "rich", "numpy"} & set(found)
