from itertools import takewhile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aitia.errors import AitiaError, RecordError
from aitia.records import records_from_rows, tokenize

CHAT = [
    {"role": "user", "content": "How do I boil an egg? 🙂"},
    {"role": "assistant", "content": "🙂🙃 Put it in hot water 日本"},
    {"role": "user", "content": "本 and then?"},
    {"role": "assistant", "content": " said nothing. "},
]


def cut(tokenizer, *rows, max_length=512, **options):
    return tokenize(records_from_rows(rows, shape="mixed"), tokenizer, max_length=max_length, **options)


def parts(tokenizer, row):
    """The text of each run of tokens that are response, and of each that are not."""
    places = np.flatnonzero(np.diff(row.response)) + 1
    runs = np.split(row.tokens, places)
    texts = [tokenizer.decode(run, clean_up_tokenization_spaces=False) for run in runs]
    return list(zip(texts, [bool(run[0]) for run in np.split(row.response, places)], strict=True))


@pytest.mark.parametrize("trim", [True, False])
def test_each_turn_of_the_assistant_is_response_to_the_token(make_tokenizer, chatml, trim):
    tokenizer = make_tokenizer(chatml.chat_template, trim=trim)
    (row,) = cut(tokenizer, {"messages": CHAT})
    assert row.tokens.dtype == np.int32
    assert row.response.dtype == np.bool_
    assert parts(tokenizer, row) == [
        ("<|im_start|>user\nHow do I boil an egg? 🙂<|im_end|>\n<|im_start|>assistant\n", False),
        ("🙂🙃 Put it in hot water 日本<|im_end|>", True),
        ("\n<|im_start|>user\n本 and then?<|im_end|>\n<|im_start|>assistant\n", False),
        (" said nothing. <|im_end|>", True),
        ("\n", False),
    ]
    whole = tokenizer.apply_chat_template(CHAT, tokenize=True, return_dict=False)
    assert row.tokens.tolist() == whole


def test_no_special_token_is_put_around_a_conversation(make_tokenizer, gemma):
    tokenizer = make_tokenizer(gemma.chat_template, front=True, ends=True)
    (row,) = cut(tokenizer, {"messages": CHAT[:2]})
    assert row.tokens.tolist().count(0) == 1
    assert parts(tokenizer, row)[0][0].startswith("<s><|im_start|>user\n")
    assert parts(tokenizer, row)[1] == ("🙂🙃 Put it in hot water 日本<|im_end|>", True)


def test_only_the_completion_of_a_conversation_in_two_parts_is_response(chatml):
    (row,) = cut(chatml, {"prompt": CHAT[:3], "completion": CHAT[3:]})
    assert [text for text, response in parts(chatml, row) if response] == [" said nothing. <|im_end|>\n"]


def test_a_completion_in_turns_is_trained_on_whole_unless_flags_choose_among_them(chatml):
    """As TRL's `completion_only_loss`, which knows no flags."""
    (row,) = cut(chatml, {"prompt": CHAT[:1], "completion": CHAT[1:]})
    whole = "".join(f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in CHAT[1:])
    said = [text for text, response in parts(chatml, row) if response]
    assert said == [whole.removeprefix("<|im_start|>assistant\n")]
    flagged = [CHAT[1] | {"train": False}, *CHAT[2:]]
    (row,) = cut(chatml, {"prompt": CHAT[:1], "completion": flagged})
    assert [text for text, response in parts(chatml, row) if response] == [" said nothing. <|im_end|>"]


def test_the_empty_thought_is_response(thinking):
    (row,) = cut(thinking, {"messages": CHAT})
    found = [text for text, response in parts(thinking, row) if response]
    assert found[0].startswith("🙂🙃 Put")
    assert found[1] == "<think>\n\n</think>\n\n said nothing. <|im_end|>"


@pytest.mark.parametrize("front", [True, False])
@pytest.mark.parametrize("ends", [True, False])
def test_prompt_and_completion(make_tokenizer, front, ends):
    tokenizer = make_tokenizer(front=front, ends=ends)
    (row,) = cut(tokenizer, {"prompt": "Rain 🙂", "completion": "🙃日 again"})
    assert parts(tokenizer, row) == [("<s>" * front + "Rain 🙂", False), ("🙃日 again</s>", True)]


