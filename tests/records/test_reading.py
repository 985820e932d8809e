import gzip
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records.lines import write_lines

from aitia.errors import AitiaError, RecordError
from aitia.records import read_records, records_from_rows

LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"  \n", b"\n\n", b"\n \t\n"])


@given(
    rows=st.lists(
        st.tuples(st.text(st.characters(exclude_categories=["Cs"])), st.booleans(), LINE_ENDS), max_size=8
    ),
    last_break=st.booleans(),
    kept=st.sets(st.integers(0, 7)),
)
def test_lines_are_written_back_to_the_byte(tmp_path_factory, rows, last_break, kept):
    folder = tmp_path_factory.mktemp("lines")
    lines, content = [], b""
    for number, (text, escaped, end) in enumerate(rows):
        row = {"z": 1.0, "text": "t" + text, "id": number}
        body = json.dumps(row, ensure_ascii=escaped, separators=(" ,", ":  ")).encode()
        if number == len(rows) - 1 and not last_break:
            end = b""
        content += body + end
        lines.append(body + end.split(b"\n")[0] + (b"\n" if end else b""))
    (folder / "in.jsonl").write_bytes(content)
    records = read_records(folder / "in.jsonl")
    assert [record.text for record in records] == ["t" + text for text, _, _ in rows]
    wanted = [number for number in range(len(rows)) if number in kept]
    path = records.only(map(str, wanted)).write(folder / "out.jsonl")
    assert path.read_bytes() == b"".join(lines[number] for number in wanted)
    assert read_records(path).ids == tuple(map(str, wanted))


def test_line_numbers_are_true_and_rows_do_not_count_blank_lines(tmp_path):
    path = write_lines(tmp_path / "train.jsonl", [{"text": "a"}, b"", b" \t\r", {"text": "b\u2028c"}])
    records = read_records(path)
    assert [(record.location, record.row) for record in records] == [
        ("train.jsonl:1", 0),
        ("train.jsonl:4", 1),
    ]
    assert records[1].text == "b\u2028c"
    assert (records.format, records.source) == ("jsonl", path)


def test_a_byte_order_mark_is_no_part_of_the_row(tmp_path):
    path = write_lines(tmp_path / "train.jsonl", [b'\xef\xbb\xbf{"text": "a"}'])
    assert read_records(path)[0].text == "a"
    assert read_records(path).write(tmp_path / "out.jsonl").read_bytes() == path.read_bytes()


GOOD = {"role": "assistant", "content": "yes"}
BAD_ROWS = {
    b'{"text": "a"': "not valid JSON at character 13",
    b'{"text": "\xff"}': "not valid UTF-8 at byte 11",
    b'{"text": "\\ud83d"}': "half of a surrogate pair at character 1",
    b"[1]": "must be an object with named columns, not a list",
    b"[" * 100_000: "JSON that cannot be read|nested",
    b'{"prompt": "a", "completion": null, "label": 1}': "its columns: prompt, label",
    b"{}": "its columns: none",
    b'{"text": " \\n"}': "`text` is empty",
    b'{"prompt": "a", "completion": ""}': "`completion` is empty",
    b'{"prompt": "a", "response": 3}': "`response` must be a string, not a whole number",
    b'{"prompt": ["a"], "completion": "b"}': "turn 1 of `prompt` must be an object with `role` and `content`",
    b'{"text": true}': "`text` must be a string, not a truth value",
    b'{"messages": "hi"}': "`messages` must be a list of turns, not a string",
    b'{"messages": []}': "no turn of the assistant",
    b'{"messages": [{"role": "user", "content": "hi"}]}': "no turn of the assistant",
    b'{"messages": [{"role": "assistant", "content": " "}]}': "last turn of the assistant is empty",
    b'{"messages": [{"role": "assistant", "content": null}]}': "content of turn 1 of `messages` .* not null",
    b'{"messages": [{"content": "hi"}]}': "turn 1 of `messages` has the role None; roles",
    b'{"messages": [{"role": "bot", "content": "hi"}]}': "has the role 'bot'",
    b'{"messages": [{"role": ["user"], "content": "hi"}]}': "has the role \\['user'\\]",
    b'{"messages": [7]}': "turn 1 of `messages` must be an object",
    b'{"prompt": [{"role": "assistant", "content": "a"}], "completion": []}': "no turn of the assistant",
    b'{"text": "a", "id": NaN}': "`id` must be a string or a whole number, not a float",
    b'{"text": "a", "id": true}': "`id` must be .* not a truth value",
    b'{"text": "a", "id": ""}': "`id` is empty",
}


@pytest.mark.parametrize("line, reason", BAD_ROWS.items(), ids=range(len(BAD_ROWS)))
def test_a_bad_row_is_named_with_its_line_and_reason(tmp_path, line, reason):
    path = write_lines(tmp_path / "train.jsonl", [{"text": "good"}, b"", line])
    with pytest.raises(RecordError, match=rf"(?s)train.jsonl: 1 of 2 rows.*\n  train.jsonl:3: .*({reason})"):
        read_records(path)
    records = read_records(path, on_error="skip")
    assert [record.text for record in records] == ["good"]
    assert [row.location for row in records.skipped] == ["train.jsonl:3"]


