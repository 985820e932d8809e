"""Lines of a pipe come in groups of what is there, in order, and whole."""

import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aitia.engine import arriving_lines


def opened(content):
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as file:
        file.write(content)
    return reader


@given(
    st.lists(st.binary(max_size=20).map(lambda each: each.replace(b"\n", b"")), max_size=40),
    st.integers(1, 9),
)
def test_every_line_comes_once_and_in_order(lines, most):
    reader = opened(b"".join(line + b"\n" for line in lines))
    groups = list(arriving_lines(reader, most))
    os.close(reader)
    assert [line for group in groups for line in group] == lines
    assert all(0 < len(group) <= most for group in groups)


def test_a_last_line_needs_no_line_break():
    reader = opened(b"one\ntwo")
    assert [line for group in arriving_lines(reader, 5) for line in group] == [b"one", b"two"]
    os.close(reader)


def test_who_waits_for_an_answer_gets_it():
    """Each line is written only after the group with the line before has come."""
    reader, writer = os.pipe()
    groups = arriving_lines(reader, 64)
    for number in range(5):
        os.write(writer, f"{number}\n".encode())
        assert next(groups) == [str(number).encode()]
    os.write(writer, b"half")
    threading.Timer(0.05, lambda: (os.write(writer, b" and half\n"), os.close(writer))).start()
    assert list(groups) == [[b"half and half"]]
    os.close(reader)


def test_a_file_that_cannot_be_read_is_an_error():
    reader, writer = os.pipe()
    os.close(reader)
    with pytest.raises(OSError, match="descriptor"):
        next(arriving_lines(reader, 5))
    os.close(writer)
