"""The room stands on NumPy: no torch, and few other rooms."""

import subprocess
import sys
from pathlib import Path

import numpy as np

import aitia.explanations
from aitia.explanations import VIRTUES

ROOM = Path(aitia.explanations.__file__).parent


def test_it_imports_no_other_room():
    for path in ROOM.rglob("*.py"):
        lines = [line.strip() for line in path.read_text().splitlines()]
        rooms = {line.split()[1].split(".")[1] for line in lines if line.startswith("from aitia.")}
        assert rooms <= {"explanations", "errors", "files", "notebook", "report", "statistics"}, path
        if "report" in rooms:
            assert path.name == "scorecard.py"


def test_judging_needs_neither_torch_nor_plotly():
    code = (
        "import sys; from aitia.explanations import evaluate; "
        "from aitia.explanations.examples.xor import gate_network, gates_explanation, xor_phenomenon; "
        "evaluate(gates_explanation(xor_phenomenon(gate_network()))).html(); "
        "assert not {'torch', 'plotly', 'pydantic', 'sklearn'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_virtue_is_documented():
    text = (ROOM.parent.parent.parent / "docs" / "virtues.md").read_text(encoding="utf-8")
    for name, virtue in VIRTUES.items():
        assert f"| `{name}` | {virtue.formula} |" in text, name
        assert f"- `{name}`: " in text, name
        assert virtue.source in text
        assert virtue.low < virtue.high
        assert not np.isnan(virtue.low)
