"""The rooms hold: imports run down the floors only, and the picture in ARCHITECTURE.md is true."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "aitia"
FLOORS = {
    "errors": -3,
    "settings": -2,
    "files": -1,
    "engine": -1,
    "notebook": 0,
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
    "training": 3,
    "mechanisms": 3,
    "attribution": 4,
    "proofs": 4,
    "counterfactual": 5,
    "adapters": 6,
    "explorer": 7,
    "pipelines": 7,
    "cli": 8,
}

PRODUCTS = (
    {"records", "models", "concepts", "training", "attribution", "counterfactual"},
    {"explanations", "mechanisms"},
    {"finite_groups", "group_networks", "proofs"},
)
"""Rooms that know nothing of the other products' rooms; `adapters` and what is above it join them."""
MOST_FILES = 12
LARGE_FOLDERS: set[str] = set()
"""Folders that still have more files; take a name out when its folder has been put in order."""
# The rule of faces: a file takes from another room only names that a face lists in `__all__`. A face is the `__init__`
# of a room, or of one of its inner folders; the room's may repeat those names of an inner face that users meet first.


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


def test_the_products_know_nothing_of_each_other():
    for path in SOURCE.rglob("*.py"):
        for product in PRODUCTS:
            if room_of(path) in product:
                others = set().union(*PRODUCTS) - product
                assert not imported_rooms(path) & others, path


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
    folder = SOURCE / "attribution" / "ranking"
    ranking, reporting = folder / "ranking.py", folder / "reporting.py"
    assert reporting in imported_files(ranking)
    assert ranking not in imported_files(reporting)  # for its type alone
    assert SOURCE / "engine" / "ray_cluster.py" in imported_files(
        SOURCE / "engine" / "tasks.py"
    )  # in a function


def test_no_file_is_a_barn():
    long = {path.name: n for path in SOURCE.rglob("*.py") if (n := len(path.read_text().splitlines())) > 400}
    assert not long


def folder_sizes() -> dict[str, int]:
    """How many files each folder has; `__init__` does not count."""
    folders = {path.parent for path in SOURCE.rglob("*.py")}
    return {
        str(folder.relative_to(SOURCE)): sum(path.name != "__init__.py" for path in folder.glob("*.py"))
        for folder in folders
    }


def test_no_folder_has_too_many_files():
    large = {name for name, files in folder_sizes().items() if files > MOST_FILES}
    assert large - LARGE_FOLDERS == set(), f"more than {MOST_FILES} files: give the room inner folders"
    assert LARGE_FOLDERS - large == set(), "in order now: take it out of LARGE_FOLDERS"


def test_the_inner_folders_of_a_room_form_no_circle():
    arrows: dict[Path, set[Path]] = {}
    for path in SOURCE.rglob("*.py"):
        room, folder = SOURCE / room_of(path), path.parent
        inner = {other.parent for other in imported_files(path)} - {folder, room, SOURCE}
        if folder != room:
            arrows.setdefault(folder, set()).update(each for each in inner if room in each.parents)
    assert {str(each.relative_to(SOURCE)) for circle in circles(arrows) for each in circle} == set()


@cache
def faces() -> dict[str, set[str]]:
    """The names that each room, and each inner folder of one, lists in `__all__`."""
    found = {}
    for path in SOURCE.glob("*/**/__init__.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                module = ".".join(("aitia", *path.parent.relative_to(SOURCE).parts))
                found[module] = set(ast.literal_eval(node.value))
    return found


def taken_from_rooms(path: Path) -> set[tuple[str, str]]:
    """(module, name) of everything that a file takes from other rooms which have a face."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("aitia."):
            room = str(node.module).split(".")[1]
            if room != room_of(path) and f"aitia.{room}" in faces():
                found |= {(str(node.module), alias.name) for alias in node.names}
    return found


def test_nobody_imports_past_a_face():
    listed = faces()
    past: dict[str, set[str]] = {}
    for path in SOURCE.rglob("*.py"):
        for module, name in taken_from_rooms(path):
            if name not in listed.get(module, ()):
                _, room, *inner = module.split(".")
                past.setdefault(room, set()).add(".".join(inner) or name)
    assert past == {}, "import them from the room's face"


def test_what_readers_copy_comes_from_faces():
    listed, wrong = faces(), []
    pattern = re.compile(r"from aitia\.([\w.]+) import (?:\(([^)]*)\)|(.*))")
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*"), *(ROOT / "examples").rglob("*.py")]:
        if path.suffix in {".md", ".ipynb", ".py"}:
            text = re.sub(r'\\n"?', "\n", path.read_text(encoding="utf-8"))
            for module, *names in pattern.findall(text):
                if f"aitia.{module}" in listed or "." in module:
                    known = listed.get(f"aitia.{module}", set())
                    wrong += [
                        f"{path.name}: {module} {n}"
                        for n in re.findall(r"\w+", "".join(names))
                        if n not in known
                    ]
    assert not wrong, "\n".join(sorted(wrong))
