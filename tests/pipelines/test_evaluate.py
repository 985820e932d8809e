"""`aitia evaluate`: explanations in files, which hold tables and numbers and nothing that is executed."""

import json
from dataclasses import replace

import numpy as np
import pytest
from group_networks.planted_networks import joined, planted
from typer.testing import CliRunner

import aitia
from aitia.cli import app, main
from aitia.errors import CertificateError, ExplanationError
from aitia.explanations import evaluate
from aitia.explanations.examples.xor import (
    count_explanation,
    gate_network,
    gates_explanation,
    xor_phenomenon,
)
from aitia.pipelines.evaluation.evaluate import evaluate_files
from aitia.pipelines.evaluation.explanation_files import read_explanation
from aitia.pipelines.evaluation.schemas import SCHEMAS, ScorecardFile, schema

NETWORK = {
    "name": "XOR by gates",
    "layers": [
        {"weights": [[1, 1], [1, 1]], "bias": [0, -1], "activation": "relu", "site": "first"},
        {"weights": [[1, 0], [-1, 1]], "activation": "relu", "site": "second"},
        {"weights": [[1], [-1]]},
    ],
    "above": 0.5,
}
PHENOMENON = {
    "name": "XOR of two bits",
    "model": NETWORK,
    "inputs": [[0, 0], [0, 1], [1, 0], [1, 1]],
    "outcomes": ["0", "1"],
}


def node(name, parents, table, site=None, component=0):
    aligned = {"site": site, "components": [component], "read": "round", "bits": 1}
    return {"name": name, "parents": parents, "table": table} | ({"aligned": aligned} if site else {})


BITS = ["input.0", "input.1"]
GATES = {
    "format": "aitia-explanation-v1",
    "name": "OR but not AND",
    "phenomenon": PHENOMENON,
    "graph": [
        node("either", BITS, {"0 0": 0, "0 1": 1, "1 0": 1, "1 1": 1}, "second", 0),
        node("both", BITS, {"0 0": 0, "0 1": 0, "1 0": 0, "1 1": 1}, "second", 1),
        node("answer", ["either", "both"], {"0 0": 0, "1 0": 1, "1 1": 0, "0 1": 0}),
    ],
    "premises": [
        {"name": "or", "statement": "e=a|b", "governs": ["either"]},
        {"name": "and", "statement": "f=a&b", "governs": ["both"]},
        {"name": "but not", "statement": "e&~f", "governs": ["answer"]},
    ],
}
COUNT = {
    "format": "aitia-explanation-v1",
    "name": "count, then parity",
    "phenomenon": PHENOMENON,
    "graph": [
        node("ones", BITS, {"0 0": 0, "0 1": 1, "1 0": 1, "1 1": 2}, "first", 0),
        node("answer", ["ones"], {"0": 0, "1": 1, "2": 0}),
    ],
}
TABLE = {
    "format": "aitia-explanation-v1",
    "name": "lookup",
    "phenomenon": PHENOMENON,
    "predictions": [0, [0.1, 0.9], None, 0],
    "premises": [{"name": "first row", "governs": [0], "bits": 1}, {"name": "idle", "bits": 1}],
}


@pytest.fixture
def write(tmp_path):
    def writer(content, name="a"):
        path = tmp_path / f"{name}.explanation.json"
        path.write_text(json.dumps(content) if not isinstance(content, str) else content)
        return path

    return writer


def test_a_file_is_judged_as_its_python_twin(write):
    phenomenon = xor_phenomenon(gate_network())
    twin = evaluate(gates_explanation(phenomenon), baselines=[count_explanation(phenomenon)])
    card, files = evaluate_files([write(GATES, "gates"), write(COUNT, "count")])
    assert files == {}
    for ours, theirs in ((card, twin), (card.baselines[0], twin.baselines[0])):
        for name in (
            "fidelity",
            "probing-agreement",
            "interchange-intervention-accuracy",
            "causal-by-writing",
            "skill",
            "scope",
            "falsifiability",
        ):
            assert ours[name].value == theirs[name].value, name
        assert ours.verdict == theirs.verdict
    for part in ("premises", "structure"):
        assert card["description-length"].details[part] == twin["description-length"].details[part]
    assert card["load-bearing"].value == 1


def test_the_example_files_say_what_the_network_is(request):
    folder = request.config.rootpath / "examples" / "xor"
    card, _ = evaluate_files([folder / "gates.explanation.json", folder / "count.explanation.json"])
    assert card.verdict.startswith("a mechanistic explanation")
    assert card.baselines[0]["interchange-intervention-accuracy"].value == 11 / 16


