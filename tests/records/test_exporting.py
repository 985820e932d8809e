"""Rows with more columns, or in another format: every value stays as it was; nothing half is written."""

import gzip
import json

import pytest

from aitia.errors import RecordError, StoreError
from aitia.records import (
    Export,
    read_records,
    records_from_rows,
    split_records,
    write_records,
    write_weighted,
)

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


SHAPES = {
    "text": [{"text": f"row {i} naïve", "id": i, "more": 1.5 * i} for i in range(4)],
    "uneven": [{"prompt": "p", "completion": "c"}, {"prompt": "q", "completion": "d", "tag": "x"}],
    "marked": [{"prompt": "p", "completion": "c", "label": label} for label in (True, False)],
    "turns": [
        {"messages": [{"role": "user", "content": f"{i}?"}, {"role": "assistant", "content": "So."}]}
        for i in range(3)
    ],
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["o.jsonl", "o.jsonl.gz", "o.json", "o.parquet", "o.csv", "o.tsv", "folder"])
@pytest.mark.parametrize("source", ["a.jsonl", "a.parquet"])
def test_rows_say_the_same_in_another_format(tmp_path, shape, name, source):
    rows = SHAPES[shape]
    (tmp_path / "first.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = read_records(write_records(read_records(tmp_path / "first.jsonl"), tmp_path / source))
    format = "datasets" if name == "folder" else None
    if shape == "turns" and name.endswith("sv"):
        with pytest.raises(RecordError, match="'messages' holds lists or objects"):
            write_records(data, tmp_path / name, format=format)
        assert not (tmp_path / name).exists()
        return
    columns = {"score": [0.5, None, -1.0, 2.0][: len(rows)], "by": ["m"] * len(rows)}
    found = read_records(write_records(data, tmp_path / name, columns=columns, format=format))
    assert [record.content for record in found] == [record.content for record in data]
    read = [None if each in (None, "") else float(each) for each in found.column("score")]
    assert read == columns["score"]
    assert found.column("by") == columns["by"]
    for column in ("more", "tag"):
        if any(column in row for row in rows):
            given = [row.get(column) for row in rows]
            kinds = type(next(each for each in given if each is not None))
            assert [None if each in (None, "") else kinds(each) for each in found.column(column)] == given


def test_rows_that_a_table_would_change_are_refused(tmp_path):
    """A table has one kind of number in a column: 1 becomes 1.0, which a chat template would write."""
    calls = [
        {"function": {"name": "f", "arguments": {"a": 1}}},
        {"function": {"name": "f", "arguments": {"a": 1.5}}},
    ]
    rows = [
        {
            "messages": [
                {"role": "user", "content": "?"},
                {"role": "assistant", "content": "", "tool_calls": [call]},
            ]
        }
        for call in calls
    ]
    with pytest.raises(RecordError, match=r"rows row 0 would read as another row in Parquet.*\(1 such rows"):
        write_records(records_from_rows(rows), tmp_path / "o.parquet")
    mixed = [{"text": "a", "tag": 1}, {"text": "b", "tag": "one"}]
    with pytest.raises(RecordError, match="cannot be written as Parquet"):
        write_records(records_from_rows(mixed), tmp_path / "o.parquet")
    assert not list(tmp_path.iterdir())


def test_an_export_that_does_not_go_with_the_data_is_refused(tmp_path):
    data = records_from_rows(ROWS)
    with pytest.raises(RecordError, match="2 values of 'score' for 4 rows"):
        write_records(data, tmp_path / "o.jsonl", columns={"score": [1, 2]})
    with pytest.raises(RecordError, match="has a column 'more' already"):
        write_records(data, tmp_path / "o.jsonl", columns={"more": [1] * 4})
    with pytest.raises(RecordError, match="name it .parquet"):
        write_records(data, tmp_path / "o.jsonl", Export(format="parquet"))


def test_a_split_is_converted_with_columns_and_what_cannot_be_read_is_kept(tmp_path):
    source = tmp_path / "a.jsonl"
    source.write_text('{"id": "a", "text": "a"}\nno\n{"id": "b", "text": "b"}\n{"id": "c", "text": "c"}\n')
    data = read_records(source, on_error="skip")
    split = split_records(
        data,
        ["b"],
        kept=tmp_path / "kept.parquet",
        removed=tmp_path / "gone.parquet",
        export=Export(columns={"score": [1.0, 2.0, 3.0]}),
    )
    assert read_records(split.kept).column("score") == [1.0, 3.0]
    assert read_records(split.removed).column("score") == [2.0]
    assert split.left_out == tmp_path / "gone.left-out.jsonl"
    assert split.left_out.read_text() == "no\n"
