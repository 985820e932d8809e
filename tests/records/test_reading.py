import json

import datasets
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aitia.errors import RecordError
from aitia.records import read_records, records_from_rows

CHAT = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "Two."},
        {"role": "user", "content": "Three?"},
        {"role": "assistant", "content": "Four."},
    ],
    "source": "a",
}


def write_lines(path, lines):
    path.write_bytes(
        b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines)
    )
    return path


def test_every_form_is_read(tmp_path):
    rows = [
        CHAT,
        {"prompt": "p", "completion": "c", "score": 3},
        {"prompt": "p", "response": "r"},
        {"text": "t"},
        {"prompt": CHAT["messages"][:2], "completion": CHAT["messages"][2:3]},
    ]
    data = read_records(write_lines(tmp_path / "a.jsonl", rows))
    assert [record.kind for record in data] == [
        "messages",
        "prompt-completion",
        "prompt-completion",
        "text",
        "messages",
    ]
    assert data[0].completion_text == "Two.\nFour."
    assert data[0].prompt_text == "Be brief.\nOne?\nTwo.\nThree?"
    assert (data[2].prompt_text, data[2].completion_text) == ("p", "r")
    assert (data[3].prompt_text, data[3].completion_text) == ("", "t")
    assert data[1].extra == {"score": 3}
    assert data.column("score") == [None, 3, None, None, None]
    assert data[4].location == "a.jsonl:5"
    with pytest.raises(RecordError, match="no column 'x'; there are: score, source"):
        data.column("x")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"{not json}\n", "not valid JSON"),
        (b'{"text": "caf\xe9"}\n', "not UTF-8 at byte 13"),
        ([1], "a row is an object"),
        ({"body": "x"}, "no text to train on.*found body"),
        ({"text": "  "}, "empty text"),
        ({"prompt": "p", "completion": ""}, "empty completion"),
        ({"prompt": "p", "completion": 3}, "completion must be a text, not a number"),
        ({"messages": "hi"}, "messages must be a list"),
        ({"messages": [{"role": "user", "content": "hi"}]}, "no assistant message"),
        ({"messages": [{"role": "robot", "content": "hi"}]}, "role 'robot' is not one of"),
        ({"messages": [{"role": "assistant", "content": " "}]}, "empty completion"),
        ({"messages": [{"content": "hi"}]}, "message 1 must have role and content"),
        ({"text": "x", "id": 1.5}, "id must be"),
        ({"text": "x", "id": True}, "id must be"),
        (b'{"text": ' + b"[" * 100_000 + b"\n", "not valid JSON"),
    ],
)
def test_a_bad_row_is_named_or_left_out(tmp_path, row, reason):
    file = write_lines(tmp_path / "a.jsonl", [{"text": "good"}, b"\n", row, {"text": "fine"}])
    with pytest.raises(RecordError, match=rf"1 row cannot be used .*a\.jsonl:3: .*{reason}"):
        read_records(file)
    data = read_records(file, on_error="skip")
    assert [record.completion_text for record in data] == ["good", "fine"]
    assert [record.location for record in data] == ["a.jsonl:1", "a.jsonl:4"]
    assert [skipped.location for skipped in data.skipped] == ["a.jsonl:3"]


def test_many_bad_rows_are_counted(tmp_path):
    file = write_lines(tmp_path / "a.jsonl", [{"text": ""}] * 12)
    with pytest.raises(RecordError, match=r"12 rows cannot be used.*a\.jsonl:5: empty text; and 7 more"):
        read_records(file)


def test_given_ids_are_kept_and_must_not_repeat(tmp_path):
    rows = [{"id": "a", "text": "x"}, {"id": 7, "text": "x"}]
    assert records_from_rows(rows).ids == ("a", "7")
    with pytest.raises(RecordError, match=r"a\.jsonl:3: id 'a' was used before, at a\.jsonl:1"):
        read_records(write_lines(tmp_path / "a.jsonl", [*rows, {"id": "a", "text": "y"}]))


def test_derived_ids_follow_content_alone():
    first = records_from_rows([{"text": "x", "note": 1}, {"text": "y"}, {"text": "x"}, {"text": "x"}])
    second = records_from_rows([{"text": "y"}, {"text": "x"}])
    assert first.ids[0] == second.ids[1]
    assert first.ids[1] == second.ids[0]
    assert first.ids[2:] == (f"{first.ids[0]}-2", f"{first.ids[0]}-3")
    assert len(first.ids[0]) == 16


