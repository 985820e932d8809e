"""Curated data from a ranking: every ranked row goes where it should, and a ranking of other data is refused."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from aitia.attribution import Ranking
from aitia.cli import app
from aitia.errors import AitiaError, RecordError, StoreError
from aitia.pipelines.attribution.curation import curate
from aitia.records import read_records

TEXTS = ["bread cools", "boats drift", "walls stand", "linen dries", "kettles sing", "harbours wait"]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def ranking_of(records, scores=None):
    n = len(records)
    scores = np.arange(float(n)) if scores is None else scores
    return Ranking(
        method="m",
        ids=np.array(records.ids, dtype=object),
        contents=records.digests.astype(str).astype(object),
        rows=np.arange(n),
        locations=np.array([record.location for record in records], dtype=object),
        prompt_tokens=np.ones(n, dtype=np.int32),
        response_tokens=np.ones(n, dtype=np.int32),
        scores={"m": scores},
    )


def texts(path):
    return [json.loads(line)["text"] for line in path.read_text().splitlines()]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    scores=st.lists(st.integers(-3, 3), min_size=1, max_size=6),
    amount=st.floats(0, 1) | st.integers(0, 9),
    keep=st.booleans(),
    end=st.sampled_from(["top", "bottom"]),
    extra=st.integers(0, 2),
    turned=st.booleans(),
)
def test_each_row_goes_where_its_score_says(tmp_path_factory, scores, amount, keep, end, extra, turned):
    folder = tmp_path_factory.mktemp("curation")
    ranked = [{"text": TEXTS[i], "id": i} for i in range(len(scores))]
    ranking = ranking_of(
        read_records(write(folder / "ranked.jsonl", ranked)), np.array(scores, dtype=np.float64)
    )
    rows = ranked + [{"text": f"new {i}", "id": f"new-{i}"} for i in range(extra)]
    data = read_records(write(folder / "data.jsonl", rows[::-1] if turned else rows))
    split = curate(
        data,
        ranking,
        **{"keep" if keep else "drop": amount},
        end=end,
        curated=folder / "kept.jsonl",
        removed=folder / "gone.jsonl",
    )
    kept, gone = texts(split.kept), texts(split.removed)
    assert sorted(kept + gone) == sorted(row["text"] for row in rows)
    count = min(amount, len(scores)) if isinstance(amount, int) else round(amount * len(scores))
    chosen = {TEXTS.index(text) for text in (kept if keep else gone) if text in TEXTS}
    assert len(chosen) == count
    left = [score for i, score in enumerate(scores) if i not in chosen]
    ends = [scores[i] for i in chosen]
    if ends and left:
        assert min(ends) >= max(left) if end == "top" else max(ends) <= min(left)
    assert {text for text in (gone if keep else kept) if text.startswith("new")} == {
        f"new {i}" for i in range(extra)
    }


def test_a_ranking_of_other_rows_is_refused_even_if_the_cut_would_miss_them(tmp_path):
    rows = [{"text": text, "id": i} for i, text in enumerate(TEXTS)]
    ranking = ranking_of(read_records(write(tmp_path / "ranked.jsonl", rows)))
    changed = read_records(write(tmp_path / "data.jsonl", [rows[0] | {"text": "other"}, *rows[1:]]))
    places = {"curated": tmp_path / "kept.jsonl", "removed": tmp_path / "gone.jsonl"}
    with pytest.raises(RecordError, match=r"1 of 6 chosen rows .* data.jsonl:1 \(id '0'\)"):
        curate(changed, ranking, drop=1, **places)
    fewer = read_records(write(tmp_path / "fewer.jsonl", rows[1:]))
    with pytest.raises(RecordError, match="no record has the id '0'"):
        curate(fewer, ranking, drop=1, **places)
    assert not (tmp_path / "kept.jsonl").exists()
    with pytest.raises(AitiaError, match=r"data.jsonl:1: row '0' says something else .*1 of 6"):
        ranking.score_of(changed)
    np.testing.assert_array_equal(ranking.score_of(fewer), ranking.score[1:])


def test_the_command_accounts_for_every_row_and_writes_over_nothing(tmp_path):
    rows = [{"text": text, "id": i} for i, text in enumerate(TEXTS)]
    data = write(tmp_path / "data.jsonl", rows)
    ranking_of(read_records(data)).write(tmp_path / "ranking.parquet")
    with data.open("a") as file:
        file.write("not json\n" + json.dumps({"text": "came later", "id": "x"}) + "\n")
    whole = data.read_text()

    def run(out, removed, *more):
        arguments = (
            "curate",
            "--data",
            data,
            "--ranking",
            tmp_path / "ranking.parquet",
            "--drop",
            "2",
            "--json",
        )
        named = ("--out", tmp_path / out, "--removed", tmp_path / removed)
        return CliRunner().invoke(app, [str(part) for part in (*arguments, *named, *more)])

    assert isinstance(run("a.jsonl", "b.jsonl").exception, RecordError)
    for out, removed in (
        ("data.jsonl", "b.jsonl"),
        ("a.jsonl", "data.jsonl"),
        ("a.jsonl", "a.jsonl"),
        ("a.jsonl", "ranking.parquet"),
    ):
        assert isinstance(run(out, removed, "--on-error", "skip").exception, StoreError | RecordError)
    assert {path.name for path in tmp_path.iterdir()} == {"data.jsonl", "ranking.parquet"}
    found = json.loads(run("a.jsonl", "b.jsonl", "--on-error", "skip").stdout)
    assert [found[f"rows_{name}"] for name in ("kept", "removed", "left_out", "not_ranked")] == [5, 2, 1, 1]
    assert found["left_out_rows"] == [["data.jsonl:7", "not valid JSON at character 1: Expecting value"]]
    parts = "".join((tmp_path / name).read_text() for name in ("a.jsonl", "b.jsonl", "b.left-out.jsonl"))
    assert sorted(parts.splitlines()) == sorted(whole.splitlines())
    assert (tmp_path / "b.left-out.jsonl").read_text() == "not json\n"
    assert data.read_text() == whole


def two_rankings(records, folder):
    """Row 0 is bad and useless, rows 1 and 2 bad and useful, the others good."""
    bad, skill = np.array([3.0, 2, 2, -1, -1, -1]), np.array([0.0, 3, 1, 1, 1, 1])
    return ranking_of(records, bad).write(folder / "bad.parquet"), ranking_of(records, skill).write(
        folder / "skill.parquet"
    )


def invoked(*arguments):
    return CliRunner().invoke(app, ["curate", *map(str, arguments), "--json"])


def test_rows_that_are_bad_and_useless_go_first(tmp_path):
    source = write(tmp_path / "train.jsonl", [{"text": text} for text in TEXTS])
    bad, skill = two_rankings(read_records(source), tmp_path)
    both = ("--out", tmp_path / "kept.jsonl", "--removed", tmp_path / "gone.jsonl")
    done = invoked("--data", source, "--lower", bad, "--keep", skill, "--share", 0.5, *both)
    assert done.exit_code == 0, done.output
    assert texts(tmp_path / "gone.jsonl") == TEXTS[:1]
    assert texts(tmp_path / "kept.jsonl") == TEXTS[1:]
    found = json.loads(done.stdout)
    assert found["lowered"] == {str(bad): pytest.approx(-0.3)}
    assert found["kept"] == {str(skill): 0}
    assert found["front"][0]["tolerance"] == 0
    assert found["front"][-1]["lowered"][0] == pytest.approx(-0.7)
    careless = invoked("--data", source, "--lower", bad, "--share", 0.5, *both)
    assert texts(tmp_path / "gone.jsonl") == TEXTS[:3]
    assert json.loads(careless.stdout)["front"] == []


def test_rows_are_weighed_into_a_column(tmp_path):
    source = write(tmp_path / "train.jsonl", [{"text": text} for text in TEXTS])
    bad, skill = two_rankings(read_records(source), tmp_path)
    done = invoked("--data", source, "--lower", bad, "--keep", skill, "--share", 0.5, "--use-weights",
                   "--tolerance", 0.1, "--out", tmp_path / "weighted.jsonl")  # fmt: skip
    assert done.exit_code == 0, done.output
    weights = read_records(tmp_path / "weighted.jsonl").column("weight")
    assert weights[0] == 0
    assert weights[3:] == [1, 1, 1]
    # What is left of the tolerance, 0.1 of 7, is spent where a unit of skill costs least: on row 2.
    assert weights[1:3] == [1, pytest.approx(0.3)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--lower", "@bad", "--ranking", "@bad"], "neither --ranking"),
        (["--keep", "@bad"], "several measurements choose the rows with --lower"),
        (["--ranking", "@bad", "--drop", "1", "--share", "0.3"], "go with --lower"),
        (["--lower", "@bad"], "give `removed`"),
        (["--ranking", "@bad", "--drop", "1"], "give --removed"),
        (["--lower", "@bad", "--use-weights", "--out", "@bad"], "the file bad.parquet"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(options, said, tmp_path):
    source = write(tmp_path / "train.jsonl", [{"text": text} for text in TEXTS])
    bad, _ = two_rankings(read_records(source), tmp_path)
    before = bad.read_bytes()
    options = [str(bad) if each == "@bad" else each for each in options]
    out = [] if "--out" in options else ["--out", tmp_path / "kept.jsonl"]
    with pytest.raises(AitiaError, match=said):
        CliRunner().invoke(
            app, ["curate", "--data", str(source), *options, *map(str, out)], catch_exceptions=False
        )
    assert bad.read_bytes() == before
    assert not (tmp_path / "kept.jsonl").exists()


def test_reasons_go_with_the_rows_and_rows_are_converted(tmp_path):
    data = read_records(
        write(tmp_path / "data.jsonl", [{"text": each, "id": i} for i, each in enumerate(TEXTS)])
    )
    ranking = ranking_of(data, np.array([0.5, 3.0, 1.0, 2.0, -1.0, 0.0]))
    ranking.write(tmp_path / "r.parquet")
    line = f"curate --data {tmp_path}/data.jsonl --ranking {tmp_path}/r.parquet --drop 2 --with-scores "
    done = CliRunner().invoke(
        app, [*f"{line} --out {tmp_path}/k.parquet --removed {tmp_path}/g.jsonl".split(), "--json"]
    )
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert answer["converted"] == {f"{tmp_path}/k.parquet": "parquet"}
    kept, gone = read_records(tmp_path / "k.parquet"), read_records(tmp_path / "g.jsonl")
    assert gone.ids == ("1", "3")
    assert gone.column("aitia_score") == [3.0, 2.0]
    assert gone.column("aitia_rank") == [1, 2]
    assert gone.column("aitia_percentile") == pytest.approx([100.0, 100 * 5 / 6])
    assert kept.column("aitia_method") == ["m"] * 4
    assert kept.column("aitia_rank") == [4, 3, 6, 5]
    line = f"curate --data {tmp_path}/data.jsonl --ranking {tmp_path}/r.parquet --drop 2 --format datasets "
    done = CliRunner().invoke(app, f"{line} --out {tmp_path}/k --removed {tmp_path}/g".split())
    assert f"converted to datasets: {tmp_path}/k" in done.output
    assert read_records(tmp_path / "g").format == "datasets"
    done = CliRunner().invoke(
        app, f"curate --data {tmp_path}/data.jsonl --with-scores --out {tmp_path}/x".split()
    )
    assert "--with-scores shows what a ranking says" in str(done.exception)
