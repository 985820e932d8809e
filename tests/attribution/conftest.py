"""Rows and queries of the tests of influence."""

import pytest

from aitia.records import records_from_rows


@pytest.fixture
def data(rows):
    return records_from_rows(rows[:10])


@pytest.fixture
def queries(rows):
    return records_from_rows([dict(row, id=f"q{i}") for i, row in enumerate(rows[12:15])])
