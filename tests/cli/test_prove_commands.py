"""`aitia prove` and `aitia check`: their answers and exit statuses, on a network that is no one's but the test's."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aitia.cli import app, main
from proofs.proof_networks import planted_network

RUN = CliRunner()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("proofs")
    network = planted_network()
    network.save(folder / "n.network.safetensors")
    return network, folder / "n.network.safetensors", folder


def run(*arguments):
    return RUN.invoke(app, [str(each) for each in arguments])


def status(monkeypatch, *arguments):
    """The exit status of the real entry point, which turns errors into one line."""
    monkeypatch.setattr("sys.argv", ["aitia", *map(str, arguments)])
    with pytest.raises(SystemExit) as raised:
        main()
    return raised.value.code


def test_prove_answers_with_the_agreed_fields_and_check_agrees(files):
    network, path, folder = files
    done = run("prove", path, "--verifier", "cascade", "--brute-force", "--out", folder / "c.json", "--json")
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert set(answer) >= {
        "bound",
        "certified",
        "inputs",
        "true_accuracy",
        "cost",
        "brute_force_cost",
        "cost_ratio",
        "verifier",
    }
    assert answer["bound"] == pytest.approx(network.accuracy)
    assert answer["true_accuracy"] == pytest.approx(network.accuracy)
    assert answer["cost_ratio"] == pytest.approx(answer["cost"] / answer["brute_force_cost"])
    checked = run("check", path, folder / "c.json", "--json")
    assert checked.exit_code == 0
    assert json.loads(checked.stdout)["holds"] is True


def test_a_false_claim_ends_with_one(files):
    network, path, folder = files
    assert run("prove", path, "--verifier", "brute-force", "--out", folder / "b.json").exit_code == 0
    claim = json.loads((folder / "b.json").read_text())
    claim["claim"]["certified"] += 1
    (folder / "false.json").write_text(json.dumps(claim))
    done = run("check", path, folder / "false.json")
    assert done.exit_code == 1
    assert "does not hold" in done.stdout
    assert network.accuracy < 1


def test_bad_input_ends_with_two_and_one_line(files, monkeypatch, capsys):
    _, path, folder = files
    (folder / "text.json").write_text("no certificate")
    for arguments in (
        ("check", path, folder / "missing.json"),
        ("check", path, folder / "text.json"),
        ("check", folder / "missing.network.safetensors", folder / "text.json"),
        ("prove", path, "--verifier", "trust-me"),
    ):
        assert status(monkeypatch, *arguments) == 2
        message = capsys.readouterr().err
        assert message.startswith("aitia: ")
        assert message.count("\n") == 1


def test_a_batch_goes_on_past_what_cannot_be_proved(files, tmp_path):
    network, path, _ = files
    names = [tmp_path / f"{name}.network.safetensors" for name in "bad"]
    names[0].write_bytes(path.read_bytes())
    names[1].write_text("no network")
    planted_network(seed=1).save(names[2])
    done = run("prove", *names, "--brute-force", "--out", tmp_path / "c", "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert [each["network"] for each in found["networks"]] == [str(name) for name in names]
    assert found["failed"] == 1
    assert str(names[1]) in found["networks"][1]["error"]
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == [
        ".lock",
        "b.certificate.json",
        "d.certificate.json",
    ]
    for name, each in zip(names[::2], found["networks"][::2], strict=True):
        alone = tmp_path / f"{name.stem}.json"
        assert run("prove", name, "--out", alone).exit_code == 0
        assert Path(each["certificate"]).read_bytes() == alone.read_bytes()
        assert run("check", name, each["certificate"]).exit_code == 0
        assert each["bound"] == pytest.approx(each["true_accuracy"])
    assert found["networks"][0]["bound"] == pytest.approx(network.accuracy)
    lines = run("prove", *names, "--verifier", "brute-force").stdout.splitlines()
    assert [line.split(":")[0] for line in lines[:3]] == [name.name for name in names]
    assert lines[3] == "2 of 3 networks proved"


def test_what_a_killed_writer_left_is_removed(files, tmp_path):
    _, path, _ = files
    left = tmp_path / ".n.certificate.json.abc.part"
    others = tmp_path / ".seed.network.safetensors.abc.part"
    for folder in (left, others):
        folder.mkdir()
    assert run("prove", path, "--verifier", "brute-force", "--out", tmp_path).exit_code == 0
    assert (tmp_path / "n.certificate.json").is_file()
    assert not left.exists()
    assert others.exists(), "it may belong to a training that goes on"


def test_two_networks_of_one_name_are_refused(files, tmp_path, monkeypatch, capsys):
    _, path, _ = files
    (tmp_path / "other").mkdir()
    again = tmp_path / "other" / path.name
    again.write_bytes(path.read_bytes())
    assert status(monkeypatch, "prove", path, again, "--out", tmp_path / "c") == 2
    assert "two folders" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()
