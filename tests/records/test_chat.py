import pytest

from aitia.errors import RecordError
from aitia.records import Message, records_from_rows
from aitia.records.templates.chat import ChatTemplate


def talk(*contents, first="user"):
    roles = ["user", "assistant"] if first == "user" else ["assistant", "user"]
    return tuple(Message(roles[i % 2], content) for i, content in enumerate(contents))


def responses(tokenizer, messages, context=0):
    text, spans = ChatTemplate(tokenizer).responses(messages, context)
    return [text[start:end] for start, end in spans]


def test_a_turn_ends_with_its_end_token_and_not_with_the_line_break_after_it(chatml):
    assert responses(chatml, talk("Hi", "Yes. \n", "And?", "No")) == ["Yes. \n<|im_end|>", "No<|im_end|>"]


def test_the_text_is_that_of_the_template(chatml):
    messages = (Message("system", "Be kind"), *talk("Hi", "Yes", "And?"))
    text, spans = ChatTemplate(chatml).responses(messages)
    assert text == (
        "<|im_start|>system\nBe kind<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nYes<|im_end|>\n<|im_start|>user\nAnd?<|im_end|>\n"
    )
    assert [text[start:end] for start, end in spans] == ["Yes<|im_end|>"]


def test_the_content_may_repeat_what_the_template_writes(chatml):
    contents = ("assistant", "<|im_start|>assistant\n", "assistant", "assistant")
    assert responses(chatml, talk(*contents)) == [
        "<|im_start|>assistant\n<|im_end|>",
        "assistant<|im_end|>",
    ]


def test_the_assistant_may_speak_first(chatml, gemma):
    assert responses(chatml, talk("Welcome", "Hi", "Yes", first="assistant")) == [
        "Welcome<|im_end|>",
        "Yes<|im_end|>",
    ]
    assert responses(gemma, talk("Welcome", first="assistant")) == ["Welcome<|im_end|>"]


def test_trimmed_content(gemma):
    assert responses(gemma, talk(" Hi ", "  Yes\n", "And?", "\tNo ")) == ["Yes<|im_end|>", "No<|im_end|>"]


def test_an_empty_thought_before_the_last_answer_belongs_to_it(thinking):
    thought = "<think>\n\n</think>\n\n"
    found = responses(thinking, talk("Hi", "think", "And?", "No", "Sure?", "No"))
    assert found == ["think<|im_end|>", "No<|im_end|>", f"{thought}No<|im_end|>"]
    assert responses(thinking, talk("Hi", "Yes")) == [f"{thought}Yes<|im_end|>"]


def test_context_does_not_count(chatml):
    assert responses(chatml, talk("Hi", "Yes", "And?", "No"), context=3) == ["No<|im_end|>"]


def test_a_template_that_forgets_the_generation_prompt(make_tokenizer):
    tokenizer = make_tokenizer(
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    )
    assert responses(tokenizer, talk("Hi", "Yes", "And?", "No")) == ["Yes<|im_end|>", "No<|im_end|>"]


def test_a_generation_prompt_that_says_more_than_the_conversation(make_tokenizer):
    tokenizer = make_tokenizer(
        "{% for m in messages %}{{ '<' + m.role + '>' + m.content }}"
        "{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<assistant><think>\n' }}{% endif %}"
    )
    assert responses(tokenizer, talk("Hi", "Yes", "And?", "No")) == ["Yes</s>", "No</s>"]


