"""Reasons: one line of all lines; and memory that does not suffice, in the words of every library."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from aitia.errors import is_out_of_memory, reason_of


@given(some.text(), some.integers(20, 200))
def test_a_reason_is_one_line_of_bounded_length_and_never_empty(text, limit):
    reason = reason_of(ValueError(text), limit)
    assert reason
    assert len(reason.splitlines()) == 1
    assert len(reason) <= limit
    assert not reason.endswith(":")


def test_what_stands_below_a_first_line_is_told():
    assert reason_of(RuntimeError("Error(s) in loading:\n\tsize mismatch for x")) == (
        "Error(s) in loading: size mismatch for x"
    )
    assert "field" in reason_of(KeyError("field"))
    assert reason_of(ValueError()) == "ValueError"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory"),
            True,
        ),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"), True),
        (RuntimeError("shapes do not match"), False),
        (ValueError("out of memory of words"), False),
    ],
)
def test_memory(error, expected):
    assert is_out_of_memory(error) == expected


def test_memory_of_numpy_and_torch():
    import numpy as np
    import torch

    with pytest.raises(MemoryError) as raised:
        np.empty(2**58)
    assert is_out_of_memory(raised.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