def test_tables_abstain_and_lose_what_a_premise_governs(write):
    explanation = read_explanation(write(TABLE))
    card = evaluate(explanation)
    assert card["coverage"].value == 0.75
    assert card["interchange-intervention-accuracy"].value is None
    assert card["load-bearing"].details["idle"] == ["idle"]
    predicted = explanation.without("first row").predict(explanation.phenomenon.inputs)
    assert predicted.covered.tolist() == [False, True, False, True]


def test_tables_are_charged_for_where_no_premises_are_stated(write):
    bare = {key: value for key, value in TABLE.items() if key != "premises"}
    card = evaluate(read_explanation(write(bare)))
    # Two labels of a bit each and a distribution of one free number; the row that abstains says nothing.
    assert card["description-length"].details["premises"] == 1 + 1 + 16
    assert card["load-bearing"].n == 3
    assert card["load-bearing"].value == 1
    counted = evaluate(read_explanation(write(COUNT)))
    # Four counts of three kinds, three answers of two kinds, and a variable of three values.
    length = counted["description-length"]
    assert length.details["premises"] == pytest.approx(4 * np.log2(3) + 3)
    assert length.details["structure"] == pytest.approx(np.log2(3))
    # What the file says lies in arguments of the library's own function: no code is charged for, but all numbers.
    assert length.status == "measured"
    assert 0 < length.details["code"] < 200


def test_recorded_models_and_certificates(write):
    recorded = PHENOMENON | {"model": {"name": "seen", "recorded": [0, 1, 1, 1]}, "correct": [0, 1, 1, 0]}
    certified = TABLE | {"phenomenon": recorded, "certificate": {"bound": 0.7, "cost": 2, "brute_cost": 4}}
    card = evaluate(read_explanation(write(certified)))
    assert card["tightness"].value == pytest.approx(0.7 / 0.75)
    assert card["gain"].value == pytest.approx(0.2)
    certified["certificate"]["bound"] = 0.8
    with pytest.raises(CertificateError, match="claims at least 0.8"):
        evaluate(read_explanation(write(certified)))


def test_a_phenomenon_may_lie_in_a_file_beside(write, tmp_path):
    (tmp_path / "xor.phenomenon.json").write_text(json.dumps(PHENOMENON))
    assert (
        read_explanation(write(GATES | {"phenomenon": "xor.phenomenon.json"})).phenomenon.name
        == "XOR of two bits"
    )
    with pytest.raises(ExplanationError, match="same folder"):
        read_explanation(write(GATES | {"phenomenon": "../../etc/passwd"}))


@pytest.mark.parametrize(
    "content, message",
    [
        ("{", "not JSON"),
        ([], "the whole"),
        (GATES | {"format": "v9"}, "format"),
        (GATES | {"code": "import os"}, "code: Extra inputs"),
        (GATES | {"predictions": [0, 1, 1, 0]}, "either predictions or graph"),
        ({k: v for k, v in GATES.items() if k != "graph"}, "either predictions or graph"),
        (TABLE | {"predictions": [0, 1]}, "2 predictions for 4 inputs"),
        (TABLE | {"predictions": [0, 1, 1, 5]}, "prediction 3 is label 5"),
        (TABLE | {"predictions": [0, 1, 1, [0.5, 0.25, 0.25]]}, "3 probabilities for 2 outcomes"),
        (COUNT | {"graph": COUNT["graph"][::-1]}, "come later or never: ones"),
        (GATES | {"premises": [{"name": "p", "governs": ["nothing"]}]}, "'nothing', which is no variable"),
        (GATES | {"model_fingerprint": "0" * 64}, "made for another model"),
        (GATES | {"phenomenon": PHENOMENON | {"model": {"name": "m"}}}, "either layers or recorded"),
        (GATES | {"phenomenon": PHENOMENON | {"model": {"name": "m", "recorded": [0]}}}, "fit together"),
        (GATES | {"phenomenon": PHENOMENON | {"fit": [0, 1], "test": [1, 2]}}, "fit and in the test split"),
        (GATES | {"phenomenon": PHENOMENON | {"inputs": [[0, 0], [1]]}}, "fit together"),
    ],
)
def test_files_that_cannot_be_used(write, content, message):
    path = write(content)
    with pytest.raises(ExplanationError, match=message) as caught:
        read_explanation(path)
    assert str(path) in str(caught.value)


def test_probabilities_that_do_not_sum_are_refused_when_judged(write):
    path = write(TABLE | {"predictions": [[0.5, 0.6], 1, 1, 0]})
    with pytest.raises(ExplanationError, match="sum to 1"):
        evaluate_files([path])


