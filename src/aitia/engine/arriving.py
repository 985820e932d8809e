"""Items that arrive in their own time, in groups of what is there."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from queue import SimpleQueue

_AT_ONCE = 1 << 16
_GROUPS_AHEAD = 4
"""Groups that are read before they are asked for."""


def arriving_lines(descriptor: int, most: int) -> Iterator[list[bytes]]:
    """Lines of a pipe, a terminal or a file, in groups: those that are there when the next group is asked for.

    A group has one line at least, so that one who writes a line and waits for its answer gets it. Who writes faster
    gets larger groups, and is kept waiting where nobody asks for the next.

    Args:
        descriptor: of the open file; a thread reads it until its end.
        most: lines of a group, at most.

    Yields:
        Lines without their line breaks, in order.

    Raises:
        OSError: the file cannot be read.
    """
    arrived: SimpleQueue[bytes | OSError | None] = SimpleQueue()
    room = threading.Semaphore(_GROUPS_AHEAD * most)

    def read() -> None:
        # Not through Python's buffered file: a thread that waits in it would keep the process from ending.
        rest, end = b"", None
        try:
            while block := os.read(descriptor, _AT_ONCE):
                *lines, rest = (rest + block).split(b"\n")
                for line in lines:
                    room.acquire()
                    arrived.put(line)
            if rest:
                arrived.put(rest)
        except OSError as error:
            end = error
        arrived.put(end)

    threading.Thread(target=read, daemon=True, name="arriving lines").start()
    ended = False
    while not ended:
        group: list[bytes] = []
        while not group or (len(group) < most and not arrived.empty()):
            line = arrived.get()
            if isinstance(line, OSError):
                raise line
            if line is None:
                ended = True
                break
            room.release()
            group.append(line)
        if group:
            yield group
