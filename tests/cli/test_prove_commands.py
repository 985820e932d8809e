"""`aitia prove` and `aitia check`: their answers and exit statuses, on a network that is no one's but the test's."""

import json

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
