import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aitia.errors import AitiaError
from aitia.records import TokenizedRecord, length_batches, pad_batch

LENGTHS = st.lists(st.integers(1, 40), max_size=60)


def make_row(number, length, prompt):
    return TokenizedRecord(
        id=str(number),
        row=number,
        location=f"row {number}",
        tokens=np.arange(1, length + 1, dtype=np.int32) + 100 * number,
        response=np.arange(length) >= prompt,
    )


@given(lengths=LENGTHS, max_tokens=st.integers(1, 100), max_rows=st.integers(1, 8))
def test_every_row_is_in_one_batch_and_batches_keep_their_limits(lengths, max_tokens, max_rows):
    batches = length_batches(lengths, max_tokens=max_tokens, max_rows=max_rows)
    order = [int(i) for batch in batches for i in batch]
    assert order == sorted(range(len(lengths)), key=lambda i: (-lengths[i], -i))
    for batch in batches:
        longest = max(lengths[i] for i in batch)
        assert len(batch) <= max_rows
        assert len(batch) * longest <= max_tokens or len(batch) == 1
        assert batch.dtype == np.int64
    for batch in batches[:-1]:
        rows = len(batch) + 1
        assert rows > max_rows or rows * lengths[batch[0]] > max_tokens, "the next row would have fitted"


@given(
    rows=st.lists(st.tuples(st.integers(1, 9), st.integers(0, 8)), min_size=1, max_size=6),
    data=st.data(),
)
def test_unpadding_gives_the_rows_back(rows, data):
    rows = [make_row(i, length, min(prompt, length)) for i, (length, prompt) in enumerate(rows)]
    index = np.array(data.draw(st.permutations(range(len(rows)))))
    batch = pad_batch(rows, index, -7)
    assert batch.index.tolist() == index.tolist()
    assert batch.lengths.tolist() == [len(rows[i].tokens) for i in index]
    assert (batch.tokens.dtype, batch.attention.dtype, batch.response.dtype) == (np.int64, np.bool_, np.bool_)
    for i, tokens, attention, response in zip(
        index, batch.tokens, batch.attention, batch.response, strict=True
    ):
        length = len(rows[i].tokens)
        assert tokens[:length].tolist() == rows[i].tokens.tolist()
        assert (tokens[length:] == -7).all()
        assert attention.tolist() == [True] * length + [False] * (len(attention) - length)
        assert response[:length].tolist() == rows[i].response.tolist()
        assert not response[length:].any()
    assert batch.lengths.max() == batch.tokens.shape[1]


def test_a_worked_example():
    batches = length_batches([3, 9, 3, 5], max_tokens=10, max_rows=3)
    assert [batch.tolist() for batch in batches] == [[1], [3, 2], [0]]


@pytest.mark.parametrize("limits", [{"max_tokens": 0}, {"max_rows": 0}])
def test_limits_below_one_are_refused(limits):
    with pytest.raises(AitiaError, match="at least 1"):
        length_batches([1], **limits)
