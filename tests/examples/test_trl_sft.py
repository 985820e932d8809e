"""The example of a TRL run, from training to training again, runs and does what it says."""

import json
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.slow
def test_the_example_takes_a_trl_run_to_a_curated_set_and_back(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import trl_sft

    found = trl_sft.main(["--out", str(tmp_path)])
    sys.modules.pop("trl_sft")
    said = capsys.readouterr().out
    assert "rows removed: 40" in said
    assert "epoch 2:" in said
    share = 37 / 200
    assert found["found"] > 2 * share  # of the garden rows, where a fifth of the rows goes
    assert found["before training"] < found["curated rows"] < found["all rows"]
    assert found["curated rows"] < found["random rows"]
    rows = {name: (tmp_path / f"{name}.jsonl").read_text().splitlines() for name in ("curated", "random")}
    assert {name: len(lines) for name, lines in rows.items()} == {"curated": 160, "random": 160}
    whole = set((tmp_path / "project" / "train.jsonl").read_text().splitlines())
    assert set(rows["curated"]) < whole
    assert sum(json.loads(line)["planted"] for line in rows["curated"]) == round(37 * (1 - found["found"]))
