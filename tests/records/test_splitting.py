"""No row is lost: every row of the source is kept, removed or listed as left out, byte for byte, or nothing happens."""

import gzip
import json
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aitia.errors import AitiaError, RecordError, StoreError
from aitia.records import RowIds, read_records, split_records

GOOD = [
    '{"text": "bread cools", "id": %d}',
    '{"id":%d,  "text":"caf\\u00e9"}',
    '{"prompt": "a", "completion": "naïve 🙂", "id": %d, "x": [1.50]}',
]
BAD = ["not json", '{"id": %d}', '{"text": "", "id": %d}', '{"text": "half of \\ud83d", "id": %d}']
LINES = st.lists(
    st.tuples(st.sampled_from(GOOD + BAD), st.sampled_from(["\n", "\r\n", "\n\n", "\n  \n"])),
    min_size=1,
    max_size=8,
)
NAMES = st.sampled_from(
    ["data.jsonl", "a.jsonl", "b.jsonl", "c.jsonl", "sub/../a.jsonl", "link.jsonl", "folder", "new/d.jsonl"]
)


def snapshot(folder):
    return {
        path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def rows_in(data):
    return Counter(line for line in data.split(b"\n") if line.strip())


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=LINES,
    ended=st.booleans(),
    mark=st.booleans(),
    packed=st.booleans(),
    gone=st.sets(st.integers(0, 7)),
    names=st.tuples(NAMES, NAMES, st.none() | NAMES),
)
def test_every_row_of_lines_is_somewhere_or_nothing_happened(
    tmp_path_factory, lines, ended, mark, packed, gone, names
):
    folder = tmp_path_factory.mktemp("split")
    text = "".join((line % i if "%d" in line else line) + end for i, (line, end) in enumerate(lines))
    whole = ("\ufeff" if mark else "").encode() + (text if ended else text.rstrip()).encode()
    source = folder / ("data.jsonl.gz" if packed else "data.jsonl")
    source.write_bytes(gzip.compress(whole) if packed else whole)
    (folder / "folder").mkdir()
    (folder / "sub").mkdir()
    (folder / "folder" / "thesis.txt").write_text("years of work")
    (folder / "link.jsonl").symlink_to(source)
    records = read_records(source, on_error="skip")
    chosen = [name for place, name in enumerate(records.ids) if place in gone]
    before = snapshot(folder)
    kept, removed, left_out = (None if name is None else folder / name for name in names)
    try:
        split = split_records(records, chosen, kept=kept, removed=removed, left_out=left_out)
    except AitiaError:
        assert snapshot(folder) == before
        return
    found = Counter()
    for path in split.files.values():
        content = path.read_bytes()
        found += rows_in(gzip.decompress(content) if path.suffix == ".gz" else content)
    assert found == rows_in(whole)
    assert source.read_bytes() == before[source.relative_to(folder)]
    assert split.rows_kept + split.rows_removed + len(split.skipped) == rows_in(whole).total()
    assert split.rows_removed == len(chosen)


@pytest.mark.parametrize("kind", ["parquet", "datasets"])
@pytest.mark.parametrize("gone", [[], [0, 3], [0, 1, 2, 3]])
def test_every_row_of_tables_is_somewhere(tmp_path, kind, gone):
    import datasets
    import pyarrow.parquet as pq

    datasets.disable_progress_bars()
    rows = {"text": ["a", "b", "", "c", "d"], "label": [0.1, 0.2, 0.3, 0.4, 0.5]}
    table = datasets.Dataset.from_dict(rows)
    ending = ".parquet" if kind == "parquet" else ""
    source = tmp_path / f"data{ending}"
    table.to_parquet(source) if kind == "parquet" else table.save_to_disk(source)

    def read(path):
        if kind == "parquet":
            return pq.ParquetFile(path).read().to_pylist()
        return datasets.Dataset.load_from_disk(str(path)).to_list()

    records = read_records(source, on_error="skip")
    split = split_records(
        records,
        [records.ids[i] for i in gone],
        kept=tmp_path / f"kept{ending}",
        removed=tmp_path / f"gone{ending}",
    )
    assert split.left_out == tmp_path / f"gone.left-out{ending}"
    found = [row for path in split.files.values() for row in read(path)]
    assert sorted(found, key=lambda row: row["label"]) == table.to_list()
    assert (split.rows_kept, split.rows_removed, len(split.skipped)) == (4 - len(gone), len(gone), 1)


def test_a_failing_part_leaves_nothing_behind(tmp_path, monkeypatch):
    source = tmp_path / "data.jsonl"
    source.write_text('{"text": "a"}\n{"text": "b"}\n')
    records = read_records(source)
    (tmp_path / "kept.jsonl").write_text("what was there before")
    (tmp_path / "file").write_text("")
    before = snapshot(tmp_path)
    with pytest.raises(AitiaError):
        split_records(
            records, records.ids[:1], kept=tmp_path / "kept.jsonl", removed=tmp_path / "file" / "gone.jsonl"
        )
    written = records.write_rows

    def full(rows, path):
        if list(rows) == [0]:
            raise OSError(28, "No space left on device")
        written(rows, path)

    monkeypatch.setattr(records, "write_rows", full)
    with pytest.raises(StoreError, match="No space left"):
        split_records(records, records.ids[:1], kept=tmp_path / "kept.jsonl", removed=tmp_path / "gone.jsonl")
    assert snapshot(tmp_path) == before


def test_ids_that_know_their_rows_are_refused_by_other_rows(tmp_path):
    rows = [{"id": i, "text": text} for i, text in enumerate(["bread", "boats", "walls"])]
    first = tmp_path / "first.jsonl"
    first.write_text("".join(json.dumps(row) + "\n" for row in rows))
    other = tmp_path / "other.jsonl"
    other.write_text("".join(json.dumps(row | {"id": 2 - row["id"]}) + "\n" for row in rows))
    turned = tmp_path / "turned.jsonl"
    turned.write_text("".join(json.dumps(row | {"label": 1}) + "\n" for row in rows[::-1]))
    records = read_records(first)
    contents = dict(zip(records.ids, (found.decode() for found in records.digests), strict=True))
    chosen = RowIds(["0"], contents, "the ranking")
    with pytest.raises(RecordError, match=r"the ranking was made from other data: 1 of 1 .* other.jsonl:3"):
        split_records(read_records(other), chosen, kept=tmp_path / "a.jsonl", removed=tmp_path / "b.jsonl")
    assert not (tmp_path / "a.jsonl").exists()
    split = split_records(
        read_records(turned), chosen, kept=tmp_path / "a.jsonl", removed=tmp_path / "b.jsonl"
    )
    assert json.loads(split.removed.read_text())["text"] == "bread"


def test_data_are_not_written_over_themselves(tmp_path):
    source = tmp_path / "data.jsonl"
    source.write_text('{"text": "a"}\n{"text": "b"}\n')
    records = read_records(source)
    (tmp_path / "link.jsonl").symlink_to(source)
    for path in (source, tmp_path / "link.jsonl", tmp_path / "x" / ".." / "data.jsonl"):
        with pytest.raises(RecordError, match="writing over them would lose the other rows"):
            records.without([records.ids[0]]).write(path)
