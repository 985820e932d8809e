"""Every shape of rows from every source gives the same records, and goes back to where it came from."""

import csv
import gc
import gzip
import json

import numpy as np
import pytest

from aitia.errors import RecordError
from aitia.records import Record, read_records, records_from_rows

ASK, ANSWER = {"role": "user", "content": "boats?"}, {"role": "assistant", "content": "small boats."}
OTHER = {"role": "assistant", "content": 'no boats, ünd "none"\nat all.'}
HUMAN, GPT = {"from": "human", "value": "boats?"}, {"from": "gpt", "value": "small boats."}
CALL = {"type": "function", "function": {"name": "tide", "arguments": {"at": "Hull"}}}
TOOL = {"type": "function", "function": {"name": "tide", "parameters": {"type": "object"}}}
SHAPES = {
    "messages": [{"messages": [ASK, ANSWER]}, {"messages": [ASK, OTHER, ASK, ANSWER]}],
    "messages with tools": [
        {
            "messages": [ASK, {"role": "assistant", "content": None, "tool_calls": [CALL]}],
            "tools": json.dumps([TOOL]),
        }
    ],
    "messages with flags": [{"messages": [ASK, OTHER | {"train": False}, ASK, ANSWER | {"train": True}]}],
    "messages in parts": [
        {
            "messages": [
                turn | {"content": [{"type": "text", "text": turn["content"]}]} for turn in (ASK, ANSWER)
            ]
        }
    ],
    "developer": [{"messages": [{"role": "developer", "content": "Be kind."}, ASK, ANSWER]}],
    "sharegpt": [{"conversations": [HUMAN, GPT]}, {"conversations": [HUMAN, GPT, HUMAN, GPT]}],
    "alpaca": [
        {"instruction": "Name them.", "input": 'boats, "red"', "output": "small"},
        {"instruction": "Name.", "input": "", "output": "x"},
    ],
    "prompt-completion": [{"prompt": "boats,\tor?\n", "completion": "small boats."}],
    "prompt-completion in turns": [{"prompt": [ASK], "completion": [ANSWER]}],
    "text": [{"text": "The sun\nis out."}, {"text": 'A "cat", sat'}],
    "preference": [{"prompt": "boats?", "chosen": " yes", "rejected": " no"}],
    "preference, implicit": [{"chosen": [ASK, ANSWER], "rejected": [ASK, OTHER]}],
    "kto": [
        {"prompt": "boats?", "completion": "yes", "label": True},
        {"prompt": "b", "completion": "n", "label": False},
    ],
}


def as_lines(rows, folder, name="rows.jsonl", end="\n", mark=b""):
    content = mark + "".join(json.dumps(row, ensure_ascii=False) + end for row in rows).encode()
    path = folder / name
    if name.endswith(".gz"):
        content = gzip.compress(content)
    if name.endswith(".zst"):
        import pyarrow as pa

        with pa.CompressedOutputStream(str(path), "zstd") as packed:
            packed.write(content)
        return path
    path.write_bytes(content)
    return path


def as_array(rows, folder):
    path = folder / "rows.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def as_table(rows, folder, delimiter=",", end="\n"):
    path = folder / ("rows.tsv" if delimiter == "\t" else "rows.csv")
    cell = lambda value: value if isinstance(value, str) else json.dumps(value)  # noqa: E731
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, delimiter=delimiter, lineterminator=end)
        writer.writerow(rows[0])
        writer.writerows([cell(value) for value in row.values()] for row in rows)
    return path


def as_dataset(rows, _folder):
    from datasets import Dataset

    return Dataset.from_list(rows)


def as_saved(rows, folder):
    as_dataset(rows, folder).save_to_disk(str(folder / "saved"))
    return folder / "saved"


def as_arrow(rows, _folder):
    import pyarrow as pa

    return pa.Table.from_pylist(rows)


