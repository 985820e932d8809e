"""The page on adding a scorer: its file, entry point and test work as they stand there."""

import re
import runpy
import tomllib
from pathlib import Path

import numpy as np
import pytest

from aitia.attribution import Needs, rank, scan
from aitia.attribution.scorers import registry
from aitia.concepts import fit_concept
from aitia.records import records_from_rows

PAGE = (Path(__file__).parents[2] / "docs" / "how_to" / "add_scorer.md").read_text(encoding="utf-8")
SITE = "resid_post.2"


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.S | re.M)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The page's package, installed until the test ends."""
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    (tmp_path / "exclamation_marks.py").write_text(blocks("python")[0], encoding="utf-8")
    project = tomllib.loads(blocks("toml")[0])["project"]
    information = tmp_path / "exclamation_marks-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 1.0\n")
    points = project["entry-points"]["aitia.scorers"]
    lines = "".join(f"{name} = {found}\n" for name, found in points.items())
    (information / "entry_points.txt").write_text(f"[aitia.scorers]\n{lines}")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("installed")
def test_the_page_s_scorer_ranks_and_its_tests_pass(make_model, rows, tmp_path):
    model = make_model("llama")
    texts = [
        records_from_rows([{"prompt": f"Question {i}?\n", "completion": f"{word} {i}."} for i in range(8)])
        for word in ("garden", "nothing")
    ]
    concept = fit_concept(model, *texts, sites=[SITE], shuffles=0)
    data = records_from_rows([row | {"completion": "!" * i + "a"} for i, row in enumerate(rows)])
    store = scan(model, data, sites=[SITE], out=tmp_path / "s", activations=[])
    ranking = rank(store, concept, method="exclamation-marks", compare=())
    np.testing.assert_allclose(ranking.score, [i / (i + 1) for i in range(len(data))])
    (tmp_path / "page_test.py").write_text(blocks("python")[1], encoding="utf-8")
    names = runpy.run_path(str(tmp_path / "page_test.py"))
    tests = [each for name, each in names.items() if name.startswith("test_")]
    assert len(tests) == 2
    for each in tests:
        each()


def test_the_page_names_every_need():
    assert set(re.findall(r"^\| `(?:Needs\(\.\.\.\)|(\w+)=)", PAGE, re.M)) - {""} == set(
        Needs.__dataclass_fields__
    )