def test_a_token_over_the_boundary_is_response(make_tokenizer):
    tokenizer = make_tokenizer()
    whole = tokenizer("the garden")
    pieces = tokenizer.convert_ids_to_tokens(whole["input_ids"])
    assert pieces[0].startswith("the"), "a token that joins the two parts"
    (row,) = cut(tokenizer, {"prompt": "th", "completion": "e garden"})
    assert row.tokens.tolist() == [*whole["input_ids"], 1]
    assert row.response.all()


def test_a_token_over_half_a_character_and_the_boundary_is_response():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    # One token for the last byte of é with the first byte of è: Ã© Ã¨ in the byte alphabet.
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*alphabet, "©Ã"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[("©", "Ã")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    (row,) = cut(fast, {"prompt": "aé", "completion": "èb"})
    assert fast.convert_ids_to_tokens(row.tokens) == ["a", "Ã", "©Ã", "¨", "b"]
    assert row.response.tolist() == [False, False, True, True, True]


@given(
    trim=st.booleans(),
    prompt=st.text("ab 🙂é\n", max_size=12),
    completion=st.text("ab 🙂é\n", min_size=1, max_size=12),
)
def test_a_token_is_response_from_where_the_prompt_alone_would_go_on_otherwise(
    tokenizers, trim, prompt, completion
):
    """TRL's rule; so every token that ends beyond the prompt is response, and where tokens merge across it, more."""
    if not completion.strip():
        completion += "a"
    tokenizer = tokenizers[trim]
    # Counted in bytes, which is what the tokens are made of.
    alphabet = byte_alphabet()
    (row,) = cut(tokenizer, {"prompt": prompt, "completion": completion})
    pieces = tokenizer.convert_ids_to_tokens(row.tokens[:-1])
    written = [bytes(alphabet[character] for character in piece) for piece in pieces]
    assert b"".join(written) == (prompt + completion).encode()
    ends = np.cumsum([len(piece) for piece in written])
    alone = tokenizer(prompt, add_special_tokens=True)["input_ids"]
    pairs = zip(alone, row.tokens.tolist(), strict=False)
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    assert row.response.tolist() == [place >= same for place in range(len(row.tokens))]
    assert row.response[:-1][ends > len(prompt.encode())].all()


@pytest.fixture(scope="module")
def tokenizers(make_tokenizer):
    return {trim: make_tokenizer(trim=trim) for trim in (True, False)}


def byte_alphabet():
    """The characters that byte-level tokenizers write bytes as."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


def test_an_end_token_is_not_doubled(make_tokenizer):
    tokenizer = make_tokenizer(front=True)
    one, other = cut(
        tokenizer, {"prompt": "a ", "completion": "sun</s>"}, {"prompt": "a ", "completion": "sun"}
    )
    assert one.tokens.tolist() == other.tokens.tolist()
    assert one.response.tolist() == other.response.tolist()
    assert one.response[-1]


@pytest.mark.parametrize("row", [{"prompt": "<s>a ", "completion": "sun"}, {"text": "<s>The sun"}])
def test_a_text_may_not_begin_with_what_the_tokenizer_puts_before_it(make_tokenizer, row):
    doubled = make_tokenizer(front=True)
    assert doubled("<s>a")["input_ids"][:2] == [0, 0], "what transformers does, and some trainers with it"
    with pytest.raises(RecordError, match="row 1: begins with '<s>', which the tokenizer puts before a text"):
        cut(doubled, {"text": "The sun"}, row)
    (alone,) = cut(make_tokenizer(), row)
    assert alone.tokens.tolist()[:2].count(0) == 1


def test_all_of_a_text_is_response_but_not_the_token_before_it(make_tokenizer):
    tokenizer = make_tokenizer(front=True)
    (row,) = cut(tokenizer, {"text": " The sun "})
    assert parts(tokenizer, row) == [("<s>", False), (" The sun </s>", True)]
    (bare,) = cut(make_tokenizer(), {"text": " The sun "})
    assert bare.response.all()


def test_bytes_for_unknown_characters(byte_fallback_tokenizer):
    tokenizer = byte_fallback_tokenizer
    text, pair = cut(tokenizer, {"text": "🙂"}, {"prompt": "sun 日", "completion": "🙂 mat"})
    assert tokenizer.convert_ids_to_tokens(text.tokens)[:3] == ["<s>", "▁", "<0xF0>"]
    assert text.response.tolist() == [False] + [True] * 6
    pieces = tokenizer.convert_ids_to_tokens(pair.tokens)
    assert row_starts(pair) == pieces.index("<0xF0>")
    assert pieces[row_starts(pair) - 1] == "<0xA5>"


def row_starts(row):
    return int(np.flatnonzero(row.response)[0])


class WordTokenizer:
    """Gives no places: each word is a token, with the spaces before it."""

    is_fast = False
    eos_token_id = 1
    chat_template = None

    def __init__(self):
        self.words = {"<s>": 0, "</s>": 1}

    def __call__(self, text, *, add_special_tokens, **_):
        import re

        ids = [self.words.setdefault(word, len(self.words)) for word in re.findall(r"\s*\S+|\s+$", text)]
        return {"input_ids": [0, *ids, 1] if add_special_tokens else ids}

    def decode(self, tokens, **_):
        words = list(self.words)
        return "".join(words[token] for token in tokens)


def test_a_tokenizer_that_gives_no_places_cuts_the_parts_apart():
    tokenizer = WordTokenizer()
    pair, text = cut(tokenizer, {"prompt": "the s", "completion": "un is out"}, {"text": "a cat"})
    assert parts(tokenizer, pair) == [("<s>the s", False), ("un is out</s>", True)]
    assert pair.tokens.dtype == np.int32
    assert parts(tokenizer, text) == [("<s>", False), ("a cat</s>", True)]
    tokenizer.chat_template = "given"
    tokenizer.apply_chat_template = lambda turns, *, add_generation_prompt, **_: (
        "".join(f"[{turn['role']}] {turn['content']} [end]\n" for turn in turns)
        + "[assistant]" * add_generation_prompt
    )
    (row,) = cut(tokenizer, {"messages": CHAT})
    assert [text for text, response in parts(tokenizer, row) if response] == [
        " 🙂🙃 Put it in hot water 日本 [end]",
        "  said nothing.  [end]",
    ]


def test_kinds_may_be_mixed_and_places_are_kept(chatml):
    rows = [{"text": "a sun"}, {"messages": CHAT}, {"prompt": "a", "completion": "b"}] * 700
    tokenized = cut(chatml, *rows)
    assert [row.row for row in tokenized] == list(range(2100))
    assert tokenized[np.int64(3)].location == "rows row 3"
    assert len({tuple(row.tokens) for row in tokenized}) == 3
    for i in range(3):
        assert (tokenized[2097 + i].tokens == tokenized[i].tokens).all()


def test_a_long_row_is_named_with_its_length_or_cut(make_tokenizer):
    tokenizer = make_tokenizer()
    row = {"prompt": "xyz", "completion": "qwv"}
    (whole,) = cut(tokenizer, row, max_length=7)
    assert len(whole.tokens) == 7
    with pytest.raises(
        RecordError, match=r"1 of 2 rows.*\n  rows row 1: 7 tokens, longer than the 6 allowed"
    ):
        cut(tokenizer, {"text": "a"}, row, max_length=6)
    kept = cut(tokenizer, {"text": "a"}, row, max_length=6, on_error="skip")
    assert [row.row for row in kept] == [0]
    assert [row.location for row in kept.skipped] == ["rows row 1"]
    (short,) = cut(tokenizer, row, max_length=4, truncate=True)
    assert short.tokens.tolist() == whole.tokens[:4].tolist()
    assert short.response.tolist() == [False] * 3 + [True]
    with pytest.raises(RecordError, match="cut at 3 of 7 tokens, no response is left"):
        cut(tokenizer, row, max_length=3, truncate=True)


def test_a_row_of_which_nothing_is_predicted_is_refused(make_tokenizer):
    tokenizer = make_tokenizer(end=None)
    with pytest.raises(RecordError, match="row 0: no response token has a token before it"):
        cut(tokenizer, {"text": "a"})
    (row,) = cut(make_tokenizer(), {"text": "a"})
    assert row.tokens[1] == 1


def test_conversations_need_a_chat_template(make_tokenizer):
    with pytest.raises(
        RecordError, match="rows row 1: has messages, but the tokenizer has no chat template; give"
    ):
        cut(make_tokenizer(), {"text": "a"}, {"messages": CHAT}, on_error="skip")


def test_a_refused_conversation_names_its_row(gemma):
    system = {"role": "system", "content": "Be kind"}
    rows = {"messages": CHAT}, {"messages": [system, *CHAT]}
    with pytest.raises(
        RecordError, match=r"rows row 1: the chat template refuses .* System role not supported"
    ):
        cut(gemma, *rows)
    assert len(cut(gemma, *rows, on_error="skip")) == 1


def test_an_unknown_way_with_errors_is_refused(chatml):
    with pytest.raises(AitiaError, match="choose stop or skip"):
        cut(chatml, {"text": "a"}, on_error="ignore")