def as_parquet(rows, folder):
    import pyarrow.parquet as pq

    pq.write_table(as_arrow(rows, folder), folder / "rows.parquet")
    return folder / "rows.parquet"


class Frame:
    """What a data frame of another library is to us: polars, DuckDB and others give this alone."""

    def __init__(self, table):
        self.table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self.table.__arrow_c_stream__(requested_schema)


def as_pandas(rows, _folder):
    import pandas as pd

    return pd.DataFrame(rows)


def as_polars(rows, _folder):
    import polars

    return polars.DataFrame(rows)


SOURCES = {
    "list": lambda rows, _folder: rows,
    "generator": lambda rows, _folder: (row for row in rows),
    "lines": as_lines,
    "lines, CRLF and BOM": lambda rows, folder: as_lines(rows, folder, end="\r\n", mark=b"\xef\xbb\xbf"),
    "gz": lambda rows, folder: as_lines(rows, folder, "rows.jsonl.gz"),
    "zst": lambda rows, folder: as_lines(rows, folder, "rows.jsonl.zst"),
    "array": as_array,
    "csv": as_table,
    "csv, CRLF": lambda rows, folder: as_table(rows, folder, end="\r\n"),
    "tsv": lambda rows, folder: as_table(rows, folder, "\t"),
    "Dataset": as_dataset,
    "split": lambda rows, folder: __import__("datasets").DatasetDict(train=as_dataset(rows, folder))["train"],
    "saved dataset": as_saved,
    "Arrow table": as_arrow,
    "Arrow stream": lambda rows, folder: Frame(as_arrow(rows, folder)),
    "parquet": as_parquet,
    "pandas": as_pandas,
    "polars": as_polars,
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("source", SOURCES)
def test_every_shape_from_every_source(tmp_path, shape, source):
    rows = SHAPES[shape]
    plain = records_from_rows(rows)
    read = read_records(SOURCES[source](rows, tmp_path))
    assert [record.content for record in read] == [record.content for record in plain]
    assert read.fingerprint == plain.fingerprint
    assert read.reading == plain.reading
    assert str(read.reading).startswith(f"read {len(rows)} row")
    written = read.write(tmp_path / f"again{read.ending}")
    again = read_records(written)
    assert again.fingerprint == plain.fingerprint
    last = read.only([read.ids[-1]]).write(tmp_path / f"last{read.ending}")
    assert [record.content for record in read_records(last)] == [plain[len(plain) - 1].content]


@pytest.mark.parametrize("name", ["rows.jsonl.gz", "rows.jsonl.zst"])
def test_packed_lines_keep_their_bytes(tmp_path, name):
    path = as_lines(SHAPES["text"], tmp_path, name)
    plain = as_lines(SHAPES["text"], tmp_path, "plain.jsonl")
    assert read_records(path).write(tmp_path / "out.jsonl").read_bytes() == plain.read_bytes()
    packed = read_records(plain).write(tmp_path / f"packed.jsonl{path.suffix}")
    assert read_records(packed).write(tmp_path / "two.jsonl").read_bytes() == plain.read_bytes()
    assert [record.location for record in read_records(path)] == [f"{name}:1", f"{name}:2"]
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(RecordError, match=f"{name}: "):
        read_records(path)


def test_frames_of_zstandard_one_after_the_other(tmp_path):
    one = as_lines(SHAPES["text"][:1], tmp_path, "one.jsonl.zst").read_bytes()
    two = as_lines(SHAPES["text"][1:], tmp_path, "two.jsonl.zst").read_bytes()
    (tmp_path / "both.jsonl.zst").write_bytes(one + two)
    assert [record.text for record in read_records(tmp_path / "both.jsonl.zst")] == [
        row["text"] for row in SHAPES["text"]
    ]


def test_rows_of_a_table_keep_their_bytes_and_lines(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbfid,text\r\n1,"two\r\nlines"\r\n\r\n2,plain\r\n3,"a ""quote"""')
    records = read_records(path)
    assert [(record.id, record.text, record.location) for record in records] == [
        ("1", "two\r\nlines", "a.csv:2"),
        ("2", "plain", "a.csv:5"),
        ("3", 'a "quote"', "a.csv:6"),
    ]
    assert records.without(["2"]).write(tmp_path / "b.csv").read_bytes() == (
        b'\xef\xbb\xbfid,text\r\n1,"two\r\nlines"\r\n3,"a ""quote"""'
    )
    with pytest.raises(RecordError, match=r"b.tsv: .*a table with commas; name it .csv"):
        records.write(tmp_path / "b.tsv")


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "a.csv: is empty; give a header"),
        (b"text,text\na,b\n", "a.csv:1: the header names the column 'text' twice"),
        (b"text,\na,b\n", "a.csv:1: the header names the column '' twice or leaves it empty"),
        (b"text\na,b\n", "a.csv:2: has 2 cells, but the header names 1 columns; put cells"),
        (b'text\nfine\n"open\n', "a.csv:3: cannot be read as a row of the table .*mend its quotes"),
        (b"text\n\xff\n", "a.csv: not valid UTF-8 at byte 6; save the file as UTF-8"),
        (b"text\n \n", "a.csv:2: `text` is empty"),
    ],
)
def test_what_is_wrong_with_a_table_is_named(tmp_path, content, reason):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(RecordError, match=rf"(?s){reason}"):
        read_records(tmp_path / "a.csv")


