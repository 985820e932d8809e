"""Arrays of rows, and strings of JSON in Arrow's columns."""

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records.lines import write_lines

from aitia.errors import RecordError
from aitia.records import read_records

GAPS = st.text(" \t\r\n", max_size=3)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=6)


@given(
    rows=st.lists(st.tuples(TEXTS, st.booleans(), GAPS, GAPS), max_size=6),
    mark=st.booleans(),
    kept=st.sets(st.integers(0, 5)),
)
def test_the_rows_of_an_array_keep_their_bytes(tmp_path_factory, rows, mark, kept):
    folder = tmp_path_factory.mktemp("array")
    bodies = [
        json.dumps(
            {"z": [1.0, "]},"], "id": i, "text": "t" + text}, ensure_ascii=escaped, separators=(" ,", ": ")
        )
        for i, (text, escaped, _, _) in enumerate(rows)
    ]
    parts = [before + body + after for body, (_, _, before, after) in zip(bodies, rows, strict=True)]
    content = ("\ufeff" * mark + " [" + ",".join(parts) + "]\n").encode()
    (folder / "in.json").write_bytes(content)
    records = read_records(folder / "in.json")
    assert records.format == "json"
    assert [record.text for record in records] == ["t" + text for text, *_ in rows]
    assert records.write(folder / "all.json").read_bytes() == content
    wanted = [i for i in range(len(rows)) if i in kept]
    path = records.only(map(str, wanted)).write(folder / "out.json")
    assert read_records(path).ids == tuple(map(str, wanted))
    text, place = path.read_bytes().decode("utf-8-sig"), 0
    for i in wanted:
        place = text.index(bodies[i], place) + len(bodies[i])


def test_places_in_an_array(tmp_path):
    (tmp_path / "a.json").write_text('[{"text": "a"},\n 7, {"text": ""}, {"text": "b"}]')
    with pytest.raises(
        RecordError, match=r"2 of 4 .*\n  a.json row 1: a row must be .*\n  a.json row 2: `text`"
    ):
        read_records(tmp_path / "a.json")
    records = read_records(tmp_path / "a.json", on_error="skip")
    assert [(record.row, record.location, record.text) for record in records] == [
        (0, "a.json row 0", "a"),
        (3, "a.json row 3", "b"),
    ]
    assert records.write(tmp_path / "b.json").read_text() == '[{"text": "a"}, {"text": "b"}]'
    with pytest.raises(RecordError, match=r"b.jsonl: .* an array in JSON; name it .json"):
        records.write(tmp_path / "b.jsonl")
    records.write(tmp_path / "b.json.gz")
    assert gzip.decompress((tmp_path / "b.json.gz").read_bytes()) == (tmp_path / "b.json").read_bytes()
    assert read_records(tmp_path / "b.json.gz").ids == records.ids


@pytest.mark.parametrize(
    "content, reason",
    [
        (b'[{"text": "a"}', "not valid JSON at line 1, character 15: Expecting ',' delimiter"),
        (b'[{"text": "a"},]', "not valid JSON at line 1, character 16"),
        (b'[{"text": "a"}\n{"text": "b"}]', "not valid JSON at line 2, character 1: Expecting ','"),
        (b'[{"text": "a"}] x', "line 1, character 17: Extra data"),
        (b'[{"text": "\xff"}]', "not valid UTF-8 at byte 12"),
        (b"[" * 100_000, "JSON that cannot be read|not valid JSON"),
        (b'{\n"data": [{"text": "a"}]\n}', "holds one object over several lines; give an array"),
    ],
)
def test_an_array_that_is_damaged_is_named(tmp_path, content, reason):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(RecordError, match=rf"(?s)a.json: .*({reason})"):
        read_records(tmp_path / "a.json")


def test_lines_and_arrays_under_each_others_names(tmp_path):
    lines = write_lines(tmp_path / "lines.json", [{"text": "a"}, {"text": "b"}])
    records = read_records(lines)
    assert ([record.text for record in records], records.format) == (["a", "b"], "jsonl")
    assert records.write(tmp_path / "again.json").read_bytes() == lines.read_bytes()
    (tmp_path / "empty.json").write_bytes(b"")
    assert len(read_records(tmp_path / "empty.json")) == 0
    for content in ('[\n{"text": "a"}]', '[{"text": "a"}]'):
        (tmp_path / "array.jsonl").write_text(content)
        with pytest.raises(RecordError, match=r"array.jsonl: holds an array of objects.*name it .json"):
            read_records(tmp_path / "array.jsonl", on_error="skip")


TURNS = [
    {"role": "user", "content": "boats?"},
    {"role": "assistant", "content": [{"type": "text", "text": "small boats."}]},
]


def json_column(values):
    """Strings of JSON in Arrow's type for them."""
    import pyarrow as pa

    return pa.ExtensionArray.from_storage(pa.json_(pa.string()), pa.array(values, pa.string()))


def test_columns_of_arrows_json_type(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    contents = json_column([json.dumps(turn["content"]) for turn in TURNS])
    turns = pa.StructArray.from_arrays([pa.array(["user", "assistant"]), contents], names=["role", "content"])
    table = pa.table(
        {
            "messages": json_column([json.dumps(TURNS), None, "{"]),
            "conversations": pa.ListArray.from_arrays(pa.array([0, 0, 2, 2]), turns),
            "tools": json_column([json.dumps([{"name": "tide"}]), None, None]),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(
        RecordError, match=r"1 of 3 .*\n  a.parquet row 2: a column of JSON that is not valid JSON"
    ):
        read_records(tmp_path / "a.parquet")
    records = read_records(tmp_path / "a.parquet", on_error="skip")
    assert [record.completion_text for record in records] == ["small boats."] * 2
    assert records[0].template_arguments == {"tools": [{"name": "tide"}]}
    out = pq.ParquetFile(records.without([records[0].id]).write(tmp_path / "out.parquet")).read()
    assert out.equals(pq.ParquetFile(tmp_path / "a.parquet").read().slice(1, 1))


def test_a_saved_dataset_with_objects_of_many_shapes(tmp_path):
    import datasets

    datasets.disable_progress_bars()
    if not hasattr(datasets, "Json"):
        pytest.skip("this version of datasets has no type for JSON")
    calls = [{"function": {"name": "tide", "arguments": {"at": "Hull"}}}]
    features = datasets.Features(
        messages=datasets.List(
            {
                "role": datasets.Value("string"),
                "content": datasets.Value("string"),
                "tool_calls": datasets.Json(),
            }
        )
    )
    turns = [TURNS[0], {"role": "assistant", "content": "", "tool_calls": calls}]
    saved = datasets.Dataset.from_dict({"messages": [turns]}, features=features)
    saved.save_to_disk(tmp_path / "saved")
    (record,) = read_records(tmp_path / "saved")
    assert record.messages[1].more["tool_calls"] == calls
