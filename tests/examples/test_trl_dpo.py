"""The example of a DPO run finds the pairs that prefer the other way round, and training without them prefers less."""

import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.slow
@pytest.mark.parametrize("method", ["influence", "checkpoint-influence"])
def test_the_example_takes_a_dpo_run_to_a_curated_set_and_back(tmp_path, monkeypatch, capsys, method):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import trl_dpo

    found = trl_dpo.main(["--out", str(tmp_path), "--method", method])
    for name in ("trl_dpo", "trl_sft"):
        sys.modules.pop(name)
    assert "pairs removed: 32" in capsys.readouterr().out
    assert found["found"] > 0.8  # where a fifth of the pairs goes
    # Fewer pairs make fewer steps, so what is left is compared with as many others.
    assert found["curated pairs"] < found["random pairs"] - 0.1
    assert found["random pairs"] < found["before training"]
