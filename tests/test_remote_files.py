"""Data at addresses and folders copied to one and back, through fsspec's own memory:// and file:// file systems."""

import gzip
import hashlib
import json
from pathlib import Path

import fsspec
import pytest
from fsspec.registry import known_implementations
from hypothesis import given
from hypothesis import strategies as st
from records.lines import write_lines
from typer.testing import CliRunner

from aitia.attribution import ActivationStore, scan
from aitia.cli import app
from aitia.counterfactual.prompt_sets import read_prompts
from aitia.errors import RecordError, StoreError
from aitia.files import LOCK, address_of, atomic_path, digest, only_here
from aitia.pipelines.attribution.configuration import read_configuration
from aitia.records import read_records, records_from_rows
from aitia.remote_files import MANIFEST, local_copies, local_copy, pull, push

ROWS = [{"text": "a", "id": "1"}, {"text": "b", "id": "2"}]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("AITIA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def memory():
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


@pytest.fixture(params=["memory", "file"])
def address(request, memory, tmp_path):
    return "memory://bucket/run" if request.param == "memory" else f"file://{tmp_path}/elsewhere/run"


@pytest.fixture
def folder(tmp_path):
    found = tmp_path / "run"
    (found / "shards" / "deep").mkdir(parents=True)
    (found / "manifest.json").write_text("{}")
    (found / "shards" / "0 #?*é.bin").write_bytes(bytes(range(256)) * 9000)
    (found / "shards" / "deep" / "empty").touch()
    (found / LOCK).touch()
    (found / "shards" / ".0.abc.part").mkdir()
    (found / "shards" / ".0.abc.part" / "half").write_text("half")
    return found


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != LOCK and ".part" not in str(path.relative_to(folder))
    }


def at(address):
    system, place = fsspec.url_to_fs(address)
    return system, place


def change_manifest(address, change):
    """Change the list of files as somebody would who knows how it is made."""
    system, place = at(address)
    content = json.loads(system.cat(f"{place}/{MANIFEST}"))
    del content["sha256"]
    change(content["files"])
    system.pipe(f"{place}/{MANIFEST}", json.dumps(content | {"sha256": digest(content)}).encode())


@pytest.mark.parametrize(
    "given, wanted",
    [
        ("s3://bucket/a.jsonl", "s3://bucket/a.jsonl"),
        (Path("s3://bucket/a.jsonl"), "s3://bucket/a.jsonl"),
        (Path("file:///mnt/a.jsonl"), "file:///mnt/a.jsonl"),
        ("a/b.jsonl", None),
        ("/a:/b.jsonl", None),
        ("c:/b.jsonl", None),
        ("simplecache::s3://bucket/a", None),
    ],
)
def test_what_is_an_address(given, wanted):
    assert address_of(given) == wanted


def test_a_folder_comes_back_as_it_went(folder, address, tmp_path):
    sent = push(folder, address)
    assert (sent.files, sent.bytes) == (3, 2 + 256 * 9000)
    system, place = at(address)
    listed = json.loads(system.cat(f"{place}/{MANIFEST}"))["files"]
    for name, content in contents(folder).items():
        assert listed[name] == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert len(system.find(place)) == 4
    assert pull(address, tmp_path / "back") == sent
    assert contents(tmp_path / "back") == contents(folder)


def test_a_copy_is_made_once_and_never_written_over(folder, address, tmp_path):
    push(folder, address)
    system, place = at(address)
    before = {name: system.info(name)["created"] for name in system.find(place)}
    push(folder, address)
    assert before == {name: system.info(name)["created"] for name in system.find(place)}
    (folder / "manifest.json").write_text("[]")
    with pytest.raises(StoreError, match="another copy is there"):
        push(folder, address)
    with pytest.raises(StoreError, match="is there already"):
        pull(address, folder)


