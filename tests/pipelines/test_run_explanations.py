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
from aitia.pipelines.judge import judge_files
from aitia.pipelines.run_explanations import EVERY_ROW, run_explanations

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
    accounts = run_explanations(run)
    assert [each.name for each in accounts] == ["right", "wrong", EVERY_ROW]
    card, files = judge_files([run])
    assert card["skill"].value > max(each["skill"].value for each in card.rivals) + 0.1
    assert sorted(files) == ["html", "json", "md"]
    assert (run / "scorecard.html").exists()
    assert "cheer" in card.explanation.phenomenon.name
    # Two rankings, two ends and random removal, at four shares; and nothing removed: each three times at most.
    assert len(card.explanation.phenomenon.inputs) <= 3 * (1 + 4 * 5)


def test_another_behaviour_and_the_command(run):
    done = CliRunner().invoke(app, ["judge", str(run), "--behaviour", "gloom", "--json"])
    assert done.exit_code == 0, done.output
    assert "gloom" in json.loads(done.stdout)["phenomenon"]["name"]
    with pytest.raises(ExplanationError, match="no behaviour 'joy'; the run measured cheer, gloom"):
        run_explanations(run, behaviour="joy")


def test_folders_that_are_no_run(run):
    (run / "removal.parquet").unlink()
    with pytest.raises(ExplanationError, match=r"removal\.parquet: cannot be read"):
        run_explanations(run)
    (run / "rankings.parquet").write_text("no")
    with pytest.raises(ExplanationError, match=r"rankings\.parquet: cannot be read"):
        run_explanations(run)


def test_rankings_that_do_not_fit_the_removals(run):
    table = parquet.read_table(run / "rankings.parquet")
    parquet.write_table(table.drop_columns(["wrong"]), run / "rankings.parquet")
    with pytest.raises(ExplanationError, match="do not lead to the removal"):
        run_explanations(run)
