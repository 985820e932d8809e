import json

import pytest

from aitia.errors import RecordError
from aitia.records import Message, Record, Records, records_from_rows

TURNS = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello!"},
    {"role": "user", "content": "More"},
    {"role": "assistant", "content": "Well, no."},
]


def test_the_texts_of_each_kind():
    data = records_from_rows(
        [{"messages": TURNS}, {"prompt": "What? ", "response": "That."}, {"text": "Once upon a time"}],
        shape="mixed",
    )
    assert isinstance(data, Records)
    chat, pair, text = data
    assert (chat.kind, pair.kind, text.kind) == ("messages", "prompt-completion", "text")
    assert chat.prompt_text == "Be kind.\nHi\nHello!\nMore"
    assert chat.completion_text == "Hello!\nWell, no."
    assert (pair.prompt_text, pair.completion_text) == ("What? ", "That.")
    assert (text.prompt_text, text.completion_text) == ("", "Once upon a time")


def test_a_conversation_given_as_prompt_and_completion_trains_on_the_completion_alone():
    (record,) = records_from_rows([{"prompt": TURNS[:4], "completion": TURNS[4:]}])
    assert record.messages == tuple(Message(turn["role"], turn["content"]) for turn in TURNS)
    assert record.context == 4
    assert record.completion_text == "Well, no."
    (whole,) = records_from_rows([{"messages": TURNS}])
    assert whole.id != record.id


def test_a_record_has_one_form():
    with pytest.raises(RecordError, match="here: give one of"):
        Record(id="a", row=0, location="here", text="a", prompt="b", completion="c")
    with pytest.raises(RecordError, match="here: give one of"):
        Record(id="a", row=0, location="here", prompt="b")


def test_the_first_form_counts_and_the_others_are_carried_along():
    (record,) = records_from_rows(
        [{"id": 7, "messages": TURNS, "prompt": "Hi", "text": "all", "label": None}]
    )
    assert record.kind == "messages"
    assert record.extra == {"prompt": "Hi", "text": "all", "label": None}


def test_columns_and_those_there_are():
    records = records_from_rows([{"id": "a", "text": "x", "topic": 1}, {"id": 2, "text": "y", "label": True}])
    assert records.column("topic") == [1, None]
    assert records.column("id") == ["a", "2"]
    with pytest.raises(RecordError, match=r"^records: no column 'planted'; there are: topic, label"):
        records.column("planted")


def test_cutting_keeps_the_order_of_the_source():
    records = records_from_rows([{"id": name, "text": name} for name in "dacb"])
    assert records.only(["b", "d", "d"]).ids == ("d", "b")
    assert records.without(["d"]).ids == ("a", "c", "b")
    assert records.without([]).ids == records.ids
    assert records.without(["d"]).only(["c"])[0].row == 2
    for cut in (records.only, records.without):
        with pytest.raises(RecordError, match="no record has the id 'x', 'y'"):
            cut(["y", "a", "x"])
    with pytest.raises(RecordError, match="and 2 more"):
        records.only(map(str, range(7)))


def test_the_fingerprint_depends_on_ids_content_and_order_alone():
    rows = [{"id": "a", "text": "x"}, {"id": "b", "prompt": "p", "completion": "c"}]
    first = records_from_rows(rows, shape="mixed").fingerprint
    assert (
        records_from_rows([row | {"label": 1} for row in rows], name="others", shape="mixed").fingerprint
        == first
    )
    changed = [rows[::-1], rows[:1], [rows[0] | {"id": "c"}, rows[1]], [rows[0] | {"text": "x "}, rows[1]]]
    assert len({first, *(records_from_rows(part, shape="mixed").fingerprint for part in changed)}) == 5


def test_rows_in_memory_are_written_as_lines_of_json(tmp_path):
    import numpy as np

    rows = [
        {"text": "naïve 🙂", "score": np.float32(0.5)},
        {"text": "b", "vector": np.arange(2)},
        {"text": "c"},
    ]
    records = records_from_rows(iter(rows), name="made up")
    assert [record.location for record in records] == [f"made up row {i}" for i in range(3)]
    path = records.without([records[2].id]).write(tmp_path / "new" / "out.jsonl")
    assert path.read_text(encoding="utf-8").splitlines()[0] == '{"text": "naïve 🙂", "score": 0.5}'
    assert json.loads(path.read_text(encoding="utf-8").splitlines()[1])["vector"] == [0, 1]


def test_what_json_cannot_hold_leaves_nothing_behind(tmp_path):
    records = records_from_rows([{"text": "a"}, {"text": "b", "score": float("nan")}], name="made up")
    with pytest.raises(RecordError, match="made up row 1: cannot be written as JSON"):
        records.write(tmp_path / "out.jsonl")
    assert list(tmp_path.iterdir()) == []
