"""The commands of group networks: what they print, what they write, and how they end."""

import json
import re

import pytest
from plotly import graph_objects
from typer.testing import CliRunner

from aitia.cli import app
from aitia.errors import AitiaError
from aitia.finite_groups import named_group
from aitia.group_networks import load_network


def run(*arguments):
    done = CliRunner().invoke(app, ["network", *map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two S4 networks, trained from the command line."""
    out = tmp_path_factory.mktemp("s4")
    done = run(
        "train",
        "--group",
        "S4",
        "--seeds",
        "0:2",
        "--steps",
        600,
        "--train-fraction",
        0.8,
        "--out",
        out,
        "--json",
    )
    answer = json.loads(done.stdout)
    assert answer["fully_accurate"] == 2
    assert answer["accuracy"] == [1.0, 1.0]
    assert [load_network(path).seed for path in answer["networks"]] == [0, 1]
    return out


def test_train_again_is_at_once_and_says_so(folder):
    done = run(
        "train", "--group", "S4", "--seeds", "1", "--steps", 600, "--train-fraction", 0.8, "--out", folder
    )
    assert "1 networks on S4" in done.stdout
    assert "accuracy 1.0000" in done.stdout


def test_show(folder):
    path = folder / "seed-0000.network.safetensors"
    shown = json.loads(run("show", path, "--json").stdout)
    assert (shown["group"], shown["order"], shown["neurons"], shown["inputs"]) == ("S4", 24, 128, 576)
    assert shown["accuracy"] == load_network(path).accuracy
    assert shown["training"]["settings"]["steps"] == 600
    assert 'group: "S4"' in run("show", path).stdout


def test_explain_writes_a_page_that_needs_no_network(folder, tmp_path):
    path, page = folder / "seed-0000.network.safetensors", tmp_path / "page.html"
    done = run("explain", path, "--out", page, "--json")
    found = json.loads(done.stdout)
    assert done.exit_code == 0
    assert found["explained"] is True
    assert found["circuits"][0]["irrep"].startswith("3")
    text = page.read_text(encoding="utf-8")
    assert "Learning curve" in text
    figures = json.loads(re.search(r'id="figures">(.*?)</script>', text, re.S)[1])
    assert list(figures) == re.findall(r'<div id="(figure-\d)"', text)
    assert len(figures) == 5
    for figure in figures.values():
        assert figure["data"]
        graph_objects.Figure(figure)  # refuses what plotly does not know
    assert "unsafe-inline" not in re.search(r"script-src ([^;]*);", text)[1]
    without = re.sub(r"<script>.*?</script>", "", text, flags=re.S)
    assert "http" not in without.replace("http-equiv", "")
    assert "3a on 4 x 4" in run("explain", path).stdout or "3b on 4 x 4" in run("explain", path).stdout


def test_names_from_a_file_are_escaped(folder, tmp_path):
    network = load_network(folder / "seed-0000.network.safetensors")
    object.__setattr__(network.group, "name", "<script>alert(1)</script>")
    page = tmp_path / "page.html"
    run("explain", network.save(tmp_path / "evil.network.safetensors"), "--out", page)
    assert "<script>alert" not in page.read_text(encoding="utf-8")


def test_an_untrained_network_ends_with_one(tmp_path):
    run("train", "--group", "S4", "--steps", 1, "--out", tmp_path)
    done = run("explain", tmp_path / "seed-0000.network.safetensors", "--scorecard", tmp_path / "card.html")
    assert done.exit_code == 1
    assert "nothing found" in done.stdout
    assert not (tmp_path / "card.html").exists()  # there is no account to judge


@pytest.mark.slow
def test_a_scorecard_of_the_account_and_its_baselines(tmp_path):
    run("train", "--group", "S3", "--steps", 400, "--train-fraction", 1, "--width", 32, "--out", tmp_path)
    card = tmp_path / "card.json"
    done = run("explain", tmp_path / "seed-0000.network.safetensors", "--scorecard", card, "--json")
    assert json.loads(done.stdout)["scorecard"] == str(card)
    text = card.read_text(encoding="utf-8")
    for account in ("neurons on the points of G-sets", "rho-sets", "largest margin"):
        assert account in text


def test_a_table_of_ones_own(tmp_path):
    (tmp_path / "klein.json").write_text(json.dumps(named_group("Z2xZ2").table.tolist()))
    run("train", "--group", tmp_path / "klein.json", "--steps", 2, "--out", tmp_path / "out")
    assert load_network(tmp_path / "out" / "seed-0000.network.safetensors").group.name == "klein"
    (tmp_path / "wrong.json").write_text("[[0, 1], [1, 1]]")
    with pytest.raises(AitiaError, match=r"wrong.json: row 1 holds 1 twice"):
        run("train", "--group", tmp_path / "wrong.json", "--out", tmp_path / "out")
    (tmp_path / "ragged.json").write_text("[[0, 1], [1]]")
    with pytest.raises(AitiaError, match="ragged.json"):
        run("train", "--group", tmp_path / "ragged.json", "--out", tmp_path / "out")
    with pytest.raises(AitiaError, match="no such file"):
        run("train", "--group", tmp_path / "none.json", "--out", tmp_path / "out")


@pytest.mark.parametrize("seeds", ["a", "3:3", "-1", "1:x"])
def test_seeds_that_make_no_sense(tmp_path, seeds):
    with pytest.raises(AitiaError, match="--seeds"):
        run("train", "--group", "S3", f"--seeds={seeds}", "--out", tmp_path)


def test_files_that_are_no_network(tmp_path):
    (tmp_path / "x.network.safetensors").write_text("hello")
    for command in ("show", "explain"):
        with pytest.raises(AitiaError, match="damaged network file"):
            run(command, tmp_path / "x.network.safetensors")
        with pytest.raises(AitiaError, match="no such network file"):
            run(command, tmp_path / "none")
