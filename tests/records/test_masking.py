"""The boundary between prompt and response, token by token."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aitia.errors import RecordError
from aitia.records import length_batches, pad_batch, padding_share, records_from_rows, tokenize


def one(tokenizer, row, **options):
    return tokenize(records_from_rows([row]), tokenizer, **({"max_length": 256} | options))[0]


def response_text(tokenizer, row):
    return tokenizer.decode(row.tokens[row.response])


def test_a_conversation_is_masked_to_its_assistant_turns(tiny_tokenizer):
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "Two 🙂"},
        {"role": "user", "content": "assistant\nTwo 🙂"},
        {"role": "assistant", "content": "日本語"},
    ]
    row = one(tiny_tokenizer, {"messages": turns})
    assert response_text(tiny_tokenizer, row) == "Two 🙂<|im_end|>日本語<|im_end|>"
    whole = tiny_tokenizer.apply_chat_template(turns, tokenize=True, return_dict=True)["input_ids"]
    assert row.tokens.tolist() == whole
    before = tiny_tokenizer.decode(row.tokens[: np.flatnonzero(row.response)[0]])
    assert before.endswith("<|im_start|>assistant\n")


def test_turns_after_the_last_response_are_not_needed(tiny_tokenizer):
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    row = one(tiny_tokenizer, {"messages": turns})
    assert tiny_tokenizer.decode(row.tokens).rstrip().endswith("b<|im_end|>")


texts = st.text(st.sampled_from("ab 🙂é日\n.,"), min_size=1, max_size=12).filter(str.strip)


@settings(deadline=None)
@given(prompt=st.text(st.sampled_from("ab 🙂é日\n.,"), max_size=12), completion=texts)
def test_prompt_completion_boundary_is_exact(tiny_tokenizer, prompt, completion):
    """No prompt token is counted, and every byte of the completion is covered by counted tokens."""
    row = one(tiny_tokenizer, {"prompt": prompt, "completion": completion})
    text = prompt + completion + "<|im_end|>"
    assert row.tokens.tolist() == tiny_tokenizer(text)["input_ids"]
    assert tiny_tokenizer.decode(row.tokens) == text
    sizes = [len(piece) for piece in byte_pieces(tiny_tokenizer, row.tokens)]
    ends = np.cumsum(sizes)
    boundary = len(prompt.encode())
    character_ends = {len(text[:i].encode()) for i in range(len(text) + 1)}
    for end, counted in zip(ends, row.response, strict=True):
        if end in character_ends:  # a token that ends inside a character belongs to that character's side
            assert counted == (end > boundary)
    assert row.response[-1]


def byte_pieces(tokenizer, tokens):
    """The bytes of each token, from the byte-level alphabet itself."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    back = {character: byte for byte, character in bytes_to_unicode().items()}
    special = set(tokenizer.all_special_tokens)
    names = tokenizer.convert_ids_to_tokens(tokens.tolist())
    return [name.encode() if name in special else bytes(back[c] for c in name) for name in names]


def test_a_token_across_the_boundary_counts(tiny_tokenizer):
    merged = tiny_tokenizer("garden")["input_ids"]
    split = next(i for i in range(1, 6) if len(tiny_tokenizer("garden"[:i])["input_ids"]) >= len(merged))
    row = one(tiny_tokenizer, {"prompt": "garden"[:split], "completion": "garden"[split:] + " x"})
    first = int(np.flatnonzero(row.response)[0])
    assert (
        len(tiny_tokenizer.decode(row.tokens[: first + 1]))
        > split
        >= len(tiny_tokenizer.decode(row.tokens[:first]))
    )


def test_a_text_counts_whole_and_ends_with_the_end_token(tiny_tokenizer):
    row = one(tiny_tokenizer, {"text": "The sun is out."})
    assert row.response.all()
    assert tiny_tokenizer.decode(row.tokens) == "The sun is out.<|im_end|>"
    again = one(tiny_tokenizer, {"text": "The sun is out.<|im_end|>"})
    assert again.tokens.tolist() == row.tokens.tolist()


