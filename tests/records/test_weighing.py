"""Weighted rows: every value stays as it was, in every format, with one more column; nothing half is written."""

import gzip
import json

import pytest

from aitia.errors import RecordError, StoreError
from aitia.records import read_records, records_from_rows, write_weighted

ROWS = [{"text": f"row {i} naïve", "id": i, "more": [1.5, None]} for i in range(4)]
WEIGHTS = [0.0, 1.0, 0.25, 2.0]


def source_of(kind, folder):
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
    if kind == "jsonl":
        (folder / "a.jsonl").write_text(lines)
        return folder / "a.jsonl", folder / "w.jsonl"
    if kind == "gz":
        (folder / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
        return folder / "a.jsonl.gz", folder / "w.jsonl.gz"
    if kind == "json":
        (folder / "a.json").write_text(json.dumps(ROWS))
        return folder / "a.json", folder / "w.json"
    import datasets

    made = datasets.Dataset.from_list(ROWS)
    if kind == "parquet":
        made.to_parquet(folder / "a.parquet")
        return folder / "a.parquet", folder / "w.parquet"
    made.save_to_disk(str(folder / "a"))
    return folder / "a", folder / "w"


@pytest.mark.parametrize("kind", ["jsonl", "gz", "json", "parquet", "datasets"])
def test_rows_get_a_column_and_stay_as_they_were(kind, tmp_path):
    source, target = source_of(kind, tmp_path)
    data = read_records(source)
    found = read_records(write_weighted(data, WEIGHTS, target))
    assert found.column("weight") == WEIGHTS
    assert found.column("more") == data.column("more")
    assert found.fingerprint == data.fingerprint
    assert found.format == data.format


def test_rows_in_memory_become_lines(tmp_path):
    path = write_weighted(records_from_rows(ROWS), WEIGHTS, tmp_path / "w.jsonl")
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        row | {"weight": weight} for row, weight in zip(ROWS, WEIGHTS, strict=True)
    ]


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ([1.0], "1 weights for 4 rows"),
        ([1, 1, -1, 1], "rows row 2: its weight -1 must be a finite number"),
        ([1, float("nan"), 1, 1], "rows row 1: its weight nan"),
    ],
)
def test_wrong_weights_are_refused(weights, said, tmp_path):
    with pytest.raises(RecordError, match=said):
        write_weighted(records_from_rows(ROWS), weights, tmp_path / "w.jsonl")
    assert not list(tmp_path.iterdir())


def test_a_column_of_that_name_and_rows_without_weight_are_refused(tmp_path):
    rows = [*ROWS[:2], ROWS[2] | {"weight": 3}]
    with pytest.raises(RecordError, match="has a column 'weight' already"):
        write_weighted(records_from_rows(rows), WEIGHTS[:3], tmp_path / "w.jsonl")
    (tmp_path / "bad.jsonl").write_text('{"text": "a"}\nno\n{"text": "b"}\n')
    data = read_records(tmp_path / "bad.jsonl", on_error="skip")
    with pytest.raises(RecordError, match=r"1 rows could not be read and have no weight.*bad.jsonl:2"):
        write_weighted(data, [1, 1], tmp_path / "w.jsonl")


def test_the_data_and_other_formats_are_not_written_over(tmp_path):
    source, _ = source_of("jsonl", tmp_path)
    data = read_records(source)
    with pytest.raises(StoreError):
        write_weighted(data, WEIGHTS, source)
    with pytest.raises(RecordError, match="lines of JSON"):
        write_weighted(data, WEIGHTS, tmp_path / "w.parquet")
