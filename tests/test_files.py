import os
import stat
from contextlib import contextmanager

import numpy as np
import pytest

from aitia.files import atomic_path, digest, write_json, write_text
from aitia.tensor_files import save_tensors


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
                (temporary / text).touch()
            if text == "first":
                (tmp_path / "file").chmod(0o600)
                (tmp_path / "replaced").chmod(0o700)
    assert (tmp_path / "file").read_text() == "second"
    assert permissions(tmp_path / "file") == 0o600
    assert [path.name for path in (tmp_path / "replaced").iterdir()] == ["second"]
    assert permissions(tmp_path / "replaced") == 0o700
