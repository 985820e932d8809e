"""Writing files so that nothing half-written is ever taken for whole, and naming what was written."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from aitia.errors import StoreError, UnreadableError

LOCK = ".lock"
_PART = ".part"
_WORDS = {
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EISDIR: "it is a folder, not a file",
    errno.EEXIST: "a file is there, where a folder is wanted",
    errno.ENOTDIR: "a part of its path is a file, not a folder",
    errno.EMFILE: "too many open files; allow more (ulimit -n), or close other programs",
    errno.ENFILE: "too many open files on this machine; close other programs",
    errno.EIO: "the disk or drive reports an input/output error",
    errno.EROFS: "the drive can only be read",
    errno.ENAMETOOLONG: "the name is too long",
}
_NO_ROOM = (None, errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_written: list[Path] = []
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/+(.*)", re.DOTALL)


def address_of(path: Path | str) -> str | None:
    """The address (`s3://bucket/name`) that a path stands for, or None for a place on this machine.

    A `Path` keeps but one of an address's two slashes.

    Returns:
        The address, with both slashes; or None.
    """
    found = _ADDRESS.fullmatch(str(path))
    if found is None:
        return None
    kind, rest = found.groups()
    return f"{kind}://{'/' * (kind == 'file')}{rest}"


def _require_local(path: Path | str) -> None:
    address = address_of(path)
    if address is not None:
        raise StoreError(
            f"{address}: results are written on this machine; give a folder here, and `aitia push` it when it is done"
        )


@contextmanager
def atomic_path(path: Path | str, *, flush: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends well, move it onto `path`.

    The temporary file or folder lies in the same folder, so that the move is atomic; its bytes are
    flushed to the disk first. When the block raises, it is removed and `path` is left as it was.
    A folder at `path` is replaced by a folder that has the same files, and by nothing else: what somebody
    keeps there is not ours to remove.

    What is written gets the permissions that `open` and `mkdir` give under the process's umask, whichever library
    wrote it. What it replaces keeps its own, as a file that is opened for writing does: what was made private stays so.

    Args:
        path: the final file or folder; missing parent folders are made.
        flush: have it on the disk before it takes its place; without, a power cut may spoil it, nothing else.

    Yields:
        The path to write to.

    Raises:
        StoreError: it is an address, a folder that holds something else, or cannot be written: the disk is
            full, say, or the folder is not ours; or a file is to be written where a folder is.
    """
    _require_local(path)
    path = Path(path)
    scratch = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=_PART, dir=path.parent))
        (scratch / "written").mkdir()  # so that no name given to us is one of ours
        temporary = scratch / "written" / path.name
        yield temporary
        if os.name == "posix":
            _give_usual_permissions(temporary, scratch, path)
        if flush and temporary.is_file():
            _flush(temporary)
        if path.is_dir() and not path.is_symlink():
            _require_replaceable(path, temporary)
            path.rename(scratch / "replaced")
        os.replace(temporary, path)
        _written.append(path)
        if flush and os.name == "posix":
            _flush(path.parent)
    except Exception as error:
        said = _why_not_written(error)
        if said is None:
            raise
        full = "make room, or " if getattr(error, "errno", None) in _NO_ROOM else ""
        raise StoreError(
            f"{path}: cannot be written: {said}; {full}give another place, and run the same again"
        ) from error
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def _require_replaceable(folder: Path, made: Path) -> None:
    """Refuse to put what was made in the place of a folder that holds anything else than an earlier such."""
    if not made.is_dir():
        raise StoreError(f"{folder}: a folder is there; give the name of a file")
    # Numbers aside: a data set may have been cut into more files, or fewer.
    kinds = {_without_numbers(item.name) for item in made.iterdir()}
    require_only(folder, [item.name for item in folder.iterdir() if _without_numbers(item.name) in kinds])


def _without_numbers(name: str) -> str:
    return re.sub(r"\d+", "0", name)


