"""The shapes of rows: each gives the record that the same words in turns give, or is refused by name."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aitia.errors import RecordError
from aitia.records import Message, records_from_rows, tokenize

ASK, ANSWER = {"role": "user", "content": "boats?"}, {"role": "assistant", "content": "small boats."}
HUMAN, GPT = {"from": "human", "value": "boats?"}, {"from": "gpt", "value": "small boats."}
TOOL = {"type": "function", "function": {"name": "tide", "parameters": {"type": "object"}}}
CALL = {"type": "function", "function": {"name": "tide", "arguments": {"at": "Hull"}}}


def read(row):
    (record,) = records_from_rows([row])
    return record


@pytest.mark.parametrize(
    "row",
    [
        {"conversations": [HUMAN, GPT]},
        {"conversations": [ASK, ANSWER]},
        {"conversation": [ASK, ANSWER]},
        {"messages": [HUMAN, GPT]},
        {"messages": json.dumps([ASK, ANSWER])},
        {"messages": [ASK, ANSWER | {"tool_calls": None, "weight": None}], "tools": None, "system": None},
        {"messages": [ASK, ANSWER], "conversations": [HUMAN, GPT]},
        {"messages": [ASK | {"weight": 0}, ANSWER | {"train": True}], "system": "", "tools": ""},
        {"messages": [ASK, ANSWER], "text": "else", "prompt": "boats?", "completion": "small boats."},
    ],
)
def test_a_conversation_is_the_same_in_every_shape(row):
    plain = read({"messages": [ASK, ANSWER]})
    assert (
        read(row).content
        == plain.content
        == {"messages": [["user", "boats?"], ["assistant", "small boats."]]}
    )
    assert read(row).id == plain.id


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": [ASK], "completion": [ANSWER]},
        {"prompt": [ASK], "completion": "small boats."},
        {"prompt": "boats?", "response": [ANSWER]},
        {"prompt": [HUMAN], "completion": [GPT], "response": [GPT]},
    ],
)
def test_prompt_and_completion_may_be_turns_or_a_string(row):
    assert read(row).content == read({"prompt": [ASK], "completion": [ANSWER]}).content
    assert read(row).context == 1


def test_a_system_column_is_a_leading_turn():
    turns = [{"role": "system", "content": "Be kind."}, ASK, ANSWER]
    assert read({"messages": turns[1:], "system": "Be kind."}).content == read({"messages": turns}).content
    assert read({"messages": turns, "system": "Be kind."}).content == read({"messages": turns}).content
    both = read({"prompt": [ASK], "completion": [ANSWER], "system": "Be kind."})
    assert both.content == read({"prompt": turns[:2], "completion": turns[2:]}).content


@pytest.mark.parametrize("asked", ["", None, "a {boat}"])
def test_alpaca_is_its_own_prompt_and_the_output(asked):
    record = read({"instruction": "Name {them}.", "input": asked, "output": " small boats."})
    assert record.completion_text == " small boats."
    lines = record.prompt_text.split("\n\n")
    assert lines[0].endswith("completes the request.")
    assert ("paired with an input" in lines[0]) == bool(asked)
    given = ["### Input:\na {boat}"] if asked else []
    assert lines[1:] == ["### Instruction:\nName {them}.", *given, "### Response:\n"]


def test_a_text_goes_before_alpaca_and_a_prompt_before_a_text():
    alpaca = {"instruction": "i", "output": "o"}
    assert read({"text": "whole", **alpaca}).text == "whole"
    assert read({"text": "whole", **alpaca}).extra == alpaca
    assert read({"text": "whole", "prompt": "p", "completion": "c"}).completion == "c"
    assert read({"text": "whole", "conversation": "number 7"}).text == "whole"


def test_parts_of_text_are_content_and_the_template_gets_them():
    parts = [{"type": "text", "text": "small ", "image": None}, {"type": "text", "text": "boats."}]
    record = read({"messages": [ASK, {"role": "assistant", "content": parts}]})
    assert record.completion_text == "small boats."
    assert record.messages[1].turn["content"] == [{"type": "text", "text": t} for t in ("small ", "boats.")]


def test_calls_of_tools_in_each_shape():
    plain = {"messages": [ASK, {"role": "assistant", "content": None, "tool_calls": [CALL]}], "tools": [TOOL]}
    sharegpt = {
        "conversations": [HUMAN, {"from": "function_call", "value": json.dumps(CALL["function"])}],
        "tools": json.dumps([TOOL]),
    }
    arrow = json.loads(json.dumps(plain))
    arrow["messages"][0]["tool_calls"] = arrow["tools"][0]["function"]["strict"] = None
    assert read(plain).content == read(sharegpt).content == read(arrow).content
    assert read(plain).template_arguments == {"tools": [TOOL]}
    assert json.loads(read(plain).completion_text) == CALL
    assert read(plain).messages[1].turn == {"role": "assistant", "tool_calls": [CALL]}


REFUSED = [
    (
        {"question": "a", "answer": "b"},
        "needs .*`messages` or `conversations` .*its columns: question, answer",
    ),
    ({"messages": [ASK, ANSWER], "conversations": [HUMAN, GPT, HUMAN, GPT]}, "do not say the same"),
    ({"messages": [ASK, ANSWER], "prompt": "boats?", "completion": "none"}, "do not end alike"),
    ({"prompt": "p", "completion": "a", "response": "b"}, "do not say the same"),
    ({"prompt": [ASK, ANSWER], "completion": "b"}, "one of `prompt` and `completion` is a string"),
    ({"prompt": "boats?", "completion": [ASK, ANSWER]}, "one of `prompt` and `completion` is a string"),
    ({"prompt": "p", "completion": "a", "system": "s"}, "a prompt in a string has no place"),
    ({"instruction": "i", "output": "o", "history": [["a", "b"]]}, "`history`.*Alpaca's prompt has no place"),
    (
        {"messages": [{"role": "system", "content": "x"}, ASK, ANSWER], "system": "s"},
        "not what its system turn",
    ),
    (
        {"messages": [ASK, {"from": "bing", "value": "x"}]},
        "turn 2 of `messages` is from 'bing'; .*human, user",
    ),
    ({"messages": [ASK, {"from": "function_call", "value": "f(x)"}]}, "function_call, but is not valid JSON"),
    ({"messages": [ASK, {"from": "function_call", "value": "{}"}]}, "has no `name` and `arguments`"),
    ({"messages": [ASK, GPT | {"role": "assistant"}]}, "both `from` and `value`, and `role`"),
    ({"messages": [{"role": "User", "content": "a"}, ANSWER]}, "role 'User'; write 'user'"),
    ({"messages": [ASK, {"role": "model", "content": "a"}]}, "role 'model'; write 'assistant'"),
    ({"messages": [ASK, {"role": "function", "content": "a"}, ANSWER]}, "role 'function'; write 'tool'"),
    ({"messages": [ASK | {"content": [{"type": "image"}]}, ANSWER]}, "part 1 of turn 1 .* of type 'image'"),
    ({"messages": [ASK | {"content": ["boats?"]}, ANSWER]}, "part 1 of turn 1 of `messages` is a string"),
    ({"messages": [ASK, ANSWER | {"content": None}]}, "content of turn 2 of `messages` must be a string"),
    (
        {"messages": [ASK, ANSWER | {"function_call": {"name": "f"}}]},
        "`function_call`.*write it as `tool_calls`",
    ),
    (
        {"messages": [ASK, ANSWER | {"tool_calls": [{"arguments": {}}]}]},
        "must be a list of objects that name",
    ),
    ({"messages": [ASK | {"tool_calls": [CALL]}, ANSWER]}, "which only a turn of the assistant may have"),
    ({"messages": [ASK, ANSWER], "tools": ["tide"]}, "`tools` must be a list of JSON schemas"),
    ({"messages": [ASK, ANSWER], "tools": "tide"}, "`tools` is a string that is not valid JSON"),
    ({"messages": [ASK, ANSWER], "functions": [TOOL]}, "`functions`.*give the tools as `tools`"),
    ({"messages": [ASK, ANSWER], "chat_template_kwargs": {"tokenize": True}}, "may not hold `tokenize`"),
    ({"messages": [ASK, ANSWER], "completion_mask": [0, 1]}, "`completion_mask`.*mark turns by `train`"),
    ({"messages": [ASK, ANSWER | {"thinking": ["a"]}]}, "`thinking` of turn 2 .*must be a string"),
    ({"messages": [ASK, ANSWER | {"note": "\ud83d"}]}, "half of a surrogate pair"),
    ({"messages": [ASK, ANSWER | {"note": b"x"}]}, "holds a bytes, which has no form in JSON"),
]


@pytest.mark.parametrize("row, reason", REFUSED, ids=range(len(REFUSED)))
def test_what_is_not_certain_is_refused_by_name(row, reason):
    with pytest.raises(RecordError, match=rf"(?s)rows row 0: .*{reason}"):
        read(row)


@pytest.mark.parametrize("flag", ["train", "trainable", "training", "loss", "loss_mask", "weight"])
def test_a_flag_takes_a_turn_out_of_what_is_trained_on(flag):
    import numpy as np

    other = ANSWER | {"content": "muddy water."}
    for no in (False, 0, 0.0, np.bool_(False)):
        row = {"messages": [ASK, other | {flag: no}, ASK, ANSWER]}
        record = read(row)
        assert record.completion_text == "small boats."
        assert record.trained_turns == (3,)
        assert record.id != read({"messages": [ASK, other, ASK, ANSWER]}).id
        first = read({"messages": [ASK, ANSWER, ASK, other | {flag: no}]})
        assert (first.completion_text, first.prompt_text) == ("small boats.", "boats?")
    for yes in (True, 1, 1.0):
        assert read({"messages": [ASK, ANSWER | {flag: yes}]}).id == read({"messages": [ASK, ANSWER]}).id
    with pytest.raises(RecordError, match="every turn of the assistant is marked as not trained on"):
        read({"messages": [ASK, ANSWER | {flag: False}]})
    with pytest.raises(RecordError, match=f"turn 1 of `messages` says by `{flag}` .* it is of the user"):
        read({"messages": [ASK | {flag: True}, ANSWER]})
    for odd in (0.5, "false", [0, 1], 2, -1):
        with pytest.raises(
            RecordError, match=f"turn 2 of `messages` has `{flag}` .*only 0, 1, true and false"
        ):
            read({"messages": [ASK, ANSWER | {flag: odd}]})


def test_flags_that_say_the_opposite():
    assert read({"messages": [ASK, ANSWER | {"masked": True}, ASK, ANSWER]}).trained_turns == (3,)
    with pytest.raises(RecordError, match="flags that differ: train, masked"):
        read({"messages": [ASK, ANSWER | {"train": True, "masked": True}]})


YES, NO = {"role": "assistant", "content": "yes"}, {"role": "assistant", "content": "no"}
PAIRS = [
    {"prompt": [ASK], "chosen": [YES], "rejected": [NO]},
    {"chosen": [ASK, YES], "rejected": [ASK, NO]},
    {"prompt": "boats?", "chosen": [ASK, YES], "rejected": [ASK, NO]},
    {"prompt": "boats?", "chosen": [YES], "rejected": [NO]},
    {"prompt": [ASK], "chosen": YES, "rejected": NO},
    {"chosen": [HUMAN, {"from": "gpt", "value": "yes"}], "rejected": [HUMAN, {"from": "gpt", "value": "no"}]},
]


@pytest.mark.parametrize("row", PAIRS)
def test_a_pair_keeps_both_sides_and_either_can_be_read_alone(row):
    record = read(row)
    assert record.messages == (Message("user", "boats?"), Message("assistant", "yes"))
    assert (record.context, record.rejected) == (1, (Message("assistant", "no"),))
    for side, said in (("chosen", YES), ("rejected", NO)):
        (alone,) = records_from_rows([row], side=side)
        assert alone.content == read({"prompt": [ASK], "completion": [said]}).content
        other = "rejected" if side == "chosen" else "chosen"
        assert alone.extra[other] == row[other]
        assert alone.id != record.id
    assert read(record.form).content == record.content


def test_a_pair_of_strings():
    explicit = read({"prompt": "boats? ", "chosen": "yes", "rejected": "no"})
    assert (explicit.prompt, explicit.completion, explicit.rejected) == ("boats? ", "yes", "no")
    implicit = read({"chosen": "boats? yes", "rejected": "boats? no"})
    assert (implicit.prompt, implicit.completion, implicit.rejected) == ("boats?", " yes", " no")
    (rejected,) = records_from_rows([implicit.form], side="rejected")
    assert (rejected.prompt, rejected.completion) == ("boats?", " no")
    assert read(explicit.form).content == explicit.content


BAD_PAIRS = [
    ({"prompt": "p", "chosen": "a", "rejected": "a"}, "`chosen` and `rejected` say the same"),
    ({"chosen": [ASK, YES], "rejected": [ASK, YES]}, "`chosen` and `rejected` say the same"),
    ({"chosen": "boats", "rejected": "boats and more"}, "begins with all of the other.*give the `prompt`"),
    ({"chosen": "a", "rejected": [YES]}, "one of `chosen` and `rejected` is a string and the other turns"),
    ({"prompt": [ASK], "chosen": "a", "rejected": "b"}, "`prompt` is a list of turns, but"),
    ({"prompt": "cars?", "chosen": [ASK, YES], "rejected": [ASK, NO]}, "`prompt` is not what the turns say"),
    ({"prompt": [ASK], "chosen": [YES], "rejected": [ASK]}, "`rejected`: no turn of the assistant"),
    ({"prompt": "p", "chosen": "a", "rejected": " "}, "`rejected` is empty"),
    ({"prompt": "p", "chosen": "a", "rejected": "b", "system": "s"}, "a prompt in a string has no place"),
    ({"messages": [ASK, ANSWER], "chosen": [YES], "rejected": [NO]}, "has `messages` beside `chosen`"),
    (
        {"prompt": "p", "completion": "c", "tools": [TOOL]},
        "has a `tools` for which a prompt in a string has no place",
    ),
    ({"text": "t", "loss_mask": [0, 1]}, "`loss_mask`.*by token"),
]


@pytest.mark.parametrize("row, reason", BAD_PAIRS, ids=range(len(BAD_PAIRS)))
def test_a_pair_that_prefers_nothing_or_is_not_certain_is_refused(row, reason):
    with pytest.raises(RecordError, match=rf"(?s)rows row 0: .*{reason}"):
        read(row)


def test_what_compares_answers_is_not_scored_as_a_text(chatml):
    pair, marked = PAIRS[0], {"prompt": "boats?", "completion": "yes", "label": False}
    with pytest.raises(RecordError, match="row 0: is a preference pair.*`side=chosen` or `side=rejected`"):
        tokenize(records_from_rows([pair]), chatml, max_length=100)
    with pytest.raises(RecordError, match="row 0: is an answer marked .*`shape=prompt-completion`"):
        tokenize(records_from_rows([marked]), chatml, max_length=100)
    assert len(tokenize(records_from_rows([marked], shape="prompt-completion"), chatml, max_length=100)) == 1


@pytest.mark.parametrize(
    "label, wanted", [(True, True), (False, False), ("False", False), (1, None), ("good", None)]
)
def test_an_answer_that_is_marked(label, wanted):
    record = read({"prompt": "p", "completion": "c", "label": label})
    assert record.desirable is wanted
    assert ("label" in record.extra) == (wanted is None)
    again = read(record.form)
    assert again.content == record.content


def test_every_shape_is_a_choice_and_is_known_by_its_name():
    from typing import get_args

    from aitia.records.parsing import ShapeChoice
    from aitia.records.shapes.registry import SHAPES

    assert get_args(ShapeChoice) == ("auto", "mixed", *SHAPES)


WORDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8).filter(str.strip)
TURNS = st.lists(
    st.one_of(
        st.builds(lambda content: {"role": "user", "content": content}, WORDS),
        st.builds(
            lambda content, more: {"role": "assistant", "content": content} | more,
            WORDS,
            st.sampled_from([{}, {"train": False}, {"weight": 0}, {"name": "a"}, {"tool_calls": [CALL]}]),
        ),
        st.builds(
            lambda texts: {"role": "tool", "content": [{"type": "text", "text": text} for text in texts]},
            st.lists(WORDS, max_size=2),
        ),
    ),
    max_size=5,
)


@given(turns=TURNS, context=st.integers(0, 5), columns=st.sampled_from([{}, {"tools": [TOOL], "note": 1}]))
def test_the_form_of_a_record_reads_as_the_record(turns, context, columns):
    turns = [*turns, ANSWER]
    context = min(context, len(turns) - 1)
    row = {"prompt": turns[:context], "completion": turns[context:]} if context else {"messages": turns}
    record = read(row | columns)
    again = read(record.form)
    assert again.content == record.content
    assert (again.messages, again.trained_turns) == (record.messages, record.trained_turns)
    trained = [turn["content"] for turn in turns[context:] if turn["role"] == "assistant" and is_on(turn)]
    assert [record.messages[i].content for i in record.trained_turns] == trained


def is_on(turn):
    return turn.get("train", True) and turn.get("weight", 1)


def test_a_message_is_a_plain_pair_where_it_says_no_more():
    assert read({"messages": [ASK, ANSWER]}).messages[0] == Message("user", "boats?")


@pytest.mark.parametrize("column", ["messages", "conversations", "conversation", "chosen", "text", "prompt"])
@pytest.mark.parametrize("value", [3, 0.5, True, None, "", {}, [], [3], [[]], [None]])
def test_a_column_of_another_kind_is_refused_and_never_breaks(column, value):
    """Whatever stands in a column that a shape reads, the row is read or refused with its place."""
    with pytest.raises(RecordError, match="row 0"):
        records_from_rows([{column: value}])
