"""The tutorials run as they stand, and the site is built without a warning."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from test_architecture import faces

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
TUTORIALS = sorted((DOCS / "tutorials").glob("*.ipynb"))
SLOW = {"control"}  # which trains with TRL, three times


@pytest.fixture(scope="session")
def run_tutorial():
    spec = importlib.util.spec_from_file_location("run_tutorials", DOCS / "run_tutorials.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.run_tutorial


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=pytest.mark.slow if path.stem in SLOW else ()) for path in TUTORIALS],
    ids=[path.stem for path in TUTORIALS],
)
def test_a_tutorial_runs_and_shows_what_it_showed(path, run_tutorial):
    """Cell by cell it shows the same kinds of things; figures may differ in their last digits between machines."""

    def shown(notebook):
        return [[output.output_type for output in cell.get("outputs", [])] for cell in notebook.cells]

    assert shown(run_tutorial(path)) == shown(nbformat.read(path, as_version=4))


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_holds_no_path_of_a_machine(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"site-packages|/home/|/root/|/tmp/|/work/", text)


def test_the_site_is_built_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    commands = (tmp_path / "reference" / "command_line" / "index.html").read_text(encoding="utf-8")
    for name in ("scan", "rank", "evaluate", "network explain"):
        assert f"aitia {name}" in commands
    pages = [path.read_text(encoding="utf-8") for path in (tmp_path / "reference").rglob("index.html")]
    shown = {anchor for page in pages for anchor in re.findall(r'id="(aitia\.[\w.]+)"', page)}
    names = {each.rsplit(".", 1)[1] for each in shown}
    lacking = {f"{face}.{name}" for face, exports in faces().items() for name in exports - names}
    assert {each for each in lacking if not each.startswith("aitia.cli.")} == set()