class TestCommand:
    def test_cards_and_summary(self, write, tmp_path):
        paths = [str(write(GATES, "gates")), str(write(COUNT, "count"))]
        done = CliRunner().invoke(
            app,
            [
                "evaluate",
                *paths,
                "--out",
                str(tmp_path / "cards"),
                "--weight",
                "interchange-intervention-accuracy=1",
            ],
        )
        assert done.exit_code == 0, done.output
        assert "OR but not AND: a mechanistic explanation" in done.output
        assert "interchange-intervention-accuracy 0.688" in done.output
        assert sorted(each.name for each in (tmp_path / "cards").iterdir()) == [
            "scorecard.html",
            "scorecard.json",
            "scorecard.md",
        ]

    def test_json_is_the_card(self, write):
        done = CliRunner().invoke(app, ["evaluate", str(write(GATES)), "--json"])
        found = json.loads(done.stdout)
        assert found.pop("files") == {}
        ScorecardFile.model_validate_json(json.dumps(found))

    @pytest.mark.parametrize(
        "status, change",
        [(2, {"format": "v9"}), (1, {"certificate": {"bound": 1.0, "cost": 1, "brute_cost": 4}})],
    )
    def test_exit_status(self, write, monkeypatch, capsys, status, change):
        wrong = PHENOMENON | {"correct": [1, 1, 1, 0]}
        path = write(GATES | {"phenomenon": wrong} | change)
        monkeypatch.setattr("sys.argv", ["aitia", "evaluate", str(path)])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code == status
        assert capsys.readouterr().err.startswith("aitia: ")

    def test_other_files_are_not_run(self, tmp_path):
        script = tmp_path / "explanation.py"
        script.write_text("raise SystemExit('ran')")
        with pytest.raises(ExplanationError, match=r"\*\.explanation\.json"):
            evaluate_files([script])

    def test_weights_are_written_as_virtue_and_number(self, write):
        with pytest.raises(ExplanationError, match="virtue=number"):
            evaluate_files(
                [write(GATES, "a"), write(COUNT, "b")], weights=["interchange-intervention-accuracy"]
            )


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_published_schemas_are_those_of_the_code(name, request):
    published = json.loads((request.config.rootpath / "docs" / "schemas" / name).read_text())
    assert published == schema(name, SCHEMAS[name]), "run `make schemas`"


def test_the_public_names():
    assert aitia.evaluate is evaluate
    assert aitia.Explanation.__name__ == "Explanation"
    assert aitia.Phenomenon.__name__ == "Phenomenon"


def test_beyond_needs_a_network(write):
    beyond = PHENOMENON | {"beyond": [[2, 1], [0, 2]]}
    card = evaluate(read_explanation(write(GATES | {"phenomenon": beyond})))
    assert card["excess-scope"].value == 0, "the tables say nothing of a 2"
    recorded = beyond | {"model": {"name": "seen", "recorded": [0, 1, 1, 0]}}
    with pytest.raises(ExplanationError, match="is a record"):
        evaluate(read_explanation(write(TABLE | {"phenomenon": recorded})))


def test_numbers_in_graphs_are_matched_as_written(write):
    halves = PHENOMENON | {"inputs": [[0.5, 0], [0, 1]], "model": {"name": "m", "recorded": [1, 0]}}
    graph = [node("answer", BITS, {"0.5 0": 1, "0 1": 0})]
    explanation = read_explanation(
        write({"format": "aitia-explanation-v1", "name": "h", "phenomenon": halves, "graph": graph})
    )
    assert np.nan_to_num(explanation.predict(explanation.phenomenon.inputs).marginals).argmax(
        axis=1
    ).tolist() == [1, 0]


def test_certificates_are_judged_beside_their_network(tmp_path, capsys, monkeypatch):
    network = joined([planted("S3", 2, "2a").network(), planted("S3", 3, "1b").network()], noise=1e-3)
    network = replace(network, unembed=6 * network.unembed)
    paths = [network.save(tmp_path / "s3.network.safetensors")]
    for verifier in ("brute-force", "g-sets"):
        paths.append(
            aitia.prove_accuracy(network, verifier=verifier).save(tmp_path / f"{verifier}.certificate.json")
        )
    card, _ = evaluate_files(paths)
    assert [card.name, card.baselines[0].name] == ["brute-force", "g-sets"]
    assert card["tightness"].value == card["deductive-check"].value == 1
    assert card["cost-ratio"].value >= 1
    with pytest.raises(ExplanationError, match="give the network beside it"):
        evaluate_files(paths[1:])
    content = json.loads(paths[2].read_text())
    content["claim"]["cost"] = 1
    paths[2].write_text(json.dumps(content))
    monkeypatch.setattr("sys.argv", ["aitia", "evaluate", *(str(path) for path in paths)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1
    assert "g-sets.certificate.json: claims a cost of 1" in capsys.readouterr().err
