import os
import stat
from contextlib import contextmanager

import numpy as np
import pytest

from aitia.errors import StoreError
from aitia.files import atomic_path, digest, require_apart, write_json, write_text
from aitia.tensor_files import save_tensors


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
    with pytest.raises(StoreError, match=r"holds something else \(thesis.txt\), which would be lost"):
        make(kept, model_txt="")
    with pytest.raises(StoreError, match="a folder is there already, and a file is to be written"):
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
