from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import spearmanr

from aitia.report.document import ReportRow, Token
from aitia.report.text import LEVELS, ROW_LIMIT, cut, fixed, passages, signed, visible
from aitia.statistics import spearman, spearman_matrix


def row_of(*tokens: Token, prompt: str = "", completion: str = "") -> ReportRow:
    return ReportRow(
        id="a", row=0, location="f:1", rank=1, score=1.0, prompt=prompt, completion=completion, tokens=tokens
    )


@given(st.text(alphabet=st.characters() | st.sampled_from("\r\n\t\x00\u202e\u200b\U000e0041\ud800")))
def test_visible_text_holds_no_hidden_character_and_loses_none(text: str) -> None:
    shown = visible(text)
    hidden = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
    assert all(character in "\n\t" or unicodedata.category(character) not in hidden for character in shown)
    shown.encode("utf-8")
    back = shown
    for character in set(text):
        back = back.replace(f"⟦U+{ord(character):04X}⟧", character)
    if "⟦" not in text:
        assert back == text.replace("\r\n", "\n")


def test_visible_keeps_ordinary_text_of_any_script() -> None:
    text = "naïve café, שלום, こんにちは, ❤\ufe0f 🙂\n\tindented"
    assert visible(text) == text


def test_visible_shows_bidi_zero_width_and_selector_payloads() -> None:
    shown = visible("a\u202eb\u2066c\u200bd\ufeffe\x1b[0mf\U000e0101")
    assert shown == "a⟦U+202E⟧b⟦U+2066⟧c⟦U+200B⟧d⟦U+FEFF⟧e⟦U+001B⟧[0mf⟦U+E0101⟧"


@pytest.mark.parametrize(
    "number, expected",
    [
        (0.012345, "+0.0123"),
        (-2.5, "−2.5"),
        (0.0, "0"),
        (1.5e-7, "+1.5e−07"),
        (None, "–"),
        (float("nan"), "–"),
    ],
)
def test_signed(number: float | None, expected: str) -> None:
    assert signed(number) == expected


@pytest.mark.parametrize(
    "number, expected", [(-0.001, "0.00"), (-0.5, "−0.50"), (1234.5, "1,234.50"), (None, "–")]
)
def test_fixed(number: float | None, expected: str) -> None:
    assert fixed(number) == expected


def test_cut_says_how_much_there_was() -> None:
    assert cut("abc", 3) == "abc"
    assert cut("x" * 1500, 4) == "xxxx… [cut, 1,500 characters in all]"


def test_passages_follow_turns_and_join_prompt_tokens() -> None:
    turns = [
        ("Hi", 0.0, False),
        (" there", 0.0, False),
        ("Yes", 2.0, True),
        ("?", 0.0, False),
        ("No", -0.5, True),
    ]
    shown, hidden = passages(row_of(*(Token(text=t, share=s, response=r) for t, s, r in turns)), scale=1.0)
    assert hidden == 0
    assert [(each.response, [tuple(piece) for piece in each.pieces]) for each in shown] == [
        (False, [("Hi there", None, 0)]),
        (True, [("Yes", 2.0, LEVELS)]),
        (False, [("?", None, 0)]),
        (True, [("No", -0.5, -LEVELS // 2)]),
    ]


def test_rows_without_tokens_show_their_text_without_colour() -> None:
    shown, _ = passages(row_of(prompt="ask", completion="answer"), scale=1.0)
    assert [(each.response, each.pieces[0]) for each in shown] == [
        (False, ("ask", None, 0)),
        (True, ("answer", None, 0)),
    ]


def test_only_long_passages_are_folded() -> None:
    shown, _ = passages(row_of(prompt="a" * 2000, completion="short"), scale=0.0)
    assert [each.folded for each in shown] == [True, False]
    shown, _ = passages(row_of(prompt="short", completion="\n" * 100), scale=0.0)
    assert [each.folded for each in shown] == [False, True]


@given(st.lists(st.tuples(st.integers(0, 15_000), st.booleans()), max_size=8))
def test_a_shown_row_is_never_longer_than_the_limit(sizes: list[tuple[int, bool]]) -> None:
    tokens = [Token(text="x" * size, share=0.1, response=response) for size, response in sizes]
    shown, hidden = passages(row_of(*tokens), scale=1.0)
    length = sum(len(piece.text) for each in shown for piece in each.pieces)
    total = sum(size for size, _ in sizes)
    assert length + hidden == total
    assert length == min(total, ROW_LIMIT)


@settings(max_examples=30)
@given(
    arrays(float, st.tuples(st.integers(2, 4), st.integers(2, 30)), elements=st.integers(-3, 3).map(float))
)
def test_spearman_equals_scipy_with_ties(columns: np.ndarray) -> None:
    found = spearman_matrix(list(columns))
    for i, first in enumerate(columns):
        for j, second in enumerate(columns):
            if np.ptp(first) and np.ptp(second):
                assert found[i, j] == pytest.approx(spearmanr(first, second).statistic, abs=1e-9)
            else:
                assert np.isnan(found[i, j])


def test_spearman_of_one_row_is_undefined() -> None:
    assert np.isnan(spearman(np.ones(1), np.ones(1)))