def split_files(folder, kind):
    rows = [{"text": f"row {number}", "id": f"r{number}"} for number in range(4)]
    for name, part in (("b", rows[2:]), ("a", rows[:2])):
        (folder / name).mkdir(exist_ok=True)
        made = kind(part, folder / name)
        made.rename(folder / f"{name}{made.suffix}")
    return rows


@pytest.mark.parametrize("kind", [as_lines, as_array, as_table, as_parquet])
def test_several_files_are_read_in_order_and_written_as_one(tmp_path, kind):
    rows = split_files(tmp_path, kind)
    ending = next(path.suffix for path in tmp_path.glob("a.*"))
    records = read_records(str(tmp_path / f"*{ending}"))
    assert list(records.ids) == [row["id"] for row in rows]
    assert records.source is None
    assert [path.name for path in records.sources] == [f"a{ending}", f"b{ending}"]
    files = [tmp_path / f"b{ending}", str(tmp_path / f"a{ending}")]
    assert list(read_records(files).ids) == ["r2", "r3", "r0", "r1"]
    kept = records.only(["r1", "r2"]).write(tmp_path / f"kept{ending}")
    assert list(read_records(kept).ids) == ["r1", "r2"]
    with pytest.raises(RecordError, match=f"a{ending}: holds the data that are read"):
        records.write(tmp_path / f"a{ending}")
    with pytest.raises(RecordError, match=f"a{ending}: is given twice"):
        read_records([tmp_path / f"a{ending}", tmp_path / f"a{ending}"])


