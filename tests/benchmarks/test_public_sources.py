"""Public files are found where they may lie, and only with the digest that is written down."""

from __future__ import annotations

import hashlib
import io
import urllib.request

import pytest

from public import sources
from public.sources import SOURCES, Source, json_rows, source

CONTENT = b'{"a": 0}\n{"a": 1}\n{"a": 2}\n'
SHORT = b'{"a": 0}\n{"a": 2}\n'


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Two sources, one of them with a line left out, and the three places to look in."""
    at = {"repository": "some/one", "commit": "0" * 40, "licence": "MIT"}
    monkeypatch.setattr(sources, "SHARED", tmp_path / "shared")
    monkeypatch.setattr(sources, "DOWNLOADED", tmp_path / "downloaded")
    monkeypatch.setenv("AITIA_DATA", str(tmp_path / "named"))
    monkeypatch.setitem(SOURCES, "a/b.jsonl", Source(path="x/b.jsonl", sha256=digest(CONTENT), **at))
    cut = Source(path="x/c.jsonl", sha256=digest(SHORT), whole_sha256=digest(CONTENT), left_out=(1,), **at)
    monkeypatch.setitem(SOURCES, "a/c.jsonl", cut)
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: pytest.fail("it asked the network"))

    def put(place: str, name: str, content: bytes = CONTENT):
        path = tmp_path / place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    return put


def test_the_named_folder_comes_first_then_the_shared_one_then_the_downloads(places):
    for place in ("downloaded", "shared", "named"):
        path = places(place, "a/b.jsonl")
        assert source("a/b.jsonl") == path
    assert [row["a"] for row in json_rows("a/b.jsonl")] == [0, 1, 2]


def test_another_digest_stops_with_both(places):
    places("named", "a/b.jsonl", b"changed")
    with pytest.raises(SystemExit) as stopped:
        source("a/b.jsonl")
    assert digest(b"changed") in str(stopped.value)
    assert digest(CONTENT) in str(stopped.value)


@pytest.mark.parametrize("content", [CONTENT, SHORT])
def test_the_whole_file_and_the_copy_without_some_lines_give_the_same_rows(places, content):
    places("shared", "a/c.jsonl", content)
    assert source("a/c.jsonl").read_bytes() == SHORT


def test_what_is_nowhere_is_downloaded_once(places, monkeypatch, tmp_path):
    asked = []

    def answer(address, timeout):
        asked.append((address, timeout))
        return io.BytesIO(CONTENT)

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    assert source("a/b.jsonl") == source("a/b.jsonl") == tmp_path / "downloaded" / "a/b.jsonl"
    [(address, timeout)] = asked
    assert address == f"https://raw.githubusercontent.com/some/one/{'0' * 40}/x/b.jsonl"
    assert timeout > 0


def test_a_failed_download_leaves_nothing_and_says_what_to_do(places, monkeypatch, tmp_path):
    def fail(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", fail)
    with pytest.raises(SystemExit, match="AITIA_DATA"):
        source("a/b.jsonl")
    assert not list(tmp_path.rglob("*.jsonl*"))


def test_the_table_is_whole():
    for name, each in SOURCES.items():
        assert len(each.commit) == 40, name
        assert len(each.sha256) == 64, name
        assert bool(each.left_out) == bool(each.whole_sha256), name
