"""Files elsewhere: data at an address, and folders copied to one and back.

An address is what `fsspec` knows: `s3://bucket/train.jsonl`, `gs://`, `memory://`, `file://`, with the driver of
its kind installed. Nothing is opened but the addresses that a person gives.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from aitia.errors import AitiaError, RecordError, StoreError
from aitia.files import LOCK, address_of, atomic_path, digest, is_part, only_here

FORMAT = "aitia-copy-v1"
MANIFEST = "aitia-copy.json"
_CHUNK = 1 << 20
_LARGEST_MANIFEST = 64_000_000


@dataclass(frozen=True, kw_only=True)
class Copied:
    """What was copied.

    Attributes:
        files: how many.
        bytes: of all together.
    """

    files: int
    bytes: int


def local_copy(path: Path | str) -> Path:
    """A file to read: the path itself, or for an address a copy on this machine.

    The copy lies in `AITIA_CACHE` (default: `aitia` in the user's cache) by the address and by the checksum, ETag or
    date that the other side tells of the file, so that one which has not changed is fetched once.

    Returns:
        A path on this machine.

    Raises:
        RecordError: the address cannot be read, or the package for its kind is not installed.
    """  # noqa: DOC501 - a StoreError is caught below
    address = address_of(path)
    if address is None:
        return Path(path)
    try:
        system, place = _open_place(address)
        version, size = _version(system, place, address)
        name = PurePosixPath(place).name
        target = _cache() / digest([address, version])[:24] / name
        if target.is_file() and size in (None, target.stat().st_size):
            return target
        with atomic_path(target) as temporary:
            with temporary.open("wb") as file:
                for chunk in _chunks(system, place, address):
                    file.write(chunk)
                fetched = file.tell()
            if _version(system, place, address) != (version, size) or size not in (None, fetched):
                raise StoreError(f"{address}: has changed while it was fetched; run the same again")
        return target
    except StoreError as error:
        raise RecordError(str(error)) from error


def local_copies(path: Path | str) -> list[Path]:
    """The files that an address names, copied to this machine: one, or all that fit its pattern, sorted by name.

    A pattern has a `*` (`s3://bucket/part-*.jsonl`); a file whose name has one is taken before it is read as a pattern.

    Args:
        path: an address, or a path on this machine, which stays as it is.

    Returns:
        At least one path on this machine.

    Raises:
        RecordError: no file fits, or see `local_copy`.
    """
    address = address_of(path)
    if address is None or "*" not in address:
        return [local_copy(path)]
    try:
        system, place = _open_place(address)
        with _speaking(address):
            system.invalidate_cache()
            if system.exists(place):
                return [local_copy(path)]
            found = sorted(
                name for name, each in system.glob(place, detail=True).items() if each["type"] == "file"
            )
    except StoreError as error:
        raise RecordError(str(error)) from error
    if not found:
        raise RecordError(
            f"{address}: no file fits this pattern; look at the folder, or give the files one by one"
        )
    return [local_copy(system.unstrip_protocol(name)) for name in found]


def push(folder: Path | str, address: str) -> Copied:
    """Copy a folder, such as a finished store or run, to an address.

    A manifest with every file's size and SHA-256 goes last: without it what lies there is no copy. A push that was
    broken off is made again from the start; one that was finished is left as it is.

    Args:
        folder: what to copy; locks and what is half-written stay behind.
        address: of a folder that is not there yet.

    Returns:
        The number of files and bytes.

    Raises:
        StoreError: the folder is empty, in use, or holds a link; another copy is at the address; or it cannot be
            written.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise StoreError(f"{folder}: no such folder")
    system, place = _open_place(_require_address(address))
    with ExitStack() as stack:
        for lock in {folder / LOCK, *(path for path in folder.rglob(f"*{LOCK}") if _is_lock(path))}:
            stack.enter_context(only_here(lock))
        files = {path.relative_to(folder).as_posix(): path for path in sorted(_files_of(folder))}
        if not files:
            raise StoreError(f"{folder}: holds no file to copy")
        for name in files:
            _require_inside(name, str(folder))
        before = _read_manifest(system, place, address)
        if before is not None:
            if before != {name: _entry_of(path) for name, path in files.items()}:
                raise StoreError(
                    f"{address}: another copy is there; give another address, or delete it there first"
                )
            return _copied(before)
        sent = {name: _send(system, path, f"{place}/{name}", address) for name, path in files.items()}
        content = {"format": FORMAT, "files": sent}
        with _speaking(address), system.open(f"{place}/{MANIFEST}", "wb") as file:
            file.write(json.dumps(content | {"sha256": digest(content)}, indent=1).encode())
    return _copied(sent)


def pull(address: str, folder: Path | str) -> Copied:
    """Copy what `push` left at an address into a new folder, which is there whole or not at all.

    Args:
        address: given to `push`.
        folder: to be made.

    Returns:
        The number of files and bytes.

    Raises:
        StoreError: there is no whole copy, a file is not as it was sent, or a name leads out of the folder; or
            something is in the folder's place.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StoreError(f"{folder}: is there already; give another folder")
    system, place = _open_place(_require_address(address))
    files = _read_manifest(system, place, address)
    if files is None:
        raise StoreError(f"{address}: no whole copy is there: {MANIFEST} is missing; push it (again)")
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        for name, expected in files.items():
            target = temporary / name
            target.parent.mkdir(parents=True, exist_ok=True)
            _fetch(system, f"{place}/{name}", target, expected, f"{address.rstrip('/')}/{name}")
    return _copied(files)


def _cache() -> Path:
    given = os.environ.get("AITIA_CACHE")
    return (
        Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aitia"
    )


def _require_address(address: str) -> str:
    found = address_of(address)
    if found is None:
        raise StoreError(f"{address}: no address; give one like s3://bucket/folder or file:///mnt/folder")
    return found


def _open_place(address: str) -> tuple[Any, str]:
    """The file system of an address, and the place in it."""
    import fsspec.core

    kind = address.partition("://")[0]
    try:
        system, place = fsspec.core.url_to_fs(address, **({"auto_mkdir": True} if kind == "file" else {}))
    except ImportError as error:
        package = getattr(error.__cause__, "name", None) or f"the driver for {kind}"
        raise StoreError(
            f"{address}: {kind}:// needs a package that is missing: pip install {package}"
        ) from error
    except ValueError as error:
        raise StoreError(f"{address}: not an address that fsspec knows ({error})") from error
    return system, place.rstrip("/")


@contextmanager
def _speaking(address: str) -> Iterator[None]:
    """Turn what a driver raises into one line; each has errors of its own."""
    try:
        yield
    except AitiaError:
        raise
    except FileNotFoundError as error:
        raise StoreError(f"{address}: no such file") from error
    except Exception as error:
        said = " ".join(str(error).split())[:300] or type(error).__name__
        raise StoreError(
            f"{address}: {said}; look at the address, the network and your credentials"
        ) from error


def _version(system: Any, place: str, address: str) -> tuple[str, int | None]:
    """What changes with a file, in whatever form its file system tells it; and its bytes, if it tells."""
    with _speaking(address):
        system.invalidate_cache()
        found = system.info(place)
        if found["type"] == "directory":
            raise StoreError(f"{address}: a folder; give the address of one file, .jsonl or .parquet")
        return str(system.checksum(place)), found.get("size")


def _chunks(system: Any, place: str, address: str) -> Iterator[bytes]:
    with _speaking(address), system.open(place, "rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _files_of(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if is_part(path) or _is_lock(path):
            continue
        if path.is_symlink():
            raise StoreError(f"{path}: is a link; put what it points to in its place")
        if path.is_dir():
            yield from _files_of(path)
        else:
            yield path


def _is_lock(path: Path) -> bool:
    return path.name.startswith(".") and path.name.endswith(LOCK)


def _entry(size: int, sha256: Any) -> dict[str, Any]:
    return {"bytes": size, "sha256": sha256.hexdigest()}


def _entry_of(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return _entry(path.stat().st_size, hashlib.file_digest(file, "sha256"))


def _send(system: Any, path: Path, place: str, address: str) -> dict[str, Any]:
    """Copy a file, and say what was sent: the bytes that went, should the file change meanwhile."""
    size, sha256 = 0, hashlib.sha256()
    with path.open("rb") as source, _speaking(address), system.open(place, "wb") as target:
        while chunk := source.read(_CHUNK):
            target.write(chunk)
            sha256.update(chunk)
            size += len(chunk)
    return _entry(size, sha256)


def _fetch(system: Any, place: str, target: Path, expected: Mapping[str, Any], address: str) -> None:
    size, sha256 = 0, hashlib.sha256()
    with target.open("wb") as file:
        for chunk in _chunks(system, place, address):
            size += len(chunk)
            if size > expected["bytes"]:
                break
            file.write(chunk)
            sha256.update(chunk)
    if _entry(size, sha256) != expected:
        raise StoreError(
            f"{address}: not as it was sent (size or checksum); push it again to another address"
        )


def _read_manifest(system: Any, place: str, address: str) -> dict[str, dict[str, Any]] | None:
    """The files of a copy, name -> size and checksum; None where there is no whole copy."""
    where = f"{address.rstrip('/')}/{MANIFEST}"
    with _speaking(where):
        system.invalidate_cache()
        try:
            system.info(f"{place}/{MANIFEST}")
        except FileNotFoundError:
            return None
        with system.open(f"{place}/{MANIFEST}", "rb") as file:
            text = file.read(_LARGEST_MANIFEST + 1)
    try:
        if len(text) > _LARGEST_MANIFEST:
            raise ValueError("too large")
        content = json.loads(text)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError(f"not of format {FORMAT}")
        if content.pop("sha256", None) != digest(content):
            raise ValueError("not as it was written")
        files = content["files"]
        for name, entry in files.items():
            _require_inside(name, where)
            if set(entry) != {"bytes", "sha256"} or type(entry["bytes"]) is not int:
                raise ValueError(f"{name!r} has no size and checksum")
        return files
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StoreError(f"{where}: damaged ({error}); push the folder again to another address") from error


def _require_inside(name: str, where: str) -> None:
    """Refuse a name that leads out of its folder, on any system, or that the manifest has."""
    outside = any(part in ("", ".", "..") for part in name.split("/"))
    if outside or PureWindowsPath(name).anchor or set(name) & {"\\", "\0"} or name == MANIFEST:
        raise StoreError(f"{where}: the name {name!r} cannot be copied; it must lead into the folder alone")


def _copied(files: Mapping[str, Mapping[str, Any]]) -> Copied:
    return Copied(files=len(files), bytes=sum(entry["bytes"] for entry in files.values()))
