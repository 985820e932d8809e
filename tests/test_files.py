import builtins
import errno
import io
import os
import stat
from contextlib import contextmanager

import numpy as np
import pytest

from aitia import files
from aitia.errors import StoreError, UnreadableError
from aitia.files import (
    atomic_path,
    digest,
    read_json,
    reading,
    require_apart,
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


def make(folder, **files):
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        for name, text in files.items():
            (temporary / name.replace("_", ".")).write_text(text)


def test_a_folder_is_replaced_whole_by_its_like(tmp_path):
    make(tmp_path / "folder", a_txt="first", data0_bin="0", data1_bin="1")
    make(tmp_path / "folder", a_txt="second", data0_bin="0")
    assert {path.name for path in (tmp_path / "folder").iterdir()} == {"a.txt", "data0.bin"}
    assert (tmp_path / "folder" / "a.txt").read_text() == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_folder_that_holds_something_else_is_never_replaced(tmp_path):
    kept = tmp_path / "folder"
    make(kept, thesis_txt="years of work")
    with pytest.raises(StoreError, match=r"a folder with other things is there \(thesis.txt\)"):
        make(kept, model_txt="")
    with pytest.raises(StoreError, match="a folder is there; give the name of a file"):
        write_text(kept, "a file")
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "thesis.txt"]
    (tmp_path / "empty").mkdir()
    make(tmp_path / "empty", model_txt="")
    assert (tmp_path / "empty" / "model.txt").exists()


def test_outputs_are_kept_apart_from_inputs_and_from_one_another(tmp_path):
    (tmp_path / "data.jsonl").write_text("rows")
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "data.jsonl")
    (tmp_path / "hard.jsonl").hardlink_to(tmp_path / "data.jsonl")
    (tmp_path / "set").mkdir()
    data = {"the data": tmp_path / "data.jsonl", "the set": tmp_path / "set"}
    require_apart({"the result": tmp_path / "new.jsonl", "the rest": tmp_path / "other.jsonl"}, data)
    for place in ("data.jsonl", "link.jsonl", "hard.jsonl", "set/../data.jsonl", "set", "set/new"):
        with pytest.raises(StoreError, match="the result cannot be written there: it is the place of the"):
            require_apart({"the result": tmp_path / place}, data)
    with pytest.raises(StoreError, match="the rest cannot be written there: it is the place of the result"):
        require_apart({"the result": tmp_path / "a", "the rest": tmp_path / "x" / ".." / "a"}, {})


def test_digest_ignores_key_order_and_sees_values():
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest([1, 2]) != digest([2, 1])
    assert digest("\ud800")  # a lone surrogate, as JSON may hold


def test_json_has_no_nan(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not list(tmp_path.iterdir())


@contextmanager
def umask(value):
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


def permissions(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077, 0o002])
def test_permissions_are_those_of_a_plain_open_whoever_writes(tmp_path, mask):
    import pyarrow as pa
    import pyarrow.parquet as parquet

    with umask(mask):
        write_text(tmp_path / "text", "a")
        save_tensors(tmp_path / "tensors", {"x": np.zeros(2)})
        with atomic_path(tmp_path / "plain") as temporary:  # a name that writing itself uses
            parquet.write_table(pa.table({"x": [1]}), temporary)
        with atomic_path(tmp_path / "folder") as temporary:
            (temporary / "inner").mkdir(parents=True)
            save_tensors(temporary / "inner" / "tensors", {"x": np.zeros(2)})
            (temporary / "private").touch(mode=0o600)
    for path in tmp_path.rglob("*"):
        assert permissions(path) == (0o777 if path.is_dir() else 0o666) & ~mask, path


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_what_was_made_private_stays_so_when_it_is_replaced(tmp_path):
    with umask(0o022):
        for text in ("first", "second"):
            write_text(tmp_path / "file", text)
            with atomic_path(tmp_path / "replaced") as temporary:
                temporary.mkdir()
                (temporary / "name").write_text(text)
            if text == "first":
                (tmp_path / "file").chmod(0o600)
                (tmp_path / "replaced").chmod(0o700)
    assert (tmp_path / "file").read_text() == "second"
    assert permissions(tmp_path / "file") == 0o600
    assert (tmp_path / "replaced" / "name").read_text() == "second"
    assert permissions(tmp_path / "replaced") == 0o700


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