def test_all_bad_rows_are_found_before_stopping(tmp_path):
    path = write_lines(tmp_path / "train.jsonl", [*[b"{"] * 8, {"text": "a"}])
    with pytest.raises(RecordError) as caught:
        read_records(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: 8 of 9 rows cannot be used:\n  train.jsonl:1: ")
    assert "train.jsonl:5: " in message
    assert "train.jsonl:6: " not in message
    assert "and 3 more" in message
    assert "`on_error=skip` leaves them out" in message


def test_skipped_rows_do_not_shift_what_is_written(tmp_path):
    path = write_lines(tmp_path / "train.jsonl", [{"text": "a"}, b"{", {"text": "b"}])
    records = read_records(path, on_error="skip")
    assert records.write(tmp_path / "out.jsonl").read_bytes() == b'{"text": "a"}\n{"text": "b"}\n'
    assert records.only([records[1].id]).skipped == records.skipped


def test_a_repeated_id_names_both_lines(tmp_path):
    path = write_lines(
        tmp_path / "train.jsonl", [{"id": 1, "text": "a"}, {"text": "x"}, {"id": "1", "text": "b"}]
    )
    with pytest.raises(RecordError, match=r"train.jsonl:3: the id '1' is that of train.jsonl:1 already"):
        read_records(path)
    assert [record.text for record in read_records(path, on_error="skip")] == ["a", "x"]


def test_a_bad_row_takes_no_id(tmp_path):
    path = write_lines(tmp_path / "train.jsonl", [{"id": 1, "text": ""}, {"id": 1, "text": "b"}])
    assert read_records(path, on_error="skip").ids == ("1",)


def test_ids_come_from_the_content_where_there_is_none():
    text = hashlib.sha256(b'{"text":"na\xc3\xafve"}').hexdigest()[:16]
    row = {"text": "naïve"}
    records = records_from_rows([row, row | {"label": 1}, {"id": "mine", **row}, row | {"id": None}])
    assert records.ids == (text, f"{text}-2", "mine", f"{text}-3")
    assert records_from_rows([{"id": f"{text}-2", "text": "b"}, row, row]).ids == (
        f"{text}-2",
        text,
        f"{text}-3",
    )
    pair = hashlib.sha256(b'{"completion":"b","prompt":"a"}').hexdigest()[:16]
    assert records_from_rows([{"prompt": "a", "response": "b"}]).ids == (pair,)


def test_a_limit_stops_reading(tmp_path):
    path = write_lines(tmp_path / "train.jsonl", [{"text": "a"}, {"text": "b"}, b"{"])
    assert [record.text for record in read_records(path, records_limit=2)] == ["a", "b"]
    with pytest.raises(RecordError, match=r"train\.jsonl:3"):
        read_records(path, records_limit=3)


def test_compressed_lines(tmp_path):
    path = tmp_path / "train.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"text": "a"}\n{"text":"b"}\n'))
    records = read_records(path)
    assert [record.location for record in records] == ["train.jsonl.gz:1", "train.jsonl.gz:2"]
    assert records.write(tmp_path / "out.jsonl").read_bytes() == b'{"text": "a"}\n{"text":"b"}\n'
    assert gzip.decompress(records.write(tmp_path / "out.jsonl.gz").read_bytes()).startswith(
        b'{"text": "a"}\n'
    )
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(RecordError, match=r"train.jsonl.gz: cannot be read"):
        read_records(path)


@pytest.mark.parametrize("name", ["none.jsonl", "train.txt", "empty", "broken.parquet", "broken"])
def test_what_cannot_be_read_is_named(tmp_path, name):
    (tmp_path / "train.txt").write_text("text\na\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "state.json").write_text("{}")
    with pytest.raises(RecordError, match=name):
        read_records(tmp_path / name)


def test_an_unknown_way_with_errors_is_refused(tmp_path):
    with pytest.raises(AitiaError, match="choose stop or skip"):
        read_records(write_lines(tmp_path / "a.jsonl", [{"text": "a"}]), on_error="ignore")  # type: ignore[arg-type]


def test_an_empty_file_has_no_records(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b"\n")
    assert len(read_records(tmp_path / "a.jsonl")) == 0


ROWS = [
    {"messages": [{"role": "user", "content": "Hi"}, GOOD], "text": None, "tags": ["a", "b"], "when": 3},
    {"messages": None, "text": "", "tags": [], "when": None},
    {"messages": None, "text": "a text 🙂", "tags": None, "when": 5},
]


@pytest.mark.parametrize("compliant", [True, False])
def test_parquet_goes_and_comes_back(tmp_path, compliant):
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        {
            "messages": pa.list_(pa.struct({"role": pa.string(), "content": pa.large_string()})),
            "text": pa.string(),
            "tags": pa.list_(pa.dictionary(pa.int8(), pa.string())),
            "when": pa.int16(),
        },
        metadata={"made": "by hand"},
    )
    made = pa.Table.from_pylist(ROWS, schema=schema)
    path = tmp_path / "split=train" / "train.parquet"
    path.parent.mkdir()
    pq.write_table(made, path, use_compliant_nested_type=compliant)
    with pytest.raises(RecordError, match=r"train.parquet row 1: `text` is empty"):
        read_records(path, shape="mixed")
    records = read_records(path, on_error="skip", shape="mixed")
    assert [(record.location, record.row) for record in records] == [
        ("train.parquet row 0", 0),
        ("train.parquet row 2", 2),
    ]
    assert records.format == "parquet"
    assert records[0].completion_text == "yes"
    assert records.column("tags") == [["a", "b"], None]
    table = pq.ParquetFile(path).read()
    out = pq.ParquetFile(records.without([records[0].id]).write(tmp_path / "out.parquet")).read()
    assert out.schema.metadata == schema.metadata
    assert out.schema.equals(table.schema, check_metadata=True)
    assert out.equals(table.slice(2, 1))
    with pytest.raises(RecordError, match=r"out.jsonl: .* Parquet; name it .parquet"):
        records.write(tmp_path / "out.jsonl")


def test_parquet_with_a_broken_string_names_the_row(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    binary = pa.array([b"good", b"\xff", b"fine"])
    text = pa.Array.from_buffers(pa.string(), 3, binary.buffers())
    pq.write_table(pa.table({"text": text}), tmp_path / "a.parquet")
    with pytest.raises(RecordError, match=r"1 of 3 .*\n  a.parquet row 1: a string that is not valid UTF-8"):
        read_records(tmp_path / "a.parquet")


def test_a_saved_dataset_goes_and_comes_back(tmp_path):
    import datasets

    datasets.disable_progress_bars()
    features = datasets.Features(
        text=datasets.Value("string"), label=datasets.ClassLabel(names=["no", "yes"])
    )
    rows = {"text": ["a", "b", "c"], "label": [0, 1, 0]}
    dataset = datasets.Dataset.from_dict(rows, features=features)
    dataset.save_to_disk(tmp_path / "saved")
    records = read_records(tmp_path / "saved")
    assert [record.location for record in records] == ["saved row 0", "saved row 1", "saved row 2"]
    assert (records.format, records.column("label")) == ("datasets", [0, 1, 0])
    kept = records.without([records[1].id])
    again = datasets.Dataset.load_from_disk(str(kept.write(tmp_path / "out")))
    assert again.features == features
    assert again.to_dict() == {"text": ["a", "c"], "label": [0, 0]}
    assert read_records(tmp_path / "out").fingerprint == kept.fingerprint
    records.write(tmp_path / "out")  # a saved dataset may be replaced, but not by itself
    assert read_records(tmp_path / "out").ids == records.ids
    with pytest.raises(RecordError, match="would lose the other rows"):
        kept.write(tmp_path / "saved")
    with pytest.raises(RecordError, match=r"out.jsonl: .* a dataset folder"):
        records.write(tmp_path / "out.jsonl")


def test_a_folder_of_splits_is_to_be_given_by_split(tmp_path):
    import datasets

    datasets.disable_progress_bars()
    part = datasets.Dataset.from_dict({"text": ["a"]})
    datasets.DatasetDict(train=part, test=part).save_to_disk(tmp_path / "both")
    with pytest.raises(
        RecordError, match=r"both: has the splits test, train; give folder/split, .*both/test"
    ):
        read_records(tmp_path / "both")
    assert len(read_records(tmp_path / "both" / "train")) == 1


def test_nothing_else_is_overwritten(tmp_path):
    records = read_records(write_lines(tmp_path / "a.jsonl", [{"text": "a"}]))
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "thesis.txt").write_text("years of work")
    with pytest.raises(RecordError, match="kept: a folder is there already"):
        records.write(tmp_path / "kept")
    with pytest.raises(RecordError, match=r"lines of JSON; name it .jsonl"):
        records.write(tmp_path / "a.parquet")
    assert (tmp_path / "kept" / "thesis.txt").read_text() == "years of work"


def test_a_saved_dataset_cannot_name_files_outside_its_folder(tmp_path):
    from datasets import Dataset

    Dataset.from_dict({"text": ["mine"]}).save_to_disk(str(tmp_path / "other"))
    Dataset.from_dict({"text": ["a"]}).save_to_disk(str(tmp_path / "set"))
    assert read_records(tmp_path / "set")[0].text == "a"
    state = json.loads((tmp_path / "set" / "state.json").read_text())
    state["_data_files"] = [{"filename": "../other/data-00000-of-00001.arrow"}]
    (tmp_path / "set" / "state.json").write_text(json.dumps(state))
    with pytest.raises(RecordError, match="names files outside its folder"):
        read_records(tmp_path / "set")


def test_a_file_that_changed_since_it_was_read_is_refused(tmp_path):
    path = write_lines(tmp_path / "train.jsonl", [{"text": "a"}, {"text": "b"}])
    records = read_records(path)
    assert [record.text for record in records.only([records.ids[1]])] == ["b"]
    write_lines(path, [{"text": "longer"}, {"text": "c"}])
    with pytest.raises(RecordError, match="has changed since it was read"):
        _ = records[0]
