"""Bytes of files that may be packed: `.gz` and `.zst` after another ending."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from aitia.errors import RecordError
from aitia.files import atomic_path

PACKED = (".gz", ".zst")


def read_bytes(path: Path, size: int = -1) -> bytes:
    """A file's bytes, unpacked; the first of them where a size is given.

    Returns:
        The bytes.

    Raises:
        RecordError: the file cannot be read or unpacked.
    """
    try:
        if path.suffix == ".zst":
            return _read_zstandard(path, size)
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as handle:
            return handle.read(size)
    except (OSError, EOFError, zlib.error) as error:
        raise RecordError(f"{path}: cannot be read ({error})") from error


def write_bytes(pieces: Iterable[bytes], path: Path) -> None:
    """Write a file whole or not at all, packed where its name says so."""
    with atomic_path(path) as temporary, temporary.open("wb") as plain:
        if path.suffix == ".gz":
            with gzip.GzipFile(filename="", mode="wb", fileobj=plain, mtime=0) as packed:
                packed.writelines(pieces)
        elif path.suffix == ".zst":
            with _arrow(path).CompressedOutputStream(plain, "zstd") as packed:
                for piece in pieces:
                    packed.write(piece)
        else:
            plain.writelines(pieces)


def _read_zstandard(path: Path, size: int) -> bytes:
    pieces: list[bytes] = []
    with path.open("rb") as plain, _arrow(path).CompressedInputStream(plain, "zstd") as handle:
        while size < 0 or sum(map(len, pieces)) < size:
            piece = handle.read(1 << 20 if size < 0 else size)
            if not piece:
                break
            pieces.append(piece)
    return b"".join(pieces)


def _arrow(path: Path) -> Any:
    """Arrow, which brings Zstandard; Python has it from 3.14 on alone."""
    import pyarrow as pa

    if not pa.Codec.is_available("zstd"):
        raise RecordError(
            f"{path}: the installed pyarrow was built without Zstandard; unpack the file, or install "
            "another build"
        )
    return pa