def test_no_end_token_at_all(make_tokenizer):
    tokenizer = make_tokenizer(
        "{% for m in messages %}{{ m.role + ': ' + m.content + '\n\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    )
    assert responses(tokenizer, talk("Hi", "Yes\n", "And?", "No")) == ["Yes\n", "No"]


SHORTENING = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{{ m.content if loop.last else m.content[:2] }}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def test_turns_after_the_last_answer_are_left_out_where_they_change_it(make_tokenizer):
    tokenizer = make_tokenizer(SHORTENING)
    text, spans = ChatTemplate(tokenizer).responses(talk("Hi", "Certainly", "Thanks"))
    assert [text[start:end] for start, end in spans] == ["Certainly<|im_end|>"]
    assert text.endswith("Certainly<|im_end|>\n")


def test_a_template_that_rewrites_earlier_turns_is_refused(make_tokenizer):
    with pytest.raises(RecordError, match="rewrites earlier turns"):
        responses(make_tokenizer(SHORTENING), talk("Hi", "Certainly", "And?", "No"))


@pytest.mark.parametrize("fault", ["1 // 0", "messages.append(1)", "missing.part", "'a' + 1", "again(1)"])
def test_a_template_may_fail_in_any_way(make_tokenizer, fault):
    tokenizer = make_tokenizer("{% macro again(x) %}{{ again(x) }}{% endmacro %}{{ " + fault + " }}")
    with pytest.raises(RecordError, match="the chat template refuses the conversation"):
        responses(tokenizer, talk("Hi", "Yes"))


def test_a_template_may_refuse(gemma):
    with pytest.raises(RecordError, match="refuses the conversation: System role not supported"):
        responses(gemma, (Message("system", "Be kind"), *talk("Hi", "Yes")))


TOOL = {"type": "function", "function": {"name": "tide", "description": "of the sea", "parameters": {}}}
CALL = {"type": "function", "function": {"name": "tide", "arguments": {"at": 'Hull "quay"', "on": 3}}}
TOOLS = (
    "{% if tools %}{{ '<|im_start|>system\n' + tools | tojson + '<|im_end|>\n' }}{% endif %}"
    "{% for d in documents or [] %}{{ '[' + d.title + '] ' + d.text + '\n' }}{% endfor %}"
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.reasoning_content %}{{ '<think>' + m.reasoning_content + '</think>' }}{% endif %}"
    "{{ m.content or '' }}"
    "{% for call in m.tool_calls or [] %}{{ '<tool_call>' + call.function | tojson + '</tool_call>' }}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# As TOOLS, but it forgets what a turn says once it calls tools, and all calls but the first.
HASTY = TOOLS.replace("{{ m.content or '' }}", "{{ '' if m.tool_calls else m.content }}").replace(
    "m.tool_calls or []", "(m.tool_calls or [])[:1]"
)


def rendered(tokenizer, row):
    (record,) = records_from_rows([row])
    text, spans = ChatTemplate(tokenizer).responses(
        record.messages, record.context, record.template_arguments
    )
    return text, [text[start:end] for start, end in spans]


ASK = {"role": "user", "content": "Tide?"}


def test_tools_calls_and_thoughts_are_written_as_transformers_writes_them(make_tokenizer):
    tokenizer = make_tokenizer(TOOLS)
    turns = [
        ASK,
        {"role": "assistant", "content": None, "reasoning_content": "a table", "tool_calls": [CALL, CALL]},
        {"role": "tool", "content": "at 3"},
        {"role": "assistant", "content": "At 3."},
    ]
    documents = [{"title": "Seas", "text": "They rise."}]
    row = {"messages": turns, "tools": [TOOL], "documents": documents}
    text, spans = rendered(tokenizer, row)
    assert text == tokenizer.apply_chat_template(turns, tools=[TOOL], documents=documents, tokenize=False)
    call = '<tool_call>{"name": "tide", "arguments": {"at": "Hull \\"quay\\"", "on": 3}}</tool_call>'
    assert spans == [f"<think>a table</think>{call}{call}<|im_end|>", "At 3.<|im_end|>"]


@pytest.mark.parametrize(
    "more, reason",
    [
        ({"tools": [TOOL]}, "does not write number 1 of the row's `tools`"),
        ({"documents": [{"title": "Seas", "text": "They rise."}]}, "does not write number 1 .* `documents`"),
    ],
)
def test_columns_that_the_template_does_not_write_are_refused(chatml, more, reason):
    with pytest.raises(RecordError, match=reason):
        rendered(chatml, {"messages": [ASK, {"role": "assistant", "content": "At 3."}]} | more)


@pytest.mark.parametrize(
    "turn, reason",
    [
        ({"content": "Let me see.", "tool_calls": [CALL]}, "does not write all of the content of turn 2"),
        (
            {"content": None, "tool_calls": [CALL, CALL | {"function": {"name": "moon"}}]},
            "does not write all of the call of 'moon' of turn 2",
        ),
    ],
)
def test_what_a_turn_says_beside_its_call_is_not_lost(make_tokenizer, turn, reason):
    answer = {"role": "assistant", "content": "At 3."}
    with pytest.raises(RecordError, match=reason):
        rendered(make_tokenizer(HASTY), {"messages": [ASK, {"role": "assistant"} | turn, answer]})


@pytest.mark.parametrize("key", ["reasoning_content", "thinking", "reasoning"])
def test_a_thought_that_the_template_does_not_write_is_refused(chatml, key):
    with pytest.raises(RecordError, match=f"does not write the `{key}` of turn 2"):
        rendered(chatml, {"messages": [ASK, {"role": "assistant", "content": "At 3.", key: "a table"}]})


def test_arguments_of_the_template_come_from_the_row(make_tokenizer):
    tokenizer = make_tokenizer(
        "{% for m in messages %}{{ '<' + m.role + '>' + m.content }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<assistant>' + ('' if think else '[no thought]') }}{% endif %}"
    )
    row = {"messages": [ASK, {"role": "assistant", "content": "[no thought]At 3."}]}
    # The prompt of the first may not reach into the answer, which is trained on whole.
    assert rendered(tokenizer, row)[1] == ["[no thought]At 3."]
    assert rendered(tokenizer, row | {"chat_template_kwargs": {"think": True}})[1] == ["[no thought]At 3."]
    row["messages"][1]["content"] = "[no thought][no thought]"
    assert rendered(tokenizer, row)[1] == ["[no thought][no thought]"]


PART = "{% for p in m.content %}{% if p.type == 'text' %}{{ p.text }}{% endif %}{% endfor %}"
LISTS = "{% for m in messages %}{{ '[' + m.role + '] ' }}" + PART + "{{ '\n' }}{% endfor %}"
STRINGS = "{% for m in messages %}{{ '[' + m.role + '] ' + m.content + '\n' }}{% endfor %}"
PRINTED = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"


@pytest.mark.parametrize("template", [LISTS, STRINGS, PRINTED])
def test_content_is_written_whether_it_comes_as_a_string_or_in_parts(make_tokenizer, template):
    tokenizer = make_tokenizer(template)
    forms = [lambda text: text, lambda text: [{"type": "text", "text": text}]]
    for ask, answer in [(0, 0), (0, 1), (1, 0), (1, 1)]:
        turns = [
            {"role": "user", "content": forms[ask]("Tide?")},
            {"role": "assistant", "content": forms[answer]("At 3.")},
        ]
        assert rendered(tokenizer, {"messages": turns}) == ("[user] Tide?\n[assistant] At 3.\n", ["At 3."])


def test_several_parts_are_not_joined_by_guess(make_tokenizer):
    parts = [{"type": "text", "text": "At "}, {"type": "text", "text": "3."}]
    row = {"messages": [ASK, {"role": "assistant", "content": parts}]}
    assert rendered(make_tokenizer(LISTS), row)[1] == ["At 3."]
    for template in (STRINGS, PRINTED):
        with pytest.raises(
            RecordError, match="the chat template (refuses|writes content in parts as a list)"
        ):
            rendered(make_tokenizer(template), row)


def test_parts_may_be_spoken_of(make_tokenizer):
    said = "a part is {'type': 'text', 'text': ...}"
    row = {"messages": [ASK, {"role": "assistant", "content": [{"type": "text", "text": said}]}]}
    assert rendered(make_tokenizer(LISTS), row)[1] == [said]


@pytest.mark.parametrize(
    "written, reason",
    [
        ("m.role", r"does not write what turn 1 \(of the user\) says"),
        ("m.content if m.role == 'user' else ''", r"does not write what turn 2 \(of the assistant\) says"),
        ("m.content | upper", "turn 1"),
        ("m.content if m.role == 'user' else m.content[:3]", "rewrites what turn 2 says"),
        ("m.content if m.role == 'user' else m.content | e", "does not write all of the content of turn 2"),
        ("m.content if m.role == 'user' else m.content + m.content", "rewrites what turn 2 says"),
    ],
)
def test_content_that_is_dropped_or_rewritten_is_refused(make_tokenizer, written, reason):
    tokenizer = make_tokenizer(
        "{% for m in messages %}{{ '<' + m.role + '>' + (" + written + ") }}{% endfor %}"
    )
    with pytest.raises(RecordError, match=reason):
        rendered(tokenizer, {"messages": [ASK, {"role": "assistant", "content": "3 < 4 & so on"}]})


def test_answers_that_are_alike_are_not_taken_for_one_another(make_tokenizer):
    # The first answer is left out, and the later one says the same.
    tokenizer = make_tokenizer(
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
        "{{ '' if m.role == 'assistant' and not loop.last else m.content }}{{ '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    with pytest.raises(RecordError, match=r"does not write what turn 2 \(of the assistant\) says"):
        responses(tokenizer, talk("Hi", "Yes", "Yes", "Yes"))


def test_templates_that_look_into_content_are_followed(make_tokenizer):
    # Like Qwen3's: results of tools in a turn of the user do not count as a question.
    tokenizer = make_tokenizer(
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
        "{% if m.role == 'user' and m.content.endswith('</result>') %}{{ '(result) ' }}{% endif %}"
        "{{ m.content + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    assert responses(tokenizer, talk("<result>3</result>", "Yes", "And?", "No")) == [
        "Yes<|im_end|>",
        "No<|im_end|>",
    ]