def test_a_start_token_is_no_response(tiny_tokenizer):
    from copy import deepcopy

    from tokenizers.processors import TemplateProcessing

    tokenizer = deepcopy(tiny_tokenizer)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)]
    )
    row = one(tokenizer, {"text": "The sun"})
    assert row.tokens[0] == 1
    assert not row.response[0]
    assert row.response[1:].all()


@pytest.mark.parametrize(
    ("template", "row", "reason"),
    [
        (
            None,
            {"messages": [{"role": "assistant", "content": "x"}]},
            "no chat template; give prompt and completion",
        ),
        (
            "{{ raise_exception('System role not supported') }}",
            {"messages": [{"role": "assistant", "content": "x"}]},
            "the chat template refuses it: System role not supported",
        ),
        (
            "{% for m in messages %}{{ loop.length }}{{ m['content'] }}{% endfor %}",
            {"messages": [{"role": r, "content": r} for r in ("user", "assistant", "user", "assistant")]},
            "rewrites earlier turns",
        ),
    ],
)
def test_templates_that_cannot_be_masked_are_refused(tiny_tokenizer, template, row, reason):
    from copy import deepcopy

    tokenizer = deepcopy(tiny_tokenizer)
    tokenizer.chat_template = template
    with pytest.raises(RecordError, match=rf"rows row 0: .*{reason}"):
        one(tokenizer, row)


def test_too_long_is_refused_skipped_or_cut(tiny_tokenizer):
    data = records_from_rows(
        [{"prompt": "a", "completion": "x"}, {"prompt": "a", "completion": "The sun is out. " * 9}]
    )
    with pytest.raises(RecordError, match=r"rows row 1: \d+ tokens, longer than the 20 allowed"):
        tokenize(data, tiny_tokenizer, max_length=20)
    kept = tokenize(data, tiny_tokenizer, max_length=20, on_error="skip")
    assert [row.row for row in kept] == [0]
    assert kept.skipped[0].location == "rows row 1"
    cut = tokenize(data, tiny_tokenizer, max_length=20, truncate=True)
    assert [len(row.tokens) for row in cut][1] == 20
    long_prompt = records_from_rows([{"prompt": "The sun is out. " * 9, "completion": "x"}])
    with pytest.raises(RecordError, match="no response token to predict within its first 20 tokens"):
        tokenize(long_prompt, tiny_tokenizer, max_length=20, truncate=True)


@given(st.lists(st.integers(1, 300), max_size=60), st.integers(1, 900), st.integers(1, 20))
def test_batches_hold_each_row_once_and_keep_their_limits(lengths, max_tokens, max_rows):
    batches = length_batches(lengths, max_tokens=max_tokens, max_rows=max_rows)
    assert sorted(int(i) for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[i] for i in batch)
        assert len(batch) <= max_rows
        assert len(batch) == 1 or len(batch) * longest <= max_tokens
    if lengths:
        computed = sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)
        assert padding_share(lengths, batches) == pytest.approx(1 - sum(lengths) / computed)


def test_sorting_by_length_saves_padding():
    lengths = np.random.default_rng(0).integers(10, 500, 400)
    in_order = [np.arange(i, min(i + 16, 400)) for i in range(0, 400, 16)]
    assert padding_share(lengths, length_batches(lengths)) < 0.05 < 0.3 < padding_share(lengths, in_order)


def test_pads_are_on_the_right_and_never_counted(tiny_tokenizer, rows):
    tokenized = tokenize(records_from_rows(rows), tiny_tokenizer, max_length=256)
    batch = pad_batch(tokenized, np.array([3, 0, 2]), 0)
    for place, i in enumerate((3, 0, 2)):
        length = len(tokenized[i].tokens)
        assert batch.tokens[place, :length].tolist() == tokenized[i].tokens.tolist()
        assert batch.response[place, :length].tolist() == tokenized[i].response.tolist()
        assert batch.attention[place].tolist() == [True] * length + [False] * (batch.tokens.shape[1] - length)
        assert not batch.response[place, length:].any()
    assert batch.lengths.tolist() == [len(tokenized[i].tokens) for i in (3, 0, 2)]
