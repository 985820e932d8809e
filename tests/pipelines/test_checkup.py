"""The doctor says what is there, and what is wrong with it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from aitia.cli.endings import run
from aitia.errors import AitiaError
from aitia.models import in_tokens, save_model
from aitia.pipelines.checkup import Checkup, _masks, batch_invariance, check_up
from aitia.records import records_from_rows


@pytest.fixture(scope="module")
def places(tiny_model, rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("doctor")
    save_model(tiny_model, folder / "model")
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:6]), encoding="utf-8")
    return folder


def test_an_installation_alone_is_looked_at():
    found = check_up()
    names = [check.name for check in found.checks]
    assert names == ["python", "packages", "device", "memory", "disk", "hub cache"]
    assert found.healthy
    assert f"torch {torch.__version__.split('+')[0]}" in found.text()


def test_rows_are_shown_as_the_model_sees_them(places, tiny_model, rows):
    found = check_up(str(places / "model"), data=places / "data.jsonl", rows=2)
    assert found.healthy
    assert len(found.rows) == 2
    cut = in_tokens(tiny_model, records_from_rows(rows[:2]))
    for shown, row in zip(found.rows, cut, strict=True):
        assert shown.trained == tuple(row.response.tolist())
        assert [tiny_model.tokenizer.decode([token]) for token in row.tokens] == list(shown.tokens)
    assert f"{int(cut[0].response.sum())} of {len(cut[0].tokens)} tokens are trained on" in found.text()


def test_what_a_batch_does_to_a_row_is_measured(tiny_model, rows):
    cut = in_tokens(tiny_model, records_from_rows(rows[:4]))
    assert batch_invariance(tiny_model, cut).state == "good"


def test_a_model_that_mixes_rows_is_found_out(make_model, rows):
    model = make_model()
    cut = in_tokens(model, records_from_rows(rows[:4]))

    def mixing(_module, _inputs, output):
        hidden = output[0] if isinstance(output, tuple) else output
        mixed = hidden + hidden.mean(dim=0, keepdim=True)
        return (mixed, *output[1:]) if isinstance(output, tuple) else mixed

    hook = model.blocks[0].register_forward_hook(mixing)
    try:
        check = batch_invariance(model, cut)
    finally:
        hook.remove()
    assert check.state == "warning"
    assert "float32" in check.mend


def test_a_row_that_trains_nothing_is_a_problem(places, capsys):
    found = check_up(str(places / "model"), data=places / "data.jsonl")
    bare = replace(found.rows[0], trained=(False,) * len(found.rows[0].trained))
    assert [check.state for check in _masks((bare,))] == ["problem"]
    assert not Checkup(checks=tuple(_masks((bare,)))).healthy
    assert run(["doctor", "--model", str(places / "model"), "--data", str(places / "data.jsonl")]) == 0
    assert "tokens are trained on" in capsys.readouterr().out


def test_an_adapter_needs_its_model(places):
    with pytest.raises(AitiaError, match="model"):
        check_up(adapter=str(places))


def test_letters_that_a_terminal_would_act_on_are_shown_as_numbers(places):
    hostile = [{"text": "red \x1b[31m and\x07 bell"}]
    (places / "hostile.jsonl").write_text(json.dumps(hostile[0]) + "\n", encoding="utf-8")
    text = check_up(str(places / "model"), data=places / "hostile.jsonl").text()
    assert "\x1b" not in text
    assert "\x07" not in text


def test_numbers_are_plain(places):
    found = check_up(str(places / "model"), data=places / "data.jsonl")
    assert json.loads(json.dumps(found.numbers()))["healthy"] is True
    assert np.isfinite(len(found.rows))


def test_both_answers_of_a_pair_are_shown(places, tmp_path):
    (tmp_path / "pairs.jsonl").write_text('{"prompt": "a", "chosen": " b", "rejected": " c"}\n')
    found = check_up(str(places / "model"), data=tmp_path / "pairs.jsonl", rows=2)
    assert ["".join(shown.tokens)[:3] for shown in found.rows] == ["a b", "a c"]