def test_half_a_copy_is_none(folder, address, tmp_path, monkeypatch):
    system, place = at(address)
    whole, opened = type(system).open, []

    def breaking(self, path, mode="rb", **options):
        opened.append(path)
        if mode == "wb" and len(opened) == 3:
            raise ConnectionError("the network is gone")
        return whole(self, path, mode, **options)

    with monkeypatch.context() as patch:
        patch.setattr(type(system), "open", breaking)
        with pytest.raises(StoreError, match="the network is gone"):
            push(folder, address)
    assert 0 < len(system.find(place)) < 4
    with pytest.raises(StoreError, match=f"{MANIFEST} is missing; push it"):
        pull(address, tmp_path / "back")
    push(folder, address)
    pull(address, tmp_path / "back")
    assert contents(tmp_path / "back") == contents(folder)


@pytest.mark.parametrize("damage", ["flipped", "short", "long", "gone"])
def test_damage_is_found_and_nothing_is_left(folder, address, tmp_path, damage):
    push(folder, address)
    system, place = at(address)
    name = f"{place}/manifest.json"
    if damage == "gone":
        system.rm(name)
    else:
        system.pipe(name, {"flipped": b"{]", "short": b"{", "long": b"{}}"}[damage])
    with pytest.raises(StoreError, match="no such file" if damage == "gone" else "not as it was sent"):
        pull(address, tmp_path / "into" / "back")
    assert list((tmp_path / "into").iterdir()) == []
    system.pipe(f"{place}/{MANIFEST}", system.cat(f"{place}/{MANIFEST}")[:-10])
    with pytest.raises(StoreError, match="damaged"):
        pull(address, tmp_path / "back")


HOSTILE = [
    "../evil",
    "a/../../evil",
    "/evil",
    "a//b",
    "./a",
    "",
    "a\\..\\..\\evil",
    "c:/evil",
    "c:evil",
    "\0",
    MANIFEST,
]


@pytest.mark.parametrize("name", [*HOSTILE, "\0", MANIFEST])
def test_names_that_lead_elsewhere_are_refused(folder, address, tmp_path, name):
    push(folder, address)
    entry = {"bytes": 4, "sha256": hashlib.sha256(b"evil").hexdigest()}
    change_manifest(address, lambda files: files.update({name: entry}))
    with pytest.raises(StoreError, match="lead into the folder alone"):
        pull(address, tmp_path / "into" / "back")
    assert not list(tmp_path.rglob("evil"))
    assert not (tmp_path / "into").exists()


@given(name=st.text(max_size=12) | st.lists(st.sampled_from(["..", ".", "", "a", "C:", "\\"])).map("/".join))
def test_no_name_leads_out(name):
    from aitia.remote_files import _require_inside

    try:
        _require_inside(name, "here")
    except StoreError:
        return
    assert Path("/x/folder", name).resolve().is_relative_to("/x/folder")


def test_a_changed_list_is_damage(folder, address, tmp_path):
    push(folder, address)
    system, place = at(address)
    content = json.loads(system.cat(f"{place}/{MANIFEST}"))
    content["files"].pop("manifest.json")
    system.pipe(f"{place}/{MANIFEST}", json.dumps(content).encode())
    with pytest.raises(StoreError, match="not as it was written"):
        pull(address, tmp_path / "back")


