"""Rows of batches, by what the model is called with, and their places among the data."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aitia.errors import AitiaError, RecordError
from aitia.records import TokenizedRecord, TokenizedRecords
from aitia.training.trainer_rows import (
    GivenRow,
    RowBook,
    given_rows,
    mask_spans,
    match_rows,
    with_masks,
)


def batch(tokens, labels, attention=None, **more):
    found = {"input_ids": torch.tensor(tokens), "labels": torch.tensor(labels)}
    if attention is not None:
        found["attention_mask"] = torch.tensor(attention)
    return found | more


def data_of(*rows):
    return TokenizedRecords(
        records=[
            TokenizedRecord(
                id=f"r{place}",
                row=place,
                location=f"data:{place}",
                tokens=np.array(tokens, dtype=np.int32),
                response=np.array(response, dtype=bool),
            )
            for place, (tokens, response) in enumerate(rows)
        ]
    )


def row(tokens, predicted):
    return GivenRow(tokens=np.array(tokens, dtype=np.int32), predicted=np.array(predicted, dtype=bool))


def test_rows_lose_their_pads_and_the_first_token_is_never_predicted():
    found = given_rows(
        batch(
            [[5, 6, 7], [8, 9, 0]], [[5, -100, 7], [-100, 9, -100]], [[1, 1, 1], [1, 1, 0]], use_cache=False
        )
    )
    assert [each.tokens.tolist() for each in found] == [[5, 6, 7], [8, 9]]
    assert [each.predicted.tolist() for each in found] == [[False, False, True], [False, True]]


@pytest.mark.parametrize(
    "reason, inputs",
    [
        ("padded on the left", batch([[0, 5]], [[-100, 5]], [[0, 1]])),
        ("loss counts pads", batch([[5, 6, 0]], [[5, 6, 0]], [[1, 1, 0]])),
        ("other tokens than those of the rows", batch([[5, 6]], [[5, 7]])),
        ("a label for each token", batch([5, 6], [5, 6])),
        ("packed together", batch([[5, 6]], [[5, 6]], position_ids=torch.zeros(1, 2))),
        ("gets `token_type_ids` besides", batch([[5, 6]], [[5, 6]], token_type_ids=torch.zeros(1, 2))),
        ("have no `labels`", {"input_ids": torch.zeros(1, 2)}),
    ],
)
def test_batches_that_are_no_plain_rows_are_refused(reason, inputs):
    with pytest.raises(AitiaError, match=reason):
        given_rows(inputs)


def test_masks_of_the_trainer_win_and_are_said():
    data = data_of(([1, 2, 3, 4], [0, 0, 1, 1]), ([5, 6], [0, 1]))
    found = match_rows(data, [row([5, 6], [0, 1]), row([1, 2, 3, 4], [0, 1, 0, 1])])
    assert [each.response.tolist() for each in found] == [[False, True, False, True], [False, True]]
    assert mask_spans(data, found) == {"r0": [[1, 2], [3, 4]]}


def test_rows_with_the_same_tokens_and_two_masks_must_be_told_apart():
    data = data_of(([1, 2, 3], [0, 1, 1]), ([1, 2, 3], [0, 0, 1]))
    same = [row([1, 2, 3], [0, 0, 1]), row([1, 2, 3], [0, 1, 1])]
    assert mask_spans(data, match_rows(data, same)) == {}
    with pytest.raises(RecordError, match="data:0: .* cannot be said which is which"):
        match_rows(data, [row([1, 2, 3], [0, 1, 0]), same[0]])
    with pytest.raises(RecordError, match="row 0 of the train dataset: no token of it is predicted"):
        match_rows(data, [row([1, 2, 3], [0, 0, 0])])


def test_equal_rows_take_turns_and_used_ones_count():
    data = data_of(([1, 2], [0, 1]), ([3, 4], [0, 1]), ([1, 2], [0, 1]))
    book = RowBook(data)
    twin = row([1, 2], [0, 1])
    assert [book.place(twin) for _ in range(3)] == [0, 2, 0]
    later = RowBook(data)
    later.count([0, 1])
    assert later.place(twin) == 2
    with pytest.raises(AitiaError, match="a row of 2 tokens, 0 of them predicted"):
        book.place(row([1, 2], [0, 0]))


@settings(max_examples=50)
@given(st.lists(st.tuples(st.lists(st.booleans(), min_size=2, max_size=9), st.randoms()), max_size=5))
def test_masks_come_out_again(masks):
    before = data_of(*((range(len(mask)), [False] * len(mask)) for mask, _ in masks))
    after = data_of(*((range(len(mask)), mask) for mask, _ in masks))
    again = with_masks(before, mask_spans(before, after))
    assert [each.response.tolist() for each in again] == [each.response.tolist() for each in after]
