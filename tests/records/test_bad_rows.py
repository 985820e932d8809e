"""How bad rows are named in messages."""

from aitia.records import shorten, some_of


def test_a_text_is_quoted_on_one_line_and_shortened():
    assert shorten("one\n  two\tthree") == "'one two three'"
    assert shorten("x" * 80) == repr("x" * 80)
    assert shorten("x" * 81) == repr("x" * 79 + "…")
    assert len(shorten("word " * 40, limit=10)) <= 12


def test_some_of_many_are_named_and_the_rest_counted():
    assert some_of(["a", "b"], ", ") == "a, b"
    assert some_of([str(i) for i in range(9)], ", ") == "0, 1, 2, 3, 4, and 4 more"