def test_what_cannot_be_pushed(folder, memory, tmp_path):
    address = "memory://bucket/run"
    with pytest.raises(StoreError, match="no such folder"):
        push(tmp_path / "none", address)
    with pytest.raises(StoreError, match="no address; give one like s3://"):
        push(folder, str(tmp_path / "there"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match="no file to copy"):
        push(tmp_path / "empty", address)
    with only_here(folder / "shards" / LOCK), pytest.raises(StoreError, match="another process is at work"):
        push(folder, address)
    (folder / "link").symlink_to(tmp_path)
    with pytest.raises(StoreError, match="is a link"):
        push(folder, address)
    assert memory.find("/bucket") == []


def test_a_driver_that_is_missing_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(
        known_implementations, "far", {"class": "no_such_driver.FarFileSystem", "err": "install it"}
    )
    for use in (lambda: read_records("far://bucket/a.jsonl"), lambda: pull("far://bucket", tmp_path / "b")):
        with pytest.raises((RecordError, StoreError), match="far:// needs .* pip install no_such_driver"):
            use()
    with pytest.raises(RecordError, match="not an address that fsspec knows"):
        read_records("nowhere://bucket/a.jsonl")


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".parquet"])
def test_data_are_read_from_an_address(address, tmp_path, ending):
    here = records_from_rows(ROWS).write(tmp_path / "here.jsonl")
    if ending == ".jsonl.gz":
        here = read_records(here).write(tmp_path / "here.jsonl.gz")
    elif ending == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as parquet

        here = tmp_path / "here.parquet"
        parquet.write_table(pa.Table.from_pylist(ROWS), here)
    system, place = at(f"{address}/train{ending}")
    system.makedirs(place.rpartition("/")[0], exist_ok=True)
    system.pipe(place, here.read_bytes())
    for named in (f"{address}/train{ending}", Path(f"{address}/train{ending}")):
        found = read_records(named)
        assert found.fingerprint == read_records(here).fingerprint
        assert found[0].location.startswith(f"train{ending}")
        assert found.write(tmp_path / f"again{ending}").read_bytes() == here.read_bytes()


FORMATS = {
    ".jsonl.zst": lambda rows, out: read_records(
        records_from_rows(rows).write(out.with_name("a.jsonl"))
    ).write(out),
    ".json": lambda rows, out: out.write_text(json.dumps(rows)),
    ".csv": lambda rows, out: out.write_text("text,id\n" + "".join(f"{r['text']},{r['id']}\n" for r in rows)),
    ".tsv.gz": lambda rows, out: out.write_bytes(
        gzip.compress(("text\tid\n" + "".join(f"{r['text']}\t{r['id']}\n" for r in rows)).encode())
    ),
}


@pytest.mark.parametrize("ending", FORMATS)
def test_every_format_is_read_from_an_address(memory, tmp_path, ending):
    FORMATS[ending](ROWS, tmp_path / f"here{ending}")
    memory.pipe(f"/bucket/train{ending}", (tmp_path / f"here{ending}").read_bytes())
    found = read_records(f"memory://bucket/train{ending}")
    assert found.fingerprint == records_from_rows(ROWS).fingerprint


def test_files_that_fit_a_pattern_at_an_address_are_read_in_order(address, cache, tmp_path):
    system, place = at(address)
    system.makedirs(place, exist_ok=True)
    for number, name in ((1, "part-b"), (0, "part-a"), (2, "other")):
        system.pipe(f"{place}/{name}.jsonl", json.dumps({"text": name, "id": str(number)}).encode() + b"\n")
    system.makedirs(f"{place}/part-folder.jsonl", exist_ok=True)
    for named in (f"{address}/part-*.jsonl", Path(f"{address}/part-*.jsonl")):
        found = read_records(named)
        assert [record.text for record in found] == ["part-a", "part-b"]
        assert [record.location for record in found] == ["part-a.jsonl:1", "part-b.jsonl:1"]
    both = read_records([f"{address}/other.jsonl", f"{address}/part-*.jsonl"])
    assert both.ids == ("2", "0", "1")
    assert len(found.write(tmp_path / "out.jsonl").read_bytes().splitlines()) == 2
    with pytest.raises(RecordError, match=r"none-\*.jsonl: no file fits this pattern"):
        read_records(f"{address}/none-*.jsonl")
    system.pipe(f"{place}/part-*.jsonl", b'{"text": "a star"}\n')
    assert [record.text for record in read_records(f"{address}/part-*.jsonl")] == ["a star"]


def test_local_paths_are_not_copied(tmp_path, cache):
    assert local_copies(tmp_path / "train.jsonl") == [tmp_path / "train.jsonl"]
    assert not cache.exists()


def test_data_are_fetched_once_and_again_when_they_change(memory, cache, monkeypatch):
    place, address = "/bucket/train.jsonl", "memory://bucket/train.jsonl"
    memory.pipe(place, b'{"text": "a"}\n')
    first = local_copy(address)
    with monkeypatch.context() as patch:
        patch.setattr("aitia.remote_files._chunks", None)
        assert local_copy(address) == first
    first.write_bytes(b"cut")
    assert local_copy(address).read_bytes() == b'{"text": "a"}\n'
    memory.pipe(place, b'{"text": "b"}\n')
    second = local_copy(address)
    assert second != first
    assert read_records(second)[0].text == "b"
    assert len(list(cache.iterdir())) == 2


