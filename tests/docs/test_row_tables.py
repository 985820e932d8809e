"""The tables of shapes and losses in docs/data.md are what the registries and the readers say."""

import pytest
from docs.row_tables import EXAMPLES, PAGE, filled, reading_of, tables
from records.test_sources import SOURCES

from aitia.records import read_records
from aitia.records.losses import LOSSES
from aitia.records.shapes.registry import SHAPES


def test_the_page_is_in_step_with_the_registries(tiny_tokenizer):
    text = PAGE.read_text(encoding="utf-8")
    assert filled(text, tiny_tokenizer) == text, "run `make figures`"
    for name, table in tables(tiny_tokenizer).items():
        assert f"<!-- rows: {name} -->\n\n{table}\n\n<!-- end of rows -->" in text


def test_each_shape_has_an_example_and_each_loss_takes_some_shape(tiny_tokenizer):
    assert list(EXAMPLES) == list(SHAPES)
    for loss in LOSSES:
        assert any(reading_of(shape, loss, tiny_tokenizer) == {} for shape in SHAPES)


@pytest.mark.parametrize(
    ("shape", "loss", "expected"),
    [
        ("preference", "dpo", {}),
        ("preference", "sft", {"side": "chosen"}),
        ("kto", "kto", {}),
        ("kto", "sft", {"shape": "prompt-completion"}),
        ("messages", "dpo", None),
        ("text", "kto", None),
        ("alpaca", "policy-gradient", {}),
    ],
)
def test_some_cells_by_hand(tiny_tokenizer, shape, loss, expected):
    assert reading_of(shape, loss, tiny_tokenizer) == expected


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_cell_holds_for_every_source(tiny_tokenizer, tmp_path, source, shape):
    def read(rows, **reading):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        return read_records(SOURCES[source](rows, folder), **reading)

    for loss in LOSSES:
        expected = reading_of(shape, loss, tiny_tokenizer)
        assert reading_of(shape, loss, tiny_tokenizer, read) == expected, loss