def test_fingerprint_sees_content_and_order_but_not_other_columns():
    rows = [{"text": "x"}, {"text": "y"}]
    data = records_from_rows(rows)
    assert data.fingerprint == records_from_rows([dict(rows[0], note=1), rows[1]]).fingerprint
    assert data.fingerprint != records_from_rows(rows[::-1]).fingerprint
    assert data.fingerprint != records_from_rows([rows[0], {"text": "z"}]).fingerprint


text = st.text(min_size=1).filter(str.strip)
row = st.one_of(
    st.fixed_dictionaries(
        {"text": text}, optional={"n": st.integers(), "x": st.none() | st.floats(allow_nan=False)}
    ),
    st.fixed_dictionaries({"prompt": st.text(), "completion": text}),
)


@given(st.lists(row, min_size=1, max_size=8), st.data())
def test_jsonl_rows_are_written_byte_for_byte(tmp_path_factory, rows, draw):
    folder = tmp_path_factory.mktemp("rows")
    lines = [
        json.dumps(one, ensure_ascii=draw.draw(st.booleans())).encode("utf-8", "surrogatepass")
        for one in rows
    ]
    file = folder / "a.jsonl"
    file.write_bytes(b"\n".join(lines) + draw.draw(st.sampled_from([b"", b"\n", b"\r\n", b"\n\n"])))
    data = read_records(file, on_error="skip")
    gone = draw.draw(st.sets(st.sampled_from(data.ids)) if data.ids else st.just(set()))
    kept, removed = data.without(gone), data.only(gone)
    written = kept.write(folder / "kept.jsonl").read_bytes().splitlines()
    assert written == [lines[record.row].rstrip() for record in data if record.id not in gone]
    assert len(removed) == len(gone)
    assert removed.write(folder / "gone.jsonl").read_bytes().splitlines() == [
        lines[record.row].rstrip() for record in data if record.id in gone
    ]


def test_line_separators_inside_a_text_do_not_split_it(tmp_path):
    line = '{"text": "one\u2028two\u0085three"}'.encode()
    (tmp_path / "a.jsonl").write_bytes(line + b"\n" + line)
    data = read_records(tmp_path / "a.jsonl")
    assert [record.text for record in data] == ["one\u2028two\u0085three"] * 2


def test_parquet_keeps_schema_and_values(tmp_path):
    table = pa.table(
        {
            "prompt": ["a", "b", "c"],
            "completion": ["x", "y", "z"],
            "weight": pa.array([1, None, 3], pa.int16()),
            "tags": [["k"], [], None],
        }
    )
    parquet.write_table(table, tmp_path / "a.parquet")
    data = read_records(tmp_path / "a.parquet")
    assert data[2].location == "a.parquet row 2"
    written = parquet.read_table(data.without([data.ids[1]]).write(tmp_path / "b.parquet"))
    assert written.schema.equals(table.schema)
    assert written.to_pylist() == [table.to_pylist()[0], table.to_pylist()[2]]
    (tmp_path / "c.parquet").write_bytes(b"PAR1 not")
    with pytest.raises(RecordError, match="not a readable Parquet"):
        read_records(tmp_path / "c.parquet")


def test_saved_datasets_folders(tmp_path):
    made = datasets.Dataset.from_list([{"messages": CHAT["messages"], "n": i} for i in range(3)])
    made.save_to_disk(tmp_path / "one")
    data = read_records(tmp_path / "one")
    assert data.column("n") == [0, 1, 2]
    again = read_records(data.only(data.ids[1:]).write(tmp_path / "two"))
    assert again.column("n") == [1, 2]
    assert again[0].messages == data[1].messages
    datasets.DatasetDict({"train": made}).save_to_disk(tmp_path / "dict")
    with pytest.raises(RecordError, match=r"several splits \(train\); give one of them, as .*dict/train"):
        read_records(tmp_path / "dict")
    assert len(read_records(tmp_path / "dict" / "train")) == 3
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecordError, match="not a folder that `datasets` saved"):
        read_records(tmp_path / "empty")


def test_what_is_not_there_or_unknown_is_refused(tmp_path):
    with pytest.raises(RecordError, match="no such file"):
        read_records(tmp_path / "none.jsonl")
    (tmp_path / "a.csv").write_text("x")
    with pytest.raises(RecordError, match=r"unknown format '\.csv'"):
        read_records(tmp_path / "a.csv")
    with pytest.raises(RecordError, match="choose stop or skip"):
        read_records(tmp_path / "a.csv", on_error="ignore")
    data = records_from_rows([{"text": "x"}])
    with pytest.raises(RecordError, match="no row with id 'zzz'"):
        data.without(["zzz"])
