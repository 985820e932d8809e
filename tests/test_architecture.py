"""The rooms hold: imports run down the floors only, and the picture in ARCHITECTURE.md is true."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "aitia"
FLOORS = {
    "errors": -2,
    "files": -1,
    "engine": -1,
    "remote_files": 0,
    "statistics": 0,
    "tensor_files": 0,
    "finite_groups": 1,
    "records": 1,
    "report": 1,
    "explanations": 2,
    "models": 2,
    "concepts": 3,
    "group_networks": 3,
    "mechanisms": 3,
    "attribution": 4,
    "proofs": 4,
    "counterfactual": 5,
    "pipelines": 6,
    "cli": 7,
}


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    """Every aitia room that a file imports, at the top, inside functions, or for types only."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = (
                [f"{node.module}.{alias.name}" for alias in node.names]
                if node.module == "aitia"
                else [node.module]
            )
        rooms |= {name.split(".")[1] for name in names if name.startswith("aitia.")}
    return rooms & set(FLOORS)


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_run_down_the_floors(path):
    room = room_of(path)
    if room == "__init__":
        return
    assert room in FLOORS, f"{room} has no floor: add it here and to ARCHITECTURE.md"
    upward = {other for other in imported_rooms(path) if other != room and FLOORS[other] >= FLOORS[room]}
    assert not upward, f"{path.name} (floor {FLOORS[room]}) imports {upward} from its own floor or above"


def test_every_room_stands_in_the_picture_on_its_floor():
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    drawn = {
        name: int(floor) for floor, name in re.findall(r"^\s*(-?\d+)\s+([a-z_]+)(?:\.py|/)\s", text, re.M)
    }
    assert drawn == FLOORS
    rooms = {room_of(path) for path in SOURCE.rglob("*.py")} - {"__init__"}
    assert rooms == set(FLOORS)


def test_import_and_help_stay_light():
    """Neither torch nor transformers nor plotly is imported before it is used."""
    code = (
        "import sys, aitia, aitia.cli; from typer.testing import CliRunner; "
        "assert CliRunner().invoke(aitia.cli.app, ['--help']).exit_code == 0; "
        "assert not {'torch', 'transformers', 'plotly', 'sklearn', 'datasets', 'pyarrow'} & set(sys.modules), "
        "sorted({'torch', 'transformers', 'plotly', 'sklearn', 'datasets', 'pyarrow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_public_names_are_there():
    import aitia

    for name in aitia.__all__:
        assert getattr(aitia, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = aitia.nothing


def test_no_file_is_a_barn():
    long = {path.name: n for path in SOURCE.rglob("*.py") if (n := len(path.read_text().splitlines())) > 400}
    assert not long
