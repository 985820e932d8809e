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
    "errors": -3,
    "settings": -2,
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


def file_of(module: str) -> Path | None:
    """The file of a module or package of aitia; none for anything else."""
    path = SOURCE.parent.joinpath(*module.split("."))
    found = [each for each in (path.with_suffix(".py"), path / "__init__.py") if each.is_file()]
    return found[0] if found else None


def statements(node: ast.AST):
    """Every node inside, except what is there for types only."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            yield from (each for part in child.orelse for each in (part, *statements(part)))
        else:
            yield child
            yield from statements(child)


def imported_files(path: Path) -> set[Path]:
    """Every file of aitia that a file imports when it is imported or when its functions run."""
    found = set()
    for node in statements(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {file_of(alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            named = {file_of(f"{node.module}.{alias.name}") or file_of(node.module) for alias in node.names}
            found |= named
    return {each for each in found if each is not None and each != path}


def circles(arrows: dict[Path, set[Path]]) -> list[set[Path]]:
    """The sets of files each of which reaches all others of its set."""

    def reached(start: Path) -> set[Path]:
        seen, todo = set(), [start]
        while todo:
            new = arrows.get(todo.pop(), set()) - seen
            seen |= new
            todo += new
        return seen

    far = {path: reached(path) for path in arrows}
    return [{other for other in far[path] if path in far[other]} for path in arrows if path in far[path]]


def test_no_file_imports_itself_by_a_detour():
    arrows = {path: imported_files(path) for path in SOURCE.rglob("*.py")}
    found = {" -> ".join(sorted(str(path.relative_to(SOURCE)) for path in each)) for each in circles(arrows)}
    assert found == set()


def test_circles_are_found():
    a, b, c, d = map(Path, "abcd")
    assert {frozenset(each) for each in circles({a: {b}, b: {c}, c: {b}, d: {a}})} == {frozenset({b, c})}
    ranking, reporting = SOURCE / "attribution" / "ranking.py", SOURCE / "attribution" / "reporting.py"
    assert reporting in imported_files(ranking)
    assert ranking not in imported_files(reporting)  # for its type alone
    assert SOURCE / "engine" / "ray_cluster.py" in imported_files(
        SOURCE / "engine" / "tasks.py"
    )  # in a function


def test_no_file_is_a_barn():
    long = {path.name: n for path in SOURCE.rglob("*.py") if (n := len(path.read_text().splitlines())) > 400}
    assert not long