def same_place(one: Path | str, other: Path | str) -> bool:
    """Whether two paths name one file or folder, through links and whatever their spelling."""
    one, other = Path(one), Path(other)
    if one.exists() and other.exists():
        return one.samefile(other)
    return one.resolve() == other.resolve()


def require_apart(
    outputs: Mapping[str, Path | str], inputs: Mapping[str, Path | str], *, nested: bool = False
) -> None:
    """Refuse to write onto what is read, or two things into one place; checked before anything is written.

    Args:
        outputs: what it is, in words -> where it is to be written.
        inputs: what it is, in words -> where it is read from.
        nested: whether one of them may lie inside another.

    Raises:
        StoreError: two of them are one place; both are named.
    """
    seen: dict[str, Path] = {}
    for what, given in (*inputs.items(), *outputs.items()):
        path = Path(given)
        for earlier, other in seen.items():
            if what not in outputs:
                continue
            whole, part = path.resolve(), other.resolve()
            inside = part in whole.parents or whole in part.parents
            if same_place(path, other) or (inside and not nested):
                raise StoreError(
                    f"{path}: {what} cannot be written there: it is the place of {earlier} ({other}); "
                    "give another place"
                )
        seen[what] = path


def _give_usual_permissions(written: Path, scratch: Path, replaced: Path) -> None:
    """Give what was written the permissions of a plain `open` or `mkdir`, or those of what it will replace.

    A file and a folder made here say what these are: asking for the umask would mean setting it, in every thread.
    """
    (scratch / "plain").touch()
    of_file, of_folder = _permissions(scratch / "plain"), _permissions(written.parent)
    for each in (written, *written.rglob("*")) if written.is_dir() else (written,):
        if not each.is_symlink():
            _set_permissions(each, of_folder if each.is_dir() else of_file)
    if replaced.is_dir() == written.is_dir() and replaced.exists() and not replaced.is_symlink():
        _set_permissions(written, _permissions(replaced))


def _permissions(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _set_permissions(path: Path, wanted: int) -> None:
    if _permissions(path) != wanted:
        with suppress(OSError):  # a file system without permissions, such as a mounted share
            path.chmod(wanted)


def written() -> tuple[Path, ...]:
    """The files and folders that this process has finished writing, in order."""
    return tuple(_written)


def require_place(path: Path | str, *, folder: bool = False) -> None:
    """Refuse, before any work, a place that cannot be written.

    Args:
        path: of what is to be written.
        folder: whether that is a folder, and not a file.

    Raises:
        StoreError: something of the other kind is there, a parent is a file, or it may not be written.
    """
    _require_local(path)
    path = Path(path)
    if not folder and path.is_dir():
        raise StoreError(f"{path}: a folder is there; give the name of a file")
    if folder and path.is_file():
        raise StoreError(f"{path}: a file is there; give the name of a folder")
    above = next(each for each in path.absolute().parents if each.exists())
    if not above.is_dir():
        raise StoreError(f"{path}: {above} is a file, so nothing can be written below it; give another place")
    if not os.access(above, os.W_OK | os.X_OK):
        raise StoreError(f"{path}: permission denied to write in {above}; give another place")


def require_only(folder: Path | str, names: Iterable[str]) -> None:
    """Refuse to write a folder in the place of one that holds anything but what will be replaced.

    Args:
        folder: that is to be written.
        names: of the files that it will have.

    Raises:
        StoreError: a file is there, or a folder with other things, which would be lost.
    """
    folder = Path(folder)
    if not folder.is_dir():
        if folder.exists():
            raise StoreError(f"{folder}: a file is there; give the name of a folder")
        return
    lost = sorted({path.name for path in folder.iterdir() if not is_part(path)} - {*names, LOCK})
    if lost:
        raise StoreError(
            f"{folder}: a folder with other things is there ({', '.join(lost[:3])}{', …' * (len(lost) > 3)}); "
            "give another place"
        )


def remove_parts(folder: Path | str, name: str = "") -> None:
    """Remove what writers that were killed left half-written in a folder; the caller holds its lock.

    Args:
        folder: where they wrote.
        name: only of files whose names start so.
    """
    for left in Path(folder).iterdir() if Path(folder).is_dir() else ():
        if is_part(left) and left.name.startswith(f".{name}"):
            shutil.rmtree(left, ignore_errors=True)


def is_part(path: Path) -> bool:
    """Whether a path is a place where something was being written."""
    return path.name.startswith(".") and path.name.endswith(_PART)


@contextmanager
def only_here(path: Path | str) -> Iterator[None]:
    """Let no other process into the block for the same path: two would write over one another's files.

    The lock is the operating system's, so that one whose holder was killed is free again.

    Args:
        path: the lock's file; it stays, empty.

    Raises:
        StoreError: another process is there, or the path is an address.
    """
    from filelock import FileLock, Timeout

    _require_local(path)
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, timeout=0)
        lock.acquire()
    except Timeout:
        place = path.parent if path.name == LOCK else path.with_name(path.name.removesuffix(LOCK).lstrip("."))
        raise StoreError(
            f"{place}: another process is at work on it; wait until it has finished, or give another place"
        ) from None
    except OSError as error:
        raise StoreError(f"{path.parent}: cannot be locked: {in_words(error)}") from error
    try:
        yield
    finally:
        lock.release()


