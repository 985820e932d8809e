"""What reading a file may do to the rest of the machine: nothing. Python's audit events tell."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FORBIDDEN = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "subprocess.Popen",
    "socket.connect",
    "pickle.find_class",
    "marshal.loads",
    "urllib.Request",
    "os.remove",
    "os.chmod",
    "os.symlink",
)
_watching: dict[str, Any] = {}
_own = tuple({os.path.realpath(place) for place in (sys.prefix, sys.base_prefix, *sys.path) if place})


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watching:
        return
    found = _watching["found"]
    folder = _watching["folder"]
    if event == "open":
        path, mode = arguments[0], arguments[1]
        if not isinstance(path, str | bytes | os.PathLike):
            return
        if mode is None and not os.path.isabs(os.fsdecode(path)):
            return  # removing a folder of one's own goes by handles of folders
        place = os.path.realpath(os.fsdecode(path))
        if not place.startswith((folder, "/dev/null", "/proc/", "/sys/")) and (
            (mode and set(str(mode)) & set("wax+")) or not place.startswith((*_own, "/usr/", "/root/.pyenv"))
        ):
            found.append(f"open {place} {mode}")
    elif event == "os.remove" and arguments[1] != -1:
        return
    elif event in FORBIDDEN and not (event == "marshal.loads" or str(arguments[:1]).find(folder) >= 0):
        found.append(f"{event} {arguments!r:.200}")


sys.addaudithook(_audit)


@contextmanager
def watching(folder: Path) -> Iterator[list[str]]:
    """Gather what happens outside a folder while the block runs: files opened, processes, connections, pickles."""
    found: list[str] = []
    _watching.update(folder=os.path.realpath(folder), found=found)
    try:
        yield found
    finally:
        _watching.clear()
