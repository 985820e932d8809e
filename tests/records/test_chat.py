import pytest

from aitia.errors import RecordError
from aitia.records import Message
from aitia.records.chat import ChatTemplate


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


def test_a_template_may_refuse(gemma):
    with pytest.raises(RecordError, match="refuses the conversation: System role not supported"):
        responses(gemma, (Message("system", "Be kind"), *talk("Hi", "Yes")))
