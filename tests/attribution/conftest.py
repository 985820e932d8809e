"""Rows and queries of the tests of influence."""

import copy
from dataclasses import replace

import pytest

from aitia.records import records_from_rows


@pytest.fixture
def data(rows):
    return records_from_rows(rows[:10])


@pytest.fixture
def queries(rows):
    return records_from_rows([dict(row, id=f"q{i}") for i, row in enumerate(rows[12:15])])


@pytest.fixture
def dated_model(tiny_model):
    """A model whose chat template writes the date."""
    tokenizer = copy.deepcopy(tiny_model.tokenizer)
    tokenizer.chat_template = "It is {{ strftime_now('%d %B %Y') }}.\n" + tokenizer.chat_template
    return replace(tiny_model, tokenizer=tokenizer)


@pytest.fixture
def talks(rows):
    return [
        {
            "messages": [
                {"role": "user", "content": row["prompt"]},
                {"role": "assistant", "content": row["completion"]},
            ]
        }
        for row in rows[:12]
    ]
