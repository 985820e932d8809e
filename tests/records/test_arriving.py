"""Rows that arrive one after the other are read as the same rows in a file are."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aitia.errors import RecordError
from aitia.records import ArrivingRows, ReadingSettings, read_records

ROWS = [
    {"id": "a", "prompt": "Why? ", "completion": "So.", "tag": 1},
    {"prompt": "Why? ", "completion": "Thus."},
    {"prompt": "How? ", "completion": "Thus."},
]


@given(st.lists(st.sampled_from(ROWS), max_size=12, unique_by=str), st.integers(1, 4))
def test_rows_are_those_of_a_file_in_groups_of_any_size(tmp_path_factory, rows, size):
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    lines = [json.dumps(row).encode() for row in rows]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    arriving = ArrivingRows("rows.jsonl")
    found = [
        record
        for start in range(0, len(rows), size)
        for record in arriving.read(lines[start : start + size])[0]
    ]
    assert found == list(read_records(path)) if rows else found == []


def test_what_cannot_be_used_is_named_and_counted():
    arriving = ArrivingRows("stdin")
    records, bad = arriving.read([b'{"text": "a"}', b"", b"{", b'{"prompt": "p", "completion": "c"}'])
    assert [(each.location, each.row) for each in records] == [("stdin:1", 0)]
    assert [(each.location, each.row) for each in bad] == [("stdin:3", 2), ("stdin:4", 3)]
    assert "not valid JSON" in bad[0].reason
    assert "has the shape prompt-completion" in bad[1].reason
    records, bad = arriving.read([{"text": "b"}, {"id": [], "text": "c"}])
    assert [each.location for each in records] == ["stdin:5"]
    assert "`id` must be" in bad[0].reason
    mixed = ArrivingRows("stdin", ReadingSettings(shape="mixed"))
    assert len(mixed.read([{"text": "b"}, {"prompt": "p", "completion": "c"}])[0]) == 2


def test_records_stay_and_are_not_written(tmp_path):
    given = read_records(ROWS)
    records, bad = ArrivingRows().read(given)
    assert list(records) == list(given)
    assert not bad
    with pytest.raises(RecordError, match="are not kept"):
        records.write(tmp_path / "out.jsonl")
