import builtins
import errno
import io
import os

import numpy as np
import pytest

from aitia import files
from aitia.errors import StoreError, UnreadableError
from aitia.files import (
    atomic_path,
    digest,
    read_json,
    reading,
    require_only,
    require_place,
    write_json,
    write_text,
    written,
)
from aitia.tensor_files import open_tensors, save_tensors


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_is_replaced_whole(tmp_path):
    for text in ("first", "second"):
        with atomic_path(tmp_path / "folder") as temporary:
            temporary.mkdir()
            (temporary / text).write_text(text)
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["second"]
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_digest_ignores_key_order_and_sees_values():
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest([1, 2]) != digest([2, 1])
    assert digest("\ud800")  # a lone surrogate, as JSON may hold


def test_json_has_no_nan(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE, errno.ENFILE])
def test_what_cannot_be_read_is_told_from_what_is_damaged(number, tmp_path, monkeypatch):
    path = save_tensors(tmp_path / "a.safetensors", {"x": np.arange(3.0)})

    def refuse(*_args, **_options):
        raise OSError(number, os.strerror(number), str(path))

    for module in (builtins, io):
        monkeypatch.setattr(module, "open", refuse)
    with pytest.raises(UnreadableError, match=r"a.safetensors: cannot be read: "), open_tensors(path):
        pass
    with pytest.raises(UnreadableError):
        read_json(path)


@pytest.mark.skipif(not hasattr(os, "seteuid") or os.geteuid() != 0, reason="only root can be somebody else")
def test_a_file_of_somebody_else_cannot_be_read(tmp_path):
    path = save_tensors(tmp_path / "a.safetensors", {"x": np.arange(3.0)})
    path.chmod(0o600)
    for folder in (tmp_path, *tmp_path.parents[:-1]):
        if str(folder).startswith("/tmp/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    os.seteuid(65534)
    try:
        with pytest.raises(UnreadableError, match="permission denied"), open_tensors(path):
            pass
    finally:
        os.seteuid(0)


def test_a_missing_file_is_neither(tmp_path):
    (tmp_path / "file").touch()
    for missing in (tmp_path / "none", tmp_path / "file" / "below"):
        with pytest.raises(FileNotFoundError), open_tensors(missing):
            pass
        with pytest.raises(FileNotFoundError):
            read_json(missing)


def test_damage_is_no_matter_of_reading(tmp_path):
    (tmp_path / "a").write_bytes(b"no tensors")
    with pytest.raises(ValueError, match="header"), open_tensors(tmp_path / "a"):
        pass
    with pytest.raises(OSError, match="of Arrow"), reading(tmp_path / "a"):
        raise OSError("of Arrow, without a number")


def test_memory_that_does_not_suffice_is_no_damage(tmp_path):
    path = save_tensors(tmp_path / "a.safetensors", {"x": np.arange(3.0)})
    with pytest.raises(RuntimeError, match="allocate"), open_tensors(path):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")


def test_a_file_does_not_take_the_place_of_a_folder(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine").write_text("mine")
    with pytest.raises(StoreError, match="a folder is there; give the name of a file"):
        write_text(tmp_path / "folder", "text")
    assert (tmp_path / "folder" / "mine").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_places_that_cannot_be_written_are_refused_before_any_work(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    require_place(tmp_path / "new" / "deep" / "file")
    require_place(tmp_path / "file")
    require_place(tmp_path / "folder", folder=True)
    for path, folder in (("folder", False), ("file", True), ("file/below", False), ("file/below", True)):
        with pytest.raises(StoreError):
            require_place(tmp_path / path, folder=folder)
    with pytest.raises(StoreError, match="on this machine"):
        require_place("s3://bucket/file")


def test_a_folder_is_replaced_only_where_nothing_else_is_lost(tmp_path):
    require_only(tmp_path / "new", ["a"])
    (tmp_path / "a").touch()
    require_only(tmp_path, ["a", "b"])
    with pytest.raises(StoreError, match=r"other things is there \(a\)"):
        require_only(tmp_path, ["b"])
    with pytest.raises(StoreError, match="a file is there"):
        require_only(tmp_path / "a", ["b"])


def test_what_was_written_is_known(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_written", [])
    write_text(tmp_path / "a", "x")
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "b"):
        raise RuntimeError
    assert written() == (tmp_path / "a",)