def test_data_that_change_on_the_way_are_refused(memory, cache, monkeypatch):
    import aitia.remote_files as module

    memory.pipe("/bucket/train.jsonl", b'{"text": "a"}\n')
    chunks = module._chunks

    def meanwhile(*arguments):
        yield from chunks(*arguments)
        memory.pipe("/bucket/train.jsonl", b'{"text": "other"}\n')

    monkeypatch.setattr(module, "_chunks", meanwhile)
    with pytest.raises(RecordError, match="changed while it was fetched"):
        local_copy("memory://bucket/train.jsonl")
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_prompts_are_read_from_an_address(memory):
    memory.pipe("/bucket/asked.jsonl", b'{"prompt": "Who?"}\n')
    assert read_prompts("memory://bucket/asked.jsonl")[0].prompt_text == "Who?"


def test_data_that_are_not_there(memory, tmp_path):
    with pytest.raises(RecordError, match=r"memory://bucket/train.jsonl: no such file"):
        read_records("memory://bucket/train.jsonl")
    memory.pipe("/bucket/set/state.json", b"{}")
    with pytest.raises(RecordError, match="a folder; give the address of one file"):
        read_records("memory://bucket/set")


def test_results_are_not_written_to_an_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for enter in (atomic_path, only_here):
        with pytest.raises(StoreError, match="aitia push"), enter(Path("s3://bucket/run/x")):
            raise AssertionError
    assert list(tmp_path.iterdir()) == []


def test_a_configuration_keeps_addresses(tmp_path):
    (tmp_path / "attribute.yaml").write_text(
        "out: run\nmodel: {name: m}\ndata: {path: 's3://bucket/train.jsonl'}\n"
        "concept: {positive: a.jsonl, negative: 'file:///mnt/b.jsonl'}\n"
    )
    found = read_configuration(tmp_path / "attribute.yaml")
    assert address_of(found.data.path) == "s3://bucket/train.jsonl"
    assert address_of(found.concept.negative) == "file:///mnt/b.jsonl"
    assert found.concept.positive == tmp_path / "a.jsonl"


def test_a_store_of_data_at_an_address_is_pushed_and_pulled(tiny_model, memory, tmp_path):
    write_lines(tmp_path / "train.jsonl", [{"text": f"A cat sat on {i}.", "id": f"r{i}"} for i in range(6)])
    memory.pipe("/bucket/train.jsonl", (tmp_path / "train.jsonl").read_bytes())
    data = read_records("memory://bucket/train.jsonl")
    scan(tiny_model, data, sites=["resid_post.1"], out=tmp_path / "store")
    for command in (
        ["push", str(tmp_path / "store"), "memory://bucket/store"],
        ["pull", "memory://bucket/store", str(tmp_path / "back")],
    ):
        done = CliRunner().invoke(app, [*command, "--json"])
        assert done.exception is None
        assert json.loads(done.stdout)["files"] == len(contents(tmp_path / "store"))
    here, there = (ActivationStore.open(tmp_path / name) for name in ("store", "back"))
    assert there.column("id").tolist() == here.column("id").tolist()
    assert there.load_records().fingerprint == data.fingerprint
    assert contents(tmp_path / "back") == contents(tmp_path / "store")


def test_a_store_that_names_an_address_does_not_send_one_there(tiny_model, memory, tmp_path, monkeypatch):
    records = read_records(write_lines(tmp_path / "train.jsonl", ROWS))
    scan(tiny_model, records, sites=["resid_post.1"], out=tmp_path / "store")
    store = ActivationStore.open(tmp_path / "store")
    store.manifest["data"]["source"] = "memory://bucket/train.jsonl"
    monkeypatch.setattr("aitia.remote_files._open_place", None)
    with pytest.raises(StoreError, match="give them yourself"):
        store.load_records()
