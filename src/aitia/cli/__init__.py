"""The command line: each command reads options, calls the library, and prints.

With `--json` the answer is one JSON object on standard output and everything else goes to standard
error. Exit status:

    0    done
    1    the answer is no
    2    something that the user can mend: usage, input, files, disk space, memory
    3    a fault of aitia or of a library; the message names a file with the details
    130  stopped by Ctrl-C
    141  whoever read the output has gone
    143  stopped by SIGTERM
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aitia.cli.commands import app

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line and leave with its exit status."""
    from aitia.cli.endings import run

    sys.exit(run(sys.argv[1:]))


def __getattr__(name: str) -> Any:
    # The commands are imported when they are wanted, so that Ctrl-C ends their import cleanly too.
    if name == "app":
        from aitia.cli.commands import app

        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
