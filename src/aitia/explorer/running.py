"""Counterfactual runs that the page starts: each a process of its own, whose log is kept and watched."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aitia.errors import AitiaError

_TAIL = 20_000
_COMMAND = "counterfactual"


@dataclass(kw_only=True, eq=False)
class StartedRun:
    """A run that was started here.

    Attributes:
        configuration: its file.
        log: where it writes what it says.
        process: of it; it goes on when the explorer ends.
    """

    configuration: Path
    log: Path
    process: subprocess.Popen[bytes]

    def plain(self) -> dict[str, Any]:
        """What the page is told of it: whether it runs, how it ended, and the end of its log."""
        status = self.process.poll()
        return {
            "configuration": str(self.configuration),
            "log": str(self.log),
            "running": status is None,
            "status": status,
            "said": _end_of(self.log),
        }


class Runs:
    """The runs that were started here, and the configurations that may be started."""

    def __init__(self, configurations: Mapping[str, tuple[Path, Path]]):
        """Keep what may be started.

        Args:
            configurations: key -> file of `aitia counterfactual`, and the folder for its log.
        """
        self._configurations = configurations
        self._started: list[StartedRun] = []

    def seen(self) -> dict[str, Any]:
        """What may be started and what was."""
        return {
            "configurations": [
                {"key": key, "file": str(file), "command": shlex.join(["aitia", _COMMAND, str(file)])}
                for key, (file, _) in self._configurations.items()
            ],
            "runs": [run.plain() for run in self._started],
        }

    def start(self, key: Any) -> dict[str, Any]:
        """Start a run, unless one is going on.

        Args:
            key: of the configuration.

        Returns:
            What `seen` says.

        Raises:
            AitiaError: there is no such configuration, or a run is going on.
        """
        if str(key) not in self._configurations:
            raise AitiaError("this configuration is not among what is opened")
        if any(run.process.poll() is None for run in self._started):
            raise AitiaError("a run is going on; wait for its end, or stop it")
        file, folder = self._configurations[str(key)]
        folder.mkdir(parents=True, exist_ok=True)
        log = _free(folder, file.stem)
        with log.open("wb") as said:
            process = subprocess.Popen(
                command_of(file),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                env=os.environ.copy(),
                start_new_session=True,
            )
        self._started.append(StartedRun(configuration=file, log=log, process=process))
        return self.seen()

    def stop(self) -> dict[str, Any]:
        """Ask the run that is going on to stop, as Ctrl-C does; the same command goes on with it."""
        for run in self._started:
            if run.process.poll() is None:
                with suppress(ProcessLookupError):
                    run.process.send_signal(signal.SIGINT)
        return self.seen()


def command_of(configuration: Path) -> list[str]:
    """The command that runs a configuration, by this Python."""
    code = "import sys; from aitia.cli import main; sys.argv[0] = 'aitia'; main()"
    return [sys.executable, "-c", code, _COMMAND, str(configuration)]


def _free(folder: Path, stem: str) -> Path:
    number = 1
    while (found := folder / f"{stem}-{number}.log").exists():
        number += 1
    return found


def _end_of(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL))
            return file.read(_TAIL).decode("utf-8", "replace")
    except OSError:
        return ""