def lock_beside(path: Path | str) -> Path:
    """The lock's file of a file that is made: hidden, beside it."""
    path = Path(path)
    return path.with_name(f".{path.name}{LOCK}")


def _flush(path: Path) -> None:
    """Have what was written to a file, or the names in a folder, on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _why_not_written(error: Exception) -> str | None:
    """In words, if the error is the disk's or the folder's, as Python or safetensors (in Rust) tells it."""
    if isinstance(error, OSError):
        return in_words(error)
    if type(error).__name__ == "SafetensorError" and "I/O error" in str(error):
        return " ".join(str(error).split())
    return None


def in_words(error: OSError) -> str:
    """What the operating system reports, without the number and the path."""
    return _WORDS.get(error.errno or 0) or (error.strerror or str(error) or type(error).__name__)


@contextmanager
def reading(path: Path | str) -> Iterator[None]:
    """Say that a file cannot be read where that is so, lest its reader take it for damaged.

    Raises:
        FileNotFoundError: there is no such file.
        UnreadableError: it may not be read, is a folder, or the disk fails, here or in the block.
        OSError: the block raised one that is not the operating system's, as Arrow does of damage.
    """
    try:
        with Path(path).open("rb"):  # safetensors says of a file that may not be read that it does not exist
            pass
        yield
    except FileNotFoundError:
        raise
    except NotADirectoryError as error:
        raise FileNotFoundError(errno.ENOENT, in_words(error), str(path)) from error
    except OSError as error:
        if error.errno is None:  # not the operating system's: Arrow says so of damage, for instance
            raise
        raise UnreadableError(f"{path!s:.300}: cannot be read: {in_words(error)}") from error


def write_text(path: Path | str, text: str) -> Path:
    """Write `text` as UTF-8 to `path`, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def write_json(path: Path | str, value: Any) -> Path:
    """Write `value` as indented JSON with sorted keys to `path`, whole or not at all."""
    return write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path | str) -> Any:
    """What a file of JSON holds.

    Returns:
        Plain values: objects as dicts, arrays as lists.

    Raises:
        FileNotFoundError: there is no such file.
        UnreadableError: it cannot be read.
        ValueError: it is not JSON, or nested so deeply that reading it would exhaust the stack.
    """
    try:
        with reading(path):
            return json.loads(Path(path).read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def digest(value: Any) -> str:
    """SHA-256 (hex) of a JSON-able value: equal values have equal digests, whatever the key order."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def digest_of_list(values: Iterable[Any]) -> str:
    """The digest of a list that need not be in memory all at once: `digest(list(values))`."""
    whole = hashlib.sha256(b"[")
    for number, value in enumerate(values):
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        whole.update((b"," if number else b"") + text.encode("utf-8", "surrogatepass"))
    whole.update(b"]")
    return whole.hexdigest()


def file_digest(path: Path | str) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