def test_several_saved_datasets(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        as_saved([{"text": name, "id": name}], tmp_path / name)
    records = read_records([tmp_path / name / "saved" for name in "ab"])
    assert [record.location for record in records] == [
        f"{tmp_path}/a/saved row 0",
        f"{tmp_path}/b/saved row 0",
    ]
    assert list(read_records(records.only(["b"]).write(tmp_path / "out")).ids) == ["b"]


def test_files_that_do_not_go_together(tmp_path):
    one = as_lines([{"text": "a", "id": 1}], tmp_path, "one.jsonl")
    two = as_lines([{"text": "b", "id": 1}], tmp_path, "two.jsonl")
    with pytest.raises(RecordError, match=r"two.jsonl:1: the id '1' is that of one.jsonl:1 already"):
        read_records([one, two])
    with pytest.raises(RecordError, match=r"rows.json: is of the format json, but .*one.jsonl is of jsonl"):
        read_records([one, as_array([{"text": "c"}], tmp_path)])
    with pytest.raises(RecordError, match=r"no file fits this pattern"):
        read_records(str(tmp_path / "*.none"))
    with pytest.raises(RecordError, match=r"three.jsonl: no such file"):
        read_records([one, tmp_path / "three.jsonl"])
    (tmp_path / "[x].jsonl").write_text('{"text": "a name with a bracket"}\n')
    assert len(read_records(tmp_path / "[x].jsonl")) == 1


def test_a_last_line_without_a_break_stays_a_line(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "a"}')
    (tmp_path / "b.jsonl").write_bytes(b'{"text": "b"}')
    out = read_records(str(tmp_path / "*.jsonl")).write(tmp_path / "both.jsonl")
    assert out.read_bytes() == b'{"text": "a"}\n{"text": "b"}\n'


def test_objects_that_are_no_rows():
    from datasets import Dataset, DatasetDict

    rows = Dataset.from_list([{"text": "a"}])
    with pytest.raises(
        RecordError, match=r"has the splits 'train', 'test'; give one of them, like data\['train'\]"
    ):
        read_records(DatasetDict(train=rows, test=rows))
    with pytest.raises(RecordError, match="is a stream, which can be read once; give a Dataset"):
        read_records(rows.to_iterable_dataset())
    with pytest.raises(RecordError, match="has a transform"):
        read_records(rows.with_transform(lambda batch: batch))
    for wrong in (7, b"text", {"text": "a"}):
        with pytest.raises(RecordError, match="rows are read from a path, a list of paths"):
            read_records(wrong)
    import pandas as pd

    with pytest.raises(RecordError, match="DataFrame: cannot be turned into an Arrow table .*list of dicts"):
        read_records(pd.DataFrame({"text": ["a", {"b": 1}]}))
    with pytest.raises(RecordError, match=r"DataFrame row 1: `text` is empty"):
        read_records(pd.DataFrame({"text": ["a", ""]}))
    with pytest.raises(RecordError, match=r"Dataset row 0: is of no known shape; needs .*its columns: words"):
        read_records(Dataset.from_list([{"words": "a"}]))


def test_frames_of_polars_keep_their_types(tmp_path):
    import polars as pl

    turns = [
        [{"role": "user", "content": f"What of {i}?"}, {"role": "assistant", "content": "Sun."}]
        for i in range(4)
    ]
    frame = pl.DataFrame({"id": list("abcd"), "messages": turns}).with_columns(
        mood=pl.Series(["sad", "glad", "sad", "glad"], dtype=pl.Categorical),
        kind=pl.Series(["x", "y", "x", "x"], dtype=pl.Enum(["x", "y"])),
        score=pl.Series([0.5, None, 1.5, 2.5]),
        day=pl.lit("2026-01-02").str.to_date(),
        both=pl.Series([["p", "q"]] * 4, dtype=pl.Array(pl.String, 2)),
    )
    whole = pl.concat([frame[:2], frame[2:]], rechunk=False)
    for given in (frame, whole, frame.lazy().filter(pl.col("id") != "z").collect()):
        records = read_records(given)
        assert records.ids == ("a", "b", "c", "d")
        assert records[1].extra["mood"] == "glad"
        assert records[1].extra["score"] is None
        out = records.only(["b", "d"]).write(tmp_path / "out.parquet")
        assert pl.read_parquet(out).equals(frame[[1, 3]])
        assert pl.read_parquet(out).schema == frame.schema
    assert read_records(frame[1:3]).ids == ("b", "c")
    assert len(read_records(frame.clear())) == 0
    assert read_records(frame).fingerprint == records_from_rows(frame.to_dicts()).fingerprint


def test_frames_of_polars_that_are_no_rows():
    import polars as pl

    lazy = pl.DataFrame({"text": ["a", "b"]}).lazy()
    with pytest.raises(RecordError, match=r"LazyFrame: is a plan .* `data.collect\(\)`"):
        read_records(lazy)
    assert [record.text for record in read_records(lazy.collect())] == ["a", "b"]
    with pytest.raises(
        RecordError, match=r"DataFrame: cannot be turned .*column 'o' holds objects of Python"
    ):
        read_records(pl.DataFrame({"text": ["a"], "o": [object()]}))
    with pytest.raises(RecordError, match=r"Series: cannot be turned into an Arrow table"):
        read_records(pl.Series("text", ["a"]))


def test_strings_in_views_are_read_and_written(tmp_path):
    """As polars, DuckDB and new versions of Arrow keep them; Arrow cannot choose rows of them."""
    import pyarrow as pa

    table = pa.table(
        {
            "text": pa.array(["a", "b", "c"], pa.string_view()),
            "parts": pa.array([["x"], [], None], pa.list_(pa.string_view())),
            "more": pa.array([{"n": "1"}] * 3, pa.struct([("n", pa.string_view())])),
            "bytes": pa.array([b"1", None, b"3"], pa.binary_view()),
        }
    )
    for given in (table, Frame(table)):
        records = read_records(given)
        again = read_records(records.only(records.ids[1:]).write(tmp_path / "out.parquet"))
        assert [record.text for record in again] == ["b", "c"]
        assert [record.extra for record in again] == [record.extra for record in records][1:]


STAY = {
    "lines": as_lines,
    "zst": lambda rows, folder: as_lines(rows, folder, "rows.jsonl.zst"),
    "array": as_array,
    "parquet": as_parquet,
    "saved dataset": as_saved,
    "Dataset": as_dataset,
    "polars": as_polars,
}


def alive():
    """How many records there are in memory."""
    gc.collect()
    return sum(type(each) is Record for each in gc.get_objects())


@pytest.mark.parametrize("source", STAY)
def test_rows_stay_where_they_are_and_are_read_again(tmp_path, source):
    """No record is kept: each is read again where it is asked for, in whatever order, with a bad row among them."""
    rows = [{"text": f"row {number}", "id": f"r{number}", "n": number} for number in range(2500)]
    rows[7] = rows[7] | {"text": ""}
    given = STAY[source](rows, tmp_path)
    before = alive()
    records = read_records(given, on_error="skip")
    assert alive() <= before + 3
    assert [row.row for row in records.skipped] == [7]
    assert [record.extra["n"] for record in records] == [*range(7), *range(8, 2500)]
    assert records[2498].text == "row 2499"
    order = np.random.default_rng(0).permutation(2499)[:40].tolist()
    kept = records.only([records.ids[place] for place in order])
    assert sorted(record.id for record in kept) == sorted(records.ids[place] for place in order)
    some = [records[place] for place in order]
    assert [record.text for record in some] == [f"row {record.row}" for record in some]
    places = {record.row: record.location for record in records}
    assert [record.location for record in some] == [places[record.row] for record in some]


@pytest.mark.parametrize("kind", [as_lines, as_parquet, as_array])
def test_rows_of_several_files_stay_there_too(tmp_path, kind):
    split_files(tmp_path, kind)
    ending = next(path.suffix for path in tmp_path.glob("a.*"))
    (tmp_path / "more").mkdir()
    again = kind([{"text": "other", "id": "r9"}], tmp_path / "more")
    again = again.rename(again.with_name(f"a{ending}"))
    records = read_records([tmp_path / f"a{ending}", again, tmp_path / f"b{ending}"])
    assert records.ids == ("r0", "r1", "r9", "r2", "r3")
    assert [records[place].id for place in (4, 2, 0, 3, 1)] == ["r3", "r9", "r0", "r2", "r1"]
    assert records[2].location.startswith(f"{tmp_path}/more/a{ending}")
    before = alive()
    held = list(records)
    assert alive() == before + len(held)


def test_a_dataset_is_read_as_it_was_chosen_and_written_as_one(tmp_path):
    from datasets import Dataset

    rows = Dataset.from_list([{"text": name, "id": name} for name in "abcd"]).select([3, 1, 0])
    records = read_records(rows)
    assert list(records.ids) == ["d", "b", "a"]
    assert records.format == "datasets"
    again = read_records(records.without(["b"]).write(tmp_path / "out"))
    assert list(again.ids) == ["d", "a"]


def test_mixed_shapes_are_refused_with_their_places_or_read_each_by_its_own(tmp_path):
    path = as_lines([{"text": "a"}, {"prompt": "p", "completion": "c"}, {"text": "b"}], tmp_path)
    with pytest.raises(
        RecordError,
        match=r"(?s)1 of 3 rows.*rows.jsonl:2: has the shape prompt-completion \(prompts with completions\), but "
        r"rows.jsonl:1 has text \(texts\); .*`shape=mixed`",
    ):
        read_records(path)
    mixed = read_records(path, shape="mixed")
    assert [record.kind for record in mixed] == ["text", "prompt-completion", "text"]
    assert str(mixed.reading) == "read 3 rows of several shapes: 2 texts, 1 prompts with completions"


def test_a_shape_that_is_named_goes_before_what_is_recognised():
    row = {"text": "whole", "prompt": "p", "completion": "c", "label": True}
    assert records_from_rows([row], shape="text")[0].text == "whole"
    plain = records_from_rows([row], shape="prompt-completion")[0]
    assert (plain.completion, plain.desirable, plain.extra["label"]) == ("c", None, True)
    assert records_from_rows([row])[0].desirable is True
    with pytest.raises(
        RecordError, match="is not of the shape alpaca, which needs `instruction` with `output`"
    ):
        records_from_rows([row], shape="alpaca")
    with pytest.raises(RecordError, match="reading shape 'chatml': choose among auto, mixed"):
        records_from_rows([row], shape="chatml")


def test_a_column_that_changes_the_loss_is_named():
    records = records_from_rows([{"text": "a", "weight": 0.5}, {"text": "b", "weight": None}])
    assert str(records.reading) == "read 2 rows as texts; `weight` is carried along and changes no score"


def cached(folder, splits):
    """A data set as `datasets` keeps it after it was loaded from the hub once."""
    import pyarrow as pa

    place = folder / "owner___words" / "default" / "0.0.0" / "0123456789abcdef"
    place.mkdir(parents=True)
    for name, rows in splits.items():
        table = pa.Table.from_pylist(rows)
        with (
            pa.OSFile(str(place / f"words-{name}.arrow"), "wb") as file,
            pa.ipc.new_stream(file, table.schema) as out,
        ):
            out.write_table(table)
    (place / "dataset_info.json").write_text(
        json.dumps(
            {
                "builder_name": "json",
                "dataset_name": "words",
                "config_name": "default",
                "version": {"version_str": "0.0.0", "major": 0, "minor": 0, "patch": 0},
                "features": {"text": {"dtype": "string", "_type": "Value"}},
                "splits": {
                    name: {"name": name, "num_bytes": 1, "num_examples": len(rows), "dataset_name": "words"}
                    for name, rows in splits.items()
                },
            }
        )
    )


def test_a_data_set_of_the_hub_comes_from_the_cache_alone(tmp_path, monkeypatch):
    import socket

    import datasets

    def refuse(*_):
        raise AssertionError("the network is asked")

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(
        RecordError, match=r"owner/words: no such file or folder, and no data set .*load it once"
    ):
        read_records("owner/words")
    cached(tmp_path, {"train": [{"text": "a"}, {"text": "b"}], "test": [{"text": "c"}]})
    records = read_records("owner/words:test")
    assert [(record.text, record.location) for record in records] == [("c", "owner/words:test row 0")]
    with pytest.raises(RecordError, match="give one of its splits: owner/words:train, owner/words:test"):
        read_records("owner/words")
    with pytest.raises(RecordError, match=r"data/none.jsonl: no such file"):
        read_records("data/none.jsonl")
