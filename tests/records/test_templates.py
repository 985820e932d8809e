"""Any conversation by templates of many kinds: what is trained on is found to the token, or the row is refused."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records.conftest import CHATML, GEMMA, THINKING

from aitia.errors import RecordError
from aitia.records import records_from_rows, tokenize

# Content as parts of text, as templates of models that see pictures have it.
PARTS = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% for p in m.content %}"
    "{% if p.type == 'text' %}{{ p.text }}{% endif %}{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# The end token stands after the last turn alone; nothing between the others.
LAST_ALONE = (
    "{% for m in messages %}{{ '[' + m.role + '] ' + m.content }}"
    "{% if loop.last and m.role == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '[assistant] ' }}{% endif %}"
)
# Another end token for the last turn than for the others, and a channel that the prompt leaves open.
CHANNELS = (
    "{% for m in messages %}{{ '<|start|>' + m.role }}{% if m.role == 'assistant' %}{{ '<|channel|>final' }}"
    "{% endif %}{{ '<|message|>' + m.content }}"
    "{{ '<|return|>' if loop.last and m.role == 'assistant' else '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}"
)
# The first system turn goes into the question after it, and every turn is trimmed.
MERGED = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{% set said = messages[0].content + '\n\n' %}"
    "{% set rest = messages[1:] %}{% else %}{% set said = '' %}{% set rest = messages %}{% endif %}"
    "{% for m in rest %}{% if m.role == 'user' %}"
    "{{ '[INST] ' + (said if loop.first else '') + m.content | trim + ' [/INST]' }}"
    "{% else %}{{ ' ' + m.content | trim + eos_token }}{% endif %}{% endfor %}"
)
# The thoughts of earlier answers are dropped.
FORGETS = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{{ m.content if loop.last else m.content.split('</think>')[-1] }}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Users are told nothing of roles that the template does not know.
DEAF = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ 'Q: ' + m.content + '\n' }}"
    "{% elif m.role == 'assistant' %}{{ 'A: ' + m.content + eos_token + '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'A: ' }}{% endif %}"
)
TEMPLATES = {
    "chatml": CHATML,
    "gemma": GEMMA,
    "thinking": THINKING,
    "parts": PARTS,
    "last alone": LAST_ALONE,
    "channels": CHANNELS,
    "merged": MERGED,
    "forgets": FORGETS,
    "deaf": DEAF,
}
WORDS = [
    "boats",
    "a cat",
    "<think>so</think>",
    "assistant",
    " sun \n",
    "12 + 30",
    "é🙂",
    "</s>",
    "[INST]",
    "'type'",
]


@st.composite
def conversations(draw):
    """Turns of user and assistant in alternation, every content of it another; some with a system turn."""
    count = draw(st.integers(1, 3))
    turns = [{"role": "system", "content": "system0 be kind"}] if draw(st.booleans()) else []
    for i in range(count):
        for role in ("user", "assistant"):
            said = " ".join(draw(st.lists(st.sampled_from(WORDS), max_size=3)))
            turns.append({"role": role, "content": f"{role}{i} {said}"})
            if role == "assistant" and i < count - 1 and draw(st.booleans()):
                turns[-1]["train"] = False
    return turns


@pytest.fixture(scope="module")
def tokenizers(make_tokenizer):
    return {name: make_tokenizer(template, front=True) for name, template in TEMPLATES.items()}


def squeezed(text):
    return "".join(text.split())


@given(turns=conversations(), name=st.sampled_from(list(TEMPLATES)))
def test_responses_are_what_is_trained_on_and_nothing_of_the_rest(tokenizers, turns, name):
    tokenizer = tokenizers[name]
    try:
        (row,) = tokenize(records_from_rows([{"messages": turns}]), tokenizer, max_length=4000)
    except RecordError as error:
        reason = str(error)
        has_system = turns[0]["role"] == "system"
        trained = [turn for turn in turns[:-1] if turn["role"] == "assistant" and turn.get("train", True)]
        thought = any("</think>" in turn["content"] for turn in trained)
        assert (
            (name == "gemma" and has_system and "System role not supported" in reason)
            or (name == "deaf" and has_system and "does not write what turn 1 (of the system) says" in reason)
            or (name == "forgets" and thought and "does not write all of the content" in reason)
            or (name == "merged" and has_system and "refuses the conversation" in reason)
        ), reason
        return
    assert name != "deaf" or turns[0]["role"] != "system"
    places = np.flatnonzero(np.diff(row.response)) + 1
    runs = [
        tokenizer.decode(run, clean_up_tokenization_spaces=False)
        for run, response in zip(np.split(row.tokens, places), np.split(row.response, places), strict=True)
        if response[0]
    ]
    trained = [turn for turn in turns if turn["role"] == "assistant" and turn.get("train", True)]
    assert len(runs) == len(trained)
    for run, turn in zip(runs, trained, strict=True):
        assert squeezed(turn["content"]) in squeezed(run)
        # The rest is what the template adds: an empty thought, a channel, an end token.
        rest = squeezed(run).replace(squeezed(turn["content"]), "", 1)
        assert re.fullmatch(
            r"(<think></think>|<\|channel\|>final<\|message\|>)?(<\|[a-z_]+\|>|</s>)?", rest
        ), rest
    for turn in turns:
        if turn not in trained:
            assert not any(turn["content"].split()[0] in run for run in runs)


# Templates that mark what the assistant generates: transformers itself says what that is.
GENERATION = {
    "with the end token": (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' %}"
        "{% generation %}{{ m.content + '<|im_end|>' }}{% endgeneration %}{{ '\n' }}{% else %}"
        "{{ m.content + '<|im_end|>\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "content alone": (
        "{% for m in messages %}{{ m.role + ': ' }}{% if m.role == 'assistant' %}"
        "{%- generation -%}{{ m.content | trim }}{%- endgeneration -%}{% else %}{{ m.content }}{% endif %}"
        "{{ '\n' }}{% endfor %}"
    ),
    "header and line break too": (
        "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}"
        "{{ '<|im_start|>assistant\n' + m.content + '<|im_end|>\n' }}{% endgeneration %}{% else %}"
        "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "in two pieces": (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' %}"
        "{% generation %}{{ m.content }}{% endgeneration %}{% generation %}{{ '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ m.content + '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}"
    ),
}


@given(turns=conversations(), name=st.sampled_from(list(GENERATION)), trim=st.booleans())
def test_where_the_template_marks_what_is_generated_the_mask_is_that_of_transformers(
    generation_tokenizers, turns, name, trim
):
    turns = [{key: turn[key] for key in ("role", "content")} for turn in turns]
    tokenizer = generation_tokenizers[name, trim]
    (row,) = tokenize(records_from_rows([{"messages": turns}]), tokenizer, max_length=4000)
    expected = tokenizer.apply_chat_template(
        turns, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    assert row.tokens.tolist() == expected["input_ids"]
    if (
        not trim
    ):  # Trimmed places leave out the spaces that begin a token, and transformers goes by the places.
        assert row.response.astype(int).tolist() == expected["assistant_masks"]
    assert (row.response >= np.array(expected["assistant_masks"], dtype=bool)).all()


@pytest.fixture(scope="module")
def generation_tokenizers(make_tokenizer):
    return {
        (name, trim): make_tokenizer(template, trim=trim)
        for name, template in GENERATION.items()
        for trim in (True, False)
    }


def test_a_flag_goes_before_the_marks_of_the_template(generation_tokenizers):
    tokenizer = generation_tokenizers["with the end token", False]
    turns = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "muddy", "train": False},
        {"role": "user", "content": "And?"},
        {"role": "assistant", "content": "clear"},
    ]
    (row,) = tokenize(records_from_rows([{"messages": turns}]), tokenizer, max_length=400)
    assert tokenizer.decode(row.tokens[row.response]) == "clear<|im_end|>"


def test_a_template_that_marks_no_content_is_refused(make_tokenizer):
    tokenizer = make_tokenizer(
        "{% for m in messages %}{{ m.role + ': ' + m.content }}"
        "{% generation %}{{ '<|im_end|>' }}{% endgeneration %}{% endfor %}"
    )
    with pytest.raises(RecordError, match="does not write all of the content of turn 1 among what it marks"):
        tokenize(
            records_from_rows([{"messages": [{"role": "assistant", "content": "Yes"}]}]),
            tokenizer,
            max_length=99,
        )
