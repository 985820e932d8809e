"""The installation comes in parts: each runs where nothing outside its own requirements can be imported."""

import importlib.util
import json
import os
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from typer.main import get_command

import aitia.cli
from aitia.cli.endings import PARTS

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ALONE = """
import re
import sys
from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder

OTHERS, PACKAGES = frozenset({others}), frozenset({packages})


class OnlyThisPart(PathFinder):
    '''Finds what the part brings, as if nothing else were installed.'''

    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        outside = fullname.split(".")[0] in OTHERS
        return None if outside else PathFinder.find_spec(fullname, path, target)

    @classmethod
    def find_distributions(cls, *arguments, **named):
        for each in PathFinder.find_distributions(*arguments, **named):
            if re.sub("[-_.]+", "-", each.metadata["Name"]).lower() in PACKAGES:
                yield each


sys.meta_path[:] = [BuiltinImporter, FrozenImporter, OnlyThisPart]
"""


def audit():
    spec = importlib.util.spec_from_file_location("audit", ROOT / "supply_chain" / "audit.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def run_alone():
    """Run Python code where only the named parts can be imported."""
    modules: dict[str, set[str]] = {}
    for module, owners in packages_distributions().items():
        for owner in owners:
            modules.setdefault(canonicalize_name(owner), set()).add(module)

    def run(code, *parts):
        packages = sorted(audit().needed(*parts))
        inside = {module for name in packages for module in modules.get(name, ())} | {"aitia"}
        others = sorted(set().union(*modules.values()) - inside)
        text = ALONE.format(others=json.dumps(others), packages=json.dumps([*packages, "aitia"])) + code
        environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "AITIA_PROGRESS": "0"}
        return subprocess.run(
            [sys.executable, "-c", text],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            cwd=ROOT,
        )

    return run


def commands(*lines):
    """Code that runs command lines and prints each one's exit status."""
    return f"""
from aitia.cli.endings import run
for line in {json.dumps([list(map(str, line)) for line in lines])}:
    print("status", run(line))
"""


def statuses(done):
    return [int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("status ")]


def every_command(command, path=()):
    yield list(path)
    for name, below in getattr(command, "commands", {}).items():
        yield from every_command(below, (*path, name))


@pytest.fixture(scope="module")
def certified(tmp_path_factory):
    """The files of a network and of its certificate."""
    from aitia.proofs import prove_accuracy
    from proofs.proof_networks import planted_network

    folder = tmp_path_factory.mktemp("parts")
    network = planted_network()
    files = folder / "small.network.safetensors", folder / "small.certificate.json"
    network.save(files[0])
    prove_accuracy(network, verifier="cascade").save(files[1])
    return files


def test_the_parts_are_those_of_the_project():
    """What a command says to install brings what was missing."""
    names = {"scikit-learn": "sklearn", "pyyaml": "yaml"}
    for part, modules in PARTS.items():
        listed = {Requirement(line).name for line in PROJECT["optional-dependencies"][part]} - {"aitia"}
        assert {names.get(name, name) for name in listed} == modules


def test_every_help_works_with_the_bare_part(run_alone):
    lines = [[*path, "--help"] for path in every_command(get_command(aitia.cli.app))]
    done = run_alone(commands(*lines))
    assert statuses(done) == [0] * len(lines), done.stderr


def test_the_bare_part_judges_and_checks(run_alone, certified, tmp_path):
    network, certificate = certified
    baselines = sorted((ROOT / "examples" / "xor").glob("*.explanation.json"))
    code = commands(
        ["evaluate", *baselines, "--out", tmp_path / "baselines"],
        ["evaluate", network, certificate, "--out", tmp_path / "certificate"],
        ["check", network, certificate],
    )
    done = run_alone(code)
    assert statuses(done) == [0, 0, 0], done.stderr
    for folder in ("baselines", "certificate"):
        assert (tmp_path / folder / "scorecard.html").stat().st_size > 1000


def test_the_bare_part_names_what_is_missing(run_alone, certified, tmp_path):
    network, _ = certified
    text = tmp_path / "texts.jsonl"
    text.write_text('{"prompt": "a", "completion": "b"}\n' * 4, encoding="utf-8")
    (tmp_path / "job.yaml").write_text("model: {name: m}\n", encoding="utf-8")
    lm = [
        ["scan", "--model", "m", "--data", text, "--site", "resid_post.0", "--out", tmp_path / "store"],
        ["concept", "fit", "--model", "m", "--positive", text, "--negative", text, "--out", tmp_path / "c"],
        ["attribute", tmp_path / "job.yaml"],
        ["counterfactual", tmp_path / "job.yaml"],
        ["plan", tmp_path / "job.yaml"],
    ]
    groups = [
        ["network", "train", "--group", "S3", "--out", tmp_path / "networks"],
        ["prove", network, "--verifier", "equivariance"],
        ["network", "explain", network, "--out", tmp_path / "page.html"],
    ]
    explore = [["explore", tmp_path]]
    done = run_alone(commands(*lm, *groups, *explore))
    said = done.stderr.splitlines()
    assert statuses(done) == [2] * len(said) == [2] * len(lm + groups + explore), done.stderr
    for line, command in zip(said, [*lm, *groups, *explore], strict=True):
        part = "lm" if command in lm else "groups" if command in groups else "explore"
        assert line.endswith(f"which is not installed: pip install 'aitia[{part}]'"), line
        assert f"`aitia {command[0]}" in line


def test_the_language_model_part_says_what_the_explorer_needs(run_alone, tmp_path):
    done = run_alone(commands(["explore", tmp_path, "--no-browser"]), "lm")
    assert statuses(done) == [2]
    assert "needs starlette, which is not installed: pip install 'aitia[explore]'" in done.stderr


def test_the_groups_part_trains_explains_and_proves(run_alone, tmp_path):
    trained = tmp_path / "networks" / "seed-0000.network.safetensors"
    certificate = tmp_path / "c.certificate.json"
    code = commands(
        ["network", "train", "--group", "C3", "--steps", "20", "--out", tmp_path / "networks"],
        ["network", "show", trained],
        ["prove", trained, "--out", certificate],
        ["check", trained, certificate],
        ["network", "explain", trained, "--out", tmp_path / "page.html"],
    )
    done = run_alone(code, "groups")
    found = statuses(done)
    assert found[:4] == [0, 0, 0, 0], done.stderr
    assert found[4] in (0, 1), done.stderr  # whether so short a training can be explained
    assert (tmp_path / "page.html").stat().st_size > 1000


def test_the_language_model_part_imports_every_name(run_alone):
    code = "import aitia\nfor name in aitia.__all__: getattr(aitia, name)\nimport torch, transformers, peft, datasets"
    done = run_alone(code, "lm")
    assert done.returncode == 0, done.stderr


def test_what_is_not_of_the_part_cannot_be_imported(run_alone):
    for name in ("torch", "scipy", "sklearn", "plotly", "pyarrow"):
        done = run_alone(f"import {name}")
        assert f"No module named '{name}'" in done.stderr
