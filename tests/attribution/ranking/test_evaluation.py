"""A ranking held against labels: figures by hand, and the gain over confounds that it has."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from aitia.attribution import Ranking, scorer_names
from aitia.attribution.ranking import CONFOUNDS, evaluate_ranking
from aitia.cli import app
from aitia.errors import AitiaError
from aitia.records import read_records
from aitia.statistics import auc

LABELS = np.arange(60) % 3 == 0


def ranking_of(records, **scores):
    n = len(records)
    rows = np.arange(n)
    return Ranking(
        method=next(iter(scores)),
        ids=np.array(records.ids, dtype=object),
        contents=records.digests.astype(str).astype(object),
        rows=rows,
        locations=np.array([record.location for record in records], dtype=object),
        prompt_tokens=np.ones(n, dtype=np.int32),
        response_tokens=np.ones(n, dtype=np.int32),
        scores=scores,
    )


@pytest.fixture
def ranked(tmp_path):
    lines = [{"text": f"row {i}", "planted": bool(label)} for i, label in enumerate(LABELS)]
    source = tmp_path / "train.jsonl"
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    rng = np.random.default_rng(0)
    length = rng.standard_normal(60) + LABELS
    scores = {
        "mine": rng.standard_normal(60) + 2 * LABELS,
        "response-length": length,
        "echo": 3 * length + 1,
    }
    return source, ranking_of(read_records(source), **scores)


def test_every_scorer_has_its_figures_and_its_gain(ranked):
    found = evaluate_ranking(ranked[1], LABELS, ks=(5,))
    assert list(found.scorers) == ["mine", "response-length", "echo"]
    assert found.labelled, found.rows == (20, 60)
    mine = found.scorers["mine"]
    assert mine.figures["auc"].value == auc(ranked[1].scores["mine"], LABELS)
    assert {"precision@5", "recall@20"} <= set(mine.figures)
    assert found.confounds == ("response-length",)
    assert mine.gain.value > 0.05
    assert found.scorers["echo"].gain.value == pytest.approx(0, abs=0.02)
    assert found.scorers["response-length"].gain is None


def test_confounds_are_scorers():
    assert set(CONFOUNDS) <= set(scorer_names())


def test_without_confounds_or_rows_enough_there_is_no_gain(ranked):
    assert evaluate_ranking(ranked[1], LABELS, confounds=()).scorers["mine"].gain is None
    few = np.arange(60) < 3
    assert evaluate_ranking(ranked[1], few).scorers["mine"].gain is None


@pytest.mark.parametrize(
    ("labels", "options", "said"),
    [
        (LABELS[:5], {}, "true or false for each of 60 rows"),
        (np.zeros(60, dtype=bool), {}, "0 of 60 rows are labelled"),
        (LABELS, {"confounds": ["tf-idf"]}, "no scores by tf-idf.*`compare=tf-idf`"),
    ],
)
def test_what_makes_no_sense_is_refused(ranked, labels, options, said):
    with pytest.raises(AitiaError, match=said):
        evaluate_ranking(ranked[1], labels, **options)


def test_the_command_prints_a_table_or_json(ranked, tmp_path):
    source, ranking = ranked
    path = ranking.write(tmp_path / "r.parquet")
    line = ["evaluate-ranking", str(path), "--data", str(source), "--label", "planted", "--k", "7"]
    done = CliRunner().invoke(app, [*line, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["scorers"]["mine"]["figures"]["recall@7"]["value"] > 0.2
    table = CliRunner().invoke(app, line).stdout
    assert "gain" in table
    assert "The gain is over response-length" in table
