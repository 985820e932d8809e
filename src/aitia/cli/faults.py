"""The file that tells developers of a fault: where it happened and with which versions, without training text."""

from __future__ import annotations

import os
import platform
import shlex
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version

from aitia.files import in_words

_PACKAGES = ("torch", "transformers", "peft", "tokenizers", "safetensors", "numpy", "pyarrow", "typer")


def write_fault(error: BaseException, arguments: Sequence[str]) -> str:
    """Write the details of a fault to a new file in the folder for temporary files.

    The messages of errors are left out, for libraries quote what they were given.

    Args:
        error: that nobody foresaw.
        arguments: of the command line.

    Returns:
        What a user is to do with it, in words; where no file can be written, in which line it happened.
    """
    try:
        handle, path = tempfile.mkstemp(prefix="aitia-fault-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write("\n".join(_lines(error, arguments)) + "\n")
    except OSError as obstacle:
        last = traceback.extract_tb(error.__traceback__)[-1:]
        place = f"{last[0].filename}:{last[0].lineno}" if last else "an unknown line"
        return f"at {place}; details cannot be written: {in_words(obstacle)}; please report this line"
    return f"details, without training text: {path}; please report this line with that file"


def _lines(error: BaseException, arguments: Sequence[str]) -> Iterator[str]:
    from aitia import __version__

    yield f"command: {shlex.join(['aitia', *arguments])}"
    yield f"aitia {__version__}, Python {platform.python_version()}, {platform.platform()}"
    for package in _PACKAGES:
        try:
            yield f"{package} {version(package)}"
        except PackageNotFoundError:
            yield f"{package}: not installed"
    chain = [error]
    while (before := chain[-1].__cause__ or chain[-1].__context__) is not None and before not in chain:
        chain.append(before)
    for each in reversed(chain):
        yield "\nTraceback (most recent call last):"
        yield "".join(traceback.format_tb(each.__traceback__)).rstrip()
        yield f"{type(each).__module__}.{type(each).__qualname__} (its message is left out)"
