"""A run's folder, judged: rankings beside removals, as `aitia counterfactual` leaves them."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from typer.testing import CliRunner

from aitia.cli import app
from aitia.counterfactual import plan_removals
from aitia.errors import ExplanationError
from aitia.pipelines.evaluation.evaluate import evaluate_files
from aitia.pipelines.evaluation.run_explanations import EVERY_ROW, run_explanations
from aitia.report import Document, Section, Table, kept_beside, write_document

IDS = [f"row-{i}" for i in range(30)]


@pytest.fixture
def run(tmp_path):
    generator = np.random.default_rng(0)
    adds = np.where(np.arange(30) < 8, 1.0, 0.0)
    scores = {"right": adds + 0.1 * generator.random(30), "wrong": generator.random(30)}
    rows = []
    for removal, cell in plan_removals(IDS, scores, (0.1, 0.25, 0.5, 0.75), range(3)).items():
        kept = np.isin(IDS, cell.kept)
        for behaviour, sign in (("cheer", 1), ("gloom", -1)):
            for text in range(2):
                value = sign * (kept @ adds) + 0.05 * generator.standard_normal()
                rows.append(
                    {
                        "behaviour": behaviour,
                        "ranking": removal.method,
                        "end": removal.end,
                        "share_removed": removal.share,
                        "seed": removal.seed,
                        "rows_kept": len(cell.kept),
                        "text": text,
                        "value": float(value),
                    }
                )
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "removal.parquet")
    parquet.write_table(pa.table({"id": IDS, **scores}), tmp_path / "rankings.parquet")
    return tmp_path


def test_rankings_are_rivals_and_the_right_one_wins(run):
    hypotheses = run_explanations(run)
    assert [each.name for each in hypotheses] == ["right", "wrong", EVERY_ROW]
    card, files = evaluate_files([run])
    assert card["skill"].value > max(each["skill"].value for each in card.baselines) + 0.1
    assert sorted(files) == ["html", "json", "md"]
    assert (run / "scorecard.html").exists()
    assert "cheer" in card.explanation.phenomenon.name
    # Two rankings, two ends and random removal, at four shares; and nothing removed: each three times at most.
    assert len(card.explanation.phenomenon.inputs) <= 3 * (1 + 4 * 5)


def test_another_behaviour_and_the_command(run):
    done = CliRunner().invoke(app, ["evaluate", str(run), "--behaviour", "gloom", "--json"])
    assert done.exit_code == 0, done.output
    assert "gloom" in json.loads(done.stdout)["phenomenon"]["name"]
    with pytest.raises(ExplanationError, match="no behaviour 'joy'; the run measured cheer, gloom"):
        run_explanations(run, behaviour="joy")


def test_the_projection_on_the_concept_comes_last(run):
    cells = parquet.read_table(run / "removal.parquet").to_pandas()
    parquet.write_table(
        pa.Table.from_pandas(cells.replace({"cheer": "concept projection"})), run / "removal.parquet"
    )
    assert "gloom" in run_explanations(run)[0].phenomenon.name
    parquet.write_table(
        pa.Table.from_pandas(cells.replace({"cheer": "concept projection"}).query("behaviour != 'gloom'")),
        run / "removal.parquet",
    )
    assert "concept projection" in run_explanations(run)[0].phenomenon.name


def test_a_direction_that_was_not_intervened_on_is_said_to_be_so(run):
    table = parquet.read_table(run / "rankings.parquet").rename_columns(["id", "vector-filter", "wrong"])
    parquet.write_table(table, run / "rankings.parquet")
    cells = parquet.read_table(run / "removal.parquet").to_pandas().replace({"right": "vector-filter"})
    parquet.write_table(pa.Table.from_pandas(cells), run / "removal.parquet")
    done = CliRunner().invoke(app, ["evaluate", str(run)])
    assert done.exit_code == 0, done.output
    said = "causal-by-direction not evaluable: its direction was not intervened on: the folder has no"
    assert done.output.count(said) == 1, "of the ranking by a concept, and not of the other"


def test_folders_that_are_no_run(run):
    (run / "removal.parquet").unlink()
    with pytest.raises(ExplanationError, match=r"removal\.parquet: no such file"):
        run_explanations(run)
    (run / "rankings.parquet").write_text("no")
    with pytest.raises(ExplanationError, match=r"rankings\.parquet: damaged"):
        run_explanations(run)


def test_rankings_that_do_not_fit_the_removals(run):
    table = parquet.read_table(run / "rankings.parquet")
    parquet.write_table(table.drop_columns(["wrong"]), run / "rankings.parquet")
    with pytest.raises(ExplanationError, match="do not lead to the removal"):
        run_explanations(run)


HOSTILE = "<!--/scorecard--></main><!--scorecard--> /*scorecard*/"


@pytest.fixture
def report(run):
    part = Table(title=HOSTILE, header=["a"], rows=[["1"]])
    page = Document(
        title="Does removal undo it?",
        question="Does it?",
        facts=[],
        sections=[Section(title="Cheer", text=HOSTILE, parts=[part])],
        reproduce=f"aitia counterfactual {HOSTILE}",
    )
    return write_document(page, run / "report.html", keep=True)


def test_the_card_becomes_a_section_of_the_report(run, report):
    before = report.read_text()
    card, files = evaluate_files([run])
    assert files["report"] == str(report)
    once = report.read_text()
    assert once.count('<section id="scorecard">') == 1
    assert (
        once.index("Cheer") < once.index('<section id="scorecard">') < once.index('<section id="reproduce">')
    )
    assert '<a href="#scorecard">' in once
    section = once[once.index('<section id="scorecard">') : once.index('<section id="reproduce">')]
    assert f"{card['skill'].value:.3f}" in section
    assert EVERY_ROW in section
    evaluate_files([run])
    assert report.read_text() == once, "judged twice, there is one card, and the page is the same"
    evaluate_files([run], behaviour="gloom")
    other = report.read_text()
    assert other.count('<section id="scorecard">') == 1
    assert "gloom as training data changes" in other
    assert "cheer as training data changes" not in other
    start, end = other.index('<section id="scorecard">'), other.index('<section id="reproduce">')
    bare = (other[:start] + other[end:]).replace('<a href="#scorecard">Scorecard</a>', "")
    assert bare == before, "nothing else of the page is touched, whatever its text says"


def test_a_report_that_cannot_be_added_to_is_left_alone(run, report):
    kept = kept_beside(report)
    written = kept.read_text()
    for change, message in (
        (lambda: kept.write_text(written.replace("-v1", "-v9")), "format 'aitia-document-v9'"),
        (lambda: kept.write_text(written.replace('"Table"', '"Chart"')), "nothing that stands there"),
        (lambda: kept.write_text(written[:-30]), "not a document that this aitia wrote"),
        (kept.unlink, r"no report\.document\.json lies beside it"),
    ):
        change()
        before = report.read_text()
        with pytest.raises(
            ExplanationError, match=rf"report\.html: the card cannot .*{message}.*aitia counterfactual"
        ):
            evaluate_files([run])
        assert report.read_text() == before
    kept.write_text(written)
    report.write_text("<html><main>mine</main></html>")
    with pytest.raises(ExplanationError, match=r"not the page that report\.document\.json belongs to"):
        evaluate_files([run])
    assert report.read_text() == "<html><main>mine</main></html>"
    report.unlink()
    assert "report" not in evaluate_files([run])[1], "somebody has moved it away"


def test_a_run_of_attribute_is_told_what_to_run(run):
    (run / "removal.parquet").unlink()
    (run / "rankings.parquet").rename(run / "ranking.parquet")
    with pytest.raises(ExplanationError, match=r"rankings\.files .*aitia counterfactual"):
        evaluate_files([run])
